package webhooks

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/deadletters"
	"github.com/flowjet/flowjet/pipeline/deliveries"
)

func TestDeliveriesComeSignedAndInOrder(t *testing.T) {
	w, r := newWorld(t), newReceiver(t, nil)
	w.start(settings(Receiver{Name: "ops", URL: r.URL + "/hook", SecretFile: w.secret()}))
	for number := range 20 {
		w.tell(7, fmt.Sprintf("STATE%d", number))
	}
	first := r.next(t)
	if want := Sign([]byte(secretText), "7-1", first.at, []byte(first.body)); first.signature != want || first.id != "7-1" || first.attempt != 1 {
		t.Errorf("the first is %+v, its signature should be %s", first, want)
	}
	var said struct {
		Type string
		ID   string
		Data pipeline.Transition
	}
	w.must(json.Unmarshal([]byte(first.body), &said))
	if said.Type != "service.STATE0" || said.ID != "7-1" || said.Data.Service != 7 {
		t.Errorf("it says %+v", said)
	}
	for number := 2; number <= 20; number++ {
		if came := r.next(t); came.id != fmt.Sprintf("7-%d", number) {
			t.Fatalf("%s came as number %d", came.id, number)
		}
	}
	poll.Until(t, "nothing to wait", func() bool {
		waiting, err := w.pipe.PendingDeliveries(context.Background())
		return err == nil && waiting == 0
	})
}

