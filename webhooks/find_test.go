package webhooks

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/deadletters"
	"github.com/flowjet/flowjet/pipeline/deliveries"
)

// waiting takes the deliveries that wait on a subject, and returns their ids.
func (w *world) waiting(subject string) (ids []string) {
	w.t.Helper()
	for {
		next, found, err := w.pipe.NextDelivery(w.t.Context(), subject)
		if w.must(err); !found {
			return ids
		}
		ids = append(ids, next.ID)
		w.must(w.pipe.DropDelivery(w.t.Context(), next.Sequence))
	}
}

// A search that goes on from an earlier place, as after a kill -9 before it stored its position, queues nothing twice, and everything in order.
func TestASearchThatIsRepeated(t *testing.T) {
	w := newWorld(t)
	w.begin()
	const services, each = 4, 150
	history := func(until int) {
		for w.told[0] < uint64(until) {
			for service := range services {
				w.tell(service, "RUNNING")
			}
		}
	}
	history(each)
	for _, from := range []uint64{0, 0, 100, services*each - 3} {
		w.must(w.pipe.SaveCursor(t.Context(), pipeline.WebhooksCursor, from))
		d := New(Config{Settings: settings(Receiver{Name: "ops", URL: "https://example.com"}), Owns: func(key string) bool { return key == pipeline.RouterKey }}, w.pipe.Pipeline)
		w.must(d.Start(t.Context()))
		history(int(w.told[0]) + 10) //nolint:gosec // small
		want := services * w.told[0]
		poll.Until(t, "all to be read", func() bool {
			at, err := w.pipe.LoadCursor(context.Background(), pipeline.WebhooksCursor)
			return err == nil && at == want
		})
		w.stop(d)
		if waiting, err := w.pipe.PendingDeliveries(t.Context()); err != nil || waiting != want {
			t.Fatalf("from %d on: %d wait (%v), want %d", from, waiting, err, want)
		}
	}
	for service := range services {
		ids := w.waiting(pipeline.HookSubject("ops", service))
		for i, id := range ids {
			if want := fmt.Sprintf("%d-%d", service, i+1); id != want {
				t.Fatalf("number %d is %s, want %s", i, id, want)
			}
		}
	}
}

// A NATS server that starts again knows the ids of waiting deliveries only: what has been delivered must not be found again.
func TestThePositionIsStoredBeforeTheNextIsFound(t *testing.T) {
	w, r := newWorld(t), newReceiver(t, nil)
	w.start(settings(Receiver{Name: "ops", URL: r.URL}))
	const count = 20
	for range count {
		w.tell(7, "RUNNING")
		r.next(t)
	}
	if at, err := w.pipe.LoadCursor(t.Context(), pipeline.WebhooksCursor); err != nil || at < count-1 {
		t.Errorf("after %d deliveries the search would begin again at %d (%v)", count, at, err)
	}
}

