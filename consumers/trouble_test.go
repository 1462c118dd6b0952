package consumers_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flowjet/flowjet/consumers"
	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/sim"
)

// patient are settings under which no service looks by itself.
func patient() flow.Settings {
	settings := quick()
	settings.CheckInterval = time.Hour
	return settings
}

// neighbourOf is another service's id whose inputs one reader hands out in order with a service's.
func neighbourOf(service int) int {
	neighbour := service + 1
	for pipeline.Partition(neighbour) != pipeline.Partition(service) {
		neighbour++
	}
	return neighbour
}

// ids are those of all VMs of a service.
func (w *world) ids(service int) []int {
	var ids []int
	for _, vm := range w.vms(service) {
		ids = append(ids, vm.ID)
	}
	return ids
}

// hasTrouble wakes a service because of VMs in trouble.
func (w *world) hasTrouble(service int, vms ...int) {
	w.t.Helper()
	var trouble []pipeline.Trouble
	for _, vm := range vms {
		trouble = append(trouble, pipeline.Trouble{VM: vm, State: one.VMActive, LCMState: one.LCMUnknown})
	}
	_, err := w.pipe.PublishWork(w.t.Context(), pipeline.Work{Service: service, Trouble: trouble, Reason: "vm 0 ACTIVE/UNKNOWN and 3 more"}, "")
	must(w.t, err)
}

// Trouble is not believed: oned is asked, about all VMs at once.
func TestTroubleIsLookedAt(t *testing.T) {
	w := newWorld(t)
	w.hear()
	w.startWorker("one", patient())
	service := w.deployed(masterSlave, 2, 2)
	vms := w.ids(service)
	calls := func() int {
		counts := w.sim.CallCounts()
		return counts["one.vmpool.infoextended"] + counts["one.vm.info"]
	}
	// What came last while it deployed may still be looked at.
	w.hasTrouble(service, vms...)
	poll.Until(t, "a look", func() bool { return calls() > 0 })
	before := calls()
	w.hasTrouble(service, vms...)
	poll.Until(t, "another look", func() bool { return calls() > before })
	w.await(service, spec.ServiceRunning)
	for host := range 4 {
		_, err := w.sim.FailHost(host)
		must(t, err)
	}
	w.await(service, spec.ServiceWarning)
	for host := range 4 {
		_, err := w.sim.RecoverHost(host)
		must(t, err)
	}
	w.await(service, spec.ServiceRunning)
	w.exactly(service, 4)
}

// VMs that are in trouble and came after their service had ended go as others do.
func TestTroubledVMsOfAServiceThatHasEndedAreTerminated(t *testing.T) {
	w := newWorld(t)
	w.hear()
	stop := w.startWorker("one", patient())
	service := w.deployed(masterSlave, 1, 2)
	vms := w.ids(service)
	stop()
	record, revision, err := w.pipe.LoadRecord(t.Context(), service)
	must(t, err)
	record.Deleted = true
	_, err = w.pipe.SaveRecord(t.Context(), service, record, revision)
	must(t, err)
	must(t, w.oned.Server().DeleteDocument(t.Context(), service))
	w.startWorker("two", patient())
	w.hasTrouble(service, append(vms, 4711)...)
	poll.Until(t, "the VMs to be gone", func() bool { return len(w.vms(service)) == 0 })
}

// Whoever takes a service in trouble over reads its VMs once: where the zone has one server, its answers are certain.
func TestTroubleIsReadOnceAtATakeOver(t *testing.T) {
	w := newWorld(t)
	w.hear()
	stop := w.startWorker("one", patient())
	service := w.deployed(masterSlave, 2, 2)
	for host := range 4 {
		_, err := w.sim.FailHost(host)
		must(t, err)
	}
	w.await(service, spec.ServiceWarning)
	stop()
	var reads atomic.Int64
	last := strconv.Itoa(slices.Max(w.ids(service)))
	w.sim.OnCall(func(call sim.Call) {
		if call.Method == "one.vmpool.infoextended" && call.Arguments[2] == last {
			reads.Add(1)
		}
	})
	w.startWorker("two", patient())
	w.accepted(service, flow.VerbUpdate, flow.UpdateArguments{Append: true, Template: []byte(`{"description":"d"}`)})
	if reads.Load() != 1 {
		t.Errorf("the service's VMs were read %d times, want 1", reads.Load())
	}
}

// What an event led to is in the document with what the command behind it led to.
func TestACommandBehindTroubleSavesTheDocumentOnce(t *testing.T) {
	w := newWorld(t)
	w.hear()
	stop := w.startWorker("one", patient())
	service := w.deployed(masterSlave, 1, 2)
	stop()
	for host := range 4 {
		_, err := w.sim.FailHost(host)
		must(t, err)
	}
	neighbour := neighbourOf(service)
	queued, let := make(chan struct{}), make(chan struct{})
	worker := consumers.New(consumers.Config{
		ID: "two", Settings: patient(), Logger: slog.New(slog.DiscardHandler),
		Handling: func(work pipeline.Work) {
			switch work.Service {
			case neighbour: // what was queued before has reached its service
				close(queued)
			case service:
				<-let
			}
		},
	}, w.pipe.Pipeline, w.oned)
	must(t, worker.Start(t.Context()))
	t.Cleanup(func() { must(t, worker.Stop(context.Background())) })
	w.hasTrouble(service, w.ids(service)...)
	arguments, err := json.Marshal(flow.UpdateArguments{Append: true, Template: json.RawMessage(`{"description":"told"}`)})
	must(t, err)
	command := flow.Command{ID: "BEHIND", Verb: flow.VerbUpdate, Service: service, User: one.Identity{UID: 2, UName: "alice"}, Arguments: arguments}
	for _, work := range []pipeline.Work{{Service: service, Command: &command}, {Service: neighbour, Reason: "test"}} {
		_, err := w.pipe.PublishWork(t.Context(), work, "")
		must(t, err)
	}
	select {
	case <-queued:
	case <-time.After(poll.Limit):
		t.Fatal("the command does not reach its service")
	}
	saved := func() (times int) {
		for _, call := range w.sim.Calls("one.document.update", 0) {
			if call.Arguments[0] == strconv.Itoa(service) {
				times++
			}
		}
		return times
	}
	before := saved()
	close(let)
	w.await(service, spec.ServiceWarning)
	poll.Until(t, "the description", func() bool {
		body, _ := w.body(service)
		return body.Description != nil && *body.Description == "told"
	})
	if times := saved() - before; times != 1 {
		t.Errorf("the document was saved %d times, want once", times)
	}
}
