package flow_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
)

// Services as OneFlow wrote them, each version in its form: what they are called, which
// attributes they have, and of which type the values are.
var versions = map[string]string{
	"5.12": `{"name":"shop","deployment":"straight","description":"","roles":[
		{"name":"db","cardinality":1,"vm_template":0,"elasticity_policies":[],"scheduled_policies":[],"cooldown":300,"nodes":[{"deploy_id":400,"vm_info":{"VM":{"ID":"400","UID":"2","GID":"100","UNAME":"alice","GNAME":"devs","NAME":"db_0_(service_27)"}}}],"state":2,"last_vmname":1,"disposed_nodes":[]},
		{"name":"web","parents":["db"],"cardinality":"2","vm_template":0,"vm_template_contents":"NIC=[NAME=\"NIC0\",NETWORK_ID=\"0\"]\n","min_vms":1,"max_vms":4,"cooldown":"","shutdown_action":null,"nodes":[
			{"deploy_id":401,"vm_info":null},{"deploy_id":402,"disposed":false,"vm_info":{"VM":{"ID":"402","UID":"2","GID":"100","UNAME":"alice","GNAME":"devs","NAME":"web_1_(service_27)","STATE":"3","TEMPLATE":{"CPU":"1"}}}}],"state":2,"last_vmname":2}],
		"ready_status_gate":false,"custom_attrs":{},"custom_attrs_values":{},"networks":{"Public":"M|network|of the shop| |id:0"},"networks_values":[{"Public":{"id":"0"}}],"registration_time":1600000000,"start_time":1600000100,"state":2,
		"log":[{"timestamp":1600000200,"severity":"I","message":"New state: RUNNING"}]}`,
	"6.4": `{"name":"shop","deployment":"none","description":"d","roles":[
		{"name":"db","cardinality":1,"vm_template":0,"vm_template_contents":"","on_hold":false,"nodes":[{"deploy_id":400,"vm_info":{"VM":{"ID":"400","UID":"2","GID":"100","UNAME":"alice","GNAME":"devs","NAME":"db_0_(service_27)"}}}],"state":"2","last_vmname":1},
		{"name":"web","cardinality":2,"vm_template":0,"nodes":[{"deploy_id":401,"vm_info":{"VM":{"ID":401,"UID":2,"GID":100,"UNAME":"alice","GNAME":"devs","NAME":"web_0_(service_27)"}}},{"deploy_id":"402","vm_info":{"VM":{"ID":"402"}}}],"state":2,"last_vmname":"2"}],
		"ready_status_gate":false,"automatic_deletion":false,"on_hold":false,"registration_time":"1650000000","start_time":1650000100,"state":2}`,
	"6.10": `{"name":"shop","deployment":"straight","roles":[
		{"name":"db","cardinality":1,"vm_template":0,"user_inputs_values":{"PASS":"x"},"vm_template_contents":"\nPASS=\"x\"","nodes":[{"deploy_id":400,"vm_info":{"VM":{"ID":"400","NAME":"db_0_(service_27)"}}}],"state":2,"last_vmname":1,"on_hold":false,"cooldown":300},
		{"name":"web","parents":["db"],"cardinality":2,"vm_template":"0","elasticity_policies":[null,{"type":"CHANGE","adjust":"1","expression":"CPU > 80","period":null}],"scheduled_policies":null,"min_vms":"1","max_vms":"3","nodes":[{"deploy_id":401,"vm_info":null},{"deploy_id":402,"vm_info":null}],"state":2,"last_vmname":2}],
		"custom_attrs_values":{"RAM":"1"},"labels":"a","registration_time":1700000000,"start_time":1700000100,"state":2}`,
	"7.0": `{"name":"shop","deployment":"straight","roles":[
		{"name":"db","type":"vm","cardinality":1,"template_id":0,"template_contents":{},"nodes":[{"deploy_id":400,"vm_info":{"VM":{"ID":"400","UID":"2","GID":"100","UNAME":"alice","GNAME":"devs","NAME":"db_0_(service_27)"}}}],"state":2,"last_vmname":1,"on_hold":false,"cooldown":300},
		{"name":"web","type":"vm","parents":["db"],"cardinality":2,"template_id":"0","template_contents":{"RAM":"1","CONTEXT":{"RAM":"$RAM"}},"nodes":[{"deploy_id":401,"vm_info":{"VM":{"ID":"401","NAME":"web_0_(service_27)"}}},{"deploy_id":402,"vm_info":{"VM":null}}],"state":2,"last_vmname":2}],
		"user_inputs":{"RAM":"M|number|r| |1"},"user_inputs_values":{"RAM":"1"},"registration_time":1740000000,"start_time":1740000100,"state":2}`,
	"7.4": `{"name":"shop","deployment":"none","roles":[
		{"name":"db","type":"vm","cardinality":1,"template_id":0,"template_contents":{},"cooldown":300,"state":2,"nodes":[{"deploy_id":400,"vm_info":{"VM":{"ID":"400","UID":"2","GID":"100","UNAME":"alice","GNAME":"devs","NAME":"db_0_(service_27)"}}}],"on_hold":false,"last_vmname":1},
		{"name":"web","type":"vm","cardinality":2,"template_id":0,"template_contents":{},"cooldown":300,"state":2,"nodes":[{"deploy_id":401,"vm_info":{"VM":{"ID":"401","NAME":"web_0_(service_27)"}}},{"deploy_id":402,"vm_info":{"VM":{"ID":"402","NAME":"web_1_(service_27)"}}}],"on_hold":false,"last_vmname":2}],
		"networks_values":[],"description":"","registration_time":1790000000,"start_time":1790000100,"state":2,"log":[]}`,
}

