package flow_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
)

// stagesInEveryState has a service with a role "a" in each of the states.
func stagesInEveryState(t *testing.T) map[spec.ServiceState]*stage {
	t.Helper()
	stages := map[spec.ServiceState]*stage{spec.ServicePending: newStage(t, oneRole(2))}
	add := func(state spec.ServiceState, s *stage) {
		t.Helper()
		s.wantState(state)
		stages[state] = s
	}
	from := func(act func(s *stage)) *stage {
		t.Helper()
		s := runningStage(t, oneRole(2))
		act(s)
		return s
	}
	deploying := newStage(t, oneRole(2))
	deploying.plan()
	add(spec.ServiceDeploying, deploying)
	failed := newStage(t, oneRole(2))
	failed.plan()
	failed.create()
	failed.set(one.VMActive, one.LCMPrologFailure, 100)
	failed.plan()
	add(spec.ServiceFailedDeploying, failed)
	add(spec.ServiceRunning, from(func(*stage) {}))
	add(spec.ServiceWarning, from(func(s *stage) { s.set(one.VMPoweroff, one.LCMInit, 100); s.plan() }))
	add(spec.ServiceScaling, from(func(s *stage) { s.scale("a", 3) }))
	add(spec.ServiceCooldown, from(func(s *stage) { s.scale("a", 1); s.end(100) }))
	add(spec.ServiceFailedScaling, from(func(s *stage) {
		s.scale("a", 3)
		s.take(flow.Decide(s.in(), refusal(flow.Action{Kind: flow.ActionCreateVM, Intent: flow.Intent{Key: s.state.Intents[0].Key}}, "no quota")))
	}))
	add(spec.ServiceUndeploying, from(func(s *stage) { s.command(flow.VerbUndeploy, nil) }))
	add(spec.ServiceFailedUndeploying, from(func(s *stage) {
		s.command(flow.VerbUndeploy, nil)
		s.take(flow.Decide(s.in(), refusal(flow.Action{Kind: flow.ActionVM, VM: 100}, "no")))
	}))
	add(spec.ServiceDone, from(func(s *stage) { s.command(flow.VerbUndeploy, nil); s.end(100, 101) }))
	// These states are entered by what deploys networks and holds VMs.
	for state, role := range map[spec.ServiceState]string{
		spec.ServiceDeployingNets: "0", spec.ServiceFailedDeployingNets: "0", spec.ServiceHold: "11",
		spec.ServiceUndeployingNets: "5", spec.ServiceFailedUndeployingNets: "5",
	} {
		s := newStage(t, strings.Replace(oneRole(2), `"type"`, `"nodes":[],"on_hold":false,"state":`+role+`,"type"`, 1))
		s.state.Service.Body.State = &state
		add(state, s)
	}
	if len(stages) != len(spec.ServiceStates()) {
		t.Fatalf("%d of %d states", len(stages), len(spec.ServiceStates()))
	}
	return stages
}

func TestRecoverDeleteEndsAServiceFromEveryState(t *testing.T) {
	for state, s := range stagesInEveryState(t) {
		t.Run(state.String(), func(t *testing.T) {
			s.recoverDelete()
			for range 3 {
				for id := range s.facts {
					s.set(one.VMDone, one.LCMInit, id)
				}
				s.plan()
			}
			s.wantState(spec.ServiceDone)
			s.wantActions("delete document")
			if len(s.state.Intents) > 0 || len(s.state.Asked) > 0 {
				t.Fatalf("left over: intents %+v, asked %+v", s.state.Intents, s.state.Asked)
			}
		})
	}
}

func TestRecoverDeleteAsksEveryVMToEnd(t *testing.T) {
	for state, s := range stagesInEveryState(t) {
		live := 0
		for _, vm := range s.facts {
			if !vm.Gone() {
				live++
			}
		}
		s.recoverDelete()
		asked := 0
		for _, action := range s.actions {
			if action.Kind == flow.ActionVM && action.Call == "terminate" {
				asked++
			}
		}
		if asked != live {
			t.Errorf("from %s: %d of %d VMs asked to end: %v", state, asked, live, s.actions)
		}
	}
}

