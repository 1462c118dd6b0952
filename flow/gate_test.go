package flow_test

import (
	"strings"
	"testing"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
)

// gated is a chain behind a ready gate: app waits for db and for cache.
const gated = `{"name":"web","deployment":"straight","ready_status_gate":true,"roles":[
	{"name":"db","type":"vm","cardinality":1,"template_id":0},
	{"name":"cache","type":"vm","cardinality":1,"template_id":0},
	{"name":"app","type":"vm","cardinality":1,"template_id":0,"parents":["db","cache"]}]}`

// gateOpen opens with db READY, VM 100, and cache, VM 101, that is not.
func gateOpen(t *testing.T, body string) *stage {
	t.Helper()
	s := newStage(t, body)
	s.plan()
	s.create()
	s.ready(100)
	s.run(100, 101)
	s.wantRole("db", spec.RoleRunning)
	return s
}

// A parent that is powered off before it was READY has not come.
func TestChildWaitsForAParentThatWasNeverReady(t *testing.T) {
	s := newStage(t, strings.Replace(masterSlave, `"roles"`, `"ready_status_gate":true,"roles"`, 1))
	s.plan()
	s.create()
	s.run(100)
	s.set(one.VMPoweroff, one.LCMInit, 100)
	s.plan()
	s.wantState(spec.ServiceDeploying)
	s.wantActions()
	s.ready(100)
	s.run(100)
	s.wantActions("create Slave/0")
}

// What a parent was does not count when its child's turn comes.
func TestChildWaitsForItsParentToBeReadyAgain(t *testing.T) {
	for name, leave := range map[string]func(s *stage){
		"powered off":  func(s *stage) { s.set(one.VMPoweroff, one.LCMInit, 100) },
		"suspended":    func(s *stage) { s.set(one.VMSuspended, one.LCMInit, 100) },
		"lost":         func(s *stage) { s.set(one.VMActive, one.LCMUnknown, 100) },
		"failed":       func(s *stage) { s.set(one.VMActive, one.LCMBootFailure, 100) },
		"READY undone": func(s *stage) { vm := s.facts[100]; vm.Ready = false; s.facts[100] = vm },
	} {
		t.Run(name, func(t *testing.T) {
			s := gateOpen(t, gated)
			leave(s)
			s.plan()
			s.ready(101)
			s.plan()
			s.wantRole("cache", spec.RoleRunning)
			s.wantRole("app", spec.RolePending)
			s.wantState(spec.ServiceDeploying)
			if said := explained(flow.Explain(s.state, s.facts, s.now)); !strings.Contains(said, "VM 100") {
				t.Errorf("the explanation does not name the VM:\n%s", said)
			}
			s.ready(100)
			s.run(100)
			s.wantRole("db", spec.RoleRunning)
			s.wantRole("app", spec.RoleDeploying)
			s.wantActions("create app/0")
			s.create()
			s.ready(102)
			s.run(102)
			s.wantState(spec.ServiceRunning)
		})
	}
}

// Without a gate, or where it holds nobody back, a parent's trouble is for later.
func TestParentsTroubleHoldsNobodyBackWithoutAGate(t *testing.T) {
	s := gateOpen(t, strings.Replace(gated, `"ready_status_gate":true,`, "", 1))
	s.wantRole("app", spec.RoleDeploying)

	s = gateOpen(t, strings.Replace(gated, `"straight"`, `"none"`, 1))
	s.wantRole("app", spec.RoleDeploying)
}

// A role that is healed is healed also while others wait for it.
func TestParentIsHealedWhileItsChildWaits(t *testing.T) {
	s := gateOpen(t, strings.Replace(gated, `{"name":"db",`, `{"name":"db","heal":{"action":"recreate","after":"20s"},`, 1))
	s.set(one.VMActive, one.LCMBootFailure, 100)
	s.ready(101)
	s.plan()
	s.wantRole("db", spec.RoleWarning)
	s.wantDeadline(flow.DeadlineHeal, s.now.Add(20e9))
	s.planAfter(20e9)
	s.wantActions("terminate-hard 100", "create db/1")
	s.create()
	s.end(100)
	s.ready(102)
	s.run(102)
	s.wantRole("app", spec.RoleDeploying)
}

// A service whose children wait for a parent in vain fails at its deadline.
func TestWaitForAParentHasADeadline(t *testing.T) {
	s := gateOpen(t, strings.Replace(gated, `"roles"`, `"deadlines":{"deploying":60},"roles"`, 1))
	s.set(one.VMPoweroff, one.LCMInit, 100)
	s.ready(101)
	s.plan()
	s.lookFor("", 60e9)
	s.wantState(spec.ServiceFailedDeploying)
	s.wantLog("E The service has been DEPLOYING since 2026-05-04T10:00:00Z, longer than its deadline of 60 s: roles that wait for their parents: app",
		"I New state: FAILED_DEPLOYING")
	s.recover()
	s.wantState(spec.ServiceDeploying)
	s.wantActions("resume 100")
}
