package flow_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/spec"
)

func updating(appendTo bool, template string) flow.UpdateArguments {
	return flow.UpdateArguments{Append: appendTo, Template: json.RawMessage(template)}
}

func TestUpdateAppends(t *testing.T) {
	s := runningStage(t, masterSlave)
	s.command(flow.VerbUpdate, updating(true, `{"description":"upd","name":"web","own":1,"roles":[{"name":"Master","min_vms":"1","max_vms":9,"cardinality":1}]}`))
	body := s.state.Service.Body
	if *body.Description != "upd" || string(body.Extra["own"]) != "1" || *s.role("Master").MaxVMs != 9 {
		t.Errorf("the body is %s", asJSON(t, body))
	}
	if *s.role("Master").MinVMs != 1 || *s.role("Master").Cooldown != 3 {
		t.Errorf("the role lost what it had: %s", asJSON(t, s.role("Master")))
	}
	s.wantState(spec.ServiceRunning)
	s.wantNodes("Master", 1, 100)
	s.command(flow.VerbUpdate, updating(true, asJSON(t, `{"description":"text"}`)))
	if *s.state.Service.Body.Description != "text" {
		t.Error("a template in a text is not read")
	}
}

func TestUpdateReplaces(t *testing.T) {
	s := runningStage(t, `{"name":"web","description":"old","shutdown_action":"terminate-hard","roles":[{"name":"a","type":"vm","cardinality":1,"template_id":0,"min_vms":1}]}`)
	s.command(flow.VerbUpdate, updating(false, `{"name":"web","description":"new","roles":[{"name":"a","template_id":3}]}`))
	body := s.state.Service.Body
	if *body.Description != "new" || body.ShutdownAction != "" || s.role("a").MinVMs != nil || s.role("a").TemplateID != 3 {
		t.Errorf("the body is %s", asJSON(t, body))
	}
	s.wantNodes("a", 1, 100)
	s.wantState(spec.ServiceRunning)
}

// TestAnUpdateNamesARoleWithALongName: at whatever place of the update it stands.
func TestAnUpdateNamesARoleWithALongName(t *testing.T) {
	long := strings.Repeat("long", 100)
	s := runningStage(t, `{"name":"s","roles":[{"name":"a","type":"vm","template_id":0},{"name":"`+long+`","type":"vm","cardinality":1,"template_id":0}]}`)
	s.command(flow.VerbUpdate, updating(true, `{"roles":[{"name":"`+long+`","max_vms":3}]}`))
	s.command(flow.VerbUpdate, updating(false, `{"name":"s","roles":[{"name":"`+long+`","template_id":0,"max_vms":4},{"name":"a","template_id":0}]}`))
	if *s.role(long).MaxVMs != 4 {
		t.Errorf("the role is %s", asJSON(t, s.role(long)))
	}
	s.wantRefusal(flow.RefusedInput, "roles[0].name", flow.VerbUpdate, updating(true, `{"roles":[{"name":"`+long+`2"}]}`))
}

func TestUpdatesThatAreRefused(t *testing.T) {
	s := runningStage(t, masterSlave)
	for name, test := range map[string]struct {
		template, names string
		appendTo        bool
		kind            flow.RefusalKind
	}{
		"the name":         {`{"name":"n"}`, `"name"`, true, flow.RefusedState},
		"the state":        {`{"state":3}`, `"state"`, true, flow.RefusedState},
		"a network":        {`{"networks_values":[]}`, `"networks_values"`, true, flow.RefusedState},
		"a cardinality":    {`{"roles":[{"name":"Master","cardinality":2}]}`, `"cardinality"`, true, flow.RefusedState},
		"nodes":            {`{"roles":[{"name":"Master","nodes":[]}]}`, `"nodes"`, true, flow.RefusedState},
		"another role":     {`{"roles":[{"name":"zz"}]}`, "add_role", true, flow.RefusedState},
		"a role less":      {`{"name":"web","roles":[{"name":"Master","template_id":0}]}`, "remove_role", false, flow.RefusedState},
		"a type":           {`{"shutdown_action":7}`, "shutdown_action", true, flow.RefusedInput},
		"limits":           {`{"roles":[{"name":"Master","min_vms":3}]}`, "min_vms", true, flow.RefusedInput},
		"roles of no kind": {`{"roles":{}}`, "roles", true, flow.RefusedInput},
		"no JSON":          {`"{bad"`, "not JSON", true, flow.RefusedInput},
		"nothing":          {`[]`, "array", false, flow.RefusedInput},
		"a part":           {`{"name":"n","description":"d"}`, `"roles" is missing`, false, flow.RefusedInput},
		"no name":          {`{"name":null,"roles":[]}`, `"name" is missing`, false, flow.RefusedInput},
	} {
		t.Run(name, func(t *testing.T) {
			s.t = t
			s.wantRefusal(test.kind, test.names, flow.VerbUpdate, updating(test.appendTo, test.template))
		})
	}
}

// What is wrong already does not stand in an update's way.
func TestUpdateOfAServiceBeyondItsLimits(t *testing.T) {
	s := runningStage(t, masterSlave)
	s.command(flow.VerbScale, flow.ScaleArguments{Role: "Master", Cardinality: 6, Force: true})
	s.command(flow.VerbUpdate, updating(true, `{"description":"d"}`))
	s.wantState(spec.ServiceScaling)
}