func TestNothingToRecover(t *testing.T) {
	for state, s := range stagesInEveryState(t) {
		switch state {
		case spec.ServiceRunning, spec.ServiceDone, spec.ServiceHold:
			s.wantRefusal(flow.RefusedState, state.String(), flow.VerbRecover, flow.RecoverArguments{})
		default:
			s.recover()
		}
	}
}

func TestRecoverLeavesEveryFailure(t *testing.T) {
	for state, want := range map[spec.ServiceState]spec.ServiceState{
		spec.ServiceFailedDeploying:       spec.ServiceDeploying,
		spec.ServiceFailedScaling:         spec.ServiceScaling,
		spec.ServiceFailedUndeploying:     spec.ServiceUndeploying,
		spec.ServiceFailedDeployingNets:   spec.ServiceDeploying,
		spec.ServiceFailedUndeployingNets: spec.ServiceDone,
		spec.ServiceCooldown:              spec.ServiceRunning,
	} {
		s := stagesInEveryState(t)[state]
		s.recover()
		if got := s.state.Service.State(); got != want {
			t.Errorf("recovered from %s to %s, want %s", state, got, want)
		}
	}
}

func TestFailedVMFailsTheDeploy(t *testing.T) {
	s := newStage(t, masterSlave)
	s.plan()
	s.create()
	s.set(one.VMActive, one.LCMBootFailure, 100)
	s.plan()
	s.wantState(spec.ServiceFailedDeploying)
	s.wantRole("Master", spec.RoleFailedDeploying)
	s.wantRole("Slave", spec.RolePending)
	s.wantActions()
	s.wantLog("E Role Master : VM 100 is in BOOT_FAILURE", "I New state: FAILED_DEPLOYING")
	wantReason(t, s, "role", "VM 100 is in BOOT_FAILURE")

	s.recover()
	s.wantState(spec.ServiceDeploying)
	s.wantActions("recover 100")
	s.plan()
	s.wantState(spec.ServiceDeploying)
	s.wantActions()
	s.run(100)
	s.wantActions("create Slave/0")
}

// oned's retry may fail as well, whether or not anybody saw it begin.
func TestRecoveredVMThatFailsAgain(t *testing.T) {
	s := newStage(t, oneRole(1))
	s.plan()
	s.create()
	s.set(one.VMActive, one.LCMBootFailure, 100)
	s.plan()
	s.recover()
	s.set(one.VMActive, one.LCMBoot, 100)
	s.plan()
	s.wantState(spec.ServiceDeploying)
	s.set(one.VMActive, one.LCMBootFailure, 100)
	s.plan()
	s.wantState(spec.ServiceFailedDeploying)
	s.recover()
	s.planAfter(s.settings.CheckInterval)
	s.wantState(spec.ServiceFailedDeploying)
}

func TestRecoverCreatesWhatWasRefusedOrLost(t *testing.T) {
	s := newStage(t, oneRole(3))
	s.plan()
	refused := s.state.Intents[0]
	s.take(flow.Decide(s.in(), refusal(flow.Action{Kind: flow.ActionCreateVM, Intent: flow.Intent{Key: refused.Key}}, "no such template")))
	s.wantState(spec.ServiceFailedDeploying)
	s.wantLog("E Role a : VM 0 could not be created from template 0: no such template", "I New state: FAILED_DEPLOYING")
	s.wantActions()
	s.recover()
	s.wantActions("create a/3", "create a/4", "create a/5")
	s.create()
	s.set(one.VMFailed, one.LCMInit, 100)
	s.run(101, 102)
	s.wantState(spec.ServiceFailedDeploying)
	s.end(100)
	s.wantNodes("a", 3, 101, 102)
	s.recover()
	s.wantActions("create a/6")
	s.bringUp()
	s.wantState(spec.ServiceRunning)
}

