package flow_test

import (
	"strings"
	"testing"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
)

const heldService = `{"name":"web","deployment":"straight","on_hold":true,"roles":[
	{"name":"Master","type":"vm","cardinality":1,"template_id":0,"cooldown":3},
	{"name":"Slave","type":"vm","cardinality":1,"template_id":7,"parents":["Master"],"cooldown":3}]}`

// createHeld carries out the creations of the last decision, and of those that follow: VMs in HOLD.
func (s *stage) createHeld() {
	s.t.Helper()
	for created := true; created; {
		created = false
		for _, action := range s.actions {
			if action.Kind != flow.ActionCreateVM {
				continue
			}
			if !action.Intent.Hold {
				s.t.Fatalf("%s is not to be created on hold", describeAction(action))
			}
			vm := s.vmOf(action.Intent)
			vm.State, vm.LCMState = one.VMHold, one.LCMInit
			s.facts[vm.ID], created = vm, true
		}
		s.plan()
	}
}

func TestServiceOnHoldAndItsRelease(t *testing.T) {
	s := newStage(t, heldService)
	s.plan()
	s.wantState(spec.ServiceHold)
	s.wantActions("create Master/0") // Slave's contents may refer to its VM
	s.createHeld()
	s.wantRole("Master", spec.RoleHold)
	s.wantRole("Slave", spec.RoleHold)
	s.wantNodes("Slave", 1, 101)
	s.wantActions()
	s.wantLog("I New state: DEPLOYING_NETS", "I New state: HOLD")
	if !*s.role("Slave").OnHold {
		t.Error("the roles do not say that they are on hold")
	}

	s.command(flow.VerbRelease, flow.ReleaseArguments{})
	s.wantState(spec.ServiceDeploying)
	s.wantActions("release 100")
	s.wantRole("Slave", spec.RoleHold)
	s.run(100)
	s.wantRole("Master", spec.RoleRunning)
	s.wantActions("release 101")
	s.run(101)
	s.wantState(spec.ServiceRunning)
	s.wantLog("I New state: HOLD", "I New state: DEPLOYING", "I New state: RUNNING")
}

func TestRoleOnHoldHoldsItsChildren(t *testing.T) {
	s := newStage(t, `{"name":"web","deployment":"straight","roles":[
		{"name":"a","type":"vm","cardinality":1,"template_id":0},
		{"name":"b","type":"vm","cardinality":1,"template_id":0,"parents":["a"],"on_hold":true},
		{"name":"c","type":"vm","cardinality":1,"template_id":0,"parents":["b"]}]}`)
	s.plan()
	s.wantState(spec.ServiceDeploying)
	s.wantActions("create a/0")
	s.create()
	s.run(100)
	s.wantActions("create b/0")
	s.createHeld()
	s.wantState(spec.ServiceHold)
	s.wantRole("a", spec.RoleRunning)

	s.command(flow.VerbRelease, flow.ReleaseArguments{Role: "c"})
	s.wantState(spec.ServiceHold)
	s.wantActions()
	s.command(flow.VerbRelease, flow.ReleaseArguments{Role: "b"})
	s.wantState(spec.ServiceDeploying)
	s.wantActions("release 101")
	s.run(101)
	s.wantActions("release 102")
	s.run(102)
	s.wantState(spec.ServiceRunning)
}

func TestReleaseOfARoleLeavesTheOthers(t *testing.T) {
	s := newStage(t, heldService)
	s.plan()
	s.createHeld()
	s.command(flow.VerbRelease, flow.ReleaseArguments{Role: "Master"})
	s.run(100)
	s.wantRole("Master", spec.RoleRunning)
	s.wantRole("Slave", spec.RoleHold)
	s.wantState(spec.ServiceHold)
}

func TestReleaseByHand(t *testing.T) {
	s := newStage(t, heldService)
	s.plan()
	s.createHeld()
	s.run(100)
	s.wantRole("Master", spec.RoleRunning)
	s.wantRole("Slave", spec.RoleHold)
	s.wantState(spec.ServiceHold)
	s.run(101)
	s.wantState(spec.ServiceRunning)
}

