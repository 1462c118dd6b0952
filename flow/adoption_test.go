package flow_test

import (
	"encoding/json"
	"testing"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
)

// afterCrash is the state as another worker reads it: nothing that was not
// stored is left, and any call may have been made.
func afterCrash(t fataler, state flow.State) flow.State {
	t.Helper()
	var read flow.State
	if err := json.Unmarshal([]byte(asJSON(t, state)), &read); err != nil {
		t.Fatalf("read the stored state: %v", err)
	}
	for i := range read.Intents {
		read.Intents[i].Attempts++
	}
	return flow.DoubtRequests(read)
}

func TestVMIsAdoptedByItsKey(t *testing.T) {
	s := newStage(t, oneRole(2))
	s.plan()
	s.state = afterCrash(t, s.state)
	vm := s.vmOf(s.state.Intents[1])
	s.facts[vm.ID] = vm
	s.plan()
	s.wantNodes("a", 2, vm.ID)
	s.wantActions("create a/0")
	if s.actions[0].Intent.Attempts != 1 {
		t.Fatalf("%+v does not say that the VM is to be looked for first", s.actions[0].Intent)
	}
	s.bringUp()
	s.wantState(spec.ServiceRunning)
}

// Whose VMs are not of this service, or were not created by intent, are left alone.
func TestForeignVMsAreLeftAlone(t *testing.T) {
	s := runningStage(t, oneRole(1))
	s.facts[500] = one.VM{ID: 500, State: one.VMActive, LCMState: one.LCMRunning, Service: 28, Role: "a", Key: "28-a-0-x"}
	s.facts[501] = one.VM{ID: 501, State: one.VMActive, LCMState: one.LCMRunning, Owner: stageOwner, Service: 27, Role: "a"}
	s.facts[502] = one.VM{ID: 502, State: one.VMActive, LCMState: one.LCMRunning, Service: -1}
	s.plan()
	s.wantActions()
	s.recoverDelete()
	s.wantActions("terminate 100")
}

func TestOfTwoVMsWithOneKeyTheYoungerIsEnded(t *testing.T) {
	s := newStage(t, oneRole(1))
	s.plan()
	elder, younger := s.vmOf(s.state.Intents[0]), s.vmOf(s.state.Intents[0])
	s.facts[younger.ID], s.facts[elder.ID] = younger, elder
	s.plan()
	s.wantNodes("a", 1, elder.ID)
	s.wantActions("terminate-hard 101")
	wantReason(t, s, "vm", "no role needs the VM: it was created twice or too late, or its scaling was reverted")
	s.plan()
	s.wantActions()
	s.run(100)
	s.wantState(spec.ServiceRunning)
	s.end(101)
	s.wantNodes("a", 1, 100)
	if len(s.state.Asked) > 0 {
		t.Fatalf("still asked: %+v", s.state.Asked)
	}
}

// A place that another VM of the role has left empty is not for a second VM
// with a key that is in use.
func TestSecondVMWithAKeyTakesNobodysPlace(t *testing.T) {
	s := newStage(t, oneRole(2))
	s.plan()
	first, second := s.state.Intents[0], s.state.Intents[1]
	vm := s.vmOf(first)
	s.facts[vm.ID] = vm
	s.plan()
	s.take(flow.Decide(s.in(), refusal(flow.Action{Kind: flow.ActionCreateVM, Intent: flow.Intent{Key: second.Key}}, "no quota")))
	s.wantState(spec.ServiceFailedDeploying)
	again := s.vmOf(first)
	s.facts[again.ID] = again

	known := s.facts[vm.ID]
	delete(s.facts, vm.ID)
	s.plan()
	s.wantActions()
	s.wantNodes("a", 2, vm.ID)
	s.facts[vm.ID] = known
	s.plan()
	s.wantActions("terminate-hard 101")
	s.wantNodes("a", 2, vm.ID)
}

