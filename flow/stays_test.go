package flow_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
)

// deploying opens with a service whose VM 100 is in a state.
func deploying(t *testing.T, state one.VMState, lcm one.LCMState) *stage {
	t.Helper()
	s := newStage(t, oneRole(1))
	s.plan()
	s.create()
	s.set(state, lcm, 100)
	s.plan()
	return s
}

// inspect reads what a plan asks to be read, as a worker does, and plans.
func (s *stage) inspectAfter(wait time.Duration) {
	s.now = s.now.Add(wait)
	for _, wanted := range flow.Inspections(s.state, s.facts, s.now, s.settings) {
		vm := s.facts[wanted.VM]
		vm.Inspection = &one.Inspection{}
		s.facts[wanted.VM] = vm
	}
	s.plan()
}

// move brings a VM to a state, seen by an event.
func (s *stage) move(lcm one.LCMState, id int) {
	vm := s.facts[id]
	vm.Inspection = nil
	s.facts[id] = vm
	s.set(one.VMActive, lcm, id)
	s.plan()
}

func TestStuckBootIsLetFailAndRetried(t *testing.T) {
	s := deploying(t, one.VMActive, one.LCMBoot)
	s.inspectAfter(9*time.Minute + 40*time.Second)
	s.wantActions()
	s.wantDeadline(flow.DeadlineStay, stageStart.Add(10*time.Minute))
	s.planAfter(20 * time.Second)
	s.wantActions() // nothing is done on what was only heard
	s.inspectAfter(0)
	s.wantActions("recover-failure 100")
	s.move(one.LCMBootFailure, 100)
	s.wantActions("recover 100")
	s.wantRole("a", spec.RoleDeploying)
	s.move(one.LCMBoot, 100)
	s.run(100)
	s.wantState(spec.ServiceRunning)
	s.wantNodes("a", 1, 100)
}

func TestStuckDeploymentIsMadeAnewAndFails(t *testing.T) {
	s := deploying(t, one.VMActive, one.LCMInit)
	for made := range 2 {
		id := 100 + made
		s.inspectAfter(10 * time.Minute)
		s.wantActions(fmt.Sprintf("recover-delete %d", id), fmt.Sprintf("create a/%d", made+1))
		s.end(id)
		s.create()
		s.wantNodes("a", 1, id+1)
		s.set(one.VMActive, one.LCMInit, id+1)
		s.plan()
	}
	s.inspectAfter(10 * time.Minute)
	s.wantState(spec.ServiceFailedDeploying)
	if log := s.messages(); !strings.Contains(log, "E Role a : VM 102 has been in LCM_INIT since") || !strings.Contains(log, "replaced 2 times before") {
		t.Errorf("the log does not say why: %s", log)
	}
	s.recover()
	s.inspectAfter(10 * time.Minute)
	s.wantActions("recover-delete 102", "create a/3")
}

// A change of the leader shortens the wait of VMs that were on their way, and of no other.
func TestVMsOfADeadLeaderWaitShortly(t *testing.T) {
	s := deploying(t, one.VMActive, one.LCMProlog)
	s.state = flow.Lead(s.state, 3, s.now)
	s.inspectAfter(5 * time.Second)
	s.state = flow.Lead(s.state, 4, s.now)
	changed := s.now
	s.plan()
	s.inspectAfter(25 * time.Second)
	s.wantActions()
	s.wantDeadline(flow.DeadlineStay, changed.Add(s.settings.VMDeadlines.LeaderChange))
	s.inspectAfter(20 * time.Second)
	s.wantActions("recover-failure 100")

	fresh := deploying(t, one.VMActive, one.LCMProlog)
	fresh.state = flow.Lead(flow.Lead(fresh.state, 3, fresh.now), 4, fresh.now.Add(-time.Second))
	fresh.inspectAfter(50 * time.Minute)
	fresh.wantActions()
}

