package consumers_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/flowjet/flowjet/consumers"
	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/internal/testlog"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/sim"
)

// newZone is a world with a zone of three servers. Events are heard from whoever leads.
func newZone(t *testing.T) *world {
	t.Helper()
	w := newWorldOf(t, sim.Config{BootDelay: 100 * time.Millisecond, Others: []sim.ServerAddress{{}, {}}, ElectionTime: 300 * time.Millisecond})
	w.oned.Follow(t.Context(), 0)
	return w
}

func (w *world) leader() int {
	for n, server := range w.sim.Servers() {
		if server.Leader {
			return n
		}
	}
	return -1
}

// TestLeaderDiesWhileServicesDeploy: whatever it left behind is retried or made anew, and
// every service comes to run with exactly its VMs.
func TestLeaderDiesWhileServicesDeploy(t *testing.T) {
	w := newZone(t)
	w.hear()
	settings := quick()
	settings.VMDeadlines.LeaderChange = time.Second
	w.startWorker("one", settings)
	w.startWorker("two", settings)
	services := make([]int, 6)
	for i := range services {
		services[i] = w.service(masterSlave, 2, 1)
		w.accepted(services[i], flow.VerbDeploy, nil)
	}
	poll.Until(t, "VMs to be on their way", func() bool { return len(w.sim.VMs()) >= 6 })
	late, dead := w.service(masterSlave, 1, 1), w.leader()
	must(t, w.sim.StopServer(dead))
	w.accepted(late, flow.VerbDeploy, nil)
	for _, service := range services {
		w.await(service, spec.ServiceRunning)
	}
	w.await(late, spec.ServiceRunning)
	must(t, w.sim.StartServer(dead))
	for _, service := range services {
		w.exactly(service, 3)
		w.accepted(service, flow.VerbUndeploy, nil)
	}
	for _, service := range services {
		w.gone(service)
	}
	w.exactly(late, 2)
}

// TestAFollowersReadsDecideNothing: right after the leader has changed a worker may ask a
// server that is behind.
func TestAFollowersReadsDecideNothing(t *testing.T) {
	w := newZone(t)
	w.hear()
	w.startWorker("one", quick())
	service := w.deployed(masterSlave, 2, 1)
	for range 3 {
		must(t, w.sim.MoveLeadership())
		for n := range 3 {
			text := fmt.Sprintf(`{"description":"%d"}`, n)
			w.accepted(service, flow.VerbUpdate, flow.UpdateArguments{Append: true, Template: []byte(text)})
		}
		w.accepted(service, flow.VerbScale, flow.ScaleArguments{Role: "Slave", Cardinality: 2})
		w.await(service, spec.ServiceRunning)
		w.exactly(service, 4)
		w.accepted(service, flow.VerbScale, flow.ScaleArguments{Role: "Slave", Cardinality: 1})
		w.await(service, spec.ServiceRunning)
		w.exactly(service, 3)
	}
}

// TestALeaderThatHasLostWritesIsNotBelieved: nothing that it lacks and another server has is given up or made again. What it made
// meanwhile is kept, and all services go on with the next leader.
func TestALeaderThatHasLostWritesIsNotBelieved(t *testing.T) {
	w := newZone(t)
	w.hear()
	var log testlog.Log
	w.start(consumers.Config{Hearing: func() bool { return true }, ID: "one", Settings: quick(), Logger: log.Logger()})
	whole, document, vms := w.deployed(masterSlave, 1, 1), w.deployed(masterSlave, 2, 1), w.deployed(masterSlave, 1, 2)
	before := w.leader()
	next := (before + 1) % 3
	var lost []int
	for _, vm := range w.vms(vms) {
		lost = append(lost, vm.ID)
	}
	must(t, w.sim.LoseWrites(next, []int{document}, lost))
	must(t, w.sim.Lead(next))
	w.accepted(whole, flow.VerbScale, flow.ScaleArguments{Role: "Slave", Cardinality: 2})
	w.await(whole, spec.ServiceRunning)
	for _, service := range []int{document, vms} {
		_, err := w.pipe.PublishWork(t.Context(), pipeline.Work{Service: service, Reason: "test"}, "")
		must(t, err)
	}
	poll.Until(t, "the worker to wait", func() bool { return strings.Contains(log.String(), "oned's servers have different data") })
	observer, err := w.pipe.Observe()
	must(t, err)
	defer observer.Stop()
	poll.Until(t, "the worker to report it", func() bool {
		seen, err := observer.Status(t.Context())
		return err == nil && len(seen.Workers) == 1 && strings.Contains(seen.Workers[0].Blocked, "oned's servers have different data")
	})
	must(t, w.sim.Lead(before))
	for service, count := range map[int]int{whole: 3, document: 3, vms: 3} {
		w.accepted(service, flow.VerbUpdate, flow.UpdateArguments{Append: true, Template: []byte(`{"description":"x"}`)})
		w.await(service, spec.ServiceRunning)
		w.exactly(service, count)
		record, _, err := w.pipe.LoadRecord(t.Context(), service)
		must(t, err)
		if record.Applied == 0 || record.Deleted {
			t.Errorf("the record of service %d was given up", service)
		}
	}
	if strings.Contains(log.String(), "does not match its document") {
		t.Error("a record was given up:", log.String())
	}
}

