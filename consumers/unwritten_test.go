package consumers_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nuid"

	"github.com/flowjet/flowjet/consumers"
	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/sim"
)

// TestEventsComeBeforeOnedHasWritten: oned sends an event before it writes the state that it
// tells, and who looks at once is told the state of before. No service waits for the next look.
func TestEventsComeBeforeOnedHasWritten(t *testing.T) {
	w := newWorldOf(t, sim.Config{BootDelay: 20 * time.Millisecond, TimeFactor: 0.001})
	w.startWorker("one", patient())
	w.hear()
	for name, life := range map[string]func(service int){
		"undeploy": func(service int) { w.accepted(service, flow.VerbUndeploy, nil) },
		"scale down, undeploy": func(service int) {
			w.accepted(service, flow.VerbScale, flow.ScaleArguments{Role: "Slave", Cardinality: 1})
			w.await(service, spec.ServiceRunning)
			w.accepted(service, flow.VerbUndeploy, nil)
		},
		"VMs fail and come back": func(service int) {
			vms := w.vms(service)
			for _, vm := range vms {
				must(t, w.sim.PoweroffVM(vm.ID))
			}
			w.await(service, spec.ServiceWarning)
			for _, vm := range vms {
				must(t, w.sim.ResumeVM(vm.ID))
			}
			w.await(service, spec.ServiceRunning)
			w.accepted(service, flow.VerbUndeploy, nil)
		},
	} {
		t.Run(name, func(t *testing.T) {
			service := w.deployed(masterSlave, 2, 2)
			life(service)
			w.gone(service)
		})
	}
}

// told is an event that tells a VM's state.
func told(vm one.VM, state one.VMState, lcm one.LCMState) *pipeline.Event {
	vm.State, vm.LCMState = state, lcm
	return &pipeline.Event{Object: "vm", ID: vm.ID, State: state.String(), LCMState: lcm.String(), VM: &vm, Heard: time.Now()}
}

// hears has a service hear of an event.
func (w *world) hears(service int, event *pipeline.Event) {
	w.t.Helper()
	_, err := w.pipe.PublishWork(w.t.Context(), pipeline.Work{Service: service, Event: event}, nuid.Next())
	must(w.t, err)
}

// looks has a function called at the end of each look at a VM, with the number of that look.
func (w *world) looks(vm int, then func(look int)) {
	var count atomic.Int64
	w.sim.OnCall(func(call sim.Call) {
		from, to := 0, 0
		switch call.Method {
		case "one.vm.info":
		case "one.vmpool.infoextended":
			from, to = 1, 2
		default:
			return
		}
		first, err := strconv.Atoi(call.Arguments[from])
		last, lastErr := strconv.Atoi(call.Arguments[to])
		if err == nil && lastErr == nil && first <= vm && vm <= last {
			then(int(count.Add(1)))
		}
	})
}

// writtenAfter has oned write a change right behind so many looks at the VM.
func (w *world) writtenAfter(looks, vm int, change func() error) {
	w.looks(vm, func(look int) {
		if look != looks {
			return
		}
		if err := change(); err != nil {
			w.t.Errorf("write VM %d: %v", vm, err)
		}
	})
}

// A VM on its way out may come into one more state than DONE, and nothing else tells of it.
func TestAnEpilogThatFailsIsHeardBeforeItIsWritten(t *testing.T) {
	w := newWorld(t)
	w.startWorker("one", patient())
	unhear := w.hear()
	service := w.deployed(masterSlave, 1, 1)
	unhear()
	w.sim.SetBootDelay(time.Hour)
	vm := w.vms(service)[0]
	must(t, w.sim.BreakVM(vm.ID, "EPILOG"))
	w.writtenAfter(1, vm.ID, func() error { return w.sim.BreakVM(vm.ID, "EPILOG_FAILURE") })
	w.hears(service, told(vm, one.VMActive, one.LCMEpilogFailure))
	w.await(service, spec.ServiceWarning)
}

// A VM that is heard to be back is not replaced because its time is up and oned has not
// written yet what it told.
func TestAVMThatIsHeardToBeBackIsNotReplaced(t *testing.T) {
	w := newWorld(t)
	var lost atomic.Int64
	lost.Store(-1)
	var due atomic.Pointer[time.Time]
	worker := consumers.New(consumers.Config{
		ID: "one", Settings: patient(), Logger: slog.New(slog.DiscardHandler),
		Handling: func(work pipeline.Work) {
			if at := due.Load(); at != nil && work.Event != nil && int64(work.Event.ID) == lost.Load() {
				<-time.After(time.Until(*at))
			}
		},
	}, w.pipe.Pipeline, w.oned)
	must(t, worker.Start(t.Context()))
	t.Cleanup(func() { must(t, worker.Stop(context.Background())) })
	unhear := w.hear()
	service := w.deployed(healingService, "recreate")
	vm := w.vms(service)[0]
	lost.Store(int64(vm.ID))
	must(t, w.sim.LoseVM(vm.ID))
	w.await(service, spec.ServiceWarning)
	unhear()
	record, _, err := w.pipe.LoadRecord(t.Context(), service)
	must(t, err)
	heal := record.State.Deadlines[flow.DeadlineHeal]
	due.Store(&heal)
	nodes := w.nodes(service)
	w.writtenAfter(1, vm.ID, func() error { return w.sim.ResumeVM(vm.ID) })
	w.hears(service, told(vm, one.VMActive, one.LCMRunning))
	w.await(service, spec.ServiceRunning)
	if after := w.nodes(service); !slices.Equal(nodes, after) {
		t.Errorf("the VMs %v became %v", nodes, after)
	}
}

