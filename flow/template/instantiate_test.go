package template

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow/internal/raw"
	"github.com/flowjet/flowjet/flow/spec"
)

const twoRoles = `{"name":"svc","deployment":"straight","roles":[
	{"name":"Master","type":"vm","cardinality":1,"template_id":0,"min_vms":1,"max_vms":4,"cooldown":3},
	{"name":"Slave","type":"vm","cardinality":1,"template_id":0,"parents":["Master"]}],
	"description":"dd","registration_time":1795382501}`

// started is the body of a service made from a template's text.
func started(t *testing.T, template, given string) string {
	t.Helper()
	body, err := Instantiate([]byte(template), json.RawMessage(given), time.Unix(1_900_000_000, 0))
	if err != nil {
		t.Fatalf("%s: %v", given, err)
	}
	written, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	return string(written)
}

func TestNewServiceIsPending(t *testing.T) {
	body, err := Instantiate([]byte(twoRoles), nil, time.Unix(1_900_000_000, 0))
	if err != nil {
		t.Fatal(err)
	}
	if *body.State != spec.ServicePending || body.StartTime != 1_900_000_000 || body.RegistrationTime != 1795382501 {
		t.Errorf("got state %v, start_time %d, registration_time %d", *body.State, body.StartTime, body.RegistrationTime)
	}
	for _, role := range body.Roles {
		if *role.State != spec.RolePending || role.Nodes != nil {
			t.Errorf("role %s: state %v, nodes %v", role.Name, *role.State, role.Nodes)
		}
	}
}

func TestInstantiateMerges(t *testing.T) {
	const roles = `{"name":"Master","type":"vm","cardinality":2,"template_id":0,"min_vms":1,"max_vms":4,"cooldown":3,"state":0},{"name":"Slave","type":"vm","cardinality":1,"template_id":0,"parents":["Master"],"state":0}`
	got := started(t, twoRoles, `{"name":"merged","roles":[{"name":"Master","cardinality":"2"}],"registration_time":5,"state":2}`)
	want := `{"name":"merged","deployment":"straight","roles":[` + roles + `],"description":"dd","registration_time":1795382501,"state":0,"start_time":1900000000}`
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestInstantiateMergesDeeply(t *testing.T) {
	template := `{"name":"s","registration_time":1,"roles":[{"name":"a","type":"vm","template_id":0,"template_contents":{"CPU":"1","CONTEXT":{"A":"1"},"NIC":[{"NAME":"N0"}]}}],
		"networks_values":[{"Pub":{"id":"0"}}],"x":[1,{"a":1}]}`
	given := `{"roles":[{"name":"a","template_contents":{"CPU":"2","CONTEXT":{"B":"2"},"NIC":[{"NAME":"N0"},{"NAME":"N1"}]}},{"name":"b","vm_template":1}],
		"networks_values":[{"Pub":{"extra":"SIZE=1"}},{"Priv":{"reserve_from":"3","extra":"SIZE=2"}}],"x":[1,{"a":1},{"a":2}]}`
	got := started(t, template, given)
	for _, want := range []string{
		`"template_contents":{"CONTEXT":{"A":"1","B":"2"},"CPU":"2","NIC":[{"NAME":"N0"},{"NAME":"N1"}]}`,
		`{"name":"b","type":"vm","cardinality":0,"template_id":1,"state":0}`,
		`"networks_values":[{"Pub":{"extra":"SIZE=1","id":"0"}},{"Priv":{"reserve_from":"3","extra":"SIZE=2"}}]`,
		`"x":[1,{"a":1},1,{"a":2}]`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%s is not in %s", want, got)
		}
	}
}