// adopted is a stage with a document as it was found at oned, whose VMs run.
func adopted(t rapid.TB, text string) (s *stage, repairs []string) {
	t.Helper()
	body, repairs, err := spec.ReadService([]byte(text))
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	s = &stage{t: t, state: flow.State{Service: spec.Service{ID: 27, Owner: stageOwner, Body: body}}, facts: flow.Facts{}, now: stageStart, settings: flow.DefaultSettings(), created: 900}
	for _, role := range body.Roles {
		for _, node := range role.Nodes {
			s.facts[node.DeployID] = one.VM{ID: node.DeployID, Name: fmt.Sprintf("vm-%d", node.DeployID), Owner: stageOwner,
				State: one.VMActive, LCMState: one.LCMRunning, Service: 27, Role: role.Name}
		}
	}
	return s, repairs
}

// ends has the service undeployed, if need be by recover with delete, and every VM with it.
func (s *stage) ends() {
	s.t.Helper()
	if s.tryCommand(flow.VerbUndeploy, nil) != nil {
		s.recoverDelete()
	}
	for range 50 {
		if s.state.Service.State() == spec.ServiceDone {
			return
		}
		for id, vm := range s.facts {
			if s.state.AskedToEnd(id) {
				vm.State, vm.LCMState = one.VMDone, one.LCMInit
				s.facts[id] = vm
			}
		}
		s.endNetworks()
		s.planAfter(s.settings.CheckInterval)
	}
	s.t.Fatalf("the service does not end: %s", asJSON(s.t, s.state))
}

func TestServicesOfEachVersionAreAdopted(t *testing.T) {
	for version, text := range versions {
		t.Run(version, func(t *testing.T) {
			s, repairs := adopted(t, text)
			if len(repairs) > 0 {
				t.Errorf("put right, though OneFlow wrote it so: %v", repairs)
			}
			s.plan()
			s.wantState(spec.ServiceRunning)
			s.wantActions()
			s.wantNodes("db", 1, 400)
			s.wantNodes("web", 2, 401, 402)
			for i, node := range s.role("web").Nodes {
				if vm := node.VMInfo.VM; vm.ID != fmt.Sprint(401+i) || vm.Name == "" || vm.UID != fmt.Sprint(stageOwner.UID) || vm.UName != stageOwner.UName {
					t.Errorf("VM %d is shown as %+v", node.DeployID, vm)
				}
			}
			wantKept(t, text, asJSON(t, s.state.Service.Body))
			s.scale("web", 3)
			s.wantActions("create web/2")
			s.bringUp()
			s.ends()
		})
	}
}

