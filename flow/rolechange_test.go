package flow_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
)

// adding are add_role's arguments.
func adding(role string) flow.AddRoleArguments {
	return flow.AddRoleArguments{Role: json.RawMessage(role)}
}

const extraRole = `{"name":"Extra","type":"vm","cardinality":"1","template_id":0,"parents":["Master"]}`

func TestRoleIsAddedAndDeployed(t *testing.T) {
	s := runningStage(t, masterSlave)
	s.command(flow.VerbAddRole, adding(extraRole))
	s.wantState(spec.ServiceDeploying)
	s.wantActions("create Extra/0")
	s.create()
	s.run(102)
	s.wantState(spec.ServiceRunning)
	s.wantNodes("Extra", 1, 102)
	s.wantLog("I New state: RUNNING", "I New state: DEPLOYING", "I New state: RUNNING")
	extra := s.role("Extra")
	if *extra.Cooldown != 300 || string(extra.TemplateContents) != "{}" || *extra.OnHold {
		t.Errorf("the role is %s", asJSON(t, extra))
	}
}

func TestRoleIsAddedFromAText(t *testing.T) {
	s := runningStage(t, masterSlave)
	s.command(flow.VerbAddRole, adding(asJSON(t, extraRole)))
	s.wantActions("create Extra/0")
}

// TestARoleIsAddedBesideOneThatCouldNotBe: what an older version has stored is no reason to refuse another role, which is held to
// the rules itself.
func TestARoleIsAddedBesideOneThatCouldNotBe(t *testing.T) {
	for _, name := range []string{strings.Repeat("long", 100), "two words"} {
		s := runningStage(t, fmt.Sprintf(`{"name":"s","roles":[{"name":"a","type":"vm","template_id":0},{"name":%q,"type":"vm","cardinality":1,"template_id":0}]}`, name))
		for role, wrong := range map[string]string{
			fmt.Sprintf(`{"name":"%s2","type":"vm","template_id":0}`, name):                                                           "role.name",
			fmt.Sprintf(`{"name":"x","type":"vm","template_id":0,"parents":[%q,"zz"]}`, name):                                         "role.parents",
			fmt.Sprintf(`{"name":"x","type":"vm","template_id":0,"user_inputs":{%q:"O|text|"}}`, strings.Repeat("x", spec.MaxName+1)): "role.user_inputs",
		} {
			s.wantRefusal(flow.RefusedInput, wrong, flow.VerbAddRole, adding(role))
		}
		s.command(flow.VerbAddRole, adding(fmt.Sprintf(`{"name":"x","type":"vm","cardinality":1,"template_id":0,"parents":[%q]}`, name)))
		s.wantActions("create x/0")
	}
	var roles []string
	for i := range 200 {
		roles = append(roles, fmt.Sprintf(`{"name":"no %d","type":"vm","template_id":0}`, i))
	}
	s := runningStage(t, `{"name":"s","roles":[`+strings.Join(roles, ",")+`]}`)
	s.wantRefusal(flow.RefusedInput, "name", flow.VerbAddRole, adding(`{"name":"x","type":"vm","template_id":0,"parents":["zz"]}`))
}

func TestRolesThatCannotBeAdded(t *testing.T) {
	s := runningStage(t, masterSlave)
	for name, test := range map[string]struct {
		role, names string
		kind        flow.RefusalKind
	}{
		"a name twice":       {`{"name":"Slave","type":"vm","template_id":0}`, "Slave", flow.RefusedState},
		"no type":            {`{"name":"x","template_id":0}`, `role.type (role "x"): is missing`, flow.RefusedInput},
		"an unknown parent":  {`{"name":"x","type":"vm","template_id":0,"parents":["zz"]}`, "zz", flow.RefusedInput},
		"its own parent":     {`{"name":"x","type":"vm","template_id":0,"parents":["x"]}`, "itself", flow.RefusedInput},
		"no object":          {`[]`, "array", flow.RefusedInput},
		"nothing":            {`null`, "service 27", flow.RefusedInput},
		"a negative count":   {`{"name":"x","type":"vm","template_id":0,"cardinality":-1}`, "cardinality", flow.RefusedInput},
		"no JSON in a text":  {`"{bad"`, "not JSON", flow.RefusedInput},
		"a name with blanks": {`{"name":"x y","type":"vm","template_id":0}`, "x y", flow.RefusedInput},
	} {
		t.Run(name, func(t *testing.T) {
			s.t = t
			s.wantRefusal(test.kind, test.names, flow.VerbAddRole, adding(test.role))
		})
	}
	s.t = t
	s.scale("Master", 2)
	s.wantRefusal(flow.RefusedState, "SCALING", flow.VerbAddRole, adding(extraRole))
}

func TestRoleIsRemovedAndTheOthersRunOn(t *testing.T) {
	s := runningStage(t, masterSlave)
	s.command(flow.VerbRemoveRole, flow.RemoveRoleArguments{Role: "Master"})
	s.wantState(spec.ServiceUndeploying)
	s.wantActions("terminate 100")
	s.wantRole("Slave", spec.RoleRunning)
	s.end(100)
	s.wantState(spec.ServiceRunning)
	s.wantActions()
	s.wantNodes("Slave", 1, 101)
	if roles := s.state.Service.Body.Roles; len(roles) != 1 || len(roles[0].Parents) != 0 {
		t.Errorf("the roles are %s", asJSON(t, roles))
	}
	s.wantLog("I New state: RUNNING", "I New state: UNDEPLOYING", "I New state: RUNNING")
}

func TestLossWhileARoleIsRemoved(t *testing.T) {
	s := runningStage(t, masterSlave)
	s.command(flow.VerbRemoveRole, flow.RemoveRoleArguments{Role: "Slave"})
	s.end(100)
	s.wantNodes("Master", 0)
	s.end(101)
	s.wantState(spec.ServiceRunning)
}

func TestRemovalFailsAndIsRecovered(t *testing.T) {
	s := runningStage(t, masterSlave)
	s.command(flow.VerbRemoveRole, flow.RemoveRoleArguments{Role: "Slave"})
	s.set(one.VMActive, one.LCMEpilogFailure, 101)
	s.plan()
	s.wantState(spec.ServiceFailedUndeploying)
	s.recover()
	s.wantActions("terminate 101")
	s.end(101)
	s.wantState(spec.ServiceRunning)
	s.wantNodes("Master", 1, 100)
}

func TestUndeployWhileARoleIsRemoved(t *testing.T) {
	s := runningStage(t, masterSlave)
	s.command(flow.VerbRemoveRole, flow.RemoveRoleArguments{Role: "Slave"})
	s.command(flow.VerbUndeploy, nil)
	s.end(101)
	s.wantActions("terminate 100")
	s.end(100)
	s.wantActions("delete document")
}

func TestRolesThatCannotBeRemoved(t *testing.T) {
	s := runningStage(t, masterSlave)
	s.wantRefusal(flow.RefusedMissing, "zz", flow.VerbRemoveRole, flow.RemoveRoleArguments{Role: "zz"})
	s.scale("Master", 2)
	s.wantRefusal(flow.RefusedState, "SCALING", flow.VerbRemoveRole, flow.RemoveRoleArguments{Role: "Slave"})
}
