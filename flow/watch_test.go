package flow_test

import (
	"strings"
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow"
)

func TestTroubledVMWarnsAndItsEndEndsTheWarning(t *testing.T) {
	for _, c := range []struct {
		state flow.VMState
		lcm   flow.LCMState
		says  string
	}{
		{flow.VMPoweroff, flow.LCMInit, "POWEROFF"},
		{flow.VMActive, flow.LCMUnknown, "UNKNOWN"},
		{flow.VMActive, flow.LCMBootFailure, "BOOT_FAILURE"},
		{flow.VMFailed, flow.LCMInit, "FAILED"},
		{flow.VMCloningFailure, flow.LCMInit, "CLONING_FAILURE"},
	} {
		t.Run(c.says, func(t *testing.T) {
			s := runningStage(t, masterSlave)
			s.set(c.state, c.lcm, 101)
			s.plan()
			s.wantState(flow.ServiceWarning)
			s.wantRole("Slave", flow.RoleWarning)
			s.wantRole("Master", flow.RoleRunning)
			s.wantActions()
			wantReason(t, s, "role", "VM 101 is in "+c.says)
			s.run(101)
			s.wantState(flow.ServiceRunning)
			s.wantRole("Slave", flow.RoleRunning)
			s.wantLog("I New state: WARNING", "I New state: RUNNING")
		})
	}
}

func TestWarningLastsUntilTheLastTroubleEnds(t *testing.T) {
	s := runningStage(t, masterSlave)
	s.set(flow.VMPoweroff, flow.LCMInit, 100, 101)
	s.plan()
	s.run(100)
	s.wantState(flow.ServiceWarning)
	s.run(101)
	s.wantState(flow.ServiceRunning)
}

func TestWarningEndsWhenTheVMIsDeleted(t *testing.T) {
	s := runningStage(t, oneRole(2))
	s.set(flow.VMPoweroff, flow.LCMInit, 100)
	s.plan()
	s.wantState(flow.ServiceWarning)
	s.end(100)
	s.wantState(flow.ServiceRunning)
	s.wantNodes("a", 1, 101)
}

// Facts that say nothing of a VM end no warning: the VM may be as it was.
func TestWarningOutlastsMissingFacts(t *testing.T) {
	s := runningStage(t, oneRole(1))
	s.set(flow.VMPoweroff, flow.LCMInit, 100)
	s.plan()
	s.facts = flow.Facts{}
	s.plan()
	s.wantState(flow.ServiceWarning)
}

func TestMissingFactsAreNoTrouble(t *testing.T) {
	s := runningStage(t, oneRole(1))
	s.facts = flow.Facts{}
	s.plan()
	s.wantState(flow.ServiceRunning)
	s.wantNodes("a", 1, 100)
}

// VMs between states, or stopped on purpose, are no trouble.
func TestOtherStatesAreNoTrouble(t *testing.T) {
	s := runningStage(t, oneRole(1))
	for _, vm := range []flow.VM{
		{State: flow.VMActive, LCMState: flow.LCMShutdownPoweroff}, {State: flow.VMActive, LCMState: flow.LCMEpilog},
		{State: flow.VMSuspended}, {State: flow.VMStopped}, {State: flow.VMUndeployed}, {State: flow.VMPending},
	} {
		s.set(vm.State, vm.LCMState, 100)
		s.plan()
		s.wantState(flow.ServiceRunning)
	}
}

func TestLostNodeLowersTheCardinality(t *testing.T) {
	s := runningStage(t, oneRole(3))
	s.end(101)
	s.wantState(flow.ServiceRunning)
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
		s.wantState(flow.ServiceRunning)
		s.end(101)
		s.wantState(flow.ServiceDone)
		s.wantActions("delete document")
		s.wantLog("I New state: UNDEPLOYING", "I New state: DONE")
	})
	t.Run("in WARNING", func(t *testing.T) {
		s := runningStage(t, deleting(1))
		s.set(flow.VMActive, flow.LCMUnknown, 100)
		s.plan()
		s.wantState(flow.ServiceWarning)
		s.end(100)
		s.wantState(flow.ServiceDone)
	})
	t.Run("not before there was a VM", func(t *testing.T) {
		s := runningStage(t, deleting(0))
		s.planAfter(time.Hour)
		s.wantState(flow.ServiceRunning)
	})
	t.Run("not unless asked for", func(t *testing.T) {
		s := runningStage(t, oneRole(1))
		s.end(100)
		s.wantState(flow.ServiceRunning)
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
