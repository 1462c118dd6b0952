package inspect

import (
	"slices"
	"testing"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/internal/natstest"
	"github.com/flowjet/flowjet/pipeline"
)

func TestAttachMakesNothing(t *testing.T) {
	node, ctx := natstest.NewNode(t), limited(t)
	for range 2 {
		attached, missing, err := pipeline.Attach(ctx, pipeline.Config{URL: node.URL()})
		must(t, err)
		if len(missing) != len(pipeline.Streams(1)) || !slices.Contains(missing, pipeline.StreamFlow) {
			t.Errorf("on a bare server %v are missing", missing)
		}
		overview, err := New(attached).Overview(ctx, missing)
		must(t, err)
		if len(overview.Workers) != 0 || len(overview.Unowned) != len(pipeline.Keys()) || len(overview.Streams) != 0 {
			t.Errorf("a bare server shows %+v", overview)
		}
		attached.Close()
	}
}

func TestOverviewAndWhyShowWhatWaits(t *testing.T) {
	p, ctx := single(t), limited(t)
	state := flow.ServiceWarning
	record := pipeline.Record{State: flow.State{Service: flow.Service{ID: 42, Body: flow.Body{Name: "a", State: &state}}}}
	_, err := p.SaveRecord(ctx, 42, record, 0)
	must(t, err)
	_, err = p.PublishWork(ctx, pipeline.Work{Service: 42, Reason: "a test"}, "")
	must(t, err)
	must(t, p.DeadLetter(ctx, pipeline.DeadLetter{Where: "worker", Reason: "it failed", Data: pipeline.Encode(pipeline.Work{Version: 1, Service: 42}), Origin: pipeline.WorkSubject(42)}))
	why, err := p.Why(ctx, 42)
	must(t, err)
	if why.State != "WARNING" || why.Backlog.Count != 1 || why.Backlog.Oldest == nil || why.DeadLetters != 1 || len(why.Next) < 2 {
		t.Errorf("why says %+v", why)
	}
	overview, err := p.Overview(ctx, nil)
	must(t, err)
	if overview.Services["WARNING"] != 1 || overview.DeadLetters["worker"] != 1 {
		t.Errorf("the overview says %+v", overview)
	}
	reader := slices.IndexFunc(overview.Readers, func(r ReaderStatus) bool { return r.Reader == pipeline.PartitionKey(pipeline.Partition(42)) })
	if reader < 0 || overview.Readers[reader].Lag != 1 {
		t.Errorf("the readers are %+v", overview.Readers)
	}
	letters, err := p.DeadLetters(ctx, 10)
	must(t, err)
	must(t, p.Retry(ctx, letters[0]))
	if why, err = p.Why(ctx, 42); err != nil || why.Backlog.Count != 2 || why.DeadLetters != 0 {
		t.Errorf("after the retry why says %+v, %v", why, err)
	}
}
