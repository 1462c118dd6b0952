package routing

import (
	"slices"
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/natstest"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/work"
)

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
