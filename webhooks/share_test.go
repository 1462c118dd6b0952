package webhooks

import (
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/deadletters"
	"github.com/flowjet/flowjet/pipeline/deliveries"
)

// A user whose receivers do not answer takes neither the others' room nor that of the configuration's receivers.
func TestAUsersBacklogIsBounded(t *testing.T) {
	w := newWorld(t)
	d := New(Config{Settings: settings()}, w.pipe.Pipeline)
	queue := func(id, owner, receiver string) {
		t.Helper()
		delivery := pipeline.Delivery{ID: id, Service: 7, Owner: owner, Receiver: receiver, URL: "https://example.com/hook", Body: []byte(`{}`)}
		w.must(d.queueAll(t.Context(), []deliveries.Queued{{Subject: pipeline.HookSubject(ofService+"1", 7), Delivery: delivery}}))
	}
	waiting := func(want uint64) {
		t.Helper()
		if count, err := w.pipe.PendingDeliveries(t.Context()); err != nil || count != want {
			t.Errorf("%d wait, want %d (%v)", count, want, err)
		}
	}
	letters := func(want int) []pipeline.DeadLetter {
		t.Helper()
		all, err := deadletters.New(w.pipe.Pipeline).DeadLetters(t.Context(), 10)
		if w.must(err); len(all) != want {
			t.Fatalf("there are %d dead letters, want %d", len(all), want)
		}
		return all
	}
	d.shares.pending["alice"] = maxPendingOfOwner - 1
	for _, id := range []string{"7-1", "7-2"} {
		queue(id, "alice", "")
	}
	queue("7-3", "bob", "")
	queue("7-4", "", "ops")
	waiting(3)
	if all := letters(1); !strings.Contains(all[0].Reason, "7-2 for the receiver at example.com of service 7: too many deliveries are pending for receivers of services of alice") {
		t.Errorf("the letter says %q", all[0].Reason)
	}
	d.shares.overflow["alice"] = overflow{since: time.Now(), deliveries: maxOverflow}
	queue("7-5", "alice", "")
	queue("7-6", "alice", "")
	waiting(3)
	letters(1)
	d.shares.overflow["alice"] = overflow{since: time.Now().Add(-overflowPeriod), deliveries: maxOverflow}
	queue("7-7", "alice", "")
	letters(2)
}

// TestWaitingDeliveriesAreCountedByOwner, those of a service whose record cannot be read apart: it holds up no others.
func TestWaitingDeliveriesAreCountedByOwner(t *testing.T) {
	w := newWorld(t)
	queue := func(service int, receivers ...string) {
		for _, receiver := range receivers {
			delivery := pipeline.Delivery{ID: "1", Service: service, Body: []byte(`{}`)}
			w.must(w.pipe.QueueDeliveries(t.Context(), deliveries.Queued{Subject: pipeline.HookSubject(receiver, service), Delivery: delivery})[0])
		}
	}
	w.must(w.pipe.Bucket(pipeline.BucketState).Put(t.Context(), "4", []byte(`{"v":`)))
	queue(4, ofService+"1")
	for service, owner := range map[int]string{1: "alice", 2: "alice", 3: "bob"} {
		record := pipeline.Record{State: flow.State{Service: spec.Service{ID: service, Owner: one.Identity{UName: owner}}}}
		_, err := w.pipe.SaveRecord(t.Context(), service, record, 0)
		w.must(err)
		queue(service, "ops", ofService+"1", ofService+"2")
	}
	s := newShares()
	for total, want := range map[uint64]map[string]int{maxPendingOfOwner: {"alice": 4, "bob": 2, "": 1}, maxPendingOfOwner - 1: {}} {
		w.must(s.recount(t.Context(), w.pipe, total))
		if !maps.Equal(s.pending, want) {
			t.Errorf("with %d in all: %v, want %v", total, s.pending, want)
		}
	}
}