func TestVMThatComesTooLateIsEnded(t *testing.T) {
	s := runningStage(t, oneRole(1))
	late := one.VM{ID: 400, State: one.VMActive, LCMState: one.LCMProlog, Owner: stageOwner, Service: 27, Role: "a", Key: "27-a-9-z"}
	s.facts[400] = late
	s.plan()
	s.wantActions("terminate-hard 400")
	s.wantNodes("a", 1, 100)
	s.set(one.VMActive, one.LCMCleanupDelete, 400)
	s.plan()
	s.wantActions()
	s.end(400)
	s.wantActions()

	s.facts[401] = one.VM{ID: 401, State: one.VMActive, LCMState: one.LCMProlog, Owner: stageOwner, Service: 27, Role: "gone", Key: "27-gone-0-z"}
	s.plan()
	s.wantActions("terminate-hard 401")
}

// What was asked to end is nobody's, even if there is room for it later.
func TestVMThatWasAskedToEndIsNotAdopted(t *testing.T) {
	s := runningStage(t, oneRole(1))
	s.facts[400] = one.VM{ID: 400, State: one.VMActive, LCMState: one.LCMProlog, Owner: stageOwner, Service: 27, Role: "a", Key: "27-a-9-z"}
	s.plan()
	s.wantActions("terminate-hard 400")
	s.scale("a", 2)
	s.wantActions("create a/1")
	s.wantNodes("a", 2, 100)
}

func TestShrinkingRoleTakesNobodyIn(t *testing.T) {
	s := runningStage(t, oneRole(3))
	s.scale("a", 2)
	s.facts[400] = one.VM{ID: 400, State: one.VMActive, LCMState: one.LCMProlog, Owner: stageOwner, Service: 27, Role: "a", Key: "27-a-9-z"}
	s.end(100, 101)
	s.wantActions("terminate-hard 400", "create a/3")
	s.wantNodes("a", 2, 102)
}

// The order of a role's VMs is that of their ages, whichever was seen first.
func TestNodesStandInTheOrderOfTheirIDs(t *testing.T) {
	s := newStage(t, oneRole(2))
	s.plan()
	elder, younger := s.vmOf(s.state.Intents[1]), s.vmOf(s.state.Intents[0])
	s.facts[younger.ID] = younger
	s.plan()
	s.facts[elder.ID] = elder
	s.plan()
	s.wantNodes("a", 2, elder.ID, younger.ID)
}

func TestVMLostWhileOthersAreToCome(t *testing.T) {
	s := newStage(t, oneRole(2))
	s.plan()
	vm := s.vmOf(s.state.Intents[0])
	s.facts[vm.ID] = vm
	s.plan()
	s.end(vm.ID)
	s.wantNodes("a", 2)
	s.wantActions("create a/1", "create a/2")
}

// While a VM that was made twice has not begun to end, somebody has to go on asking.
func TestServiceOutlastsTheVMsThatNoRoleHas(t *testing.T) {
	s := runningStage(t, oneRole(0))
	s.facts[400] = one.VM{ID: 400, State: one.VMActive, LCMState: one.LCMBoot, Owner: stageOwner, Service: 27, Role: "a", Key: "27-a-9-z"}
	s.plan()
	s.take(flow.Decide(s.in(), refusal(flow.Action{Kind: flow.ActionVM, VM: 400}, "wrong state BOOT")))
	s.command(flow.VerbUndeploy, nil)
	s.wantState(spec.ServiceUndeploying)
	s.run(400)
	s.wantState(spec.ServiceUndeploying)
	s.wantActions("terminate-hard 400")
	s.set(one.VMActive, one.LCMCleanupDelete, 400)
	s.plan()
	s.wantState(spec.ServiceDone)
}

// Where the intents were lost with their bucket, the VMs that the role lacks
// are recognised all the same.
func TestVMsOfLostIntentsAreAdopted(t *testing.T) {
	s := newStage(t, oneRole(2))
	s.plan()
	vm := s.vmOf(s.state.Intents[0])
	s.state.Intents = nil
	s.facts[vm.ID] = vm
	s.plan()
	s.wantNodes("a", 2, vm.ID)
	s.wantActions("create a/2")
}

// An ended VM is nobody's, however well its key fits.
func TestEndedVMsAreNotAdopted(t *testing.T) {
	s := runningStage(t, oneRole(2))
	s.end(101)
	s.scale("a", 2)
	s.wantActions("create a/2")
	s.wantNodes("a", 2, 100)
	s.set(one.VMActive, one.LCMEpilog, 101)
	s.plan()
	s.wantNodes("a", 2, 100)
}

