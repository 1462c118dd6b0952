package flow_test

import (
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/policy"
)

// awaitsNewVMs holds whether a look at the stage's service can be spared.
func (s *stage) awaitsNewVMs(what string, want bool) {
	s.t.Helper()
	if got := flow.AwaitsNewVMs(s.state, s.facts, s.now, s.settings); got != want {
		s.t.Errorf("%s: AwaitsNewVMs is %v", what, got)
	}
}

// createPending carries out the creations of the last decision: the VM waits for the scheduler.
func (s *stage) createPending(id int) {
	s.create()
	s.set(one.VMPending, one.LCMInit, id)
	s.plan()
}

func TestNewVMsAreNotLookedAt(t *testing.T) {
	s := newStage(t, masterSlave)
	s.plan()
	s.awaitsNewVMs("a VM that is decided on", false)
	s.createPending(100)
	s.awaitsNewVMs("a VM that was made", true)
	s.planAfter(100 * time.Second)
	s.awaitsNewVMs("the same after a while", true)
	s.planAfter(20 * time.Second)
	s.awaitsNewVMs("the same after four looks", false)

	s = newStage(t, masterSlave)
	s.plan()
	s.createPending(100)
	s.run(100)
	s.createPending(101)
	s.awaitsNewVMs("the child's VM", true)
	s.set(one.VMActive, one.LCMUnknown, 100)
	s.awaitsNewVMs("the same, while its parent's VM is in trouble", false)
	s.set(one.VMActive, one.LCMRunning, 100)
	s.state = flow.Lead(flow.Lead(s.state, 1, s.now), 2, s.now.Add(time.Second))
	s.planAfter(2 * time.Second)
	s.awaitsNewVMs("the same under another leader", false)

	s = runningStage(t, masterSlave)
	s.awaitsNewVMs("a service that runs", false)
}

// TestNewVMsAreLookedAtInTime: what is due is decided on what oned says.
func TestNewVMsAreLookedAtInTime(t *testing.T) {
	s := newStage(t, oneRole(1))
	s.settings.VMDeadlines.Boot = 40 * time.Second
	s.plan()
	s.createPending(100)
	s.planAfter(30 * time.Second)
	s.awaitsNewVMs("a VM before its boot can be late", true)
	s.planAfter(10 * time.Second)
	s.awaitsNewVMs("a VM whose boot may be late", false)

	for what, set := range map[string]func(*policy.Deadlines){
		"pending":   func(d *policy.Deadlines) { d.Pending = 50 * time.Second },
		"deploying": func(d *policy.Deadlines) { d.Deploying = 50 * time.Second },
	} {
		s := newStage(t, oneRole(1))
		set(&s.settings.Deadlines)
		s.plan()
		s.createPending(100)
		s.planAfter(40 * time.Second)
		s.awaitsNewVMs("before the deadline "+what, true)
		s.now = s.now.Add(10 * time.Second)
		s.awaitsNewVMs("at the deadline "+what, false)
	}

	gated := newStage(t, `{"name":"web","ready_status_gate":true,"roles":[{"name":"a","type":"vm","cardinality":1,"template_id":0}]}`)
	gated.plan()
	gated.createPending(100)
	gated.run(100)
	gated.awaitsNewVMs("a VM that is to report READY", false)
}
