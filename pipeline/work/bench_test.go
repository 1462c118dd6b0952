package work

import (
	"fmt"
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/feeds"
	"github.com/flowjet/flowjet/pipeline/internal/pipetest"
)

func BenchmarkPublishWork(b *testing.B) {
	p, ctx := clientsOf(pipetest.Durable(b)), b.Context()
	took := make([]time.Duration, 0, b.N)
	for i := 0; b.Loop(); i++ {
		begin := time.Now()
		_, err := p.PublishWork(ctx, pipeline.Work{Service: i % 64, Reason: "bench"}, fmt.Sprint(i))
		must(b, err)
		took = append(took, time.Since(begin))
	}
	pipetest.Spread(b, took)
}

// From an event's publishing by the bridge through the router's and the
// worker's reader: the pipeline's share of the way to an action.
func BenchmarkEventToWorker(b *testing.B) {
	p, ctx := clientsOf(pipetest.Durable(b)), b.Context()
	lease, err := feeds.New(p.Pipeline).Acquire(ctx, "bench", "bench", 0)
	must(b, err)
	events, err := p.ReadEvents(ctx, 0)
	must(b, err)
	defer events.Stop()
	work, err := p.ReadPartition(ctx, pipeline.Partition(42), 0)
	must(b, err)
	defer work.Stop()
	took := make([]time.Duration, 0, b.N)
	for i := 0; b.Loop(); i++ {
		begin := time.Now()
		must(b, lease.Publish(ctx, []feeds.Event{vmEvent(i)}))
		sequence, event, err := events.Next(ctx)
		must(b, err)
		_, err = p.PublishWork(ctx, pipeline.Work{Service: 42, Event: &event}, fmt.Sprint("event-", sequence))
		must(b, err)
		_, err = work.Next(ctx)
		must(b, err)
		took = append(took, time.Since(begin))
	}
	pipetest.Spread(b, took)
}

func BenchmarkSaveRecord(b *testing.B) {
	p, ctx := clientsOf(pipetest.Durable(b)), b.Context()
	took := make([]time.Duration, 0, b.N)
	revision := uint64(0)
	for b.Loop() {
		begin := time.Now()
		saved, err := p.SaveRecord(ctx, 42, recordOf(42, revision), revision)
		must(b, err)
		revision = saved
		took = append(took, time.Since(begin))
	}
	pipetest.Spread(b, took)
}

func BenchmarkLoadRecord(b *testing.B) {
	p, ctx := clientsOf(pipetest.Durable(b)), b.Context()
	_, err := p.SaveRecord(ctx, 42, recordOf(42, 1), 0)
	must(b, err)
	took := make([]time.Duration, 0, b.N)
	for b.Loop() {
		begin := time.Now()
		_, _, err := p.LoadRecord(ctx, 42)
		must(b, err)
		took = append(took, time.Since(begin))
	}
	pipetest.Spread(b, took)
}

func vmEvent(number int) feeds.Event {
	event := pipeline.Event{
		Object: "vm", ID: 21, State: "ACTIVE", LCMState: fmt.Sprintf("S%d", number%3), Heard: time.Now().UTC(),
		VM: &one.VM{ID: 21, Service: number},
	}
	return feeds.Event{
		Subject: pipeline.VMSubject(0, 21, event.State, event.LCMState), MessageID: fmt.Sprint("21-", number), Event: event,
	}
}
