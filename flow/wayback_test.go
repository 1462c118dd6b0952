package flow_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
)

// refuse has oned refuse every VM that is to be made.
func (s *stage) refuse(message string) {
	s.t.Helper()
	for len(s.state.Intents) > 0 {
		s.take(flow.Decide(s.in(), refusal(flow.Action{Kind: flow.ActionCreateVM, Intent: flow.Intent{Key: s.state.Intents[0].Key}}, message)))
	}
}

func TestRefusedScalingIsTakenBack(t *testing.T) {
	s := runningStage(t, oneRole(1))
	s.scale("a", 3)
	s.refuse("no quota")
	s.wantState(spec.ServiceFailedScaling)
	s.scale("a", 1)
	s.wantLog("I Role a continues with 1 node", "I New state: SCALING", "I New state: COOLDOWN")
	s.planAfter(300 * time.Second)
	s.wantState(spec.ServiceRunning)
	s.wantNodes("a", 1, 100)
}

func TestRefusedScalingGoesOnWithAnotherCardinality(t *testing.T) {
	for name, test := range map[string]struct {
		to      int
		actions []string
	}{
		"what there is":       {3, []string{}},
		"more than there is":  {4, []string{"create a/5"}},
		"less than there is":  {2, []string{"terminate 101"}},
		"less than there was": {1, []string{"terminate 101", "terminate 102"}},
		"what was wanted":     {5, []string{"create a/5", "create a/6"}},
		"more than was asked": {6, []string{"create a/5", "create a/6", "create a/7"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := runningStage(t, oneRole(1))
			s.scale("a", 5)
			// Two of four have come, and are booting.
			for _, action := range s.actions[:2] {
				vm := s.vmOf(action.Intent)
				s.facts[vm.ID] = vm
			}
			s.plan()
			s.refuse("no quota")
			s.wantState(spec.ServiceFailedScaling)
			s.wantNodes("a", 5, 100, 101, 102)
			s.command(flow.VerbScale, flow.ScaleArguments{Role: "a", Cardinality: test.to})
			s.wantActions(test.actions...)
			s.wantState(spec.ServiceScaling)
		})
	}
}

func TestLimitsHoldOnTheWayBack(t *testing.T) {
	s := runningStage(t, strings.Replace(oneRole(2), `"type"`, `"min_vms":2,"max_vms":4,"type"`, 1))
	s.scale("a", 4)
	s.refuse("no quota")
	s.wantRefusal(flow.RefusedState, "min_vms is 2", flow.VerbScale, flow.ScaleArguments{Role: "a", Cardinality: 1})
	s.wantRefusal(flow.RefusedState, "max_vms is 4", flow.VerbScale, flow.ScaleArguments{Role: "a", Cardinality: 5})
	s.scale("a", 2)
	s.wantState(spec.ServiceCooldown)
}

// A role that was refused VMs while it was deployed goes on with those that there are, and a
// child of it follows.
func TestDeploymentGoesOnWithWhatThereIs(t *testing.T) {
	s := newStage(t, strings.Replace(masterSlave, `"cardinality":1`, `"cardinality":3`, 1))
	s.plan()
	vm := s.vmOf(s.actions[0].Intent)
	s.facts[vm.ID] = vm
	s.run(100)
	s.refuse("no quota")
	s.wantState(spec.ServiceFailedDeploying)
	if why := explained(flow.Explain(s.state, s.facts, s.now)); !strings.Contains(why, "`oneflow scale 27 Master 1` lets") || !strings.Contains(why, "`oneflow remove-role 27 Master`") {
		t.Errorf("the ways out are %s", why)
	}
	s.scale("Master", 1)
	s.wantRole("Master", spec.RoleRunning)
	s.wantActions("create Slave/0")
	s.create()
	s.run(101)
	s.wantState(spec.ServiceRunning)
	s.wantNodes("Master", 1, 100)
}

// A role that ran in a failed service, and whose scaling fails too, says why by that failure alone.
func TestScalingFailsInAFailedDeployment(t *testing.T) {
	s := newStage(t, masterSlave)
	s.plan()
	s.create()
	s.run(100)
	s.refuse("no quota")
	s.wantState(spec.ServiceFailedDeploying)
	s.scale("Master", 2)
	s.refuse("no quota")
	s.wantState(spec.ServiceFailedDeploying)
	s.wantRole("Master", spec.RoleFailedScaling)
	if messages := s.messages(); strings.Contains(messages, "not possible") {
		t.Errorf("the log has %s", messages)
	}
	s.scale("Master", 1)
	s.wantRole("Master", spec.RoleRunning)
	s.create()
	s.run(101)
	s.wantState(spec.ServiceRunning)
}