func TestAFailingReceiverGetsEachInOrder(t *testing.T) {
	w := newWorld(t)
	r := newReceiver(t, func(number int, out http.ResponseWriter, _ *http.Request) {
		if number%3 != 0 {
			out.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	w.start(settings(Receiver{Name: "ops", URL: r.URL}))
	for range 5 {
		w.tell(7, "RUNNING")
	}
	r.inOrder(t, 7, 5)
	if last := r.next(t); last.attempt < 2 {
		t.Errorf("a repeated delivery says that it is attempt %d", last.attempt)
	}
}

// hangingReceiver answers nothing until its release.
func hangingReceiver(t testing.TB) (slow *receiver, release func()) {
	t.Helper()
	released := make(chan struct{})
	slow = newReceiver(t, func(_ int, _ http.ResponseWriter, in *http.Request) {
		select {
		case <-released:
		case <-in.Context().Done():
		}
	})
	return slow, func() { close(released) }
}

func TestAHangingReceiverHoldsUpNobodyElse(t *testing.T) {
	w := newWorld(t)
	slow, release := hangingReceiver(t)
	defer release()
	quick := newReceiver(t, nil)
	w.start(settings(Receiver{Name: "slow", URL: slow.URL}, Receiver{Name: "quick", URL: quick.URL}))
	const services = 3 * maxPostsOfReceiver
	for service := range services {
		w.tell(service, "RUNNING")
		w.tell(service, "WARNING")
	}
	seen := map[string]bool{}
	for len(seen) < 2*services {
		seen[quick.next(t).id] = true
	}
}

// However many receivers hang that the services of several users name, another user's get theirs, also those on the same host, and
// those of the configuration.
func TestUsersHangingReceiversHoldUpNobodyElse(t *testing.T) {
	w := newWorld(t)
	slow, release := hangingReceiver(t)
	defer release()
	other, releaseOther := hangingReceiver(t)
	defer releaseOther()
	quick := newReceiver(t, nil)
	const users, bobs = maxPosts / maxPostsOfOwner, 1000
	for user := range users {
		for service := user * 100; service < user*100+maxPostsToHost; service++ {
			w.own(service, fmt.Sprint("user", user))
			var named []spec.Webhook
			for _, host := range []string{slow.URL, other.URL} {
				named = append(named, spec.Webhook{URL: fmt.Sprintf("%s/%d/1", host, service)}, spec.Webhook{URL: fmt.Sprintf("%s/%d/2", host, service)})
			}
			w.tell(service, "RUNNING", named...)
		}
	}
	patient := settings(Receiver{Name: "ours", URL: quick.URL, Kinds: []string{"role"}})
	patient.Timeout = time.Hour
	d := w.start(patient)
	poll.Until(t, "the users' receivers to hang", func() bool {
		d.mutex.Lock()
		defer d.mutex.Unlock()
		return len(d.loops) == 4*users*maxPostsToHost && slow.total()+other.total() >= maxPosts*3/4
	})
	w.own(bobs, "bob")
	w.tell(bobs, "RUNNING", spec.Webhook{URL: slow.URL + "/bob"}, spec.Webhook{URL: quick.URL + "/bob"})
	quick.inOrder(t, bobs, 1)
	poll.Until(t, "bob's receiver on the users' host to get its post", func() bool {
		slow.mutex.Lock()
		defer slow.mutex.Unlock()
		return slices.ContainsFunc(slow.posts, func(came post) bool { return came.id == fmt.Sprint(bobs, "-1") })
	})
	w.must(w.pipe.PublishTransitions(t.Context(), []pipeline.Transition{
		{Service: bobs, Change: flow.Change{Kind: "role", Role: "web", New: "RUNNING"}, Time: time.Now()},
	}, 2))
	if came := quick.next(t); came.id != fmt.Sprint(bobs, "-2") {
		t.Errorf("the receiver of the configuration got %s", came.id)
	}
}

func TestReceiversThatServicesName(t *testing.T) {
	w, r := newWorld(t), newReceiver(t, nil)
	w.own(7, "alice")
	allowed := settings()
	allowed.Secrets = []Secret{{Name: "team", File: w.secret(), Users: []string{"alice"}}, {Name: "others", File: w.secret(), Users: []string{"bob"}}}
	allowed.GiveUpAfter = time.Nanosecond
	w.start(allowed)
	w.tell(7, "RUNNING", spec.Webhook{URL: r.URL + "/a", Secret: "team"}, spec.Webhook{URL: r.URL + "/b", Kinds: []string{"vm"}})
	if came := r.next(t); came.signature != Sign([]byte(secretText), "7-1", came.at, []byte(came.body)) {
		t.Errorf("it is signed %q", came.signature)
	}
	w.tell(7, "WARNING", spec.Webhook{URL: r.URL + "/c", Secret: "others"})
	if letter := w.letter(); !strings.Contains(letter.Reason, "the secret others is not for services of alice") || letter.Service() != 7 {
		t.Errorf("the dead letter says %q", letter.Reason)
	}
	if len(r.came) > 0 {
		t.Error("it was posted all the same")
	}
}

// letter waits for a dead letter and returns the last.
func (w *world) letter() pipeline.DeadLetter {
	w.t.Helper()
	var letters []pipeline.DeadLetter
	poll.Until(w.t, "a dead letter", func() bool {
		var err error
		letters, err = deadletters.New(w.pipe.Pipeline).DeadLetters(context.Background(), 10)
		return err == nil && len(letters) > 0
	})
	return letters[len(letters)-1]
}

// A service's record that cannot be read holds up neither its own deliveries nor those of others.
func TestDeliveriesOfAServiceWhoseRecordCannotBeRead(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.must(w.pipe.Bucket(pipeline.BucketState).Put(t.Context(), "7", []byte(`{"v":`)))
	r := newReceiver(t, nil)
	w.start(settings())
	for _, service := range []int{7, 8} {
		w.tell(service, "RUNNING", spec.Webhook{URL: r.URL})
	}
	came := []string{r.next(t).id, r.next(t).id}
	slices.Sort(came)
	if want := []string{"7-1", "8-1"}; !slices.Equal(came, want) {
		t.Errorf("the receiver got %v, want %v", came, want)
	}
}

func TestWhatIsTooOldBecomesADeadLetterAndCanBeRetried(t *testing.T) {
	w := newWorld(t)
	var healthy atomic.Bool
	r := newReceiver(t, func(_ int, out http.ResponseWriter, _ *http.Request) {
		if !healthy.Load() {
			out.WriteHeader(http.StatusInternalServerError)
		}
	})
	impatient := settings(Receiver{Name: "ops", URL: r.URL, States: []string{"WARNING"}})
	impatient.GiveUpAfter = time.Nanosecond
	w.start(impatient)
	w.tell(7, "RUNNING")
	w.tell(7, "WARNING")
	letter := w.letter()
	if letter.Where != "webhook" || !strings.Contains(letter.Reason, "500 Internal Server Error") || letter.Origin != "flow.hook.ops.7" {
		t.Fatalf("the letter is %+v", letter)
	}
	healthy.Store(true)
	w.must(deadletters.New(w.pipe.Pipeline).Retry(t.Context(), letter))
	poll.Until(t, "the delivery after the retry", func() bool {
		r.mutex.Lock()
		defer r.mutex.Unlock()
		return len(r.posts) >= 2 && r.posts[len(r.posts)-1].id == "7-2"
	})
	if left, err := deadletters.New(w.pipe.Pipeline).DeadLetters(t.Context(), 10); err != nil || len(left) > 0 {
		t.Errorf("the letter is left: %v %v", left, err)
	}
}

func TestDeliveriesGoOnWithAnotherWorker(t *testing.T) {
	w := newWorld(t)
	w.begin()
	doomed := w.open()
	dying := make(chan struct{})
	var once sync.Once
	r := newReceiver(t, func(number int, _ http.ResponseWriter, _ *http.Request) {
		if number == 3 {
			// The worker dies after the receiver has taken it, before it can note that.
			once.Do(func() { doomed.Conn().Close(); close(dying) })
		}
	})
	first := New(Config{Settings: settings(Receiver{Name: "ops", URL: r.URL}), Owns: func(string) bool { return true }}, doomed.Pipeline)
	w.must(first.Start(t.Context()))
	for range 6 {
		w.tell(7, "RUNNING")
	}
	<-dying
	doomed.Close()
	w.stop(first)
	w.start(settings(Receiver{Name: "ops", URL: r.URL}))
	r.inOrder(t, 7, 6)
	seen := map[string]int{}
	r.mutex.Lock()
	defer r.mutex.Unlock()
	for _, came := range r.posts {
		seen[came.id]++
	}
	if seen["7-3"] < 2 {
		t.Errorf("the one that was not noted came %d times", seen["7-3"])
	}
}

func TestPausesOutliveTheWorker(t *testing.T) {
	w := newWorld(t)
	r := newReceiver(t, func(_ int, out http.ResponseWriter, _ *http.Request) { out.WriteHeader(http.StatusBadGateway) })
	patient := settings(Receiver{Name: "ops", URL: r.URL})
	patient.FirstPause, patient.LongestPause = time.Hour, time.Hour
	d := w.start(patient)
	w.tell(7, "RUNNING")
	subject := pipeline.HookSubject("ops", 7)
	var attempts pipeline.Attempts
	poll.Until(t, "the failure to be kept", func() bool {
		var err error
		attempts, err = w.pipe.LoadAttempts(context.Background(), subject)
		return err == nil && attempts.Count == 1
	})
	if attempts.Error != "502 Bad Gateway" || time.Until(attempts.Next) < 30*time.Minute {
		t.Errorf("kept is %+v", attempts)
	}
	w.stop(d)
	w.start(patient)
	w.tell(8, "RUNNING") // another service's is delivered, this one's waits
	poll.Until(t, "the other service's", func() bool {
		other, err := w.pipe.LoadAttempts(context.Background(), pipeline.HookSubject("ops", 8))
		return err == nil && other.Count == 1
	})
	if again, err := w.pipe.LoadAttempts(t.Context(), subject); err != nil || again.Count != 1 {
		t.Errorf("it was tried again before its time: %+v %v", again, err)
	}
}

func TestABacklogIsBounded(t *testing.T) {
	w := newWorld(t)
	d := New(Config{Settings: settings()}, w.pipe.Pipeline)
	subject := pipeline.HookSubject("ops", 7)
	for number := range 1001 {
		delivery := pipeline.Delivery{ID: fmt.Sprintf("7-%d", number), Service: 7, Receiver: "ops", Body: []byte(`{}`)}
		w.must(d.queueAll(t.Context(), []deliveries.Queued{{Subject: subject, Delivery: delivery}}))
	}
	if letter := w.letter(); !strings.Contains(letter.Reason, "7-1000 for receiver ops: too many deliveries are pending") {
		t.Errorf("the letter says %q", letter.Reason)
	}
	if waiting, err := w.pipe.PendingDeliveries(t.Context()); err != nil || waiting != 1000 {
		t.Errorf("%d wait, %v", waiting, err)
	}
}
