package flow_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
)

func TestScaleUpCreatesCoolsDownAndRuns(t *testing.T) {
	s := runningStage(t, masterSlave)
	s.scale("Master", 3)
	s.wantState(spec.ServiceScaling)
	s.wantRole("Master", spec.RoleScaling)
	s.wantRole("Slave", spec.RoleRunning)
	s.wantActions("create Master/1", "create Master/2")
	s.wantLog("I Role Master scaling up from 1 to 3 nodes", "I New state: SCALING")
	wantScaleWay(t, s, `0`)

	s.create()
	s.run(102)
	s.wantState(spec.ServiceScaling)
	s.run(103)
	s.wantState(spec.ServiceCooldown)
	s.wantRole("Master", spec.RoleCooldown)
	wantScaleWay(t, s, ``)
	s.planAfter(2999 * time.Millisecond)
	s.wantState(spec.ServiceCooldown)
	s.planAfter(time.Millisecond)
	s.wantState(spec.ServiceRunning)
	s.wantRole("Master", spec.RoleRunning)
	s.wantNodes("Master", 3, 100, 102, 103)
	s.wantLog("I New state: SCALING", "I New state: COOLDOWN", "I New state: RUNNING")
}

func TestScaleDownEndsTheOldestFirst(t *testing.T) {
	s := runningStage(t, oneRole(4))
	s.scale("a", 2)
	s.wantActions("terminate 100", "terminate 101")
	s.wantLog("I Role a scaling down from 4 to 2 nodes", "I New state: SCALING")
	wantScaleWay(t, s, `1`)
	s.set(one.VMActive, one.LCMShutdown, 100)
	s.plan()
	s.wantActions()
	s.end(101)
	s.wantState(spec.ServiceScaling)
	s.wantActions()
	s.end(100)
	s.wantState(spec.ServiceCooldown)
	s.wantNodes("a", 2, 102, 103)
	s.wantLog("I Role a scaling down from 4 to 2 nodes", "I New state: SCALING", "I New state: COOLDOWN")
	wantScaleWay(t, s, ``)
}

func TestUndeployEndsTheScaling(t *testing.T) {
	s := runningStage(t, oneRole(2))
	s.scale("a", 3)
	s.recoverDelete()
	s.wantRole("a", spec.RoleUndeploying)
	wantScaleWay(t, s, ``)
}

func TestScaleDownToNothing(t *testing.T) {
	s := runningStage(t, oneRole(1))
	s.scale("a", 0)
	s.end(100)
	s.wantState(spec.ServiceCooldown)
	s.planAfter(300 * time.Second)
	s.wantState(spec.ServiceRunning)
	s.wantNodes("a", 0)
}

func TestCooldownIsTheRolesOrTheSettings(t *testing.T) {
	for _, c := range []struct {
		name, attribute string
		settings        time.Duration
		want            time.Duration
	}{
		{"role's", `"cooldown":7,`, 300 * time.Second, 7 * time.Second},
		{"settings'", ``, 40 * time.Second, 40 * time.Second},
		{"default", ``, flow.DefaultSettings().Cooldown, 300 * time.Second},
		{"role's none", `"cooldown":0,`, 300 * time.Second, 0},
		{"settings' none", ``, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newStage(t, strings.Replace(oneRole(1), `"type"`, c.attribute+`"type"`, 1))
			s.settings.Cooldown = c.settings
			s.bringUp()
			s.scale("a", 2)
			s.create()
			s.run(101)
			if c.want == 0 {
				s.wantState(spec.ServiceRunning)
				s.wantLog("I New state: COOLDOWN", "I New state: RUNNING")
				return
			}
			s.planAfter(c.want - 1)
			s.wantState(spec.ServiceCooldown)
			s.planAfter(1)
			s.wantState(spec.ServiceRunning)
		})
	}
}

// A service that another server left in COOLDOWN names no time for its end.
func TestCooldownWithoutItsTimeStartsAgain(t *testing.T) {
	s := newStage(t, `{"name":"web","state":10,"roles":[
		{"name":"a","type":"vm","cardinality":0,"template_id":0,"cooldown":9,"state":10,"nodes":[]},
		{"name":"b","type":"vm","cardinality":0,"template_id":0,"cooldown":3,"state":10,"nodes":[]}]}`)
	s.plan()
	s.planAfter(9*time.Second - 1)
	s.wantState(spec.ServiceCooldown)
	s.planAfter(1)
	s.wantState(spec.ServiceRunning)
}

