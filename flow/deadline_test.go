package flow_test

import (
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
)

func (s *stage) wantDeadline(name string, want time.Time) {
	s.t.Helper()
	got, set := s.state.Deadlines[name]
	if want.IsZero() != !set || !got.Equal(want) {
		s.t.Fatalf("deadline %s is %v, want %v (in %s; all: %v)", name, got, want, s.state.Service.State(), s.state.Deadlines)
	}
}

func TestWaitingServiceIsLookedAtAgain(t *testing.T) {
	s := newStage(t, oneRole(1))
	s.plan()
	first := s.now.Add(s.settings.CheckInterval)
	s.wantDeadline(flow.DeadlineCheck, first)
	s.create()
	for range 29 {
		s.planAfter(time.Second)
		s.wantDeadline(flow.DeadlineCheck, first)
	}
	s.planAfter(time.Second)
	s.wantDeadline(flow.DeadlineCheck, first.Add(s.settings.CheckInterval))
}

// Every change of state starts the wait anew, and the last event before
// RUNNING may have told an older truth: there is one look more.
func TestRunningServiceIsLookedAtOnceMore(t *testing.T) {
	s := newStage(t, oneRole(1))
	s.plan()
	s.create()
	s.now = s.now.Add(10 * time.Second)
	s.run(100)
	look := s.calmLook()
	s.planAfter(time.Second)
	s.wantDeadline(flow.DeadlineCheck, look)
	s.planAfter(look.Sub(s.now))
	s.wantDeadline(flow.DeadlineCheck, time.Time{})
	s.planAfter(time.Second)
	s.wantDeadline(flow.DeadlineCheck, time.Time{})
}

func TestWarningIsLookedAtAgainAndAgain(t *testing.T) {
	s := runningStage(t, oneRole(1))
	s.set(one.VMPoweroff, one.LCMInit, 100)
	s.plan()
	for range 3 {
		s.planAfter(s.calmLook().Sub(s.now))
	}
}

// calmLook is when a service is looked at that waits for nothing it has asked for.
func (s *stage) calmLook() time.Time {
	s.t.Helper()
	due := s.state.Deadlines[flow.DeadlineCheck]
	if wait := due.Sub(s.now); wait < s.settings.CheckInterval || wait >= 2*s.settings.CheckInterval {
		s.t.Fatalf("it is looked at again after %s, want %s to %s", wait, s.settings.CheckInterval, 2*s.settings.CheckInterval)
	}
	return due
}

// When a host fails, thousands of services come into WARNING at the same time:
// they are not all to look at the same time from then on.
func TestServicesInTroubleLookEachAtItsOwnTime(t *testing.T) {
	const services, parts = 10_000, 10
	inPart := [parts]int{}
	for id := range services {
		s := runningStage(t, oneRole(1))
		s.state.Service.ID = id
		vm := s.facts[100]
		vm.Service, vm.Key = id, ""
		s.facts[100] = vm
		s.set(one.VMPoweroff, one.LCMInit, 100)
		s.plan()
		due := s.calmLook()
		s.planAfter(time.Second)
		s.wantDeadline(flow.DeadlineCheck, due)
		late := due.Sub(stageStart) - s.settings.CheckInterval
		inPart[parts*late/s.settings.CheckInterval]++
	}
	for part, count := range inPart {
		if count < services/parts/2 || count > services/parts*2 {
			t.Errorf("%d of %d look in part %d of %d: %v", count, services, part, parts, inPart)
		}
	}
}

func TestCooldownIsKeptUnderAStreamOfEvents(t *testing.T) {
	s := runningStage(t, oneRole(1))
	s.scale("a", 2)
	s.create()
	s.run(101)
	end := s.now.Add(300 * time.Second)
	for range 299 {
		s.planAfter(time.Second)
		s.wantState(spec.ServiceCooldown)
		s.wantDeadline(flow.DeadlineCooldown, end)
	}
	s.state = afterCrash(t, s.state)
	s.planAfter(time.Second)
	s.wantState(spec.ServiceRunning)
	s.wantDeadline(flow.DeadlineCooldown, time.Time{})
}

