package consumers_test

import (
	"strings"
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/sim"
)

// TestAServiceWaitsBehindADeploymentThatHangs: oned places nobody's VM meanwhile. The service
// says what it waits for, replaces nothing, and goes on.
func TestAServiceWaitsBehindADeploymentThatHangs(t *testing.T) {
	w := newWorldOf(t, sim.Config{BootDelay: time.Millisecond, TimeFactor: 0.001, ActionTimeout: time.Hour})
	w.startWorker("one", quick())
	w.hear()
	w.sim.PauseBoots()
	hangs, err := w.oned.For("oneadmin").InstantiateTemplate(t.Context(), 0, "hangs", false, "")
	must(t, err)
	poll.Until(t, "the VM to hang", func() bool { return w.vm(hangs).LCMState == one.LCMBoot })
	service := w.service(masterSlave, 1, 1)
	w.accepted(service, flow.VerbDeploy, nil)
	poll.Until(t, "the service to have a VM", func() bool { return len(w.vms(service)) == 1 })
	poll.Until(t, "why to say what the service waits for", func() bool {
		why, err := w.pipe.Why(t.Context(), service, w.oned.Server().Refresh)
		must(t, err)
		return strings.Contains(why.Summary, "is in PENDING and has to become RUNNING")
	})
	first := w.vms(service)[0].ID
	w.sim.ResumeBoots()
	w.await(service, spec.ServiceRunning)
	w.exactly(service, 2)
	if !w.vm(first).Running() {
		t.Errorf("VM %d was replaced", first)
	}
}