func TestInstantiateChoosesNetworks(t *testing.T) {
	template := `{"name":"s","registration_time":1,"roles":[],"networks":{"Public":"M|network|Public| |id:0","Res":"M|network| | |reserve_from:7:SIZE=5","Free":"O|network| | |id:"}}`
	got := started(t, template, `{"networks_values":[{"Res":{"reserve_from":"9","extra":"IP=10.0.0.7\nsize=\"3\""}},{"Public":{"id":"0"}},{"Free":{"id":1}}]}`)
	if want := `"networks_values":[{"Res":{"extra":"IP=10.0.0.7\nsize=\"3\"","reserve_from":"9"}},{"Public":{"id":"0"}},{"Free":{"id":1}}]`; !strings.Contains(got, want) {
		t.Errorf("%s is not in %s", want, got)
	}
	got = started(t, template, ``)
	if want := `"networks_values":[{"Public":{"id":"0"}},{"Res":{"extra":"SIZE=5","reserve_from":"7"}}]`; !strings.Contains(got, want) {
		t.Errorf("%s is not in %s", want, got)
	}
}

// Ansible's module sends an empty name where the user gave none.
func TestInstantiateWithAnEmptyNameKeepsTheTemplates(t *testing.T) {
	if got := started(t, `{"name":"shop","roles":[]}`, `{"name":"","user_inputs_values":{}}`); !strings.Contains(got, `"name":"shop"`) {
		t.Errorf("the template's name is not in %s", got)
	}
}

// Sunstone's form for service templates lets a network be chosen only when the service is instantiated: these are its bodies then.
func TestNetworksLeftOpenInSunstonesForm(t *testing.T) {
	for _, left := range []string{
		`"networks":{"P":"M|network|undefined||undefined:undefined"},"networks_values":[{}]`,
		`"networks":{"P":"M|network|words||null:undefined"},"networks_values":[{}]`,
		`"networks":{"P":"M|network|words||null:0"},"networks_values":[{}]`,
		`"networks":{"P":"M|network|words||id:undefined"},"networks_values":[{}]`,
		`"networks":{"P":"M|network|words||reserve_from:undefined"},"networks_values":[{"P":{"extra":"size=3"}}]`,
	} {
		template := `{"name":"s","roles":[{"name":"a","type":"vm","template_id":0,"template_contents":{"NIC":[{"NETWORK_ID":"$P"}]}}],` + left + `}`
		if _, err := Read([]byte(template), registered); err != nil {
			t.Errorf("%s: %v", left, err)
		}
		for given, message := range map[string]string{
			``:                                 `networks.P: is mandatory and proposes no network; choose one in networks_values`,
			`{"networks_values":[{"P":{}}]}`:   `networks_values: must have one of id, template_id and reserve_from for network "P"`,
			`{"networks_values":[{"P":null}]}`: `networks_values: must have one of id, template_id and reserve_from for network "P"`,
			`{"networks_values":[{"P":{"extra":"IP=10.0.0.1"}}]}`: `networks_values: must have one of id, template_id and reserve_from for network "P"`,
		} {
			if _, err := Instantiate([]byte(template), json.RawMessage(given), registered); err == nil || !strings.Contains(err.Error(), message) {
				t.Errorf("%s with %s: got %v, want %s", left, given, err, message)
			}
		}
		got := started(t, template, `{"networks":{"P":"M|network|words||reserve_from:7"},"networks_values":[{"P":{"reserve_from":"7","extra":"size=2"}}]}`)
		if want := `"networks_values":[{"P":{"extra":"size=2","reserve_from":"7"}}]`; !strings.Contains(got, want) {
			t.Errorf("%s is not in %s", want, got)
		}
	}
}

