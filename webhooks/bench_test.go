package webhooks

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/embedded"
)

// BenchmarkSearch is the rate at which the search queues the deliveries of transitions, with every message on the disk before it is acknowledged:
// those of 24 services of one user that name no receivers, one, or as many as they may.
func BenchmarkSearch(b *testing.B) {
	const services, changes = 24, 80
	for _, named := range []int{0, 1, 4} {
		b.Run(fmt.Sprintf("named=%d", named), func(b *testing.B) {
			w := newDurableWorld(b)
			for service := range services {
				w.own(service, "alice")
			}
			var webhooks []spec.Webhook
			for i := range named {
				webhooks = append(webhooks, spec.Webhook{URL: fmt.Sprintf("https://example.com/%d", i)})
			}
			d := New(Config{Settings: settings(Receiver{Name: "ops", URL: "https://example.com"}), Owns: func(key string) bool { return key == pipeline.RouterKey }}, w.pipe.Pipeline)
			w.must(d.Start(b.Context()))
			w.stop(d)
			const want = services * changes
			for b.Loop() {
				b.StopTimer()
				for range changes {
					for service := range services {
						w.tell(service, "RUNNING", webhooks...)
					}
				}
				b.StartTimer()
				w.must(d.Start(b.Context()))
				poll.Until(b, "all deliveries to be queued", func() bool {
					waiting, err := w.pipe.PendingDeliveries(context.Background())
					return err == nil && waiting == uint64(want*(1+named))
				})
				b.StopTimer()
				w.stop(d)
				stream, err := w.pipe.JetStream().Stream(b.Context(), pipeline.StreamHook)
				w.must(err)
				w.must(stream.Purge(b.Context()))
				d.shares = newShares()
				b.StartTimer()
			}
			b.ReportMetric(float64(want*b.N)/b.Elapsed().Seconds(), "transitions/s")
		})
	}
}

// newDurableWorld is newWorld with an embedded server as `flowjet up` runs it.
func newDurableWorld(b *testing.B) *world {
	b.Helper()
	server, err := embedded.Start(embedded.Config{StoreDir: b.TempDir()})
	if err != nil {
		b.Fatal(err)
	}
	w := &world{t: b, told: map[int]uint64{}}
	b.Cleanup(func() {
		ending, cancel := context.WithTimeout(context.Background(), poll.Limit)
		defer cancel()
		w.must(server.Stop(ending))
	})
	pipe, err := pipeline.Open(b.Context(), pipeline.Config{URL: server.URL(), Options: []nats.Option{server.InProcess()}})
	w.must(err)
	b.Cleanup(pipe.Close)
	w.pipe = newClients(pipe)
	return w
}

// BenchmarkBesideATenant is the time from a user's transition to its post, while the 24 services of another user change as fast as they can and
// have receivers that hang.
func BenchmarkBesideATenant(b *testing.B) {
	const services, bob = 24, 1000
	w := newDurableWorld(b)
	slow, release := hangingReceiver(b)
	b.Cleanup(release)
	quick := newReceiver(b, nil)
	w.start(settings())
	w.own(bob, "bob")
	life, end := context.WithCancel(b.Context())
	var tenant sync.WaitGroup
	var changes atomic.Int64
	for service := range services {
		w.own(service, "alice")
		var named []spec.Webhook
		for i := range 4 {
			named = append(named, spec.Webhook{URL: fmt.Sprintf("%s/%d", slow.URL, i)})
		}
		tenant.Go(func() {
			for number := uint64(1); life.Err() == nil; number++ {
				_ = w.pipe.PublishTransitions(life, []pipeline.Transition{transition(service, "RUNNING", named)}, number) // until life ends
				changes.Add(1)
			}
		})
	}
	poll.Until(b, "the tenant's receivers to hang", func() bool { return slow.total() >= maxPostsToHost })
	changes.Store(0)
	var took []time.Duration
	for b.Loop() {
		begin := time.Now()
		w.tell(bob, "RUNNING", spec.Webhook{URL: quick.URL})
		quick.next(b)
		took = append(took, time.Since(begin))
	}
	b.ReportMetric(float64(changes.Load())/b.Elapsed().Seconds(), "changes/s")
	end()
	tenant.Wait()
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Milliseconds()), "ms-p50")
	b.ReportMetric(float64(took[len(took)*99/100].Milliseconds()), "ms-p99")
}