// Without its record it is unknown since when a VM is on its way. oned's history tells.
func TestVMsOfADeadLeaderWaitShortlyWithoutARecord(t *testing.T) {
	for name, test := range map[string]struct {
		entered time.Duration // before the leader changed
		actions []string
	}{
		"left behind":      {time.Second, []string{"recover-failure 100"}},
		"the new leader's": {-time.Second, nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := deploying(t, one.VMActive, one.LCMProlog)
			changed := s.now.Add(10 * time.Second)
			s.now = s.now.Add(20 * time.Second)
			s.state = flow.DoubtRequests(flow.Lead(flow.State{Service: s.state.Service}, 4, changed))
			s.plan()
			if wanted := flow.Inspections(s.state, s.facts, s.now, s.settings); len(wanted) != 1 {
				t.Fatalf("to be inspected: %+v, want VM 100", wanted)
			}
			vm := s.facts[100]
			vm.Inspection = &one.Inspection{Since: changed.Add(-test.entered)}
			s.facts[100] = vm
			s.planAfter(s.settings.VMDeadlines.LeaderChange)
			s.wantActions(test.actions...)
		})
	}
}

// Which of two leaders saw a VM come to its state, oned's history tells.
func TestHistoryTellsWhoseAVMIs(t *testing.T) {
	for name, test := range map[string]struct {
		entered time.Duration
		actions []string
	}{
		"before the change": {5 * time.Second, []string{"recover-failure 100"}},
		"after it":          {15 * time.Second, []string{}},
	} {
		t.Run(name, func(t *testing.T) {
			s := deploying(t, one.VMPending, one.LCMInit)
			s.state = flow.Lead(flow.Lead(s.state, 3, s.now), 4, s.now.Add(10*time.Second))
			s.now = s.now.Add(90 * time.Second)
			s.set(one.VMActive, one.LCMBoot, 100)
			if wanted := flow.Inspections(s.state, s.facts, s.now, s.settings); len(wanted) != 1 || wanted[0].VM != 100 {
				t.Fatalf("to be looked at closer: %+v", wanted)
			}
			vm := s.facts[100]
			vm.Inspection = &one.Inspection{Since: stageStart.Add(test.entered)}
			s.facts[100] = vm
			s.plan()
			s.wantActions(test.actions...)
		})
	}
}

// A VM that was decided on before the leader changed, and is first seen afterwards, may be the last leader's: whoever made it did not
// come to say so.
func TestVMFoundAfterALeaderChangeMayBeLeftBehind(t *testing.T) {
	for name, test := range map[string]struct {
		state   one.LCMState
		actions []string
	}{
		"LCM_INIT": {one.LCMInit, []string{"recover-delete 100", "create a/1"}},
		"PROLOG":   {one.LCMProlog, []string{"recover-failure 100"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, oneRole(1))
			s.plan()
			s.state = flow.Lead(flow.Lead(s.state, 3, s.now), 4, s.now.Add(10*time.Second))
			s.now = s.now.Add(20 * time.Second)
			s.create()
			s.set(one.VMActive, test.state, 100)
			s.now = s.now.Add(time.Second)
			s.plan()
			s.now = s.now.Add(s.settings.VMDeadlines.LeaderChange)
			for _, wanted := range flow.Inspections(s.state, s.facts, s.now, s.settings) {
				vm := s.facts[wanted.VM]
				vm.Inspection = &one.Inspection{}
				if test.state == one.LCMProlog {
					vm.Inspection.Since = stageStart.Add(5 * time.Second)
				}
				s.facts[wanted.VM] = vm
			}
			s.plan()
			s.wantActions(test.actions...)
		})
	}
}

