package sim_test

import (
	"testing"
	"time"

	"github.com/flowjet/flowjet/sim"
)

// TestWindow has VMs wait for the scheduler, which places them together when its time is over.
func TestWindow(t *testing.T) {
	s := start(t, sim.Config{BootDelay: time.Millisecond, TimeFactor: 0.04})
	const window = 400 * time.Millisecond
	began := time.Now()
	first, second := instantiate(t, s, "vm", ""), instantiate(t, s, "vm", "")
	awaitState(t, s, first, "RUNNING")
	if took := time.Since(began); took < window {
		t.Errorf("a VM ran after %s; the scheduler collects for %s", took, window)
	}
	awaitState(t, s, second, "RUNNING")
}

// TestFullWindow has the scheduler place VMs before its time is over where seven wait.
func TestFullWindow(t *testing.T) {
	s := start(t, sim.Config{BootDelay: time.Millisecond, TimeFactor: 360})
	var ids []int
	for range 6 {
		ids = append(ids, instantiate(t, s, "vm", ""))
	}
	if at := stateOf(s, ids[0]); at != "PENDING" {
		t.Errorf("one of six VMs is %s before the scheduler's time", at)
	}
	instantiate(t, s, "vm", "")
	awaitState(t, s, ids[0], "RUNNING")
	late := instantiate(t, s, "vm", "")
	if at := stateOf(s, late); at != "PENDING" {
		t.Errorf("a VM that came after the seventh is %s", at)
	}
}

// TestOnePlanAtATime has a deployment that hangs keep others from being placed, until it is
// not waited for any more.
func TestOnePlanAtATime(t *testing.T) {
	const timeout = 400 * time.Millisecond
	s := start(t, sim.Config{BootDelay: time.Millisecond, TimeFactor: 0.001, ActionTimeout: timeout})
	s.PauseBoots()
	hangs := instantiate(t, s, "vm", "")
	awaitState(t, s, hangs, "BOOT")
	began := time.Now()
	waits := []int{instantiate(t, s, "vm", ""), instantiate(t, s, "vm", "")}
	for _, id := range waits {
		awaitState(t, s, id, "BOOT")
	}
	if took := time.Since(began); took < timeout/2 {
		t.Errorf("VMs were placed after %s while another one hung", took)
	}
	late := instantiate(t, s, "vm", "")
	s.ResumeBoots()
	awaitState(t, s, late, "RUNNING") // with the end of the plan, not its timeout
	if stateOf(s, hangs) != "RUNNING" {
		t.Error("the VM that hung does not run")
	}
}

// TestPlansEnd with deployments that fail, and with VMs that go.
func TestPlansEnd(t *testing.T) {
	s := start(t, sim.Config{BootDelay: time.Millisecond, TimeFactor: 0.001, ActionTimeout: time.Hour})
	s.PauseBoots()
	hangs := instantiate(t, s, "vm", "")
	awaitState(t, s, hangs, "BOOT")
	next := instantiate(t, s, "vm", "")
	must(t, s, "one.vm.recover", oneadmin, hangs, 0)
	awaitState(t, s, next, "BOOT")
	last := instantiate(t, s, "vm", "")
	must(t, s, "one.vm.recover", oneadmin, next, 3)
	awaitState(t, s, last, "BOOT")
}