// What does not start is ended, and what runs is kept.
func TestDeploymentGoesOnWithLess(t *testing.T) {
	s := newStage(t, oneRole(3))
	s.plan()
	s.create()
	s.set(one.VMActive, one.LCMBootFailure, 102)
	s.run(100)
	s.wantState(spec.ServiceFailedDeploying)
	s.scale("a", 1)
	s.wantState(spec.ServiceDeploying)
	s.end(102)
	s.end(101)
	s.wantState(spec.ServiceRunning)
	s.wantNodes("a", 1, 100)
	if role := s.role("a"); role.ScaleWay != nil {
		t.Errorf("the role still scales: %s", asJSON(t, role))
	}
}

// A call that may have made a VM is looked for before the role goes on without it.
func TestLateVMIsEndedOnTheWayBack(t *testing.T) {
	s := runningStage(t, oneRole(1))
	s.scale("a", 3)
	s.take(flow.Decide(s.in(), flow.Postponed{Action: s.actions[0], Message: "no answer"}))
	doubtful := s.state.Intents[0]
	s.take(flow.Decide(s.in(), refusal(flow.Action{Kind: flow.ActionCreateVM, Intent: flow.Intent{Key: s.state.Intents[1].Key}}, "no quota")))
	s.wantState(spec.ServiceFailedScaling)
	s.scale("a", 1)
	s.wantActions("find a/1")
	vm := s.vmOf(doubtful)
	s.facts[vm.ID] = vm
	s.run(vm.ID)
	s.wantState(spec.ServiceScaling)
	s.wantActions("terminate 100")
}

func TestRoleThatCannotBeMadeIsRemoved(t *testing.T) {
	s := runningStage(t, masterSlave)
	s.command(flow.VerbAddRole, adding(extraRole))
	s.refuse("[one.template.instantiate] Error getting template [7].")
	s.wantState(spec.ServiceFailedDeploying)
	s.command(flow.VerbRemoveRole, flow.RemoveRoleArguments{Role: "Extra"})
	s.wantState(spec.ServiceRunning)
	s.wantActions()
	s.wantNodes("Master", 1, 100)
	s.wantNodes("Slave", 1, 101)
}

// Who waits for a role that is removed goes on without it.
func TestChildOfARemovedRoleIsDeployed(t *testing.T) {
	s := newStage(t, masterSlave)
	s.plan()
	s.refuse("no quota")
	s.command(flow.VerbRemoveRole, flow.RemoveRoleArguments{Role: "Master"})
	s.wantState(spec.ServiceDeploying)
	s.wantActions("create Slave/0")
}

// The other roles that failed still have.
func TestOtherFailureOutlivesARemoval(t *testing.T) {
	s := newStage(t, strings.Replace(masterSlave, "straight", "none", 1))
	s.plan()
	s.refuse("no quota")
	s.wantRole("Slave", spec.RoleFailedDeploying)
	s.command(flow.VerbRemoveRole, flow.RemoveRoleArguments{Role: "Master"})
	s.wantState(spec.ServiceFailedDeploying)
	s.recover()
	s.wantState(spec.ServiceDeploying)
}

func TestCorrectedRoleIsRecovered(t *testing.T) {
	s := runningStage(t, masterSlave)
	s.command(flow.VerbAddRole, adding(extraRole))
	s.refuse("no such template")
	s.command(flow.VerbUpdate, map[string]any{"append": true, "template": map[string]any{
		"roles": []any{map[string]any{"name": "Extra", "template_id": 9}}}})
	s.wantState(spec.ServiceFailedDeploying)
	s.recover()
	s.wantActions("create Extra/1")
	if id := s.actions[0].Intent.TemplateID; id != 9 {
		t.Errorf("the VM is made from template %d", id)
	}
}