// A cooldown that was cut short says nothing about the next one.
func TestCooldownsAreApart(t *testing.T) {
	s := runningStage(t, strings.Replace(masterSlave, `"cooldown":3`, `"cooldown":600`, 1))
	s.scale("Master", 2)
	s.create()
	s.run(102)
	s.recover()
	s.wantState(spec.ServiceRunning)
	s.scale("Slave", 0)
	s.end(101)
	s.planAfter(3 * time.Second)
	s.wantState(spec.ServiceRunning)
}

func TestScaleRefusals(t *testing.T) {
	limited := strings.Replace(oneRole(2), `"type"`, `"min_vms":1,"max_vms":4,"type"`, 1)
	for _, c := range []struct {
		name      string
		arguments flow.ScaleArguments
		kind      flow.RefusalKind
		names     string
	}{
		{"unknown role", flow.ScaleArguments{Role: "zz", Cardinality: 1}, flow.RefusedMissing, `"zz"`},
		{"same", flow.ScaleArguments{Role: "a", Cardinality: 2}, flow.RefusedState, "2"},
		{"same with force", flow.ScaleArguments{Role: "a", Cardinality: 2, Force: true}, flow.RefusedState, "2"},
		{"under min", flow.ScaleArguments{Role: "a", Cardinality: 0}, flow.RefusedState, "min_vms is 1"},
		{"over max", flow.ScaleArguments{Role: "a", Cardinality: 5}, flow.RefusedState, "max_vms is 4"},
		{"negative", flow.ScaleArguments{Role: "a", Cardinality: -1}, flow.RefusedInput, "-1"},
		{"negative with force", flow.ScaleArguments{Role: "a", Cardinality: -1, Force: true}, flow.RefusedInput, "-1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := runningStage(t, limited)
			s.wantRefusal(c.kind, c.names, flow.VerbScale, c.arguments)
		})
	}
}

func TestForceLeavesTheLimitsOutOfAccount(t *testing.T) {
	for _, cardinality := range []int{0, 6} {
		s := runningStage(t, strings.Replace(oneRole(2), `"type"`, `"min_vms":1,"max_vms":4,"type"`, 1))
		s.command(flow.VerbScale, flow.ScaleArguments{Role: "a", Cardinality: cardinality, Force: true})
		s.wantState(spec.ServiceScaling)
	}
}

func TestScaleIsRefusedWhereTheServiceIsOnItsWay(t *testing.T) {
	for state, s := range stagesInEveryState(t) {
		switch state {
		case spec.ServiceRunning, spec.ServiceWarning, spec.ServiceFailedDeploying, spec.ServiceFailedScaling:
			continue
		}
		t.Run(state.String(), func(t *testing.T) {
			s.wantRefusal(flow.RefusedState, state.String(), flow.VerbScale, flow.ScaleArguments{Role: "a", Cardinality: 9})
		})
	}
}

// A straight service ends role by role. The role that runs until its children are gone is not to be scaled: the undeployment would be over with it.
func TestScaleIsRefusedWhileTheServiceOrARoleEnds(t *testing.T) {
	for name, end := range map[string]func(*stage){
		"undeploy":       func(s *stage) { s.command(flow.VerbUndeploy, nil) },
		"recover delete": func(s *stage) { s.command(flow.VerbUndeploy, nil); s.recoverDelete() },
		"remove role":    func(s *stage) { s.command(flow.VerbRemoveRole, flow.RemoveRoleArguments{Role: "Slave"}) },
	} {
		t.Run(name, func(t *testing.T) {
			s := runningStage(t, masterSlave)
			end(s)
			s.wantState(spec.ServiceUndeploying)
			s.wantRefusal(flow.RefusedState, "UNDEPLOYING", flow.VerbScale, flow.ScaleArguments{Role: "Master", Cardinality: 2})
		})
	}
}

func TestScaleInWarningReplacesNothingAndWarnsAgain(t *testing.T) {
	s := runningStage(t, oneRole(2))
	s.set(one.VMActive, one.LCMUnknown, 100)
	s.plan()
	s.wantState(spec.ServiceWarning)
	s.scale("a", 3)
	s.create()
	s.run(102)
	s.wantState(spec.ServiceCooldown)
	s.planAfter(300 * time.Second)
	s.wantState(spec.ServiceWarning)
	s.wantNodes("a", 3, 100, 101, 102)
}

