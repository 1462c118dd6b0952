package flow_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/policy"
	"github.com/flowjet/flowjet/flow/spec"
)

// another has a VM that another program has created for the stage's service.
func (s *stage) another(role string) one.VM {
	vm := s.vmOf(flow.Intent{Role: role})
	s.facts[vm.ID] = vm
	return vm
}

// TestAServiceThatIsJustMetIsLeftAlone while another program creates its VMs: none is created twice.
func TestAServiceThatIsJustMetIsLeftAlone(t *testing.T) {
	s := newStage(t, oneRole(2))
	s.state = flow.Met(s.state, s.now, s.settings)
	s.plan()
	s.wantActions()
	s.wantState(spec.ServicePending)
	s.now = s.now.Add(s.settings.CheckInterval - time.Second)
	first := s.another("a")
	s.plan()
	s.planAfter(time.Second) // the other program is slow
	s.wantActions()
	if due := s.state.Deadlines[flow.DeadlineCheck]; !due.After(s.now) {
		t.Errorf("it is checked again at %s", due)
	}
	if text := explained(flow.Explain(s.state, s.facts, s.now)); !strings.Contains(text, "may be creating its VMs") {
		t.Errorf("it is explained as %s", text)
	}
	second := s.another("a")
	s.plan()
	s.state.Service.Body.Roles[0].Nodes = []spec.Node{spec.NewNode(first), spec.NewNode(second)}
	s.run(first.ID, second.ID)
	s.planAfter(s.settings.CheckInterval)
	s.wantActions()
	s.wantState(spec.ServiceRunning)
}

// A command ends that, and a service that nobody creates goes on by itself.
func TestAServiceThatIsJustMetGoesOn(t *testing.T) {
	s := newStage(t, oneRole(1))
	s.state = flow.Met(s.state, s.now, s.settings)
	s.plan()
	s.planAfter(s.settings.CheckInterval)
	s.wantActions("create a/0")
	s = newStage(t, oneRole(1))
	s.state = flow.Met(s.state, s.now, s.settings)
	s.command(flow.VerbDeploy, nil)
	s.wantActions("create a/0")
	s = runningStage(t, oneRole(1))
	if s.state = flow.Met(s.state, s.now, s.settings); s.state.LeftAlone != nil {
		t.Error("a service that gets no VMs is left alone")
	}
}

// TestAServiceThatAnotherProgramDrivesIsLeftAlone until a user recovers it.
func TestAServiceThatAnotherProgramDrivesIsLeftAlone(t *testing.T) {
	elastic := strings.Replace(oneRole(1), `"type"`, `"min_vms":1,"max_vms":5,"elasticity_policies":[{"type":"CHANGE","adjust":1,"expression":"CPU > 80"}],"type"`, 1)
	s := runningStage(t, elastic)
	vm := s.another("a")
	s.state = flow.Driven(s.state, "", []int{vm.ID}, s.facts, s.settings)
	role := s.role("a")
	role.Nodes, role.Cardinality = append(role.Nodes, spec.NewNode(vm)), 2
	strange := s.another("a")
	strange.Owner = one.Identity{UID: 7}
	s.facts[strange.ID] = strange
	role.Nodes = append(role.Nodes, spec.NewNode(strange)) // nobody's document is changed
	s.set(one.VMPoweroff, one.LCMInit, 100)
	s.plan()
	s.wantState(spec.ServiceRunning)
	s.take(flow.Decide(s.in(), flow.Measured{Measures: policy.Measures{
		At: s.now, Until: s.now.Add(time.Minute), Roles: map[string]map[string]float64{"a": {"CPU": 99}},
	}}))
	s.wantActions()
	s.wantNodes("a", 2, 100, 101, 102)
	if why := flow.Explain(s.state, s.facts, s.now); len(why.Waits) != 1 || !strings.Contains(why.Waits[0].Message, "has added VM 101") || !strings.Contains(why.Next[0], "oneflow recover 27") {
		t.Errorf("it is explained as %+v", why)
	}
	for _, given := range everyCommand {
		if given.verb != flow.VerbRecover {
			s.wantRefusal(flow.RefusedState, "has added VM 101", given.verb, given.arguments)
		}
	}
	before := s.state
	s.recoverDelete()
	s.wantActions("terminate 100", "terminate 101")
	s.state = before
	s.recover()
	s.wantState(spec.ServiceWarning)
}

// What nobody created for the service says nothing: VMs that have ended, that carry its keys, or that are not its own.
func TestNodesThatSomebodyWrote(t *testing.T) {
	s := runningStage(t, oneRole(2))
	keyed, strange, ended := s.facts[100], s.another("a"), s.another("a")
	strange.Owner = one.Identity{UID: 7}
	ended.State = one.VMDone
	for _, vm := range []one.VM{keyed, strange, ended} {
		s.facts[vm.ID] = vm
		if state := flow.Driven(s.state, "", []int{vm.ID}, s.facts, s.settings); state.LeftAlone != nil {
			t.Errorf("the service is left alone because of %+v", vm)
		}
	}
}

// TestLinesThatAnotherProgramLogged: older lines of the service's, and a user's own, are none.
func TestLinesThatAnotherProgramLogged(t *testing.T) {
	line := func(at int64, message string) spec.LogEntry {
		return spec.LogEntry{Timestamp: at, Severity: "I", Message: message}
	}
	s := runningStage(t, oneRole(1))
	ours := []spec.LogEntry{line(100, "New state: DEPLOYING"), line(200, "New state: RUNNING")}
	s.state.Service.Body.Log = ours
	for want, log := range map[string][]spec.LogEntry{
		"New state: WARNING":                    append(slices.Clone(ours), line(200, "New state: WARNING")),
		"New state: RUNNING":                    append(slices.Clone(ours), line(201, "New state: RUNNING")),
		"Role a scaling down from 2 to 1 nodes": {ours[0], line(150, "Role a scaling down from 2 to 1 nodes")},
		"":                                      {line(99, "New state: PENDING"), ours[0]},
	} {
		if got := flow.LoggedByOther(s.state, spec.Body{Log: log}); got != want {
			t.Errorf("%+v: got %q, want %q", log, got, want)
		}
	}
	if got := flow.LoggedByOther(s.state, spec.Body{Log: append(slices.Clone(ours), line(300, "checked by hand"))}); got != "" {
		t.Errorf("a user's own line counts: %q", got)
	}
}

// TestVMsOfTheServerUser: OneFlow alone creates VMs as the server user.
func TestVMsOfTheServerUser(t *testing.T) {
	s := runningStage(t, oneRole(1))
	s.settings.ServerUser = "serveradmin"
	vm := s.another("a")
	vm.Owner = one.Identity{UID: 1, UName: "serveradmin"}
	if !flow.CreatedByServer(s.state, vm, s.settings) {
		t.Error("OneFlow's VM is not recognised")
	}
	for _, other := range []func(*one.VM){
		func(vm *one.VM) { vm.Owner.UName = "bob" },
		func(vm *one.VM) { vm.Service++ },
		func(vm *one.VM) { vm.State = one.VMDone },
		func(vm *one.VM) { vm.Owner = s.state.Service.Owner },
	} {
		vm := vm
		if other(&vm); flow.CreatedByServer(s.state, vm, s.settings) {
			t.Errorf("%+v counts as OneFlow's", vm)
		}
	}
}
