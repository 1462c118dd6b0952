package flow_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
)

// stranger is a VM that somebody else has made to look like the service's.
func stranger(random *rand.Rand, s *stage, id int) one.VM {
	keys := []string{"", "made-up", "27-a-0-zzzzzzzz", "28-a-0-zzzzzzzz", "27--", "27-a-0-"}
	for _, intent := range s.state.Intents {
		keys = append(keys, intent.Key)
	}
	for _, id := range slices.Sorted(maps.Keys(s.facts)) {
		keys = append(keys, s.facts[id].Key)
	}
	vm := one.VM{
		ID: id, Owner: one.Identity{UID: 3, GID: 1, UName: "mallory", GName: "users"}, Name: "a_0_(service_27)",
		State: one.VMState(random.IntN(12)), LCMState: one.LCMState(random.IntN(72)), Ready: random.IntN(2) == 0,
		Service: 27, Role: []string{"a", "b", "gone", ""}[random.IntN(4)], Key: keys[random.IntN(len(keys))],
	}
	if random.IntN(4) == 0 { // the owner's own VM, of another service or of none
		vm.Owner, vm.Service = stageOwner, 26+2*random.IntN(2)
	}
	if vm.State == one.VMDone {
		vm.State = one.VMPoweroff
	}
	return vm
}

// Whatever strangers make of their VMs, a service decides as if they were not there.
func TestStrangersVMsChangeNothing(t *testing.T) {
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 1))
		alone, beset := newStage(t, oneRole(2)), newStage(t, oneRole(2))
		for step := range 12 {
			for id := range random.IntN(4) {
				vm := stranger(random, beset, 900+id)
				beset.facts[vm.ID] = vm
			}
			what := random.IntN(6)
			for _, s := range []*stage{alone, beset} {
				switch what {
				case 0:
					s.planAfter(10 * time.Second)
				case 1:
					s.create()
				case 2:
					for _, node := range s.state.Service.Body.Roles[0].Nodes {
						s.run(node.DeployID)
					}
				case 3:
					_ = s.tryCommand(flow.VerbScale, flow.ScaleArguments{Role: "a", Cardinality: 1 + step%4})
				case 4:
					for _, node := range s.state.Service.Body.Roles[0].Nodes {
						s.set(one.VMPoweroff, one.LCMInit, node.DeployID)
					}
				default:
					s.plan()
				}
			}
			if a, b := asJSON(t, alone.state), asJSON(t, beset.state); a != b {
				t.Fatalf("seed %d, step %d (%d): with strangers the state is\n%s\nwithout\n%s", seed, step, what, b, a)
			}
			if a, b := asJSON(t, alone.actions), asJSON(t, beset.actions); a != b {
				t.Fatalf("seed %d, step %d: with strangers the actions are\n%s\nwithout\n%s", seed, step, b, a)
			}
			explained := asJSON(t, flow.Explain(beset.state, beset.facts, beset.now))
			if strings.Contains(explained, "90") && strings.Contains(explained, "VM 90") {
				t.Fatalf("seed %d: a stranger's VM is told of: %s", seed, explained)
			}
		}
	}
}

// Whatever VMs are written into a service's document, only those that are the service's
// are asked for anything, in any state and on any command.
func TestStrangersNodesAreLeftAlone(t *testing.T) {
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 2))
		s := runningStage(t, oneRole(2))
		for id := range 1 + random.IntN(3) {
			vm := stranger(random, s, 900+id)
			s.facts[vm.ID] = vm
			role := &s.state.Service.Body.Roles[0]
			role.Nodes = append(role.Nodes, spec.NewNode(one.VM{ID: vm.ID}))
		}
		for step := range 15 {
			switch random.IntN(7) {
			case 0:
				_ = s.tryCommand(flow.VerbScale, flow.ScaleArguments{Role: "a", Cardinality: random.IntN(4)})
			case 1:
				_ = s.tryCommand(flow.VerbUndeploy, nil)
			case 2:
				_ = s.tryCommand(flow.VerbRecover, flow.RecoverArguments{Delete: random.IntN(2) == 0})
			case 3:
				for id, vm := range s.facts {
					if id < 900 && random.IntN(2) == 0 {
						vm.State, vm.LCMState = one.VMDone, one.LCMInit
						s.facts[id] = vm
					}
				}
				s.plan()
			case 4:
				s.create()
			default:
				s.planAfter(time.Duration(random.IntN(60)) * time.Second)
			}
			for _, action := range s.actions {
				if action.Kind == flow.ActionVM || action.Kind == flow.ActionRecoverVM {
					if action.VM >= 900 {
						t.Fatalf("seed %d, step %d: %s is asked of a stranger's VM %d", seed, step, action.Call, action.VM)
					}
				}
			}
		}
		for id := range s.state.Asked {
			if id >= 900 {
				t.Fatalf("seed %d: something was asked of VM %d", seed, id)
			}
		}
	}
}

