package bench

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/flowjet/flowjet/consumers"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/feeds"
	"github.com/flowjet/flowjet/pipeline/work"
	"github.com/flowjet/flowjet/sim"
)

// watched is a line whose events go on to a worker, which tells when it begins to
// handle each.
type watched struct {
	*line
	// vms are those of the services that the worker drives.
	vms []sim.VM

	mu      sync.Mutex
	handled map[time.Time]time.Time // by when the event was heard
	count   int
}

func newWatched(b *testing.B, folder string) *watched {
	b.Helper()
	oned, err := sim.New(sim.Config{BootDelay: sim.NoDelay})
	must(b, err)
	must(b, oned.Start(b.Context()))
	b.Cleanup(func() { _ = oned.Stop(context.Background()) })
	must(b, oned.Populate(sim.Population{Services: 100, Roles: 1, VMs: 10}))
	credentials, err := opennebula.ParseCredentials(oned.ServerCredentials())
	must(b, err)
	client := opennebula.NewClient(opennebula.Config{Endpoint: oned.Endpoint(), Credentials: credentials})
	b.Cleanup(client.Close)
	w := &watched{line: newLine(b, folder), vms: oned.VMs(), handled: map[time.Time]time.Time{}}
	worker := consumers.New(consumers.Config{ID: "bench", Handling: w.handle, Logger: slog.New(slog.DiscardHandler)}, w.pipe, client)
	must(b, worker.Start(b.Context()))
	b.Cleanup(func() { _ = worker.Stop(context.Background()) })
	return w
}

func (w *watched) handle(work pipeline.Work) {
	now := time.Now()
	if work.Event == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.count++
	w.handled[work.Event.Heard] = now
}

func (w *watched) seen() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.count
}

// send publishes an event of each of count VMs in turn, a millisecond apart, and
// returns when each left.
func (w *watched) send(b *testing.B, count int) []time.Time {
	b.Helper()
	messages := make([][]byte, count)
	for i := range messages {
		vm := w.vms[i%len(w.vms)]
		var service int
		_, _ = fmt.Sscan(vm.Service, &service)
		messages[i] = wire(stateFrames(vm.ID, service))
	}
	sent := make([]time.Time, count)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for i, message := range messages {
		<-tick.C
		sent[i] = time.Now()
		_, err := w.publisher.conn.Write(message)
		must(b, err)
	}
	return sent
}

// measure is the time from each event's leaving to its being handled. Events are
// handled in another order than sent, so they are told apart by when they were
// heard, which is in the order of sending.
func (w *watched) measure(b *testing.B, count int) []time.Duration {
	b.Helper()
	w.mu.Lock()
	w.handled, w.count = map[time.Time]time.Time{}, 0
	w.mu.Unlock()
	sent := w.send(b, count)
	deadline := time.After(time.Minute)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for w.seen() < count {
		select {
		case <-tick.C:
		case <-deadline:
			b.Fatalf("%d of %d events were handled", w.seen(), count)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	var heard []time.Time
	for at := range w.handled {
		heard = append(heard, at)
	}
	slices.SortFunc(heard, time.Time.Compare)
	if len(heard) != count {
		b.Fatalf("%d events were handled, of %d", len(heard), count)
	}
	taken := make([]time.Duration, count)
	for i, at := range heard {
		taken[i] = w.handled[at].Sub(sent[i])
	}
	return taken
}

// BenchmarkBridgeLatency is the time from an event's leaving the publisher to the
// worker's handler, at 1,000 events a second of 100 services: through the bridge,
// the stream of events, the router and the stream of work. The floor is two
// publishes that are waited for, one to each stream. Where memory is a folder the
// same is measured without a disk behind each fsync.
func BenchmarkBridgeLatency(b *testing.B) {
	folders := map[string]string{"disk": b.TempDir()}
	if memory, err := os.MkdirTemp("/dev/shm", "flowjet-bench-"); err == nil {
		b.Cleanup(func() { _ = os.RemoveAll(memory) })
		folders["memory"] = memory
	}
	const count = 5000
	for _, where := range []string{"disk", "memory"} {
		if folders[where] == "" {
			continue
		}
		b.Run(where, func(b *testing.B) {
			w := newWatched(b, folders[where])
			w.measure(b, 1000) // the worker reads its services
			for b.Loop() {
				taken := w.measure(b, count)
				report(b, "PUB send to the worker's handler, 1,000 events/s, "+where, taken, w.twoPublishes(b))
			}
		})
	}
}

func (l *line) twoPublishes(b *testing.B) []time.Duration {
	b.Helper()
	lease, err := acquire(b.Context(), l.pipe, "singles", "bench")
	must(b, err)
	var taken []time.Duration
	for i := range 300 {
		id := fmt.Sprintf("0123456789abcdef-%d-%d", time.Now().UnixNano(), i)
		event := feeds.Event{Subject: "one.0.host.1.MONITORED", MessageID: id, Event: pipeline.Event{Object: "host", ID: 1}}
		began := time.Now()
		must(b, lease.Publish(b.Context(), []feeds.Event{event}))
		_, err := work.NewQueue(l.pipe).PublishWork(b.Context(), pipeline.Work{Service: 1_000_000, Event: &event.Event}, id)
		must(b, err)
		taken = append(taken, time.Since(began))
	}
	return taken
}