// wantKept holds that no attribute that nobody knows has gone.
func wantKept(t fataler, before, after string) {
	t.Helper()
	unknown := map[string]bool{"disposed_nodes": true, "disposed": true, "TEMPLATE": true, "STATE": true, "labels": true, "custom_attrs": true,
		"custom_attrs_values": true, "vm_template": true, "vm_template_contents": true, "unknown": true}
	was, is := map[string]int{}, map[string]int{}
	countNames(before, was)
	countNames(after, is)
	for name := range unknown {
		if was[name] != is[name] {
			t.Fatalf("%q stood in the document %d times, and stands %d times in %s", name, was[name], is[name], after)
		}
	}
}

func countNames(text string, names map[string]int) {
	var tree any
	_ = json.Unmarshal([]byte(text), &tree)
	var walk func(any)
	walk = func(value any) {
		switch v := value.(type) {
		case map[string]any:
			for name, inner := range v {
				names[name]++
				walk(inner)
			}
		case []any:
			for _, inner := range v {
				walk(inner)
			}
		}
	}
	walk(tree)
}

// What an editor, or a server that ended in between, has left is adopted into what fits together.
func TestDocumentsThatDoNotFitTogether(t *testing.T) {
	const node = `{"deploy_id":400,"vm_info":{"VM":{"ID":"400","NAME":"a_6_(service_27)"}}}`
	role := func(more string) string {
		return `{"name":"s","state":2,"roles":[{"name":"a","type":"vm","template_id":0,"state":2,"last_vmname":7,"unknown":{"x":[1]},` + more + `}]}`
	}
	service := func(more string) string {
		return `{"name":"s","unknown":1,` + more + `,"roles":[{"name":"a","type":"vm","state":2,"cardinality":1,"template_id":0,"last_vmname":7,"nodes":[` + node + `]}]}`
	}
	for name, test := range map[string]struct{ text, parts, repair string }{
		"a node without a VM's data":      {role(`"cardinality":1,"nodes":[{"deploy_id":403,"vm_info":null,"unknown":1}]`), `"deploy_id":403,"vm_info":{"VM":{"ID":"403"|"NAME":"vm-403"|"unknown":1`, ``},
		"numbers in a VM's data":          {role(`"cardinality":1,"nodes":[{"deploy_id":403,"vm_info":{"unknown":1,"VM":{"ID":403,"UID":2,"unknown":{}}}}]`), `"VM":{"ID":"403"|"unknown":{}|"unknown":1`, ``},
		"a VM's data of another VM":       {role(`"cardinality":1,"nodes":[{"deploy_id":403,"vm_info":{"VM":{"ID":"7"}}}]`), `"VM":{"ID":"403"`, ``},
		"an id as a text":                 {role(`"cardinality":1,"nodes":[{"deploy_id":"403"}]`), `"deploy_id":403`, ``},
		"an id only in the data":          {role(`"cardinality":1,"nodes":[{"vm_info":{"VM":{"ID":"403"}}}]`), `"deploy_id":403`, ``},
		"a node that is an id":            {role(`"cardinality":1,"nodes":[403]`), `"deploy_id":403`, ``},
		"null nodes":                      {role(`"cardinality":0,"nodes":null`), `"nodes":[]`, ``},
		"no nodes":                        {role(`"cardinality":0`), `"nodes":[]`, ``},
		"a null node":                     {role(`"cardinality":1,"nodes":[null,` + node + `]`), `"nodes":[{"deploy_id":400`, `roles[0].nodes[0] was null and is removed`},
		"nodes of no VM":                  {role(`"cardinality":1,"nodes":[{"deploy_id":-1},{"deploy_id":null,"vm_info":{}},{},` + node + `]`), `"nodes":[{"deploy_id":400`, `has no VM and is removed`},
		"a doubled node":                  {role(`"cardinality":1,"nodes":[` + node + `,` + node + `]`), `"cardinality":1|"nodes":[{"deploy_id":400`, `is VM 400, which is already a node`},
		"nodes as an object":              {role(`"cardinality":1,"nodes":` + node), `"nodes":[{"deploy_id":400`, `roles[0].nodes was`},
		"cardinality below 0":             {role(`"cardinality":-1,"nodes":[]`), `"cardinality":0`, `the cardinality of role a was -1 or unreadable and is now 0`},
		"below 0, with a VM":              {role(`"cardinality":-1,"nodes":[` + node + `]`), `"cardinality":1`, `the cardinality of role a`},
		"cardinality as a text":           {role(`"cardinality":"1","nodes":[` + node + `]`), `"cardinality":1`, ``},
		"cardinality no number":           {role(`"cardinality":"two","nodes":[` + node + `]`), `"cardinality":1`, `roles[0].cardinality was "two" and is removed`},
		"cardinality null":                {role(`"cardinality":null,"nodes":[` + node + `]`), `"cardinality":1`, `the cardinality of role a`},
		"far too many":                    {role(`"cardinality":2000000000,"nodes":[` + node + `]`), `"cardinality":1`, `the cardinality of role a`},
		"no template":                     {`{"name":"s","state":2,"roles":[{"name":"a","state":2,"type":"vm","cardinality":0,"unknown":{}}]}`, `"template_id":-1`, `template_id was missing`},
		"no type":                         {`{"name":"s","state":2,"roles":[{"name":"a","state":2,"cardinality":0,"template_id":0,"unknown":{}}]}`, `"type":"vm"`, `the type of role a was missing and is now vm`},
		"null roles":                      {`{"name":"s","state":2,"roles":null,"unknown":1}`, `"roles":[]`, `roles was missing`},
		"no roles":                        {`{"name":"s","state":2,"unknown":1}`, `"roles":[]`, `roles was missing`},
		"a null role":                     {`{"name":"s","state":2,"roles":[null,{"name":"a","type":"vm","state":2,"cardinality":0,"template_id":0}],"unknown":1}`, `"roles":[{"name":"a"`, `roles[0] was null and is removed`},
		"roles as an object":              {`{"name":"s","state":2,"roles":{"name":"a","type":"vm","state":2,"cardinality":0,"template_id":0}}`, `"roles":[{"name":"a"`, `roles was`},
		"doubled roles":                   {`{"name":"s","state":2,"roles":[{"name":"a","type":"vm","state":2,"cardinality":1,"template_id":0,"last_vmname":7,"nodes":[` + node + `]},{"name":"a","type":"vm","state":2,"cardinality":1,"template_id":1,"last_vmname":1,"nodes":[{"deploy_id":401}],"unknown":1}]}`, `{"name":"a","type"|{"name":"a_2","type"|"deploy_id":401|"unknown":1`, `roles[1].name was missing or not unique and is now "a_2"`},
		"a role without a name":           {`{"name":"s","state":2,"roles":[{"type":"vm","state":2,"cardinality":0,"template_id":0}]}`, `"name":"role_2"`, `roles[0].name`},
		"a VM in two roles":               {`{"name":"s","state":2,"roles":[{"name":"a","type":"vm","state":2,"cardinality":1,"template_id":0,"last_vmname":7,"nodes":[` + node + `]},{"name":"b","type":"vm","state":2,"cardinality":0,"template_id":0,"nodes":[` + node + `]}]}`, `"deploy_id":400`, `is VM 400, which is already a node`},
		"an unknown state":                {service(`"state":99`), `"state":2,"unknown":1`, `the service's state was missing or invalid and is now RUNNING`},
		"a state's name":                  {service(`"state":"RUNNING"`), `"state":2`, `state was "RUNNING" and is now 2`},
		"no state, with VMs":              {service(`"state":null`), `"state":2,"unknown":1`, `the service's state`},
		"an unknown state, no VMs":        {`{"name":"s","state":-5,"roles":[{"name":"a","type":"vm","cardinality":1,"template_id":0}]}`, `"state":7`, `the service's state was missing or invalid and is now FAILED_DEPLOYING`},
		"a role's unknown state":          {role(`"cardinality":1,"state":44,"nodes":[` + node + `]`), `"cardinality":1,"template_id":0,"state":2`, `the state of role a was 44, which is invalid, and is now RUNNING`},
		"a role's state missing":          {`{"name":"s","state":2,"roles":[{"name":"a","type":"vm","cardinality":0,"template_id":0}]}`, `"template_id":0,"state":2`, `the state of role a was missing and is now RUNNING`},
		"last_vmname missing":             {`{"name":"s","state":2,"roles":[{"name":"a","type":"vm","state":2,"cardinality":1,"template_id":0,"nodes":[` + node + `]}]}`, `"last_vmname":7`, `the last_vmname of role a was missing or too small for its VMs and is now 7`},
		"last_vmname too small":           {`{"name":"s","state":2,"roles":[{"name":"a","type":"vm","state":2,"cardinality":1,"template_id":0,"last_vmname":0,"nodes":[` + node + `]}]}`, `"last_vmname":7`, `the last_vmname`},
		"other names, last missing":       {`{"name":"s","state":2,"roles":[{"name":"a","type":"vm","state":2,"cardinality":2,"template_id":0,"nodes":[{"deploy_id":1},{"deploy_id":2}]}]}`, `"last_vmname":2`, `the last_vmname`},
		"policies with nulls":             {role(`"cardinality":1,"min_vms":1,"max_vms":2,"elasticity_policies":[null,{"type":"CHANGE","adjust":null,"expression":null,"unknown":1}],"scheduled_policies":[{"recurrence":null,"start_time":null}],"nodes":[` + node + `]`), `"elasticity_policies":[null,{|"scheduled_policies":[{|"unknown":1`, ``},
		"policies as a text":              {role(`"cardinality":1,"elasticity_policies":"x","scheduled_policies":{},"nodes":[` + node + `]`), `"cardinality":1`, ``},
		"flags and limits":                {role(`"cardinality":1,"on_hold":"no","min_vms":"","max_vms":-3,"cooldown":"5","parents":"b","nodes":[` + node + `]`), `"on_hold":false|"cooldown":5|"parents":["b"]`, `a limit of role a was -3`},
		"a log of another kind":           {service(`"state":2,"log":[null,{"timestamp":"5","severity":"I","message":7,"unknown":1}]`), `"log":[{"timestamp":5,"severity":"I","message":"7","unknown":1}`, `log[0] was null`},
		"networks of another kind":        {service(`"state":2,"networks":[],"networks_values":{"a":null},"deployment":7`), `"networks":[]|"networks_values":{"a":null}`, ``},
		"VMs in a role that has ended":    {`{"name":"s","state":3,"roles":[{"name":"a","type":"vm","state":5,"cardinality":1,"template_id":0,"last_vmname":7,"nodes":[` + node + `]}]}`, `"deploy_id":400`, `role a was DONE but has VMs and is now UNDEPLOYING`},
		"VMs in a service that has ended": {service(`"state":5`), `"deploy_id":400`, `the service was DONE but has VMs and is now UNDEPLOYING`},
		"a direction that is missing":     {`{"name":"s","state":8,"roles":[{"name":"a","type":"vm","state":8,"cardinality":0,"template_id":0,"last_vmname":7,"nodes":[` + node + `]}]}`, `"scale_way":1`, `the scale_way of role a`},
	} {
		t.Run(name, func(t *testing.T) {
			s, repairs := adopted(t, test.text)
			if told := strings.Join(repairs, "\n"); test.repair == "" && told != "" || !strings.Contains(told, test.repair) {
				t.Errorf("put right: %q, want %q", told, test.repair)
			}
			s.plan()
			text := asJSON(t, s.state.Service.Body)
			for _, part := range strings.Split(test.parts, "|") {
				if !strings.Contains(text, part) {
					t.Errorf("%s is not in %s", part, text)
				}
			}
			wantKept(t, test.text, text)
			if again, repairs, err := spec.ReadService([]byte(text)); err != nil || len(repairs) > 0 || asJSON(t, again) != text {
				t.Errorf("read again it is repaired once more: %v, %v", repairs, err)
			}
			s.ends()
		})
	}
}