// A service with strangers' nodes comes to its end all the same.
func TestStrangersNodesHoldUpNoEnd(t *testing.T) {
	for name, end := range map[string]func(*stage){
		"undeploy":       func(s *stage) { s.command(flow.VerbUndeploy, nil) },
		"recover delete": func(s *stage) { s.command(flow.VerbUndeploy, nil); s.recoverDelete() },
		"scale to none":  func(s *stage) { s.scale("a", 0); s.end(100); s.planAfter(time.Hour); s.command(flow.VerbUndeploy, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			s := runningStage(t, oneRole(1))
			s.state.Service.Made = spec.VMsOf([]int{100, 900})
			bobs := one.VM{ID: 900, Owner: one.Identity{UID: 3, UName: "bob"}, State: one.VMActive, LCMState: one.LCMRunning, Service: -1}
			s.facts[900] = bobs
			role := &s.state.Service.Body.Roles[0]
			role.Nodes = append(role.Nodes, spec.NewNode(bobs))
			notes := flow.Explain(s.state, s.facts, s.now).Notes
			if len(notes) != 1 || !strings.Contains(notes[0].Message, "VM 900 belongs to bob now") || !strings.Contains(notes[0].Message, "`onevm chown 900 "+s.state.Service.Owner.UName+"`") {
				t.Errorf("the notes are %+v", notes)
			}
			if doubtful := s.state.Doubtful(); !slices.Contains(doubtful, 900) {
				t.Errorf("%v are read for an explanation", doubtful)
			}
			end(s)
			isLeft := func(c flow.Change) bool { return c.Kind == "vm" && *c.VM == 900 && c.New == "left" }
			if name == "undeploy" && !slices.ContainsFunc(s.changes, isLeft) {
				t.Errorf("the changes are %+v", s.changes)
			}
			s.end(100)
			for range 5 {
				s.planAfter(time.Second)
			}
			if got := s.state.Service.State(); got != spec.ServiceDone && got != spec.ServiceUndeployingNets {
				t.Errorf("the service is %s: %s", got, fmt.Sprint(s.state.Asked))
			}
		})
	}
}

// A service that is given to another owner keeps its VMs, which are moved one by one, and a
// former owner's VMs are nobody's a while later.
func TestAServiceThatIsGivenAway(t *testing.T) {
	s := runningStage(t, oneRole(2))
	bob := one.Identity{UID: 3, GID: 1, UName: "bob", GName: "users"}
	s.state.Service = s.state.Service.OwnedBy(bob, s.now)
	s.planAfter(time.Second)
	s.wantActions()
	s.wantNodes("a", 2, 100, 101)
	if strangers := s.state.Strangers(s.facts); len(strangers) > 0 {
		t.Fatalf("while its VMs are moved, %v are strangers", strangers)
	}
	moved := s.facts[100]
	moved.Owner = bob
	s.facts[100] = moved
	s.command(flow.VerbUndeploy, nil)
	s.wantActions("terminate 100", "terminate 101")

	late := s.state.Service.OwnedBy(bob, s.now.Add(time.Hour))
	if late.Owns(s.facts[101]) || !late.Owns(moved) {
		t.Error("an hour later the former owner's VM is the service's")
	}
}

