package consumers_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/sim"
)

// impatient are settings under which a VM has to leave a state within a second or two.
func impatient() flow.Settings {
	settings := quick()
	settings.VMDeadlines = flow.VMDeadlines{
		Prolog: time.Second, Boot: time.Second, Shutdown: time.Second, Epilog: time.Second, Other: time.Second,
	}
	return settings
}

// vmHistory is what FLOW tells of the service's VMs lately: "retried".
func (w *world) vmHistory(service int) []string {
	w.t.Helper()
	why, err := w.pipe.Why(w.t.Context(), service, w.oned.Server().Refresh)
	must(w.t, err)
	var told []string
	for _, transition := range why.Path {
		if transition.Kind == "vm" {
			told = append(told, transition.New)
		}
	}
	return told
}

// TestStuckBootIsRetried: the driver's answer is lost, and no event comes.
func TestStuckBootIsRetried(t *testing.T) {
	w := newWorld(t)
	w.hear()
	w.sim.PauseBoots()
	w.startWorker("one", impatient())
	service := w.service(masterSlave, 1, 1)
	w.accepted(service, flow.VerbDeploy, nil)
	recovered := func(operation string) bool {
		return slices.ContainsFunc(w.sim.Calls("one.vm.recover", 0), func(c sim.Call) bool { return c.Arguments[1] == operation })
	}
	poll.Until(t, "the boot to be let fail, and to be retried", func() bool { return recovered("0") && recovered("2") })
	poll.Until(t, "history to tell it", func() bool { return slices.Contains(w.vmHistory(service), "retried") })
	w.sim.ResumeBoots()
	w.await(service, spec.ServiceRunning)
	w.exactly(service, 2)
	if log := w.logged(service); !strings.Contains(log, "and is retried") {
		t.Errorf("the log does not tell it:\n%s", log)
	}
}

// TestStuckDeploymentIsMadeAnew: nothing but its deletion ends a VM in ACTIVE/LCM_INIT.
func TestStuckDeploymentIsMadeAnew(t *testing.T) {
	w := newWorld(t)
	w.hear()
	w.sim.PauseBoots()
	w.startWorker("one", impatient())
	service := w.service(masterSlave, 2, 1)
	w.accepted(service, flow.VerbDeploy, nil)
	poll.Until(t, "two VMs", func() bool { return len(w.vms(service)) == 2 })
	stuck := w.vms(service)[0].ID
	must(t, w.sim.BreakVM(stuck, "LCM_INIT"))
	poll.Until(t, "another VM", func() bool {
		vms := w.vms(service)
		return len(vms) == 2 && !slices.ContainsFunc(vms, func(vm one.VM) bool { return vm.ID == stuck })
	})
	w.sim.ResumeBoots()
	w.await(service, spec.ServiceRunning)
	w.exactly(service, 3)
}

// TestWhatNeverComesFailsItsRole with the reason, after it was retried and made anew;
// recover goes on.
func TestWhatNeverComesFailsItsRole(t *testing.T) {
	w := newWorld(t)
	w.hear()
	w.sim.PauseBoots()
	settings := impatient()
	settings.VMDeadlines.Boot = 200 * time.Millisecond
	stop := w.startWorker("one", settings)
	service := w.service(masterSlave, 1, 1)
	w.accepted(service, flow.VerbDeploy, nil)
	w.await(service, spec.ServiceFailedDeploying)
	log := w.logged(service)
	for _, said := range []string{"has been in", "and is retried", "and is replaced", "it was replaced 2 times before"} {
		if !strings.Contains(log, said) {
			t.Errorf("the log does not say %q:\n%s", said, log)
		}
	}
	stop() // on a busy machine no VM boots in so short a time
	w.startWorker("two", quick())
	w.sim.ResumeBoots()
	w.accepted(service, flow.VerbRecover, flow.RecoverArguments{})
	w.await(service, spec.ServiceRunning)
	w.exactly(service, 2)
}

// TestStuckEndIsForced: a VM that was asked to end and does not is deleted.
func TestStuckEndIsForced(t *testing.T) {
	for _, state := range []string{"LCM_INIT", "PROLOG"} {
		t.Run(state, func(t *testing.T) {
			w := newWorld(t)
			w.hear()
			w.startWorker("one", impatient())
			service := w.deployed(masterSlave, 1, 1)
			w.sim.PauseBoots()
			must(t, w.sim.BreakVM(w.vms(service)[0].ID, state))
			w.accepted(service, flow.VerbUndeploy, nil)
			poll.Until(t, "the slave to be gone", func() bool { return len(w.vms(service)) <= 1 })
			w.gone(service)
		})
	}
}