// oned shows a VM as INIT for a moment: that it is first seen so begins its stay now, and not in the year 1.
func TestVMFirstSeenInInitHasItsWholeTime(t *testing.T) {
	s := newStage(t, oneRole(1))
	s.settings.Deadlines.Pending = time.Hour
	s.plan()
	vm := s.vmOf(s.actions[0].Intent)
	vm.State, vm.LCMState = one.VMInit, one.LCMInit
	s.facts[vm.ID] = vm
	s.planAfter(time.Second)
	if stay := s.state.Stays[vm.ID]; !stay.Since.Equal(s.now.Truncate(time.Second)) || stay.First.After(stay.Since) || !stay.Due.Equal(stay.Since.Add(time.Hour)) {
		t.Errorf("its stay is %+v", stay)
	}
}

// In LCM_INIT oned notes no time; a VM that is PENDING and cannot be deployed it notes.
func TestHalfWrittenVMsAreMadeAnew(t *testing.T) {
	for name, test := range map[string]struct {
		state   one.VMState
		failure string
		wait    time.Duration
	}{
		"LCM_INIT": {one.VMActive, "", 23 * time.Second},
		"PENDING":  {one.VMPending, "Cannot update virtual machine history", 45 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			s := deploying(t, one.VMPending, one.LCMInit)
			s.state = flow.Lead(flow.Lead(s.state, 3, s.now), 4, s.now.Add(10*time.Second))
			s.set(test.state, one.LCMInit, 100)
			look := func(wait time.Duration) {
				s.now = s.now.Add(wait)
				for _, wanted := range flow.Inspections(s.state, s.facts, s.now, s.settings) {
					vm := s.facts[wanted.VM]
					vm.Inspection = &one.Inspection{Error: test.failure}
					s.facts[wanted.VM] = vm
				}
				s.plan()
			}
			look(30 * time.Second)
			s.wantActions()
			look(test.wait)
			s.wantActions("recover-delete 100", "create a/1")
		})
	}
}

// Who waits for the scheduler was not left behind.
func TestVMWithoutAHostWaits(t *testing.T) {
	s := deploying(t, one.VMPending, one.LCMInit)
	s.state = flow.Lead(flow.Lead(s.state, 3, s.now), 4, s.now.Add(time.Second))
	s.now = s.now.Add(time.Hour)
	vm := s.facts[100]
	vm.Inspection = &one.Inspection{Scheduler: "no host has enough capacity"}
	s.facts[100] = vm
	s.plan()
	s.wantActions()
	explained := explained(flow.Explain(s.state, s.facts, s.now))
	if !strings.Contains(explained, "no host has enough capacity") {
		t.Errorf("the explanation does not quote the scheduler:\n%s", explained)
	}
	s.settings.Deadlines.Pending = 2 * time.Hour
	s.lookFor("no host has enough capacity", time.Hour)
	s.wantState(spec.ServiceFailedDeploying)
	s.wantLog("E Role a : VM 100 has been in PENDING since 2026-05-04T10:00:00Z (no host has enough capacity), longer than the deadline of 7200 s", "I New state: FAILED_DEPLOYING")
}

// A scaling whose VMs fit on no host can be ended, so that the VMs that run stay: the explanation says how, as long as no deadline does it.
func TestAScalingWithoutAHostCanBeEnded(t *testing.T) {
	s := runningStage(t, `{"name":"web","roles":[{"name":"a","type":"vm","cardinality":1,"template_id":0}]}`)
	s.scale("a", 2)
	s.createPending(101)
	advice := func() string { return strings.Join(flow.Explain(s.state, s.facts, s.now).Next, "\n") }
	if said := advice(); strings.Contains(said, "deadlines") {
		t.Errorf("while the scheduler has not refused the VM it advises %s", said)
	}
	s.lookFor("no host has enough capacity", time.Hour)
	if said := advice(); !strings.Contains(said, "`oneflow update 27`: \"deadlines\": {\"scaling\": 60, \"then\": \"shrink\"} in role a keeps the VMs that run") {
		t.Errorf("it advises %s", said)
	}
	s.state.Service.Body.Roles[0].Deadlines = []byte(`{"scaling": 7200, "then": "shrink"}`)
	s.plan()
	if said := advice(); strings.Contains(said, "deadlines") {
		t.Errorf("with a deadline it advises %s", said)
	}
}