// Who asks for so many VMs gets them, whichever of them are lost meanwhile: an old one before a new one was made, a new one, or one
// that is found gone with the command.
func TestVMsLostWhileScalingUpAreMadeAgain(t *testing.T) {
	s := runningStage(t, oneRole(2))
	s.scale("a", 4)
	s.wantActions("create a/2", "create a/3")
	s.end(100)
	s.wantActions("create a/2", "create a/3", "create a/4")
	s.wantLog("I Role a scaling up from 2 to 4 nodes", "I New state: SCALING", "I Role a lost 1 node while scaling up and is filled up to 4 nodes")
	s.create()
	s.run(102)
	s.run(103)
	s.end(104)
	s.wantState(spec.ServiceScaling)
	s.wantActions("create a/5")
	s.create()
	s.run(105)
	s.wantState(spec.ServiceCooldown)
	s.wantNodes("a", 4, 101, 102, 103, 105)

	s = runningStage(t, oneRole(3))
	s.set(one.VMDone, one.LCMInit, 101)
	s.scale("a", 3)
	s.wantLog("I Role a scaling down from 3 to 2 nodes", "I Role a scaling up from 2 to 3 nodes", "I New state: SCALING")
	s.create()
	s.run(103)
	s.wantNodes("a", 3, 100, 102, 103)
}

// VMs that end whenever they are made are not made for ever.
func TestVMsThatGoOnToEndAreNotMadeForEver(t *testing.T) {
	s := runningStage(t, oneRole(1))
	s.scale("a", 3)
	for made := 101; s.state.Service.State() == spec.ServiceScaling; made += 2 {
		if made > 120 {
			t.Fatalf("it goes on: %v", s.actions)
		}
		s.create()
		s.run(made)
		s.end(made + 1)
		if s.state.Service.State() == spec.ServiceScaling {
			s.end(made)
		}
	}
	s.wantState(spec.ServiceCooldown)
	if role := s.state.Service.Body.Roles[0]; len(role.Nodes) != role.Cardinality || len(s.state.Refilled) > 0 {
		t.Errorf("%d of %d VMs are left, and %v counted", len(role.Nodes), role.Cardinality, s.state.Refilled)
	}
}

// A loss costs a role that is too large to be made at once no VM.
func TestAVMLostWhileManyAreMade(t *testing.T) {
	s := newStage(t, oneRole(250))
	s.plan()
	s.create()
	s.end(100)
	if cardinality := s.state.Service.Body.Roles[0].Cardinality; cardinality != 250 {
		t.Errorf("%d VMs are to be made while it deploys", cardinality)
	}
	s.bringUp()
	s.scale("a", 600)
	s.create()
	s.end(101)
	s.bringUp()
	if role := s.state.Service.Body.Roles[0]; role.Cardinality != 600 || len(role.Nodes) != 600 {
		t.Errorf("%d of %d VMs were made", len(role.Nodes), role.Cardinality)
	}
}

// A VM that ends by itself while its role shrinks takes a victim's place. Who asked for so many VMs gets them, should more end.
func TestVMLostWhileScalingDown(t *testing.T) {
	s := runningStage(t, oneRole(3))
	s.scale("a", 2)
	s.wantActions("terminate 100")
	s.end(101)
	s.wantActions()
	s.wantNodes("a", 2, 100, 102)
	s.end(100)
	s.wantLog("I Role a scaling down from 3 to 2 nodes", "I New state: SCALING", "I Role a lost 1 node while scaling down and is filled up to 2 nodes")
	s.wantActions("create a/3")
	s.create()
	s.run(103)
	s.wantState(spec.ServiceCooldown)
	s.wantNodes("a", 2, 102, 103)

	s = runningStage(t, oneRole(3))
	s.scale("a", 2)
	s.end(100, 101)
	s.create()
	s.run(103)
	s.wantState(spec.ServiceCooldown)
	s.wantNodes("a", 2, 102, 103)

	s.end(102) // as in RUNNING: the role has had what was asked for
	s.wantNodes("a", 1, 103)
}

