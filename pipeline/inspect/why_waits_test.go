package inspect

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/nats-io/nuid"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/pipeline"
)

// twinOf is another service of the same partition.
func twinOf(service int) int {
	for other := service + 1; ; other++ {
		if pipeline.Partition(other) == pipeline.Partition(service) {
			return other
		}
	}
}

// TestWhyCountsOnlyWhatWaits: an input that changed nothing leaves no trace in the record.
// It waits only if the partition's cursor stands before it, and before no other service's.
func TestWhyCountsOnlyWhatWaits(t *testing.T) {
	p, ctx := single(t), limited(t)
	state := spec.ServiceRunning
	record := func(applied uint64) pipeline.Record {
		return pipeline.Record{Applied: applied, State: flow.State{Service: spec.Service{Body: spec.Body{Name: "a", State: &state}}}}
	}
	work := func(service int) uint64 {
		sequence, err := p.PublishWork(ctx, pipeline.Work{Service: service, Reason: "a test"}, nuid.Next())
		must(t, err)
		return sequence
	}
	const service = 42
	twin := twinOf(service)
	first := work(service)
	_, err := p.SaveRecord(ctx, service, record(first), 0)
	must(t, err)
	held, second := work(twin), work(service)
	waiting := func() uint64 {
		why, err := p.Why(ctx, service, nil)
		must(t, err)
		return why.Backlog.Count
	}
	must(t, p.SaveCursor(ctx, pipeline.PartitionKey(pipeline.Partition(service)), first))
	if got := waiting(); got != 0 {
		t.Errorf("%d inputs are said to wait while another service's holds the cursor", got)
	}
	must(t, p.SaveCursor(ctx, pipeline.PartitionKey(pipeline.Partition(service)), held))
	if got := waiting(); got != 1 {
		t.Errorf("%d inputs are said to wait, want 1", got)
	}
	must(t, p.SaveCursor(ctx, pipeline.PartitionKey(pipeline.Partition(service)), second))
	if got := waiting(); got != 0 {
		t.Errorf("%d inputs are said to wait that are handled", got)
	}
}

// TestWhyTellsWhatOnedShowsNow, and, while oned is away, that it does not.
func TestWhyTellsWhatOnedShowsNow(t *testing.T) {
	p, ctx := single(t), limited(t)
	body, err := spec.ParseBody([]byte(`{"name":"a","state":1,"roles":[{"name":"S","cardinality":1,"state":1,"nodes":[{"deploy_id":5}]}]}`))
	must(t, err)
	_, err = p.SaveRecord(ctx, 42, pipeline.Record{State: flow.State{Service: spec.Service{ID: 42, Body: body}}}, 0)
	must(t, err)
	now := func(context.Context, flow.State) (flow.State, flow.Facts, error) {
		return flow.State{Service: spec.Service{ID: 42, Body: body}}, flow.Facts{5: {ID: 5, Service: 42, State: one.VMPending}}, nil
	}
	why, err := p.Why(ctx, 42, now)
	must(t, err)
	if len(why.Waits) != 1 || why.Waits[0].Kind != flow.FoundNotRunning || why.OnedAway != "" {
		t.Errorf("it says %+v", why)
	}
	unreadable := func(_ context.Context, state flow.State) (flow.State, flow.Facts, error) {
		return state, flow.Facts{}, UnreadableError{errors.New("roles is a text")}
	}
	why, err = p.Why(ctx, 42, unreadable)
	must(t, err)
	if len(why.Failed) != 1 || why.Failed[0].Kind != flow.FoundUnreadable || why.OnedAway != "" || !strings.Contains(why.Summary, "roles is a text") {
		t.Errorf("of a document that cannot be read: %+v", why)
	}
	away := func(_ context.Context, state flow.State) (flow.State, flow.Facts, error) {
		return state, nil, errors.New("oned does not answer")
	}
	why, err = p.Why(ctx, 42, away)
	must(t, err)
	if len(why.Waits) != 1 || why.Waits[0].Kind != flow.FoundUnknown || !strings.Contains(why.OnedAway, "does not answer") {
		t.Errorf("with oned away it says %+v", why)
	}
}