// A scaling down that oned refuses can be taken back.
func TestAScalingDownThatFailsCanBeTakenBack(t *testing.T) {
	s := runningStage(t, `{"name":"web","roles":[{"name":"a","type":"vm","cardinality":2,"template_id":0}]}`)
	s.scale("a", 1)
	s.take(flow.Decide(s.in(), refusal(flow.Action{Kind: flow.ActionVM, VM: 100}, "it is locked")))
	s.wantState(spec.ServiceFailedScaling)
	if said := flow.Explain(s.state, s.facts, s.now).Next; !slices.Contains(said, "`oneflow scale 27 a 2` lets role a continue with 2 VMs") {
		t.Errorf("it advises %q", said)
	}
	s.scale("a", 2)
	s.wantState(spec.ServiceCooldown)
	s.planAfter(300 * time.Second)
	s.wantState(spec.ServiceRunning)
	s.wantNodes("a", 2, 100, 101)
}

// lookFor is a look after a while, at which oned's scheduler says something of each VM.
func (s *stage) lookFor(scheduler string, wait time.Duration) {
	s.now = s.now.Add(wait)
	for _, wanted := range flow.Inspections(s.state, s.facts, s.now, s.settings) {
		vm := s.facts[wanted.VM]
		vm.Inspection = &one.Inspection{Scheduler: scheduler}
		s.facts[wanted.VM] = vm
	}
	s.plan()
}

// What never reports READY=YES fails its role where there is a deadline for that.
func TestGateHasADeadline(t *testing.T) {
	s := newStage(t, `{"name":"web","ready_status_gate":true,"roles":[{"name":"a","type":"vm","cardinality":1,"template_id":0}]}`)
	s.settings.VMDeadlines.Ready = 5 * time.Minute
	s.plan()
	s.create()
	s.run(100)
	s.inspectAfter(4 * time.Minute)
	s.wantState(spec.ServiceDeploying)
	s.inspectAfter(time.Minute)
	s.wantState(spec.ServiceFailedDeploying)
	if log := s.messages(); !strings.Contains(log, "VM 100 has been in RUNNING since 2026-05-04T10:00:00Z and has not reported READY=YES") {
		t.Errorf("the log does not say why: %s", log)
	}
	s.recover()
	s.wantState(spec.ServiceDeploying)
	vm := s.facts[100]
	vm.Ready, vm.Inspection = true, nil
	s.facts[100] = vm
	s.plan()
	s.wantState(spec.ServiceRunning)
}

func TestStuckEndIsForced(t *testing.T) {
	s := runningStage(t, oneRole(1))
	s.command(flow.VerbUndeploy, nil)
	s.wantActions("terminate 100")
	s.move(one.LCMShutdown, 100)
	s.inspectAfter(10 * time.Minute)
	s.wantActions("terminate-hard 100")
	s.move(one.LCMEpilog, 100)
	s.inspectAfter(time.Hour)
	s.wantActions("recover-failure 100")
	s.move(one.LCMEpilogFailure, 100)
	s.wantActions("recover 100")
	s.move(one.LCMEpilog, 100)
	s.wantState(spec.ServiceUndeploying)
	s.inspectAfter(time.Hour)
	s.wantActions("recover-delete 100")
	s.inspectAfter(time.Hour)
	s.wantState(spec.ServiceFailedUndeploying)
	s.recover()
	s.end(100)
	s.wantActions("delete document")
}

