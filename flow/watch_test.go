package flow_test

import (
	"strings"
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
)

func TestTroubledVMWarnsAndItsEndEndsTheWarning(t *testing.T) {
	for _, c := range []struct {
		state one.VMState
		lcm   one.LCMState
		says  string
	}{
		{one.VMPoweroff, one.LCMInit, "POWEROFF"},
		{one.VMActive, one.LCMUnknown, "UNKNOWN"},
		{one.VMActive, one.LCMBootFailure, "BOOT_FAILURE"},
		{one.VMFailed, one.LCMInit, "FAILED"},
		{one.VMCloningFailure, one.LCMInit, "CLONING_FAILURE"},
	} {
		t.Run(c.says, func(t *testing.T) {
			s := runningStage(t, masterSlave)
			s.set(c.state, c.lcm, 101)
			s.plan()
			s.wantState(spec.ServiceWarning)
			s.wantRole("Slave", spec.RoleWarning)
			s.wantRole("Master", spec.RoleRunning)
			s.wantActions()
			wantReason(t, s, "role", "VM 101 is in "+c.says)
			s.run(101)
			s.wantState(spec.ServiceRunning)
			s.wantRole("Slave", spec.RoleRunning)
			s.wantLog("I New state: WARNING", "I New state: RUNNING")
		})
	}
}

func TestWarningLastsUntilTheLastTroubleEnds(t *testing.T) {
	s := runningStage(t, masterSlave)
	s.set(one.VMPoweroff, one.LCMInit, 100, 101)
	s.plan()
	s.run(100)
	s.wantState(spec.ServiceWarning)
	s.run(101)
	s.wantState(spec.ServiceRunning)
}

func TestWarningEndsWhenTheVMIsDeleted(t *testing.T) {
	s := runningStage(t, oneRole(2))
	s.set(one.VMPoweroff, one.LCMInit, 100)
	s.plan()
	s.wantState(spec.ServiceWarning)
	s.end(100)
	s.wantState(spec.ServiceRunning)
	s.wantNodes("a", 1, 101)
}

// Facts that say nothing of a VM end no warning: the VM may be as it was.
func TestWarningOutlastsMissingFacts(t *testing.T) {
	s := runningStage(t, oneRole(1))
	s.set(one.VMPoweroff, one.LCMInit, 100)
	s.plan()
	s.facts = flow.Facts{}
	s.plan()
	s.wantState(spec.ServiceWarning)
}

func TestMissingFactsAreNoTrouble(t *testing.T) {
	s := runningStage(t, oneRole(1))
	s.facts = flow.Facts{}
	s.plan()
	s.wantState(spec.ServiceRunning)
	s.wantNodes("a", 1, 100)
}

// VMs between states, or stopped on purpose, are no trouble.
func TestOtherStatesAreNoTrouble(t *testing.T) {
	s := runningStage(t, oneRole(1))
	for _, vm := range []one.VM{
		{State: one.VMActive, LCMState: one.LCMShutdownPoweroff}, {State: one.VMActive, LCMState: one.LCMEpilog},
		{State: one.VMSuspended}, {State: one.VMStopped}, {State: one.VMUndeployed}, {State: one.VMPending},
	} {
		s.set(vm.State, vm.LCMState, 100)
		s.plan()
		s.wantState(spec.ServiceRunning)
	}
}

func TestLostNodeLowersTheCardinality(t *testing.T) {
	s := runningStage(t, oneRole(3))
	s.end(101)
	s.wantState(spec.ServiceRunning)
	s.wantNodes("a", 2, 100, 102)
	s.wantLog("I Role a scaling down from 3 to 2 nodes")
	s.wantActions()
	s.end(101)
	s.wantNodes("a", 2, 100, 102)
	s.end(100, 102)
	s.wantNodes("a", 0)
	s.wantLog("I Role a scaling down from 2 to 0 nodes")
	s.end(100, 101, 102)
	s.wantNodes("a", 0)
}

func TestLostNodesAreToldInTheChanges(t *testing.T) {
	s := runningStage(t, oneRole(1))
	s.end(100)
	for _, change := range s.changes {
		if change.Kind == "vm" && *change.VM == 100 && change.Role == "a" && change.New == "removed" {
			return
		}
	}
	t.Fatalf("changes %+v do not say that VM 100 was removed", s.changes)
}

func TestAutomaticDeletion(t *testing.T) {
	deleting := func(cardinality int) string {
		return strings.Replace(oneRole(cardinality), `"roles"`, `"automatic_deletion":true,"roles"`, 1)
	}
	t.Run("after the last VM", func(t *testing.T) {
		s := runningStage(t, deleting(2))
		s.end(100)
		s.wantState(spec.ServiceRunning)
		s.end(101)
		s.wantState(spec.ServiceDone)
		s.wantActions("delete document")
		s.wantLog("I New state: UNDEPLOYING", "I New state: DONE")
	})
	t.Run("in WARNING", func(t *testing.T) {
		s := runningStage(t, deleting(1))
		s.set(one.VMActive, one.LCMUnknown, 100)
		s.plan()
		s.wantState(spec.ServiceWarning)
		s.end(100)
		s.wantState(spec.ServiceDone)
	})
	t.Run("not before there was a VM", func(t *testing.T) {
		s := runningStage(t, deleting(0))
		s.planAfter(time.Hour)
		s.wantState(spec.ServiceRunning)
	})
	t.Run("not unless asked for", func(t *testing.T) {
		s := runningStage(t, oneRole(1))
		s.end(100)
		s.wantState(spec.ServiceRunning)
	})
}

func wantReason(t *testing.T, s *stage, kind, reason string) {
	t.Helper()
	for _, change := range s.changes {
		if change.Kind == kind && change.Reason == reason {
			return
		}
	}
	t.Fatalf("no change of a %s says %q: %+v", kind, reason, s.changes)
}