func TestRecoveredCooldownLeavesNoDeadline(t *testing.T) {
	s := runningStage(t, oneRole(1))
	s.scale("a", 0)
	s.end(100)
	s.recover()
	s.wantState(spec.ServiceRunning)
	s.wantDeadline(flow.DeadlineCooldown, time.Time{})
}

func TestWhichStatesHaveADeadline(t *testing.T) {
	rests := map[spec.ServiceState]bool{
		spec.ServiceFailedDeploying: true, spec.ServiceFailedScaling: true, spec.ServiceFailedUndeploying: true,
		spec.ServiceFailedDeployingNets: true, spec.ServiceFailedUndeployingNets: true,
	}
	for state, s := range stagesInEveryState(t) {
		t.Run(state.String(), func(t *testing.T) {
			s.plan()
			_, set := s.state.Deadlines[flow.DeadlineCheck]
			if set == rests[state] {
				t.Fatalf("looked at again: %v, want %v", set, !rests[state])
			}
		})
	}
}

// A request whose effect is not seen is repeated after a look, not before, and
// at once where the VM has come to where it can be obeyed.
func TestRequestsAreRepeated(t *testing.T) {
	s := runningStage(t, oneRole(1))
	s.command(flow.VerbUndeploy, nil)
	s.wantActions("terminate 100")
	s.planAfter(s.settings.CheckInterval - 1)
	s.wantActions()
	s.planAfter(1)
	s.wantActions("terminate 100")
	s.set(one.VMPoweroff, one.LCMInit, 100)
	s.plan()
	s.wantActions("terminate 100")
	s.plan()
	s.wantActions()
}

func TestVMRefusesWhileItBoots(t *testing.T) {
	s := newStage(t, oneRole(1))
	s.plan()
	s.create()
	s.recoverDelete()
	s.wantActions("terminate 100")
	s.take(flow.Decide(s.in(), refusal(flow.Action{Kind: flow.ActionVM, VM: 100}, "wrong state BOOT")))
	s.wantState(spec.ServiceUndeploying)
	s.wantActions()
	s.run(100)
	s.wantActions("terminate 100")
}

func TestVMRefusesBeforeOnedHasBegunWithIt(t *testing.T) {
	for _, state := range []one.VMState{one.VMInit, one.VMCloning} {
		s := runningStage(t, oneRole(1))
		s.command(flow.VerbUndeploy, nil)
		s.set(state, one.LCMInit, 100)
		s.take(flow.Decide(s.in(), refusal(flow.Action{Kind: flow.ActionVM, VM: 100}, "wrong state")))
		s.wantState(spec.ServiceUndeploying)
	}
}

// Whoever waits for a VM to end looks, even in RUNNING.
func TestServiceLooksUntilAVMThatNobodyWantsHasEnded(t *testing.T) {
	s := runningStage(t, oneRole(1))
	s.planAfter(2 * s.settings.CheckInterval)
	s.wantDeadline(flow.DeadlineCheck, time.Time{})
	s.facts[400] = one.VM{ID: 400, State: one.VMActive, LCMState: one.LCMProlog, Owner: stageOwner, Service: 27, Role: "a", Key: "27-a-9-z"}
	for range 3 {
		s.plan()
		s.wantDeadline(flow.DeadlineCheck, s.now.Add(s.settings.CheckInterval))
		s.now = s.now.Add(s.settings.CheckInterval)
	}
	s.end(400)
	s.planAfter(2 * s.settings.CheckInterval)
	s.wantDeadline(flow.DeadlineCheck, time.Time{})
}

func TestVMRefusesForGood(t *testing.T) {
	for name, act := range map[string]func(s *stage){
		"undeploy": func(s *stage) { s.command(flow.VerbUndeploy, nil) },
		"scale":    func(s *stage) { s.scale("a", 1) },
	} {
		t.Run(name, func(t *testing.T) {
			s := runningStage(t, oneRole(2))
			act(s)
			s.take(flow.Decide(s.in(), refusal(flow.Action{Kind: flow.ActionVM, VM: 100}, "not yours")))
			if !s.state.Service.State().Failed() {
				t.Fatalf("service is %s", s.state.Service.State())
			}
			s.wantLog("E Role a : VM 100 does not end: not yours", "I New state: "+s.state.Service.State().String())
			s.recover()
			if describeAction(s.actions[0]) != "terminate 100" {
				t.Fatalf("recovered with %v", s.actions)
			}
		})
	}
}

