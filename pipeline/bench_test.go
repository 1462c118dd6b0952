package pipeline

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/flowjet/flowjet/pipeline/embedded"
)

// durable is a pipeline on an embedded server as `flowjet up` runs it: every
// message on the disk before it is acknowledged.
func durable(b *testing.B) *Pipeline {
	b.Helper()
	server, err := embedded.Start(embedded.Config{StoreDir: b.TempDir(), SyncAlways: true})
	must(b, err)
	b.Cleanup(func() { must(b, server.Stop(limited(b))) })
	return open(b, server.URL(), func(c *Config) { c.Options = append(c.Options, server.InProcess()) })
}

// spread reports the median and the 99th of 100 of what was measured.
func spread(b *testing.B, took []time.Duration) {
	b.Helper()
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds()), "µs-p50")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "µs-p99")
}

func BenchmarkPublishWork(b *testing.B) {
	p, ctx := durable(b), b.Context()
	took := make([]time.Duration, 0, b.N)
	for i := 0; b.Loop(); i++ {
		begin := time.Now()
		_, err := p.PublishWork(ctx, Work{Service: i % 64, Reason: "bench"}, fmt.Sprint(i))
		must(b, err)
		took = append(took, time.Since(begin))
	}
	spread(b, took)
}

// From an event's publishing by the bridge through the router's and the
// worker's reader: the pipeline's share of the way to an action.
func BenchmarkEventToWorker(b *testing.B) {
	p, ctx := durable(b), b.Context()
	lease, err := p.AcquireFeed(ctx, "bench", "bench")
	must(b, err)
	events, err := p.ReadEvents(ctx, 0)
	must(b, err)
	defer events.Stop()
	work, err := p.ReadPartition(ctx, Partition(42), 0)
	must(b, err)
	defer work.Stop()
	took := make([]time.Duration, 0, b.N)
	for i := 0; b.Loop(); i++ {
		begin := time.Now()
		must(b, lease.Publish(ctx, []FeedEvent{vmEvent(21, i)}))
		sequence, event, err := events.Next(ctx)
		must(b, err)
		_, err = p.PublishWork(ctx, Work{Service: 42, Event: &event}, fmt.Sprint("event-", sequence))
		must(b, err)
		_, err = work.Next(ctx)
		must(b, err)
		took = append(took, time.Since(begin))
	}
	spread(b, took)
}

func BenchmarkSaveRecord(b *testing.B) {
	p, ctx := durable(b), b.Context()
	took := make([]time.Duration, 0, b.N)
	revision := uint64(0)
	for b.Loop() {
		begin := time.Now()
		saved, err := p.SaveRecord(ctx, 42, recordOf(42, revision), revision)
		must(b, err)
		revision = saved
		took = append(took, time.Since(begin))
	}
	spread(b, took)
}

// A burst of events in one call, by size: one by one below worthBatching,
// an atomic batch from there on.
func BenchmarkFeedBurst(b *testing.B) {
	for _, size := range []int{1, 8, worthBatching - 1, worthBatching, 100, 1000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			p, ctx := durable(b), b.Context()
			lease, err := p.AcquireFeed(ctx, "bench", "bench")
			must(b, err)
			for i := 0; b.Loop(); i++ {
				must(b, lease.Publish(ctx, feedEvents(i*size, (i+1)*size)))
			}
			b.ReportMetric(float64(size*b.N)/b.Elapsed().Seconds(), "events/s")
		})
	}
}

func BenchmarkLoadRecord(b *testing.B) {
	p, ctx := durable(b), b.Context()
	_, err := p.SaveRecord(ctx, 42, recordOf(42, 1), 0)
	must(b, err)
	took := make([]time.Duration, 0, b.N)
	for b.Loop() {
		begin := time.Now()
		_, _, err := p.LoadRecord(ctx, 42)
		must(b, err)
		took = append(took, time.Since(begin))
	}
	spread(b, took)
}