func TestDocumentsThatCannotBeRead(t *testing.T) {
	for _, text := range []string{``, `null`, `[]`, `7`, `"x"`, `{`, `{"name":}`, `{"state":1e999,"roles":[]}`, `{"state":"x","roles":[]}`, `{"state":[2],"roles":[]}`,
		// What VMs these stand for nobody can tell.
		`{"state":2,"roles":5}`, `{"state":2,"roles":"none"}`, `{"state":2,"roles":["a","b"]}`, `{"state":2,"roles":{"a":1}}`, `{"state":2,"roles":[[]]}`,
		`{"state":2,"roles":[{"name":"a","nodes":"x"}]}`, `{"state":2,"roles":[{"name":"a","nodes":["x"]}]}`, `{"state":2,"roles":[{"name":"a","nodes":[true]}]}`,
		`{"state":2,"roles":[{"name":"a","nodes":{"a":1}}]}`, `{"state":2,"roles":[{"name":"a","nodes":7}]}`} {
		if body, _, err := spec.ReadService([]byte(text)); err == nil {
			t.Errorf("%q was read as %s", text, asJSON(t, body))
		}
	}
}

// Services that another server left on their way are taken on from wherever they stand.
func TestServicesInEveryStateAreAdopted(t *testing.T) {
	for _, service := range spec.ServiceStates() {
		for _, role := range spec.RoleStates() {
			text := fmt.Sprintf(`{"name":"s","deployment":"straight","state":%d,"networks_values":[{"N":{"template_id":"0"}}],"roles":[
				{"name":"a","type":"vm","cardinality":2,"template_id":0,"state":%d,"nodes":[{"deploy_id":400,"vm_info":null}]},
				{"name":"b","type":"vm","cardinality":0,"template_id":0,"parents":["a","gone"],"state":2,"nodes":null}]}`, service, role)
			s, _ := adopted(t, text)
			s.plan()
			s.ends()
			for id, vm := range s.facts {
				if !vm.Gone() {
					t.Errorf("%s with a role in %s: VM %d is left", service, role, id)
				}
			}
		}
	}
}

