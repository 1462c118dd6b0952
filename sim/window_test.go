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