// Contents that take the place of refused ones get the inputs, too.
func TestCorrectedContentsHaveTheInputs(t *testing.T) {
	s := newStage(t, `{"name":"web","user_inputs_values":{"RAM":"32"},"roles":[{"name":"a","type":"vm","cardinality":1,"template_id":0}]}`)
	s.plan()
	s.refuse("MEMORY attribute must be a positive integer value")
	s.command(flow.VerbUpdate, map[string]any{"append": true, "template": map[string]any{
		"roles": []any{map[string]any{"name": "a", "template_contents": map[string]any{"CPU": "1"}}}}})
	s.recover()
	if contents := string(s.role("a").TemplateContents); !strings.Contains(contents, `"RAM":"32"`) || !strings.Contains(contents, `"CPU":"1"`) {
		t.Errorf("the contents are %s", contents)
	}
}

func TestEveryFailureIsUndeployed(t *testing.T) {
	for state, s := range stagesInEveryState(t) {
		if !state.Failed() {
			continue
		}
		t.Run(state.String(), func(t *testing.T) {
			s.t = t
			s.command(flow.VerbUndeploy, nil)
			for range 3 {
				for id := range s.facts {
					s.set(one.VMDone, one.LCMInit, id)
				}
				s.plan()
			}
			s.wantState(spec.ServiceDone)
		})
	}
}

// attempts are the commands that may lead out of a state, as the documentation calls them.
var attempts = map[string]struct {
	verb      flow.Verb
	arguments any
}{
	"recover":          {flow.VerbRecover, flow.RecoverArguments{}},
	"recover --delete": {flow.VerbRecover, flow.RecoverArguments{Delete: true}},
	"undeploy":         {flow.VerbUndeploy, nil},
	"scale":            {flow.VerbScale, flow.ScaleArguments{Role: "a", Cardinality: 1, Force: true}},
	"remove_role":      {flow.VerbRemoveRole, flow.RemoveRoleArguments{Role: "a"}},
	"add_role":         {flow.VerbAddRole, adding(`{"name":"n","type":"vm","cardinality":1,"template_id":0}`)},
	"release":          {flow.VerbRelease, flow.ReleaseArguments{}},
}

// TestTableOfStates walks every state and every command: those that the table of states in
// the documentation names are accepted and lead where the table of transitions allows, the
// others are refused; and where a state is left for by itself, the documentation tells.
func TestTableOfStates(t *testing.T) {
	documented := documentedStates(t)
	for _, state := range spec.ServiceStates() {
		t.Run(state.String(), func(t *testing.T) {
			row, has := documented[state.String()]
			if !has {
				t.Fatal("docs/services.md does not tell of the state")
			}
			leads := row.byItself
			for name, attempt := range attempts {
				s := stagesInEveryState(t)[state]
				s.t = t
				err := s.tryCommand(attempt.verb, attempt.arguments)
				if wanted := slices.Contains(row.commands, name); wanted != (err == nil) && state != spec.ServiceDone {
					t.Errorf("%s gives %v; the documentation names it: %v", name, err, wanted)
				}
				if err == nil {
					leads = append(leads, firstState(s.changes)...)
				}
			}
			allowed := strings.Fields(serviceWays[state.String()])
			slices.Sort(leads)
			slices.Sort(allowed)
			if leads = slices.Compact(leads); !slices.Equal(leads, allowed) {
				t.Errorf("the documentation and the commands lead to %q, the table of transitions to %q", leads, allowed)
			}
		})
	}
}

// firstState is where the service went first, if anywhere.
func firstState(changes []flow.Change) []string {
	for _, change := range changes {
		if change.Kind == "service" {
			return []string{change.New}
		}
	}
	return nil
}

type documentedState struct{ byItself, commands []string }

// documentedStates reads the table of states of docs/services.md.
func documentedStates(t *testing.T) map[string]documentedState {
	t.Helper()
	text, err := os.ReadFile("../docs/services.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "## States and the ways out of them")
	section, _, _ = strings.Cut(section, "\n## ")
	quoted := regexp.MustCompile("`([^`]+)`")
	names := func(cell string) (found []string) {
		for _, match := range quoted.FindAllStringSubmatch(cell, -1) {
			found = append(found, match[1])
		}
		return found
	}
	states := map[string]documentedState{}
	for line := range strings.Lines(section) {
		cells := strings.Split(line, "|")
		if len(cells) != 6 || len(names(cells[1])) != 1 {
			continue
		}
		states[names(cells[1])[0]] = documentedState{names(cells[3]), names(cells[4])}
	}
	return states
}