func TestOtherRolesGoOnAfterARefusal(t *testing.T) {
	s := newStage(t, strings.Replace(masterSlave, "straight", "none", 1))
	s.plan()
	s.take(flow.Decide(s.in(), refusal(flow.Action{Kind: flow.ActionCreateVM, Intent: flow.Intent{Key: s.state.Intents[0].Key}}, "no")))
	s.wantRole("Master", spec.RoleFailedDeploying)
	s.wantRole("Slave", spec.RoleDeploying)
	if len(s.state.Intents) != 1 || s.state.Intents[0].Role != "Slave" {
		t.Fatalf("intents %+v, want the other role's", s.state.Intents)
	}
	s.recover()
	s.wantActions("create Master/1", "create Slave/0")
}

func TestRecoverInWarningResumesAndRetries(t *testing.T) {
	s := runningStage(t, oneRole(3))
	s.set(one.VMPoweroff, one.LCMInit, 100)
	s.set(one.VMActive, one.LCMBootFailure, 102)
	s.plan()
	s.recover()
	s.wantState(spec.ServiceWarning)
	s.wantActions("resume 100", "recover 102")
	s.run(100, 102)
	s.wantState(spec.ServiceRunning)
	if len(s.state.Asked) > 0 {
		t.Fatalf("still asked: %+v", s.state.Asked)
	}
}

// A VM that was powered off before its service ran was so on purpose.
func TestRecoverOfADeployResumesNothing(t *testing.T) {
	s := newStage(t, strings.Replace(masterSlave, "straight", "none", 1))
	s.plan()
	s.create()
	s.set(one.VMPoweroff, one.LCMInit, 100)
	s.set(one.VMActive, one.LCMBootFailure, 101)
	s.plan()
	s.wantState(spec.ServiceFailedDeploying)
	s.recover()
	s.wantActions("recover 101")
}

// Roles whose parents wait for each other cannot be deployed, and say so.
func TestDeployWithParentsInACircleFails(t *testing.T) {
	for name, body := range map[string]string{
		"circle":  strings.Replace(masterSlave, `"type":"vm"`, `"type":"vm","parents":["Slave"]`, 1),
		"unknown": strings.Replace(masterSlave, `["Master"]`, `["Nobody"]`, 1),
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, body)
			s.bringUp()
			s.wantState(spec.ServiceFailedDeploying)
			if !strings.Contains(s.messages(), "Slave") {
				t.Fatalf("the log does not name the role: %s", s.messages())
			}
			s.recover()
			s.wantState(spec.ServiceFailedDeploying)
		})
	}
}

// TestRecoverOutlivesWhoDecidedOnIt: a worker that dies between the commit of a
// recover and its calls has promised something that its heir does.
func TestRecoverOutlivesWhoDecidedOnIt(t *testing.T) {
	s := newStage(t, oneRole(2))
	s.plan()
	s.create()
	s.set(one.VMActive, one.LCMPrologFailure, 100)
	s.plan()
	s.wantState(spec.ServiceFailedDeploying)
	s.command(flow.VerbRecover, nil)
	s.state = flow.DoubtRequests(s.state)
	s.plan()
	s.wantState(spec.ServiceDeploying)
	if len(s.actions) != 1 || s.actions[0].Kind != flow.ActionRecoverVM || s.actions[0].VM != 100 {
		t.Errorf("the heir does %+v, want it to recover VM 100", s.actions)
	}
	s.plan()
	if len(s.actions) != 0 {
		t.Errorf("it does so again: %+v", s.actions)
	}
	s.state = flow.DoubtRequests(s.state)
	s.set(one.VMActive, one.LCMBoot, 100)
	s.plan()
	if len(s.actions) != 0 {
		t.Errorf("although oned has done so: %+v", s.actions)
	}
}