// Sunstone sends what the user chose for a network, whatever the template proposes for it. OneFlow takes it in the proposal's place.
func TestInstantiateChoosesAnotherSourceThanTheTemplateProposes(t *testing.T) {
	for _, test := range []struct{ proposed, chosen, want string }{
		{`{"id":"1","extra":""}`, `{"reserve_from":"1","extra":"size=2"}`, `{"extra":"size=2","reserve_from":"1"}`},
		{`{"reserve_from":"1","extra":"SIZE=2"}`, `{"id":"1","extra":""}`, `{"extra":"","id":"1"}`},
		{`{"template_id":"1","extra":"AR=[SIZE=9]"}`, `{"id":"1"}`, `{"id":"1"}`},
		{`{"reserve_from":"1","extra":"SIZE=2"}`, `{"reserve_from":"7"}`, `{"extra":"SIZE=2","reserve_from":"7"}`},
		{`{"reserve_from":"1","extra":"SIZE=2"}`, `{"extra":"SIZE=3"}`, `{"extra":"SIZE=3","reserve_from":"1"}`},
	} {
		template := `{"name":"s","roles":[],"networks":{"P":"M|network|x| |id:1"},"networks_values":[{"P":` + test.proposed + `}]}`
		got := started(t, template, `{"networks_values":[{"P":`+test.chosen+`}]}`)
		if want := `"networks_values":[{"P":` + test.want + `}]`; !strings.Contains(got, want) {
			t.Errorf("%s is not in %s", want, got)
		}
	}
}

// OneFlow reads several networks in one element, too.
func TestNetworksInOneElement(t *testing.T) {
	template := `{"name":"s","roles":[],"networks":{"P":"M|network|x| |id:1","Q":"M|network|x| |id:1"},"networks_values":[{"Q":{"id":"1"},"P":{"reserve_from":"1","extra":"SIZE=2"}}]}`
	for given, want := range map[string]string{
		``: `"networks_values":[{"P":{"extra":"SIZE=2","reserve_from":"1"}},{"Q":{"id":"1"}}]`,
		`{"networks_values":[{"P":{"id":"7"},"Q":{"id":"8"}}]}`:   `"networks_values":[{"P":{"id":"7"}},{"Q":{"id":"8"}}]`,
		`{"networks_values":[{"Q":{"id":"8"}},{"P":{"id":"7"}}]}`: `"networks_values":[{"P":{"id":"7"}},{"Q":{"id":"8"}}]`,
	} {
		if got := started(t, template, given); !strings.Contains(got, want) {
			t.Errorf("%s: %s is not in %s", given, want, got)
		}
	}
	many := map[string]any{}
	for i := range spec.MaxNetworks + 1 {
		many[fmt.Sprint("P", i)] = map[string]int{"id": i}
	}
	given := raw.Marshal(map[string]any{"networks_values": []any{many}})
	if _, err := Instantiate([]byte(twoRoles), given, registered); err == nil || !strings.Contains(err.Error(), "at most 256 are possible") {
		t.Errorf("too many networks: %v", err)
	}
}

