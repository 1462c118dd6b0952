package webhooks

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/internal/testlog"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/deadletters"
	"github.com/flowjet/flowjet/pipeline/deliveries"
)

func always(string) bool { return true }

// A deliverer that is started twice runs once, and stopping what does not run does nothing. What happens meanwhile is delivered after the next start.
func TestStartingAndStopping(t *testing.T) {
	w, r := newWorld(t), newReceiver(t, nil)
	w.begin()
	d := New(Config{Settings: settings(Receiver{Name: "ops", URL: r.URL}), Owns: always}, w.pipe.Pipeline)
	w.stop(d)
	for _, want := range []string{"7-1", "7-2", "7-3"} {
		w.tell(7, "RUNNING")
		w.must(d.Start(t.Context()))
		w.must(d.Start(t.Context()))
		if came := r.next(t); came.id != want || came.attempt != 1 {
			t.Errorf("%s came as attempt %d, want %s", came.id, came.attempt, want)
		}
		poll.Until(t, "the delivery to be noted", func() bool {
			waiting, err := w.pipe.PendingDeliveries(t.Context())
			return err == nil && waiting == 0
		})
		w.stop(d)
		w.stop(d)
	}
	if r.total() != 3 {
		t.Errorf("%d posts came of three transitions", r.total())
	}
}

// The first start ever begins with what happens from then on: nobody is told of months that have passed.
func TestTheFirstStartBeginsNow(t *testing.T) {
	w, r := newWorld(t), newReceiver(t, nil)
	w.tell(7, "DEPLOYING")
	w.tell(7, "RUNNING")
	d := New(Config{Settings: settings(Receiver{Name: "ops", URL: r.URL}), Owns: always}, w.pipe.Pipeline)
	w.must(d.Start(t.Context()))
	t.Cleanup(func() { w.stop(d) })
	w.tell(7, "WARNING")
	if came := r.next(t); came.id != "7-3" {
		t.Errorf("first comes %s", came.id)
	}
}

// New settings count from the next attempt on: another address is asked, and what waits for a receiver that is gone becomes a dead letter.
func TestNewSettings(t *testing.T) {
	w := newWorld(t)
	refuses := func(_ int, out http.ResponseWriter, _ *http.Request) { out.WriteHeader(http.StatusBadGateway) }
	broken, moved, removed := newReceiver(t, refuses), newReceiver(t, nil), newReceiver(t, refuses)
	d := w.start(settings(Receiver{Name: "ops", URL: broken.URL}, Receiver{Name: "old", URL: removed.URL}))
	w.tell(7, "RUNNING")
	broken.next(t)
	removed.next(t)
	d.Reload(settings(Receiver{Name: "ops", URL: moved.URL}))
	if came := moved.next(t); came.id != "7-1" || came.attempt < 2 {
		t.Errorf("to the new address came %+v", came)
	}
	if letter := w.letter(); !strings.Contains(letter.Reason, "7-1 for receiver old, after ") || !strings.Contains(letter.Reason, "the configuration no longer has this receiver") || letter.Origin != pipeline.HookSubject("old", 7) {
		t.Errorf("the dead letter is %+v", letter)
	}
	poll.Until(t, "nothing to be failing", func() bool {
		failing, err := w.pipe.FailingDeliveries(t.Context())
		return err == nil && len(failing) == 0
	})
}

// Only the worker that owns a service delivers for it; when another takes over, that goes on, and what was found before is not lost.
func TestWhoDelivers(t *testing.T) {
	w, r := newWorld(t), newReceiver(t, nil)
	w.begin()
	var second atomic.Bool
	owner := func(mine bool) func(string) bool { return func(string) bool { return second.Load() == mine } }
	for _, mine := range []bool{false, true} {
		d := New(Config{Settings: settings(Receiver{Name: "ops", URL: r.URL}), Owns: owner(mine), Version: map[bool]string{false: "first", true: "second"}[mine]}, w.pipe.Pipeline)
		w.must(d.Start(t.Context()))
		t.Cleanup(func() { w.stop(d) })
	}
	w.tell(7, "RUNNING")
	r.inOrder(t, 7, 1)
	second.Store(true)
	w.tell(7, "WARNING")
	for came := r.next(t); came.id != "7-2"; came = r.next(t) {
		if came.id != "7-1" {
			t.Errorf("%s comes after the take-over", came.id)
		}
	}
	second.Store(false)
	w.tell(7, "RUNNING")
	for came := r.next(t); came.id != "7-3"; came = r.next(t) {
		if came.id != "7-2" {
			t.Errorf("%s comes after the second take-over", came.id)
		}
	}
}