// TestNoCommandIsAcceptedForNothing gives every command to a service in every state whose calls have been made, and whose new VMs wait: an
// accepted one changes something. Asking again for the end that has begun is fine.
func TestNoCommandIsAcceptedForNothing(t *testing.T) {
	for _, state := range spec.ServiceStates() {
		for _, given := range everyCommand {
			s := stagesInEveryState(t)[state]
			s.plan()
			s.create()
			ends := slices.Contains([]spec.ServiceState{spec.ServiceUndeploying, spec.ServiceUndeployingNets, spec.ServiceDone}, s.state.Service.State())
			if given.verb == flow.VerbDeploy || ends && (given.name == "undeploy" || given.name == "delete") {
				continue
			}
			before := asJSON(t, s.state)
			if s.tryCommand(given.verb, given.arguments) == nil && len(s.actions) == 0 && asJSON(t, s.state) == before {
				t.Errorf("%s in %s is accepted and does nothing", given.name, state)
			}
		}
	}
}

func TestRecoverOfAServiceThatOnlyWaitsIsRefused(t *testing.T) {
	s := runningStage(t, oneRole(1))
	s.scale("a", 2)
	s.create()
	s.set(one.VMPending, one.LCMInit, 101)
	s.plan()
	s.wantRefusal(flow.RefusedState, "service 27 is SCALING and has nothing to recover: VM 101 is in PENDING and has to become RUNNING", flow.VerbRecover, nil)
	s.set(one.VMActive, one.LCMBootFailure, 101)
	s.recover()
	s.wantActions("recover 101")
	s.run(101)
	s.recover()
	s.command(flow.VerbUndeploy, nil)
	s.set(one.VMActive, one.LCMEpilog, 100, 101)
	s.plan()
	s.wantRefusal(flow.RefusedState, "VM 101 is in EPILOG", flow.VerbRecover, nil)
	s.recoverDelete()
}

// Its deadlines start over, which is what a user may want.
func TestRecoverOfAServiceWithADeadlineIsAccepted(t *testing.T) {
	s := runningStage(t, strings.Replace(oneRole(1), `"type"`, `"deadlines":{"scaling":600},"type"`, 1))
	s.scale("a", 2)
	s.create()
	s.now = s.now.Add(300 * time.Second)
	s.recover()
	if due := s.state.Waits["a"].Due; !due.Equal(s.now.Add(600 * time.Second)) {
		t.Errorf("the scaling is due at %s", due)
	}
}

// A call that waits for its next attempt is made at once.
func TestRecoverMakesWaitingCalls(t *testing.T) {
	s := runningStage(t, oneRole(1))
	s.scale("a", 2)
	for range 6 {
		s.take(flow.Decide(s.in(), flow.Postponed{Action: s.actions[0], Message: "database is locked"}))
		s.wantActions()
		s.planAfter(10 * time.Second)
		s.wantActions("create a/1")
	}
	s.take(flow.Decide(s.in(), flow.Postponed{Action: s.actions[0], Message: "database is locked"}))
	s.wantActions()
	s.recover()
	s.wantActions("create a/1")
}

// A user who recovers a service wants the VMs to run for which it waits.
func TestRecoverResumesVMsThatAreAwaited(t *testing.T) {
	gated := strings.Replace(oneRole(2), `"roles"`, `"ready_status_gate":true,"roles"`, 1)
	for name, test := range map[string]struct {
		body  string
		state one.VMState
		lcm   one.LCMState
	}{
		"stopped before it was READY": {gated, one.VMStopped, one.LCMInit},
		"off before it was READY":     {gated, one.VMPoweroff, one.LCMInit},
		"lost":                        {oneRole(2), one.VMActive, one.LCMUnknown},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, test.body)
			s.plan()
			s.create()
			s.set(test.state, test.lcm, 100)
			s.plan()
			s.wantState(spec.ServiceDeploying)
			s.recover()
			s.wantActions("resume 100")
		})
	}
	s := runningStage(t, oneRole(2))
	s.set(one.VMActive, one.LCMUnknown, 100)
	s.plan()
	s.wantState(spec.ServiceWarning)
	s.recover()
	s.wantActions("resume 100")
	s.set(one.VMActive, one.LCMBootUnknown, 100)
	s.plan()
	s.wantRefusal(flow.RefusedState, "VM 100 is in BOOT_UNKNOWN", flow.VerbRecover, nil)
}