func TestInstantiateRefuses(t *testing.T) {
	inputs := `{"name":"s","roles":[{"name":"a","type":"vm","template_id":0,"user_inputs":{"R":"M|text"}}],"user_inputs":{"B":"M|text","A":"M|text"}}`
	for name, test := range map[string]struct{ template, given, message string }{
		"inputs without values": {inputs, `{"user_inputs_values":{}}`, `user_inputs_values: lacks a value for A, B`},
		"role's inputs":         {inputs, `{"user_inputs_values":{"A":"1","B":"2"}}`, `roles[0].user_inputs_values (role "a"): lacks a value for R`},
		"some networks only":    {`{"name":"s","roles":[],"networks":{"P":"M|network|x| |id:0","Q":"M|network|x| |id:0"}}`, `{"networks_values":[{"Q":{"id":1}}]}`, `networks_values: lacks P`},
		"no networks":           {`{"name":"s","roles":[],"networks":{"P":"M|network|x| |id:0"}}`, `{"networks_values":[]}`, `networks_values: lacks P`},
		"open network":          {`{"name":"s","roles":[],"networks":{"P":"M|network|x| |id:"}}`, ``, `networks.P: is mandatory`},
		"reserves nothing":      {`{"name":"s","roles":[],"networks":{"P":"M|network|x| |reserve_from:1"}}`, ``, `networks_values: reserves no addresses for network "P": its "extra" must have a SIZE such as SIZE=2`},
		"reserves none":         {`{"name":"s","roles":[],"networks":{"P":"M|network|x| |"}}`, `{"networks_values":[{"P":{"reserve_from":"1","extra":"SIZE=0"}}]}`, `networks_values: reserves no addresses for network "P"`},
		"joins a network":       {`{"name":"s","roles":[],"networks":{"P":"M|network|x| |reserve_from:1:SIZE=2 network_id=7"}}`, ``, `networks_values: has NETWORK_ID in the "extra" of network "P"`},
		"reserves an address":   {`{"name":"s","roles":[],"networks":{"P":"M|network|x| |"}}`, `{"networks_values":[{"P":{"reserve_from":"1","extra":"IP=10.0.0.7"}}]}`, `networks_values: reserves no addresses for network "P"`},
		"a network by name":     {`{"name":"s","roles":[],"networks":{"P":"M|network|x| |"}}`, `{"networks_values":[{"P":{"id":"private"}}]}`, `networks_values: must have a whole number, 0 or more, as id of network "P"`},
		"a network below 0":     {`{"name":"s","roles":[],"networks":{"P":"M|network|x| |"}}`, `{"networks_values":[{"P":{"id":-1}}]}`, `networks_values: must have a whole number, 0 or more, as id of network "P"`},
		"no network's id":       {`{"name":"s","roles":[],"networks":{"P":"M|network|x| |"}}`, `{"networks_values":[{"P":{"id":""}}]}`, `networks_values: must have a whole number, 0 or more, as id of network "P"`},
		"odd network template":  {`{"name":"s","roles":[],"networks":{"P":"O|network|x| |"}}`, `{"networks_values":[{"P":{"template_id":[0]}}]}`, `networks_values: must have a whole number, 0 or more, as template_id of network "P"`},
		"odd reservation":       {`{"name":"s","roles":[],"networks":{"P":"M|network|x| |"}}`, `{"networks_values":[{"P":{"reserve_from":"x","extra":"SIZE=1"}}]}`, `networks_values: must have a whole number, 0 or more, as reserve_from of network "P"`},
		"left open but needed":  {`{"name":"s","roles":[{"name":"a","type":"vm","template_id":0,"template_contents":{"NIC":[{"NETWORK_ID":"$P"}]}}],"networks":{"P":"O|network|x| |"}}`, `{"networks_values":[{"P":{"id":""}}]}`, `NIC needs the network $P, which is not chosen`},
		"odd cardinality":       {twoRoles, `{"roles":[{"name":"Master","cardinality":9}]}`, `is 9, more than max_vms 4`},
		"new circle":            {twoRoles, `{"roles":[{"name":"Master","parents":["Slave"]}]}`, `wait for each other`},
		"not an object":         {twoRoles, `[]`, `read merge_template: the body is an array`},
		"roles broken":          {twoRoles, `{"roles":[null]}`, `merge_template.roles[0]: is null; it must be an object`},
		"more roles by place":   {twoRoles, `{"roles":[{},{},{"cardinality":3}]}`, `merge_template.roles[2]: has no name and is matched by its index; the template has only the roles Master, Slave`},
		"a role meant twice":    {twoRoles, `{"roles":[{"name":"Slave","cardinality":3},{"cardinality":2}]}`, `merge_template.roles[1]: has no name and is matched by its index to role "Slave", which roles[0] has too`},
		"a role's name wrong":   {twoRoles, `{"roles":[{"name":"Mastr","cardinality":3}]}`, `merge_template.roles[0]: names "Mastr"; the template has the roles Master, Slave`},
		"no role":               {twoRoles, `{"roles":["Master",2]}`, `merge_template.roles[0]: is "Master"; it must be an object`},
		"template broken":       {`{`, ``, `read the template`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Instantiate([]byte(test.template), json.RawMessage(test.given), registered)
			if err == nil || !strings.Contains(err.Error(), test.message) {
				t.Errorf("got %v, want %s", err, test.message)
			}
		})
	}
}

