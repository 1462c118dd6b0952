package consumers_test

import (
	"testing"
	"time"

	"github.com/nats-io/nuid"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/pipeline"
)

// TestAnEventAloneEndsNothing: a VM that nobody asked to end is gone only when oned says so.
func TestAnEventAloneEndsNothing(t *testing.T) {
	w := newWorld(t)
	w.startWorker("one", patient())
	w.hear()
	service := w.deployed(masterSlave, 2, 1)
	forged := w.vms(service)[0]
	forged.State, forged.LCMState = one.VMDone, one.LCMInit
	event := pipeline.Event{Object: "vm", ID: forged.ID, State: "DONE", LCMState: "LCM_INIT", VM: &forged, Heard: time.Now()}
	looked := w.sim.CallCounts()["one.vm.info"]
	_, err := w.pipe.PublishWork(t.Context(), pipeline.Work{Service: service, Event: &event, Reason: "forged"}, nuid.Next())
	must(t, err)
	poll.Until(t, "oned to be asked", func() bool { return w.sim.CallCounts()["one.vm.info"] > looked })
	w.accepted(service, flow.VerbUpdate, flow.UpdateArguments{Append: true, Template: []byte(`{"description":"d"}`)})
	w.exactly(service, 3)
	body, _ := w.body(service)
	if got := body.Roles[0].Cardinality; got != 2 {
		t.Errorf("the cardinality went down to %d", got)
	}
}

// TestAnEventAloneEndsNoShutdown: a VM that was asked to end is gone only when oned says so
// too. One that still shuts down would be forgotten and left behind.
func TestAnEventAloneEndsNoShutdown(t *testing.T) {
	for name, end := range map[string]struct {
		verb      flow.Verb
		arguments any
		ending    int
		left      int
	}{
		"scale down": {flow.VerbScale, flow.ScaleArguments{Role: "Slave", Cardinality: 1}, 2, 2},
		"undeploy":   {flow.VerbUndeploy, nil, 3, 0},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.startWorker("one", patient())
			w.hear()
			service := w.deployed(masterSlave, 1, 3)
			w.sim.SetBootDelay(time.Hour)
			w.accepted(service, end.verb, end.arguments)
			ending := map[int]one.VM{}
			poll.Until(t, "VMs to be on their way out", func() bool {
				for _, vm := range w.vms(service) {
					if vm.Ending() {
						ending[vm.ID] = vm
					}
				}
				return len(ending) == end.ending
			})
			looked := w.sim.CallCounts()
			for _, vm := range ending {
				vm.State, vm.LCMState = one.VMDone, one.LCMInit
				event := pipeline.Event{Object: "vm", ID: vm.ID, State: "DONE", LCMState: "LCM_INIT", VM: &vm, Heard: time.Now()}
				_, err := w.pipe.PublishWork(t.Context(), pipeline.Work{Service: service, Event: &event, Reason: "forged"}, nuid.Next())
				must(t, err)
			}
			poll.Until(t, "oned to be asked", func() bool {
				now := w.sim.CallCounts()
				return now["one.vm.info"]+now["one.vmpool.infoextended"] > looked["one.vm.info"]+looked["one.vmpool.infoextended"]
			})
			_ = w.command(service, flow.VerbUpdate, flow.UpdateArguments{Append: true, Template: []byte(`{"description":"d"}`)})
			w.exactly(service, 4)
			w.sim.SetBootDelay(time.Millisecond)
			for id := range ending {
				must(t, w.sim.DeleteVM(id))
			}
			if end.left == 0 {
				w.gone(service)
				return
			}
			w.await(service, spec.ServiceRunning)
			w.exactly(service, end.left)
		})
	}
}

// TestNothingFailsWhileOnedIsAway: only refusals while oned answers count.
func TestNothingFailsWhileOnedIsAway(t *testing.T) {
	w := newWorld(t)
	w.hear()
	settings := impatient() // what oned leaves behind is made anew
	settings.RetryFor = time.Second
	w.startWorker("one", settings)
	service := w.service(masterSlave, 2, 1)
	w.accepted(service, flow.VerbDeploy, nil)
	must(t, w.sim.Restart(3*time.Second))
	w.await(service, spec.ServiceRunning)
	w.exactly(service, 3)
}

// TestNewVMIsNotLookedAtWhileItIsHeardOf: while a bridge passes everything on nobody asks how
// far a VM has come, and where its event is lost all the same it is found.
func TestNewVMIsNotLookedAtWhileItIsHeardOf(t *testing.T) {
	w := newWorld(t)
	w.hearing = true
	w.startWorker("one", quick()) // who looks every second
	poll.Until(t, "the worker to have looked through the services that there are", func() bool {
		const lists = 2                                              // for services that nobody wakes and whose each VM is, and for those to measure
		return len(w.sim.Calls("one.documentpool.info", 0)) >= lists // carried out
	})
	service := w.service(`{"name":"web","roles":[{"name":"a","type":"vm","cardinality":1,"template_id":0}]}`)
	w.accepted(service, flow.VerbDeploy, nil)
	poll.Until(t, "the service to be RUNNING", func() bool {
		record, _, err := w.pipe.LoadRecord(t.Context(), service)
		return err == nil && record.State.Service.State() == spec.ServiceRunning
	})
	made, looks := w.sim.Calls("one.template.instantiate", 0)[0], 0
	for _, look := range w.sim.Calls("one.vm.info", made.Sequence) {
		if after := look.Received.Sub(made.Received); after < 2*time.Second {
			t.Errorf("a VM that is to be heard of was looked at %s after it was made", after)
		}
		looks++
	}
	if looks == 0 {
		t.Error("the service is RUNNING, and nobody has looked")
	}
}