// A receiver that is full keeps no room of others, and has its place again when there is room. What has been refused does not count as its user's.
func TestAFullReceiverAmongOthers(t *testing.T) {
	w := newWorld(t)
	stream, err := w.pipe.JetStream().Stream(t.Context(), pipeline.StreamHook)
	w.must(err)
	config := stream.CachedInfo().Config
	config.MaxMsgsPerSubject = 5
	_, err = w.pipe.JetStream().UpdateStream(t.Context(), config)
	w.must(err)
	d := New(Config{Settings: settings()}, w.pipe.Pipeline)
	full, other := pipeline.HookSubject(ofService+"1", 7), pipeline.HookSubject(ofService+"2", 7)
	queue := func(subject string, from, to int) {
		t.Helper()
		var queued []deliveries.Queued
		for number := from; number <= to; number++ {
			delivery := pipeline.Delivery{ID: fmt.Sprint("7-", number), Service: 7, Owner: "alice", URL: "https://example.com", Body: []byte(`{}`)}
			queued = append(queued, deliveries.Queued{Subject: subject, Delivery: delivery}, deliveries.Queued{Subject: pipeline.HookSubject("ops", number), Delivery: delivery})
		}
		w.must(d.queueAll(t.Context(), queued))
	}
	letters := func(want int) {
		t.Helper()
		if all, err := deadletters.New(w.pipe.Pipeline).DeadLetters(t.Context(), 100); err != nil || len(all) != want {
			t.Fatalf("there are %d dead letters, want %d (%v)", len(all), want, err)
		}
	}
	queue(full, 1, 20)
	letters(15)
	queue(full, 21, 22)
	letters(17)
	if count := d.shares.pending["alice"]; count != 5+22 || !d.shares.full[full] || len(d.shares.full) != 1 {
		t.Errorf("%d count as alice's, full are %v", count, d.shares.full)
	}
	if ids := w.waiting(full); strings.Join(ids, " ") != "7-1 7-2 7-3 7-4 7-5" {
		t.Errorf("waiting are %v", ids)
	}
	queue(full, 23, 25)
	queue(other, 26, 28)
	letters(17)
	if len(d.shares.full) != 0 {
		t.Errorf("full are %v", d.shares.full)
	}
	if ids := append(w.waiting(full), w.waiting(other)...); strings.Join(ids, " ") != "7-23 7-24 7-25 7-26 7-27 7-28" {
		t.Errorf("waiting are %v", ids)
	}
}

// A user cannot push all other dead letters out by services that change while a receiver of the configuration hangs.
func TestDeadLettersOfConfiguredReceiversAreBounded(t *testing.T) {
	w := newWorld(t)
	w.own(7, "alice")
	w.own(8, "bob")
	d := New(Config{Settings: settings()}, w.pipe.Pipeline)
	overflowing := func(receiver string, service, count int) (all []deliveries.Dead) {
		for number := range count {
			delivery := pipeline.Delivery{ID: fmt.Sprint(service, "-", number), Service: service, Receiver: receiver, Body: []byte(`{}`)}
			all = append(all, deliveries.Dead{Queued: deliveries.Queued{Subject: pipeline.HookSubject(receiver, service), Delivery: delivery}, Reason: "no room"})
		}
		return all
	}
	want := 0
	for _, test := range []struct {
		receiver             string
		service, count, kept int
	}{{"ops", 7, maxOverflow - 1, maxOverflow - 1}, {"ops", 7, 20, 1}, {"ops", 7, 20, 0}, {"ops", 8, 20, 20}, {"other", 7, 20, 20}} {
		w.must(d.overflow(t.Context(), overflowing(test.receiver, test.service, test.count)))
		want += test.kept
		if all, err := deadletters.New(w.pipe.Pipeline).DeadLetters(t.Context(), 2*maxOverflow); err != nil || len(all) != want {
			t.Fatalf("%+v: there are %d dead letters, want %d (%v)", test, len(all), want, err)
		}
	}
}

// A transition that NATS has just taken may not fit into a delivery, which is a little longer: it becomes a dead letter, and holds up no other.
func TestATransitionThatFitsIntoNoDelivery(t *testing.T) {
	w, r := newWorld(t), newReceiver(t, nil)
	w.start(settings(Receiver{Name: "ops", URL: r.URL}))
	large := pipeline.Transition{Service: 7, Change: flow.Change{Kind: "service", New: "WARNING"}, Time: time.Now()}
	for size := int(w.pipe.Conn().MaxPayload()); ; size -= 50 {
		large.Reason = strings.Repeat("x", size)
		if err := w.pipe.Check(large); err == nil {
			break
		} else if !errors.Is(err, pipeline.ErrUnpublishable) {
			t.Fatal(err)
		}
	}
	w.told[7]++
	w.must(w.pipe.PublishTransitions(t.Context(), []pipeline.Transition{large}, 1))
	w.tell(7, "RUNNING")
	if came := r.next(t); came.id != "7-2" {
		t.Errorf("%s came", came.id)
	}
	if letter := w.letter(); !strings.Contains(letter.Reason, "7-1 for receiver ops: ") || !strings.Contains(letter.Reason, "NATS cannot store this message") {
		t.Errorf("the dead letter says %q", letter.Reason)
	}
}