// interruptedStage opens with a service that runs, whose VM 100 was on its way in a state
// when the leader changed, 10 s ago.
func interruptedStage(t *testing.T, lcm one.LCMState) *stage {
	t.Helper()
	s := runningStage(t, oneRole(1))
	s.state = flow.Lead(s.state, 3, time.Time{})
	s.set(one.VMActive, lcm, 100)
	s.plan()
	s.state = flow.Lead(s.state, 4, s.now.Add(10*time.Second))
	s.inspectAfter(20 * time.Second)
	s.wantState(spec.ServiceRunning)
	s.wantActions()
	return s
}

// What a dead leader's drivers did to a VM that was up is undone, or gone on with where that
// loses nothing, as far as oned has a call for it in that state.
func TestLeaderLeavesVMsOfARunningService(t *testing.T) {
	for _, test := range []struct {
		state, call string
	}{
		{"MIGRATE", "recover-failure"}, {"SAVE_STOP", "recover-failure"}, {"SAVE_SUSPEND", "recover-failure"}, {"SAVE_MIGRATE", "recover-failure"},
		{"HOTPLUG", "recover-failure"}, {"HOTPLUG_NIC", "recover-failure"}, {"HOTPLUG_SNAPSHOT", "recover-failure"}, {"HOTPLUG_RESIZE", "recover-failure"},
		{"HOTPLUG_SAVEAS", "recover-failure"}, {"HOTPLUG_SAVEAS_POWEROFF", "recover-failure"}, {"HOTPLUG_PROLOG_POWEROFF", "recover-failure"},
		{"HOTPLUG_EPILOG_POWEROFF", "recover-failure"}, {"SHUTDOWN_POWEROFF", "recover-failure"}, {"SHUTDOWN_UNDEPLOY", "recover-failure"},
		{"DISK_SNAPSHOT", "recover-failure"}, {"DISK_SNAPSHOT_POWEROFF", "recover-failure"}, {"DISK_SNAPSHOT_DELETE", "recover-failure"},
		{"DISK_SNAPSHOT_REVERT_POWEROFF", "recover-failure"}, {"DISK_RESIZE", "recover-failure"}, {"BACKUP", "recover-failure"},
		{"BACKUP_POWEROFF", "recover-failure"}, {"RESTORE", "recover-failure"}, {"EPILOG_STOP", "recover-failure"}, {"PROLOG_RESUME", "recover-failure"},
		{"BOOT_POWEROFF", "recover"}, {"BOOT_UNKNOWN", "recover"}, {"BOOT_SUSPENDED", "recover"},
		{"DISK_SNAPSHOT_REVERT", ""}, {"DISK_SNAPSHOT_REVERT_SUSPENDED", ""}, {"LCM_INIT", ""},
	} {
		t.Run(test.state, func(t *testing.T) {
			lcm, known := one.ParseLCMState(test.state)
			if !known {
				t.Fatal("no such state")
			}
			s := interruptedStage(t, lcm)
			s.inspectAfter(s.settings.VMDeadlines.LeaderChange)
			if test.call == "" {
				s.wantActions()
				s.wantState(spec.ServiceWarning)
				if why := explained(flow.Explain(s.state, s.facts, s.now)); !strings.Contains(why, test.state) {
					t.Errorf("the explanation does not name the VM's state:\n%s", why)
				}
				return
			}
			s.wantActions(test.call + " 100")
			s.run(100)
			s.wantState(spec.ServiceRunning)
			s.wantActions()
		})
	}
}

// Where that changes nothing the service is in WARNING, and goes on asking no more.
func TestVMThatNothingGetsOutOfItsStateIsAWarning(t *testing.T) {
	s := interruptedStage(t, one.LCMShutdownPoweroff)
	s.inspectAfter(s.settings.VMDeadlines.LeaderChange)
	s.wantActions("recover-failure 100")
	s.inspectAfter(s.settings.CheckInterval)
	s.wantActions()
	s.wantState(spec.ServiceWarning)
	if log := s.changes; len(log) == 0 || !strings.Contains(log[0].Reason, "VM 100 has been in SHUTDOWN_POWEROFF since") || !strings.Contains(log[0].Reason, "it was retried") {
		t.Errorf("the history does not say why: %+v", log)
	}
	s.inspectAfter(time.Hour)
	s.wantActions()
	if _, set := s.state.Deadlines[flow.DeadlineStay]; set {
		t.Error("the service goes on waking itself")
	}
	s.state = flow.Lead(s.state, 5, s.now)
	s.inspectAfter(s.settings.VMDeadlines.LeaderChange)
	s.wantActions("recover-failure 100")
	s.run(100)
	s.wantState(spec.ServiceRunning)
}