// However a document is broken, it is adopted, loses nothing that nobody knows, and can be ended.
func TestBrokenDocumentsAreAdopted(t *testing.T) {
	odd := []string{`null`, `-1`, `"x"`, `"3"`, `7`, `1e30`, `[]`, `{}`, `[null]`, `[{}]`, `{"VM":null}`, `{"VM":{"ID":9}}`, `true`, `""`, `99`, `[{"deploy_id":400},{"deploy_id":"401"}]`}
	rapid.Check(t, func(t *rapid.T) {
		var tree map[string]any
		if err := json.Unmarshal([]byte(rapid.SampledFrom(texts(versions)).Draw(t, "document")), &tree); err != nil {
			t.Fatal(err)
		}
		for range rapid.IntRange(1, 4).Draw(t, "changes") {
			breakSomething(t, tree, odd)
		}
		text := asJSON(t, tree)
		if _, _, err := spec.ReadService([]byte(text)); err != nil {
			return // roles or nodes that cannot be told
		}
		s, repairs := adopted(t, text)
		written := asJSON(t, s.state.Service.Body)
		again, more, err := spec.ReadService([]byte(written))
		if err != nil || len(more) > 0 || !reflect.DeepEqual(asJSON(t, again), written) {
			t.Fatalf("%s was put right (%v) to %s, and that once more: %v, %v", text, repairs, written, more, err)
		}
		s.plan()
		s.ends()
	})
}