// What is no delivery is given up at once, with what can be said of it, and holds up none behind it.
func TestWhatIsNoDelivery(t *testing.T) {
	w, r := newWorld(t), newReceiver(t, nil)
	subject := pipeline.HookSubject("ops", 7)
	for _, text := range []string{"no JSON", `{"v":1,"id":"7-8"}`} {
		_, err := w.pipe.JetStream().Publish(t.Context(), subject, []byte(text))
		w.must(err)
	}
	w.must(w.pipe.QueueDeliveries(t.Context(), deliveries.Queued{Subject: subject, Delivery: pipeline.Delivery{ID: "7-1", Service: 7, Receiver: "ops", Body: []byte(`{}`)}})[0])
	w.start(settings(Receiver{Name: "ops", URL: r.URL}))
	if came := r.next(t); came.id != "7-1" {
		t.Errorf("came %+v", came)
	}
	if letter := w.letter(); !strings.Contains(letter.Reason, "the delivery cannot be read") || letter.Where != "webhook" || letter.Origin != subject {
		t.Errorf("the dead letter is %+v", letter)
	}
	if r.total() != 1 {
		t.Errorf("%d posts came", r.total())
	}
}

// A delivery whose answer came at the same time as a stop is dropped: the next deliverer would post it again.
func TestWhatWasPostedAtAStop(t *testing.T) {
	w, r := newWorld(t), newReceiver(t, nil)
	d := New(Config{Settings: settings(Receiver{Name: "ops", URL: r.URL}), Owns: always}, w.pipe.Pipeline)
	defer d.client.CloseIdleConnections()
	life, stop := context.WithCancel(t.Context())
	d.client.Transport = stopAtAnswer{d.client.Transport, stop}
	subject := pipeline.HookSubject("ops", 7)
	w.must(w.pipe.QueueDeliveries(t.Context(), deliveries.Queued{Subject: subject, Delivery: pipeline.Delivery{ID: "7-1", Service: 7, Receiver: "ops", Body: []byte(`{}`)}})[0])
	if _, more := (&loop{Deliverer: d, subject: subject, service: 7}).next(life); !more || life.Err() == nil || r.total() != 1 {
		t.Fatalf("%d posts came, more is %v, and the deliverer's life: %v", r.total(), more, life.Err())
	}
	if waiting, err := w.pipe.PendingDeliveries(t.Context()); err != nil || waiting != 0 {
		t.Errorf("%d wait (%v)", waiting, err)
	}
}

// stopAtAnswer calls stop once an answer was read.
type stopAtAnswer struct {
	http.RoundTripper
	stop func()
}

func (s stopAtAnswer) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := s.RoundTripper.RoundTrip(request)
	if err == nil {
		response.Body = closing{response.Body, s.stop}
	}
	return response, err
}

type closing struct {
	io.ReadCloser
	closed func()
}

func (c closing) Close() error {
	defer c.closed()
	return c.ReadCloser.Close()
}

// In a mixed upgrade, what a newer Flowjet wrote waits for it, and holds up nothing else: a delivery, and a service's record, in which the owner is of
// whom a secret may be.
func TestWhatANewerFlowjetWrote(t *testing.T) {
	w, r := newWorld(t), newReceiver(t, nil)
	_, err := w.pipe.JetStream().Publish(t.Context(), pipeline.HookSubject("ops", 6), []byte(`{"v":99,"id":"6-1","body":{}}`))
	w.must(err)
	w.must(w.pipe.Bucket(pipeline.BucketState).Put(t.Context(), "7", []byte(`{"v":99}`)))
	given := settings(Receiver{Name: "ops", URL: r.URL, Kinds: []string{"vm"}})
	given.Secrets = []Secret{{Name: "team", File: w.secret(), Users: []string{"alice"}}}
	w.start(given)
	for _, service := range []int{7, 8} {
		w.tell(service, "RUNNING", spec.Webhook{URL: r.URL + "/signed", Secret: "team", Kinds: []string{"service"}}, spec.Webhook{URL: r.URL, Kinds: []string{"role"}})
		w.tell(service, "RUNNING", spec.Webhook{URL: r.URL})
	}
	if came := []string{r.next(t).id, r.next(t).id}; !slices.Contains(came, "7-2") || !slices.Contains(came, "8-2") {
		t.Errorf("came %v", came)
	}
	w.must(w.pipe.Bucket(pipeline.BucketState).Purge(t.Context(), "7"))
	w.own(7, "alice")
	if came := r.next(t); came.id != "7-1" || came.signature == "" {
		t.Errorf("came %+v once the owner was known", came)
	}
	letters, err := deadletters.New(w.pipe.Pipeline).DeadLetters(t.Context(), 10)
	if waiting, failed := w.pipe.PendingBySubject(t.Context()); errors.Join(err, failed) != nil || len(letters) > 0 || waiting[pipeline.HookSubject("ops", 6)] != 1 {
		t.Errorf("dead letters are %+v, waiting %v (%v, %v)", letters, waiting, err, failed)
	}
}