func TestReleaseRefusals(t *testing.T) {
	s := runningStage(t, masterSlave)
	s.wantRefusal(flow.RefusedState, "no roles in HOLD", flow.VerbRelease, flow.ReleaseArguments{})
	s.wantRefusal(flow.RefusedState, "Master", flow.VerbRelease, flow.ReleaseArguments{Role: "Master"})
	s.wantRefusal(flow.RefusedMissing, "zz", flow.VerbRelease, flow.ReleaseArguments{Role: "zz"})
	s.wantRefusal(flow.RefusedInput, "release", flow.VerbRelease, []int{1})
}

func TestHeldServiceIsUndeployed(t *testing.T) {
	s := newStage(t, heldService)
	s.plan()
	s.createHeld()
	s.command(flow.VerbUndeploy, nil)
	s.wantActions("terminate 101")
	s.end(101)
	s.end(100)
	s.wantActions("delete document")
}

func TestFailedHoldIsRecovered(t *testing.T) {
	s := newStage(t, heldService)
	s.plan()
	s.take(flow.Decide(s.in(), refusal(flow.Action{Kind: flow.ActionCreateVM, Intent: flow.Intent{Key: s.state.Intents[0].Key}}, "no quota")))
	s.wantState(spec.ServiceFailedDeploying)
	s.recover()
	s.wantState(spec.ServiceHold)
	s.createHeld()
	s.wantRole("Master", spec.RoleHold)
}

func TestRefusedReleaseFailsTheRole(t *testing.T) {
	s := newStage(t, heldService)
	s.plan()
	s.createHeld()
	s.command(flow.VerbRelease, nil)
	s.take(flow.Decide(s.in(), refusal(flow.Action{Kind: flow.ActionVM, VM: 100}, "no right")))
	s.wantState(spec.ServiceFailedDeploying)
	s.recover()
	s.wantActions("release 100")
}

// A role's contents may refer to the VMs of its parents, so that these are made first.
func TestHeldVMsAreMadeAfterThoseOfAllParents(t *testing.T) {
	s := newStage(t, `{"name":"web","deployment":"straight","on_hold":true,"roles":[
		{"name":"none","type":"vm","cardinality":0,"template_id":0},
		{"name":"two","type":"vm","cardinality":2,"template_id":0},
		{"name":"router","type":"vr","cardinality":1,"template_id":3},
		{"name":"child","type":"vm","cardinality":1,"template_id":0,"parents":["none","two","router"]}]}`)
	s.plan()
	s.wantState(spec.ServiceHold)
	s.wantActions("create two/0", "create two/1", "create_router router")
	s.createHeld()
	s.wantNodes("child", 1)
	s.state = flow.IngestRouter(s.state, "router", 4, nil)
	s.plan()
	s.createHeld()
	s.wantNodes("two", 2, 100, 101)
	s.wantNodes("child", 1, 103)
	s.wantRole("child", spec.RoleHold)
}

// A release comes before the parents' VMs exist: the child's are made and released behind them all the same.
func TestReleaseBeforeTheVMsOfTheParentsExist(t *testing.T) {
	s := newStage(t, heldService)
	s.plan()
	s.command(flow.VerbRelease, nil)
	s.wantActions("create Master/0")
	s.createHeld()
	s.wantRole("Master", spec.RoleDeploying)
	s.run(100)
	s.wantActions("release 101")
	s.run(101)
	s.wantState(spec.ServiceRunning)
}

// With the strategy none a role waits for nobody.
func TestHeldVMsOfTheStrategyNoneAreMadeAtOnce(t *testing.T) {
	s := newStage(t, strings.Replace(heldService, `"straight"`, `"none"`, 1))
	s.plan()
	s.wantActions("create Master/0", "create Slave/0")
	s.createHeld()
	s.wantState(spec.ServiceHold)
}