// What a look stands for that takes the place of more events than can wait is not lost.
func TestALookForManyEventsSeesWhatTheyTold(t *testing.T) {
	const many = 300
	w := newWorld(t)
	stop := w.startWorker("one", patient())
	unhear := w.hear()
	service := w.deployed(masterSlave, 1, 1)
	unhear()
	stop()
	neighbour := neighbourOf(service)
	queued, let := make(chan struct{}), make(chan struct{})
	worker := consumers.New(consumers.Config{
		ID: "two", Settings: patient(), Logger: slog.New(slog.DiscardHandler),
		Handling: func(work pipeline.Work) {
			switch {
			case work.Service == neighbour:
				close(queued)
			case work.Reason == "test":
				<-let
			}
		},
	}, w.pipe.Pipeline, w.oned)
	must(t, worker.Start(t.Context()))
	t.Cleanup(func() { must(t, worker.Stop(context.Background())) })
	vm := w.vms(service)[0]
	wakes := []pipeline.Wake{
		{Work: pipeline.Work{Service: service, Reason: "test"}, MessageID: nuid.Next()},
		{Work: pipeline.Work{Service: service, Event: told(vm, one.VMActive, one.LCMUnknown)}, MessageID: nuid.Next()},
	}
	for n := range many {
		other := one.VM{ID: 10_000 + n, Service: service}
		wakes = append(wakes, pipeline.Wake{Work: pipeline.Work{Service: service, Event: told(other, one.VMActive, one.LCMRunning)}, MessageID: nuid.Next()})
	}
	wakes = append(wakes, pipeline.Wake{Work: pipeline.Work{Service: neighbour, Reason: "neighbour"}, MessageID: nuid.Next()})
	must(t, w.pipe.PublishWakes(t.Context(), wakes, nil))
	select {
	case <-queued:
	case <-time.After(poll.Limit):
		t.Fatal("the events do not reach their service")
	}
	const looks = 2 // one loads the service, and one takes the place of the events
	w.writtenAfter(looks, vm.ID, func() error { return w.sim.LoseVM(vm.ID) })
	close(let)
	w.await(service, spec.ServiceWarning)
}

// A VM that only says it is the service's holds the service up for no longer than a look takes.
func TestNobodyWaitsForAStranger(t *testing.T) {
	w := newWorld(t)
	w.startWorker("one", patient())
	unhear := w.hear()
	service := w.deployed(masterSlave, 1, 1)
	unhear()
	w.sim.SetBootDelay(time.Hour)
	id, err := w.oned.For("oneadmin").InstantiateTemplate(t.Context(), 0, "stranger", false, fmt.Sprintf("SERVICE_ID=\"%d\"\n", service))
	must(t, err)
	stranger, err := w.oned.Server().VM(t.Context(), id)
	must(t, err)
	var looks atomic.Int64
	w.looks(id, func(look int) { looks.Store(int64(look)) })
	w.hears(service, told(stranger, one.VMHold, one.LCMInit))
	w.accepted(service, flow.VerbUpdate, flow.UpdateArguments{Append: true, Template: []byte(`{"description":"d"}`)})
	if asked := looks.Load(); asked != 1 {
		t.Errorf("oned was asked %d times, want once", asked)
	}
}

// That a network is being made is no news of one that is READY.
func TestALateLockOfANetworkIsNotWaitedFor(t *testing.T) {
	w := newWorld(t)
	w.startWorker("one", quick())
	w.hear()
	service := w.deployed(netsService)
	network := w.networks()[0].ID
	before := w.sim.CallCounts()["one.vn.info"]
	w.hears(service, &pipeline.Event{Object: "net", ID: network, State: one.NetworkLockCreate.String(), Heard: time.Now()})
	w.accepted(service, flow.VerbUpdate, flow.UpdateArguments{Append: true, Template: []byte(`{"description":"d"}`)})
	if asked := w.sim.CallCounts()["one.vn.info"] - before; asked != 1 {
		t.Errorf("oned was asked %d times, want once", asked)
	}
}
