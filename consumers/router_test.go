package consumers_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/pipeline"
)

// changeWork changes how the stream of work is kept.
func (w *world) changeWork(change func(*jetstream.StreamConfig)) {
	w.t.Helper()
	stream, err := w.pipe.JetStream().Stream(w.t.Context(), pipeline.StreamWork)
	must(w.t, err)
	config := stream.CachedInfo().Config
	change(&config)
	_, err = w.pipe.JetStream().UpdateStream(w.t.Context(), config)
	must(w.t, err)
}

// running is an event of a VM of a service.
func running(vm, service int, name string) pipeline.Event {
	return pipeline.Event{
		Object: "vm", ID: vm, State: "ACTIVE", LCMState: "RUNNING",
		VM: &one.VM{ID: vm, Name: name, Service: service, State: one.VMActive, LCMState: one.LCMRunning},
	}
}

// wokenBy are the VMs whose events have become work of a service, in order; none
// while that cannot be told.
func (w *world) wokenBy(service int) []int {
	w.t.Helper()
	stream, err := w.pipe.JetStream().Stream(w.t.Context(), pipeline.StreamWork)
	if err != nil {
		return nil
	}
	info := stream.CachedInfo()
	var vms []int
	for sequence := info.State.FirstSeq; sequence <= info.State.LastSeq; sequence++ {
		message, err := stream.GetMsg(w.t.Context(), sequence)
		if err != nil {
			continue // deleted, or a timer that has fired
		}
		var work pipeline.Work
		if json.Unmarshal(message.Data, &work) == nil && work.Service == service && work.Event != nil {
			vms = append(vms, work.Event.ID)
		}
	}
	return vms
}

// awaitWoken waits until events of so many VMs, counted from a first one, have
// become work of a service: each, and in their order.
func (w *world) awaitWoken(service, first, count int) {
	w.t.Helper()
	poll.Until(w.t, fmt.Sprintf("the events of %d VMs to wake service %d in order", count, service), func() bool {
		next := first
		for _, vm := range w.wokenBy(service) {
			if vm == next {
				next++
			}
		}
		return next == first+count
	})
}

// A router that died between publishing and moving its cursor leaves an heir that
// publishes the same again, also when the stream has forgotten the ids: services are
// woken twice, and nothing else happens twice.
func TestARouterThatDiedBeforeItsCursorMoved(t *testing.T) {
	w := newWorld(t)
	stop := w.startWorker("one", quick())
	w.hear()
	service := w.deployed(masterSlave, 2, 2)
	stop()
	before, made := len(w.wokenBy(service)), w.sim.CallCounts()["one.template.instantiate"]
	// NATS forgets what is too old at a change of this, and may go by the window before the change.
	for _, window := range []time.Duration{100, 101} {
		w.changeWork(func(c *jetstream.StreamConfig) { c.Duplicates = window * time.Millisecond })
	}
	// Once it takes an id that it has had before, it has forgotten those of before too.
	known := func() uint64 {
		sequence, err := w.pipe.PublishWork(t.Context(), pipeline.Work{Service: 4711}, "an id")
		must(t, err)
		return sequence
	}
	first := known()
	poll.Until(t, "the stream to forget the ids", func() bool { return known() > first })
	must(t, w.pipe.SaveCursor(t.Context(), pipeline.RouterKey, 0))
	w.startWorker("two", quick())
	poll.Until(t, "the events to be routed again", func() bool { return len(w.wokenBy(service)) >= before+4 })
	w.accepted(service, flow.VerbScale, map[string]any{"role_name": "Slave", "cardinality": 3, "force": true})
	poll.Until(t, "the service to have its fifth VM", func() bool { return len(w.vms(service)) == 5 })
	w.await(service, spec.ServiceRunning)
	w.exactly(service, 5)
	if again := w.sim.CallCounts()["one.template.instantiate"]; again != made+1 {
		t.Errorf("%d VMs were made by the heir, who had to make one", again-made)
	}
}

// A wake-up that is refused in the middle of others holds the cursor up. When it
// is taken, all that came behind it is there, behind it.
func TestAWakeUpThatIsRefused(t *testing.T) {
	w := newWorld(t)
	const service = 4711
	w.changeWork(func(c *jetstream.StreamConfig) { c.MaxMsgSize = 2000 })
	w.tell(running(1, service, "a"), running(2, service, "b"), running(3, service, strings.Repeat("x", 3000)),
		running(4, service, "d"), running(5, service, "e"))
	w.startWorker("one", quick())
	w.awaitWoken(service, 1, 2)
	before, err := w.pipe.LoadCursor(t.Context(), pipeline.RouterKey)
	must(t, err)
	info, err := w.pipe.JetStream().Stream(t.Context(), pipeline.StreamONE)
	must(t, err)
	if newest := info.CachedInfo().State.LastSeq; before >= newest-2 {
		t.Errorf("the cursor stands at %d of %d, behind what could not be stored", before, newest)
	}
	w.changeWork(func(c *jetstream.StreamConfig) { c.MaxMsgSize = -1 })
	w.awaitWoken(service, 1, 5)
}

// Whatever was routed when JetStream went away is routed, in order.
func TestJetStreamGoesAwayWhileEventsAreRouted(t *testing.T) {
	w := newWorld(t)
	const service, rounds, burst = 4711, 3, 30
	w.startWorker("one", quick())
	for round := range rounds {
		first := 1000 * round
		w.tell(burstOf(first, burst, service)...)
		w.nats.Stop()
		w.nats.Start()
		w.tell(burstOf(first+burst, burst, service)...)
		w.awaitWoken(service, first, 2*burst)
	}
}

// burstOf are events of so many VMs, counted from a first one.
func burstOf(first, count, service int) []pipeline.Event {
	events := make([]pipeline.Event, count)
	for i := range events {
		events[i] = running(first+i, service, "vm")
	}
	return events
}