// TestLeaderDiesWhileVMsOfARunningServiceChange: nothing wakes a service that runs when a VM
// of it is powered off, or boots again. What the dead leader left so is found, and mended.
func TestLeaderDiesWhileVMsOfARunningServiceChange(t *testing.T) {
	for state, act := range map[one.LCMState]func(w *world, service, vm int){
		one.LCMShutdownPoweroff: func(w *world, _, vm int) {
			w.sim.SetBootDelay(time.Hour)
			must(t, w.sim.PoweroffVM(vm))
		},
		one.LCMBootPoweroff: func(w *world, service, vm int) {
			must(t, w.sim.PoweroffVM(vm))
			w.await(service, spec.ServiceWarning)
			w.sim.SetBootDelay(time.Hour)
			must(t, w.sim.ResumeVM(vm))
		},
	} {
		t.Run(state.String(), func(t *testing.T) {
			w := newZone(t)
			w.hear()
			settings := quick()
			settings.VMDeadlines.LeaderChange = time.Second
			w.startWorker("one", settings)
			service := w.deployed(masterSlave, 1, 1)
			vm := w.vms(service)[0].ID
			act(w, service, vm)
			poll.Until(t, "the VM's state to be heard of", func() bool {
				_, heard, err := w.pipe.VMEntered(t.Context(), one.VM{ID: vm, State: one.VMActive, LCMState: state})
				return err == nil && heard
			})
			w.sim.SetBootDelay(time.Millisecond) // of what begins from now on
			must(t, w.sim.MoveLeadership())
			poll.Until(t, "the VM to run", func() bool { return w.vms(service)[0].Running() })
			w.await(service, spec.ServiceRunning)
			w.exactly(service, 2)
		})
	}
}

// TestAServiceLoadedAfterALeaderChangeKnowsWhatWasLeftBehind: a worker that dies with the leader is followed by one that loads its services only then.
func TestAServiceLoadedAfterALeaderChangeKnowsWhatWasLeftBehind(t *testing.T) {
	w := newZone(t)
	w.hear()
	settings := quick()
	settings.VMDeadlines.LeaderChange = time.Hour // only the load below is to find it
	w.startWorker("one", settings)
	service := w.deployed(masterSlave, 1, 1)
	vm := w.vms(service)[0].ID
	w.sim.SetBootDelay(time.Hour)
	must(t, w.sim.PoweroffVM(vm))
	poll.Until(t, "the VM's state to be heard of", func() bool {
		_, heard, err := w.pipe.VMEntered(t.Context(), one.VM{ID: vm, State: one.VMActive, LCMState: one.LCMShutdownPoweroff})
		return err == nil && heard
	})
	must(t, w.sim.MoveLeadership())
	poll.Until(t, "the new leader to be known", func() bool {
		w.oned.Ping(t.Context())
		_, since := w.oned.Leadership()
		return !since.IsZero()
	})
	_, err := w.pipe.PublishWork(t.Context(), pipeline.Work{Service: service, Lost: true, Reason: "test"}, "")
	must(t, err)
	poll.Until(t, "the VM to be known as one in its state since before the leader changed", func() bool {
		record, _, err := w.pipe.LoadRecord(t.Context(), service)
		stay := record.State.Stays[vm]
		return err == nil && stay.LCMState == one.LCMShutdownPoweroff && stay.Since.Before(record.State.Leader.Since)
	})
}