// A VM that is made again may be cloned while the leader changes, and nothing gets it out of that.
func TestCloningVMOfARunningServiceIsAWarning(t *testing.T) {
	for _, state := range []one.VMState{one.VMCloning, one.VMInit} {
		s := runningStage(t, oneRole(1))
		s.state = flow.Lead(s.state, 3, time.Time{})
		s.set(state, one.LCMInit, 100)
		s.plan()
		s.state = flow.Lead(s.state, 4, s.now.Add(10*time.Second))
		s.now = s.now.Add(time.Hour)
		vm := s.facts[100]
		vm.Inspection = &one.Inspection{Error: "a driver's"}
		s.facts[100] = vm
		s.plan()
		s.wantActions()
		s.wantState(spec.ServiceWarning)
		s.planAfter(time.Hour)
		s.wantActions()
		s.wantState(spec.ServiceWarning)
		s.run(100)
		s.wantState(spec.ServiceRunning)
	}
}

// A leader that is replaced before it can store that a VM runs has told so: under the next one the VM boots as before, and nothing boots it.
func TestVMThatBootsAgainWithTheNextLeader(t *testing.T) {
	for since, want := range map[time.Duration][]string{-time.Second: {"recover-failure 100"}, time.Second: nil} {
		s := runningStage(t, oneRole(1))
		s.state = flow.Lead(flow.Lead(s.state, 3, time.Time{}), 4, s.now)
		leads := s.now
		s.now = s.now.Add(time.Minute)
		s.set(one.VMActive, one.LCMBoot, 100)
		s.plan()
		for _, wanted := range flow.Inspections(s.state, s.facts, s.now, s.settings) {
			vm := s.facts[wanted.VM]
			vm.Inspection = &one.Inspection{Since: leads.Add(since)}
			s.facts[wanted.VM] = vm
		}
		s.plan()
		s.wantActions(want...)
	}
}

// What somebody has done to a VM since the leader changed is left alone.
func TestNewLeadersVMsAreLeftAlone(t *testing.T) {
	s := runningStage(t, oneRole(1))
	s.state = flow.Lead(flow.Lead(s.state, 3, time.Time{}), 4, s.now.Add(time.Second))
	s.now = s.now.Add(time.Minute)
	s.set(one.VMActive, one.LCMShutdownPoweroff, 100)
	s.plan()
	if wanted := flow.Inspections(s.state, s.facts, s.now, s.settings); len(wanted) != 1 || wanted[0].Overdue {
		t.Fatalf("to be looked at closer: %+v", wanted)
	}
	vm := s.facts[100]
	vm.Inspection = &one.Inspection{Since: s.now.Add(-10 * time.Second)}
	s.facts[100] = vm
	s.planAfter(time.Hour)
	s.wantActions()
	s.wantState(spec.ServiceRunning)
}

// A VM that has been up has data: none is made in its place.
func TestVMThatWasUpIsNotMadeAnew(t *testing.T) {
	s := runningStage(t, oneRole(1))
	s.scale("a", 2)
	s.create()
	s.set(one.VMActive, one.LCMBootPoweroff, 100)
	s.run(101)
	s.inspectAfter(s.settings.VMDeadlines.Boot)
	s.wantActions("recover 100")
	s.inspectAfter(s.settings.CheckInterval)
	s.wantActions()
	s.wantState(spec.ServiceFailedScaling)
}