// Forms send what was not filled in as an empty text.
func TestAnOptionalNetworkMayBeLeftEmpty(t *testing.T) {
	template := `{"name":"s","roles":[],"networks":{"P":"O|network|x| |"}}`
	for _, choice := range []string{`{"id":""}`, `{"id":null}`, `{"template_id":""}`} {
		if _, err := Instantiate([]byte(template), json.RawMessage(`{"networks_values":[{"P":`+choice+`}]}`), registered); err != nil {
			t.Errorf("%s: %v", choice, err)
		}
	}
}

// The Terraform provider documents that roles are overlaid by their places.
func TestRolesWithoutANameAreMergedByTheirPlace(t *testing.T) {
	for _, given := range []string{
		`{"roles":[{"cardinality":2},{"cardinality":3}]}`,
		`{"roles":[{"name":"","cardinality":2},{"name":"Slave","cardinality":3}]}`,
		`{"roles":[{"name":"Slave","cardinality":3},{"name":"Master","cardinality":2}]}`,
		`{"roles":[{"name":"Master","cardinality":2},{"cardinality":3}]}`,
		`{"roles":[{},{"cardinality":3},{"name":"Master","cardinality":2}]}`,
	} {
		got := started(t, twoRoles, given)
		if !strings.Contains(got, `"Master","type":"vm","cardinality":2`) || !strings.Contains(got, `"Slave","type":"vm","cardinality":3`) {
			t.Errorf("%s: got %s", given, got)
		}
	}
}

func TestReplaceAndAppend(t *testing.T) {
	body, err := Append([]byte(twoRoles), []byte(`{"description":"new","foo":1}`), registered)
	if err != nil || *body.Description != "new" || len(body.Roles) != 2 || body.RegistrationTime != 1795382501 {
		t.Errorf("got %+v, %v", body, err)
	}
	body, err = Replace([]byte(twoRoles), []byte(`{"name":"n","roles":[],"registration_time":1795382501}`), registered)
	if err != nil || body.Name != "n" || body.RegistrationTime != 1795382501 {
		t.Errorf("got %+v, %v", body, err)
	}
	if body, err = Replace([]byte(`broken`), []byte(`{"name":"n","roles":[]}`), registered); err != nil || body.RegistrationTime != registered.Unix() {
		t.Errorf("got %+v, %v", body, err)
	}
	var immutable *ImmutableError
	if _, err = Append([]byte(twoRoles), []byte(`{"registration_time":5}`), registered); !errors.As(err, &immutable) {
		t.Errorf("append: got %v", err)
	}
	if _, err = Replace([]byte(twoRoles), []byte(`{"name":"n","roles":[],"registration_time":1}`), registered); !errors.As(err, &immutable) {
		t.Errorf("replace: got %v", err)
	}
	var found Violations
	if _, err = Replace([]byte(twoRoles), []byte(`{"name":"z"}`), registered); !errors.As(err, &found) {
		t.Errorf("replace without roles: got %v", err)
	}
}

// OneFlow reads a network's declaration only where the network is not chosen, and stores any: such templates can be instantiated by choosing it.
func TestNetworksDeclaredInAnotherForm(t *testing.T) {
	for _, declared := range []string{`{"id":"0"}`, `""`, `null`, `"M|network|words"`} {
		template := `{"name":"s","registration_time":1,"roles":[{"name":"a","type":"vm","template_id":0,"template_contents":{"NIC":[{"NETWORK_ID":"$P"}]}}],"networks":{"P":` + declared + `}}`
		if got, want := started(t, template, `{"networks_values":[{"P":{"id":"0"}}]}`), `"networks_values":[{"P":{"id":"0"}}]`; !strings.Contains(got, want) {
			t.Errorf("%s: %s is not in %s", declared, want, got)
		}
		for given, message := range map[string]string{
			``: `networks.P: is "`, `{"networks_values":[]}`: `lacks P; name every network`, `{"networks_values":[{"P":{"id":"-1"}}]}`: `must have a whole number`,
		} {
			if _, err := Instantiate([]byte(template), json.RawMessage(given), registered); err == nil || !strings.Contains(err.Error(), message) {
				t.Errorf("%s with %s: got %v, want %s", declared, given, err, message)
			}
		}
	}
}