func TestVMThatEndedBeforeItWasSeenIsCreatedAgain(t *testing.T) {
	s := newStage(t, oneRole(1))
	s.plan()
	vm := s.vmOf(s.state.Intents[0])
	vm.State = one.VMDone
	s.facts[vm.ID] = vm
	s.plan()
	s.wantActions("create a/1")
	s.wantNodes("a", 1)
}

func TestUndeployDropsIntentsThatNobodyTried(t *testing.T) {
	s := newStage(t, oneRole(2))
	s.plan()
	s.recoverDelete()
	s.wantState(spec.ServiceDone)
	s.wantActions("delete document")
	if len(s.state.Intents) > 0 {
		t.Fatalf("intents left: %+v", s.state.Intents)
	}
}

func TestUndeployLooksForIntentsThatSomebodyTried(t *testing.T) {
	begin := func(t *testing.T) (*stage, flow.Intent) {
		s := newStage(t, oneRole(2))
		s.plan()
		s.state.Intents[1].Attempts = 1
		s.recoverDelete()
		s.wantState(spec.ServiceUndeploying)
		s.wantActions("find a/1")
		s.plan()
		s.wantActions("find a/1")
		return s, s.state.Intents[0]
	}
	t.Run("found", func(t *testing.T) {
		s, intent := begin(t)
		vm := s.vmOf(intent)
		s.facts[vm.ID] = vm
		s.plan()
		s.wantActions("terminate 100")
		s.end(100)
		s.wantState(spec.ServiceDone)
	})
	t.Run("given up", func(t *testing.T) {
		s, intent := begin(t)
		s.take(flow.Decide(s.in(), flow.NotFound{Action: flow.Action{Kind: flow.ActionFindVM, Intent: flow.Intent{Key: intent.Key}}}))
		s.wantState(spec.ServiceDone)
	})
	t.Run("refused", func(t *testing.T) {
		s, intent := begin(t)
		s.take(flow.Decide(s.in(), refusal(flow.Action{Kind: flow.ActionCreateVM, Intent: flow.Intent{Key: intent.Key}}, "no")))
		s.wantState(spec.ServiceDone)
	})
}

// A refusal takes the role's untried intents with it, and keeps those whose
// VMs may exist.
func TestRefusalKeepsIntentsThatSomebodyTried(t *testing.T) {
	s := newStage(t, oneRole(3))
	s.plan()
	s.state.Intents[2].Attempts = 1
	s.take(flow.Decide(s.in(), refusal(flow.Action{Kind: flow.ActionCreateVM, Intent: flow.Intent{Key: s.state.Intents[0].Key}}, "no")))
	if len(s.state.Intents) != 1 || s.state.Intents[0].Ordinal != 2 {
		t.Fatalf("intents %+v, want the tried one", s.state.Intents)
	}
	s.recover()
	s.wantActions("create a/2", "create a/3", "create a/4")
}

func TestGivenUpIntentIsDecidedOnAnew(t *testing.T) {
	s := newStage(t, oneRole(1))
	s.plan()
	s.take(flow.Decide(s.in(), flow.NotFound{Action: flow.Action{Kind: flow.ActionFindVM, Intent: flow.Intent{Key: s.state.Intents[0].Key}}}))
	s.wantActions("create a/1")
}

func TestUnknownKeysChangeNothing(t *testing.T) {
	s := newStage(t, oneRole(1))
	s.plan()
	before := asJSON(t, s.state)
	s.take(flow.Decide(s.in(), flow.NotFound{Action: flow.Action{Kind: flow.ActionFindVM, Intent: flow.Intent{Key: "27-a-9-x"}}}))
	s.take(flow.Decide(s.in(), refusal(flow.Action{Kind: flow.ActionCreateVM, Intent: flow.Intent{Key: "27-a-9-x"}}, "no")))
	if after := asJSON(t, s.state); after != before {
		t.Fatalf("changed from\n%s\nto\n%s", before, after)
	}
}