// As with a scaling: who instantiates so many VMs gets them, also where the role was scaled back before, and not for ever.
func TestVMsLostWhileDeployingAreMadeAgain(t *testing.T) {
	s := newStage(t, oneRole(2))
	s.plan()
	s.create()
	s.run(100)
	s.end(100)
	s.wantLog("I New state: DEPLOYING_NETS", "I New state: DEPLOYING", "I Role a lost 1 node while deploying and is filled up to 2 nodes")
	s.wantActions("create a/2")
	s.bringUp()
	s.wantState(spec.ServiceRunning)
	s.wantNodes("a", 2, 101, 102)
	if len(s.state.Refilled) > 0 {
		t.Errorf("%v are counted", s.state.Refilled)
	}

	s = newStage(t, oneRole(3))
	s.plan()
	s.create()
	s.set(one.VMActive, one.LCMBootFailure, 100)
	s.plan()
	s.wantState(spec.ServiceFailedDeploying)
	s.scale("a", 2)
	s.end(100, 101)
	s.wantActions("create a/3")
	s.bringUp()
	s.wantState(spec.ServiceRunning)
	s.wantNodes("a", 2, 102, 103)

	s = newStage(t, oneRole(1))
	s.plan()
	for made := 100; s.state.Service.State() == spec.ServiceDeploying; made++ {
		if made > 110 {
			t.Fatalf("it goes on: %v", s.actions)
		}
		s.create()
		s.end(made)
	}
	s.wantNodes("a", 0)
}

// Who recovers a scaling asks for all its VMs anew.
func TestRecoverStartsTheCountOfLostVMsOver(t *testing.T) {
	s := runningStage(t, oneRole(1))
	s.scale("a", 2)
	s.create()
	s.end(100, 101)
	s.create()
	s.set(one.VMActive, one.LCMBootFailure, 102)
	s.plan()
	s.wantState(spec.ServiceFailedScaling)
	s.recover()
	s.end(102, 103)
	s.wantNodes("a", 2)
	s.create()
	s.run(104)
	s.run(105)
	s.wantState(spec.ServiceCooldown)
	s.wantNodes("a", 2, 104, 105)
}

func TestFailedScaleUpIsRecovered(t *testing.T) {
	s := runningStage(t, oneRole(1))
	s.scale("a", 2)
	s.create()
	s.set(one.VMActive, one.LCMBootFailure, 101)
	s.plan()
	s.wantState(spec.ServiceFailedScaling)
	s.wantRole("a", spec.RoleFailedScaling)
	s.wantLog("E Role a : VM 101 is in BOOT_FAILURE", "I New state: FAILED_SCALING")
	s.recover()
	s.wantState(spec.ServiceScaling)
	s.wantActions("recover 101")
	s.run(101)
	s.wantState(spec.ServiceCooldown)
	s.wantNodes("a", 2, 100, 101)
}

func TestFailedScaleDownIsRecovered(t *testing.T) {
	s := runningStage(t, oneRole(2))
	s.scale("a", 1)
	s.set(one.VMActive, one.LCMEpilogFailure, 100)
	s.plan()
	s.wantState(spec.ServiceFailedScaling)
	s.wantLog("E Role a : VM 100 does not end: it is in EPILOG_FAILURE", "I New state: FAILED_SCALING")
	s.recover()
	s.wantActions("terminate 100")
	s.end(100)
	s.wantState(spec.ServiceCooldown)
	s.wantNodes("a", 1, 101)
}

// Whoever ends VMs while a scale-down waits to be recovered has lowered the
// cardinality: RUNNING never counts VMs that are not there.
func TestVMsLostInAFailedScaleDownLowerTheCardinality(t *testing.T) {
	s := runningStage(t, oneRole(3))
	s.scale("a", 2)
	s.set(one.VMActive, one.LCMEpilogFailure, 100)
	s.plan()
	s.wantState(spec.ServiceFailedScaling)
	s.end(101, 102)
	s.recover()
	s.wantState(spec.ServiceCooldown)
	s.wantNodes("a", 1, 100)
}

func wantScaleWay(t *testing.T, s *stage, want string) {
	t.Helper()
	name := s.state.Service.Body.Roles[0].Name
	text := asJSON(t, s.role(name))
	has := strings.Contains(text, `"scale_way"`)
	if want == "" && has || want != "" && !strings.Contains(text, fmt.Sprintf(`"scale_way":%s`, want)) {
		t.Fatalf("scale_way is not %q in %s", want, text)
	}
}