func texts(of map[string]string) (all []string) {
	for _, version := range []string{"5.12", "6.4", "6.10", "7.0", "7.4"} {
		all = append(all, of[version])
	}
	return all
}

// breakSomething puts an odd value somewhere into the tree, or takes an attribute away.
func breakSomething(t *rapid.T, tree map[string]any, odd []string) {
	at := tree
	for range rapid.IntRange(0, 4).Draw(t, "depth") {
		var inner []map[string]any
		for _, name := range []string{"roles", "nodes", "vm_info", "VM", "log"} {
			switch v := at[name].(type) {
			case map[string]any:
				inner = append(inner, v)
			case []any:
				for _, one := range v {
					if o, is := one.(map[string]any); is {
						inner = append(inner, o)
					}
				}
			}
		}
		if len(inner) == 0 {
			break
		}
		at = inner[rapid.IntRange(0, len(inner)-1).Draw(t, "which")]
	}
	name := rapid.SampledFrom([]string{"roles", "nodes", "vm_info", "VM", "log", "state", "cardinality", "last_vmname", "name", "deploy_id", "ID", "NAME", "type", "template_id",
		"vm_template", "parents", "min_vms", "cooldown", "on_hold", "scale_way", "vrouter_id", "networks_values", "elasticity_policies", "template_contents", "start_time", "deployment"}).Draw(t, "attribute")
	if rapid.Bool().Draw(t, "away") {
		delete(at, name)
		return
	}
	var value any
	_ = json.Unmarshal([]byte(rapid.SampledFrom(odd).Draw(t, "value")), &value)
	at[name] = value
}
