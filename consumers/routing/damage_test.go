package routing

import (
	"slices"
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/natstest"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/work"
)

// A NATS server that was cut off reports an end of the events before the router's cursor, until it has caught up.
func TestTheEndOfEventsThatAServerHasPassed(t *testing.T) {
	url := natstest.NewNode(t).URL()
	opened, err := pipeline.Open(t.Context(), pipeline.Config{URL: url, Name: t.Name()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(opened.Close)
	other, err := pipeline.Open(t.Context(), pipeline.Config{URL: url})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(other.Close)
	if err := opened.SaveCursor(t.Context(), pipeline.RouterKey, 1); err != nil {
		t.Fatal(err)
	}
	r := &Router{Pipe: Clients{Pipeline: opened, Queue: work.NewQueue(opened)}, ConfirmDamage: time.Minute}
	var after uint64
	starts := make(chan error)
	answered := opened.Conn().Stats().InMsgs
	go func() {
		after, err = r.startOfEvents(t.Context())
		starts <- err
	}()
	poll.Until(t, "the cursor and the end to be asked for", func() bool { return opened.Conn().Stats().InMsgs >= answered+2 })
	if _, err := other.JetStream().Publish(t.Context(), pipeline.VMSubject(0, 1, "ACTIVE", "RUNNING"), []byte("{}")); err != nil {
		t.Fatal(err)
	}
	if err := <-starts; err != nil || after != 1 {
		t.Errorf("it starts after %d: %v", after, err)
	}
	if found, has, err := opened.LastMismatch(t.Context()); has || err != nil {
		t.Errorf("operators are told %+v (%v)", found, err)
	}
}

// TestWhatAFlowjetDroveSinceItsStartIsNotOlderData: of services that went on since a worker
// started only those are newer than the data whose records say less.
func TestWhatAFlowjetDroveSinceItsStartIsNotOlderData(t *testing.T) {
	opened, err := pipeline.Open(t.Context(), pipeline.Config{URL: natstest.NewNode(t).URL(), Name: t.Name()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(opened.Close)
	records := work.NewRecords(opened)
	for _, service := range []int{1, 2} {
		record := pipeline.Record{State: flow.State{Service: spec.Service{ID: service}}}
		if _, err := records.SaveRecord(t.Context(), service, record, 0); err != nil {
			t.Fatal(err)
		}
	}
	older := olderData{written: time.Now().Add(-time.Hour), logged: map[int]time.Time{
		1: time.Now(),                    // by this Flowjet, after it had written the record
		2: time.Now().Add(2 * ClockSkew), // by somebody else
		3: time.Now(),                    // without a record
	}}
	if got := older.services(t.Context(), records); !slices.Equal(got, []int{2}) {
		t.Errorf("services %v are newer than the data, want 2 alone", got)
	}
}