// Whoever replaces a VM's user template takes SERVICE_ID and the key with it. The VM stays the service's by what the record has of
// it, and without that by its name, or it would run on, and cost, after the service has ended; another of the owner's VMs is none by being a node.
func TestAVMWhoseUserTemplateWasReplaced(t *testing.T) {
	replaced := func(s *stage, id int, change func(*one.VM)) {
		vm := s.facts[id]
		vm.Service, vm.Role, vm.Key = -1, "", ""
		change(&vm)
		s.facts[id] = vm
		s.planAfter(time.Second)
	}
	renamed := func(vm *one.VM) { vm.Name = "a_1" }
	lost := func(s *stage) { s.state.Service.Made = nil } // as a record of before, or one that was lost
	for name, test := range map[string]struct {
		before func(*stage)
		change func(*one.VM)
	}{
		"renamed":                            {func(*stage) {}, renamed},
		"with its name, the record was lost": {lost, func(vm *one.VM) { vm.Name = "a_1_(service_27)" }},
		"renamed, seen since an upgrade":     {func(s *stage) { lost(s); s.planAfter(time.Second) }, renamed},
		"with a key of something else":       {func(*stage) {}, func(vm *one.VM) { renamed(vm); vm.Key = "door" }},
	} {
		t.Run(name, func(t *testing.T) {
			s := runningStage(t, oneRole(2))
			test.before(s)
			replaced(s, 101, test.change)
			s.wantActions()
			s.wantNodes("a", 2, 100, 101)
			s.set(one.VMPoweroff, one.LCMInit, 101)
			s.plan()
			s.wantState(spec.ServiceWarning)
			s.command(flow.VerbUndeploy, nil)
			s.wantActions("terminate 100", "terminate 101")
			s.end(100, 101)
			if made := s.state.Service.Made; made != nil {
				t.Errorf("the VMs %v are known to be the service's, and gone", made)
			}
		})
	}
	for name, test := range map[string]struct {
		before func(*stage)
		change func(*one.VM)
	}{
		"another name":                     {lost, renamed},
		"the name of another":              {lost, func(vm *one.VM) { vm.Name = "a_1_(service_270)" }},
		"another's VM":                     {func(*stage) {}, func(vm *one.VM) { vm.Name, vm.Owner.UID = "a_1_(service_27)", 3 }},
		"another service's id":             {func(*stage) {}, func(vm *one.VM) { vm.Name, vm.Service = "a_1_(service_27)", 28 }},
		"a node again that was none, once": {func(s *stage) { withoutNode(s, 101) }, renamed},
	} {
		t.Run(name, func(t *testing.T) {
			s := runningStage(t, oneRole(2))
			test.before(s)
			replaced(s, 101, test.change)
			s.command(flow.VerbUndeploy, nil)
			s.wantActions("terminate 100")
		})
	}
}

// withoutNode has the service planned with a document in which a VM is no node, and puts it back.
func withoutNode(s *stage, id int) {
	role := &s.state.Service.Body.Roles[0]
	vm, node := s.facts[id], role.Nodes[len(role.Nodes)-1]
	role.Nodes = role.Nodes[:len(role.Nodes)-1]
	role.Cardinality--
	delete(s.facts, id)
	s.plan()
	s.facts[id] = vm
	role = &s.state.Service.Body.Roles[0]
	role.Nodes = append(role.Nodes, node)
	role.Cardinality++
}

// What is written into a document makes no VM the service's, however long it stands there, and whatever becomes of its user template.
func TestADocumentMakesNoVMTheServices(t *testing.T) {
	s := runningStage(t, oneRole(2))
	private := one.VM{ID: 900, Name: "private", Owner: stageOwner, State: one.VMActive, LCMState: one.LCMRunning, Service: -1}
	for _, service := range []int{-1, 28, -1} {
		private.Service = service
		s.facts[900] = private
		role := &s.state.Service.Body.Roles[0]
		if !role.Has(900) {
			role.Nodes, role.Cardinality = append(role.Nodes, spec.NewNode(private)), role.Cardinality+1
		}
		s.planAfter(time.Second)
		if want := (spec.VMs{{100, 101}}); !slices.Equal(s.state.Service.Made, want) {
			t.Fatalf("the VMs %v are known to be the service's, not %v", s.state.Service.Made, want)
		}
	}
	s.command(flow.VerbUndeploy, nil)
	s.wantActions("terminate 100", "terminate 101")
}

// The record of a service with thousands of VMs has them as ranges, and only those that there are.
func TestTheRecordHasVMsAsRanges(t *testing.T) {
	s := runningStage(t, oneRole(5))
	s.scale("a", 3)
	s.end(100, 101)
	s.planAfter(time.Hour)
	s.scale("a", 4)
	s.created = 200
	s.create()
	s.run(200)
	if want := (spec.VMs{{102, 104}, {200, 200}}); !slices.Equal(s.state.Service.Made, want) {
		t.Errorf("the VMs %v are known to be the service's, not %v", s.state.Service.Made, want)
	}
}