// refuseFirst has oned refuse the first action; the requests behind it are not made, as by a worker.
func (s *stage) refuseFirst(message string) {
	s.t.Helper()
	for _, other := range s.actions[1:] {
		asked := s.state.Asked[other.VM]
		asked.Refused = true
		s.state.Asked[other.VM] = asked
	}
	s.take(flow.Decide(s.in(), refusal(s.actions[0], message)))
}

// A VM that oned does not end, as a locked one, leaves no others running; unless oned seems to refuse all of them.
func TestTheOthersEndBesideARefusedVM(t *testing.T) {
	const vms, mayRefuse = 40, 17
	for name, act := range map[string]func(s *stage){
		"undeploy": func(s *stage) { s.command(flow.VerbUndeploy, nil) },
		"scale":    func(s *stage) { s.scale("a", 1) },
	} {
		t.Run(name, func(t *testing.T) {
			s := runningStage(t, oneRole(vms))
			act(s)
			refused := 0
			for ; !s.state.Service.State().Failed(); refused++ {
				if scaling := name == "scale"; s.actions[0].Scaling != scaling {
					t.Fatalf("%+v: scaling should be %t", s.actions[0], scaling)
				}
				s.refuseFirst("locked")
			}
			if refused != mayRefuse || len(s.actions) > 0 {
				t.Fatalf("it failed after %d refusals, and %d more are asked to end", refused, len(s.actions))
			}
			s.recover()
			for range 3 {
				s.refuseFirst("locked")
			}
			for _, action := range s.actions {
				s.set(one.VMActive, one.LCMShutdown, action.VM)
			}
			s.plan()
			if s.wantActions(); !s.state.Service.State().Failed() {
				t.Fatalf("the service is %s", s.state.Service.State())
			}
			s.wantLog("E Role a : VM 100 does not end: locked", "I New state: "+s.state.Service.State().String())
		})
	}
}

func TestRefusalOfAVMThatHasEndedIsNone(t *testing.T) {
	s := runningStage(t, oneRole(1))
	s.command(flow.VerbUndeploy, nil)
	s.set(one.VMDone, one.LCMInit, 100)
	s.take(flow.Decide(s.in(), refusal(flow.Action{Kind: flow.ActionVM, VM: 100}, "no such VM")))
	s.wantState(spec.ServiceDone)
}

// VM 0 is oned's first. A refusal about a VM that nothing is known of is not its.
func TestRefusalOfAnUnknownVMIsNotVMZeros(t *testing.T) {
	s := newStage(t, oneRole(2))
	s.created = 0
	s.bringUp()
	s.command(flow.VerbUndeploy, nil)
	s.wantActions("terminate 0", "terminate 1")
	delete(s.facts, 1)
	s.take(flow.Decide(s.in(), refusal(flow.Action{Kind: flow.ActionVM, VM: 1}, "timeout")))
	s.wantState(spec.ServiceUndeploying)
	s.take(flow.Decide(s.in(), refusal(flow.Action{Kind: flow.ActionVM, VM: 77}, "no such VM")))
	s.wantState(spec.ServiceUndeploying)
}

func TestHelpThatIsNotSeenToWorkIsForgotten(t *testing.T) {
	s := runningStage(t, oneRole(1))
	s.set(one.VMPoweroff, one.LCMInit, 100)
	s.plan()
	s.recover()
	s.planAfter(s.settings.CheckInterval - 1)
	s.recover()
	s.wantActions("resume 100")
	s.planAfter(s.settings.CheckInterval)
	s.wantActions()
	if len(s.state.Asked) > 0 {
		t.Fatalf("still asked: %+v", s.state.Asked)
	}
}

func TestRefusedHelpIsForgotten(t *testing.T) {
	s := runningStage(t, oneRole(1))
	s.set(one.VMPoweroff, one.LCMInit, 100)
	s.plan()
	s.recover()
	s.wantActions("resume 100")
	s.take(flow.Decide(s.in(), refusal(flow.Action{Kind: flow.ActionVM, VM: 100}, "no host")))
	s.wantState(spec.ServiceWarning)
	s.wantActions()
	if len(s.state.Asked) > 0 {
		t.Fatalf("still asked: %+v", s.state.Asked)
	}
}