// A history that damage has cut off ends before transitions that have been read: those that take their numbers are delivered nevertheless, whether it is
// found while running or at the start.
func TestAHistoryThatWasCutOff(t *testing.T) {
	w, r := newWorld(t), newReceiver(t, nil)
	w.begin()
	var log testlog.Log
	start := func() *Deliverer {
		d := New(Config{Settings: settings(Receiver{Name: "ops", URL: r.URL}), Owns: always, Logger: log.Logger()}, w.pipe.Pipeline)
		w.must(d.Start(t.Context()))
		t.Cleanup(func() { w.stop(d) })
		return d
	}
	cut := func() {
		stream, err := w.pipe.JetStream().Stream(t.Context(), pipeline.StreamFlow)
		w.must(err)
		w.must(w.pipe.JetStream().DeleteStream(t.Context(), pipeline.StreamFlow))
		_, err = w.pipe.JetStream().CreateStream(t.Context(), stream.CachedInfo().Config)
		w.must(err)
	}
	read := func(upTo uint64) {
		poll.Until(t, "the position to be stored", func() bool {
			at, err := w.pipe.LoadCursor(t.Context(), pipeline.WebhooksCursor)
			return err == nil && at == upTo
		})
	}
	d := start()
	for range 4 {
		w.tell(7, "RUNNING")
	}
	r.inOrder(t, 7, 4)
	read(4)
	cut()
	poll.Until(t, "the damage to be found", func() bool { return log.Count("stream FLOW was damaged") == 1 })
	w.tell(7, "WARNING")
	if came := r.next(t); came.id != "7-5" {
		t.Errorf("after the damage comes %s", came.id)
	}
	for range 2 {
		w.tell(7, "RUNNING")
		r.next(t)
	}
	read(3)
	poll.Until(t, "what was posted to be dropped", func() bool { // else it is posted again after the start
		waiting, err := w.pipe.PendingDeliveries(t.Context())
		return err == nil && waiting == 0
	})
	w.stop(d)
	cut()
	start()
	w.tell(7, "WARNING")
	if came := r.next(t); came.id != "7-8" {
		t.Errorf("after the start comes %s", came.id)
	}
	if mismatch, _, err := w.pipe.LastMismatch(t.Context()); err != nil || !strings.Contains(mismatch.Reason, "stream FLOW was damaged") {
		t.Errorf("operators are told %+v, %v", mismatch, err)
	}
}

// While NATS is away nothing is posted twice for it, and deliveries go on when it is back; what happened shows in the metrics and in the log.
func TestDeliveriesThroughARestartOfNATS(t *testing.T) {
	w := newWorld(t)
	r := newReceiver(t, func(number int, out http.ResponseWriter, _ *http.Request) {
		if number == 1 {
			out.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	w.begin()
	var log testlog.Log
	registry := prometheus.NewRegistry()
	d := New(Config{Settings: settings(Receiver{Name: "ops", URL: r.URL + "/?token=geheim"}), Owns: always, Logger: log.Logger(), Registerer: registry}, w.pipe.Pipeline)
	w.must(d.Start(t.Context()))
	t.Cleanup(func() { w.stop(d) })
	w.tell(7, "RUNNING")
	r.inOrder(t, 7, 1)
	for number := 2; number <= 3; number++ {
		w.nats.Stop()
		poll.Until(t, "the loss of NATS", func() bool { return !w.pipe.State().Connected })
		w.nats.Start()
		poll.Until(t, "NATS", func() bool { return w.pipe.State().Connected })
		w.tell(7, "WARNING")
		for r.next(t).id != map[int]string{2: "7-2", 3: "7-3"}[number] {
		}
	}
	poll.Until(t, "all to be counted", func() bool { return counted(t, registry, "delivered") >= 3 })
	if failed, dead := counted(t, registry, "failed"), counted(t, registry, "dead"); failed != 1 || dead != 0 {
		t.Errorf("%v attempts have failed, %v deliveries are dead", failed, dead)
	}
	if log.Count("a webhook delivery failed, retrying") != 1 || log.Count("503 Service Unavailable") != 1 || log.Count("geheim") > 0 {
		t.Errorf("logged is %s", &log)
	}
}

// counted is how many attempts to the receiver ops had an outcome.
func counted(t *testing.T, registry *prometheus.Registry, outcome string) (count float64) {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range families {
		for _, metric := range family.Metric {
			labels := map[string]string{}
			for _, label := range metric.Label {
				labels[label.GetName()] = label.GetValue()
			}
			if family.GetName() == "flowjet_webhooks_attempts_total" && labels["receiver"] == "ops" && labels["outcome"] == outcome {
				count += metric.Counter.GetValue()
			}
		}
	}
	return count
}
