package flow_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/internal/raw"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/render"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/flow/template"
)

// deployed is the service that a template becomes when it is instantiated, as its first VM is made.
func deployed(t *testing.T, held, given string) *stage {
	t.Helper()
	body, err := template.Instantiate([]byte(held), json.RawMessage(given), stageStart)
	if err != nil {
		t.Fatalf("%s: %v", held, err)
	}
	s := newStage(t, asJSON(t, body))
	s.plan()
	return s
}

// extra is the text that the VM of the first intent of a role is made with.
func (s *stage) extra(role string, base one.Template) string {
	s.t.Helper()
	for _, intent := range s.state.Intents {
		if intent.Role != role {
			continue
		}
		text, err := render.ExtraTemplate(s.state.Service, render.Instance{Role: intent.Role, Key: intent.Key, Ordinal: intent.Ordinal}, base, nil)
		if err != nil {
			s.t.Fatal(err)
		}
		return text
	}
	s.t.Fatalf("no VM of role %s is to be created", role)
	return ""
}

// Names of inputs stand for their values wherever contents say them, in each form of contents.
func TestInputsAreReplacedInContents(t *testing.T) {
	const declared = `"user_inputs":{"RAM":"M|number|ram| |32","NAME_OF":"O|text|n| |","PASS":"M|password|p| |","NET":"O|text|n| |"}`
	const values = `{"user_inputs_values":{"RAM":"32","PASS":"p$RAM\"","NAME_OF":"x","NET":"7"}}`
	for name, test := range map[string]struct{ contents, want string }{
		"an attribute":             {`{"MEMORY":"$RAM"}`, `MEMORY = "32"`},
		"within a text":            {`{"DESCRIPTION":"$RAM MB, $RAM_MB $RAMS of $RAM."}`, `DESCRIPTION = "32 MB, $RAM_MB $RAMS of 32."`},
		"in a vector":              {`{"GRAPHICS":{"PASSWD":"$NAME_OF"}}`, `PASSWD = "x"`},
		"in several vectors":       {`{"DISK":[{"SIZE":"$RAM"},{"SIZE":"1$RAM"}]}`, "DISK = [\nSIZE = \"32\"\n]\nDISK = [\nSIZE = \"132\"\n]"},
		"as a network's id":        {`{"NIC":[{"NETWORK_ID":"$NET"}]}`, `NETWORK_ID = "7"`},
		"in a requirement":         {`{"SCHED_REQUIREMENTS":"FREE_MEM > \"$RAM\""}`, `SCHED_REQUIREMENTS = "FREE_MEM > \"32\""`},
		"what it became is kept":   {`{"DESCRIPTION":"$PASS"}`, `DESCRIPTION = "p$RAM\""`},
		"in the context":           {`{"CONTEXT":{"A":"-m $RAM"}}`, `A = "-m 32"`},
		"a $ in the context":       {`{"CONTEXT":{"A":"$PASS"}}`, `A = "$PASS"`},
		"oned's in the context":    {`{"CONTEXT":{"A":"$NAME $VMID $NETWORK[DNS, NETWORK_ID=$NET]"}}`, `A = "$NAME $VMID $NETWORK[DNS, NETWORK_ID=7]"`},
		"oned's vector":            {`{"CONTEXT":{"A":"$NET[IP]"}}`, `A = "$NET[IP]"`},
		"escaped in the context":   {`{"CONTEXT":{"A":"\\$RAM"}}`, `A = "\$RAM"`},
		"of other case":            {`{"DESCRIPTION":"$ram"}`, `DESCRIPTION = "$ram"`},
		"a shell's":                {`{"DESCRIPTION":"${RAM} $(RAM) $$"}`, `DESCRIPTION = "${RAM} $(RAM) $$"`},
		"not declared":             {`{"DESCRIPTION":"$OTHER"}`, `DESCRIPTION = "$OTHER"`},
		"within what is no vector": {`{"CONTEXT":{"A":{"B":"$NAME_OF"}}}`, `A = "{\"B\":\"x\"}"`},
	} {
		t.Run(name, func(t *testing.T) {
			role := `{"name":"a","type":"vm","cardinality":1,"template_id":0,"template_contents":` + test.contents + `}`
			s := deployed(t, `{"name":"s",`+declared+`,"roles":[`+role+`]}`, values)
			if got := s.extra("a", nil); !strings.Contains(got, test.want+"\n") && !strings.Contains(got, test.want+",\n") {
				t.Errorf("%s is not in\n%s", test.want, got)
			}
			if text := string(s.role("a").TemplateContents); strings.Count(text, `"p$RAM`) != 1 {
				t.Errorf("the document has the value elsewhere than in its attribute: %s", text)
			}
		})
	}
}

// A role's input wins over the service's, and that over a network.
func TestWhichInputIsMeant(t *testing.T) {
	template := `{"name":"s","networks":{"X":"M|network|x| |id:5","N":"M|network|n| |id:6"},"user_inputs":{"X":"M|text"},"roles":[
		{"name":"a","type":"vm","cardinality":1,"template_id":0,"user_inputs":{"X":"M|text"},"template_contents":{"DESCRIPTION":"$X $N","NIC":{"NETWORK_ID":"$N"}}},
		{"name":"b","type":"vm","cardinality":1,"template_id":0,"template_contents":{"DESCRIPTION":"$X $N"}}]}`
	s := deployed(t, template, `{"user_inputs_values":{"X":"service"},"roles":[{"name":"a","user_inputs_values":{"X":"role"}}]}`)
	for role, want := range map[string]string{"a": `DESCRIPTION = "role 6"`, "b": `DESCRIPTION = "service 6"`} {
		if got := s.extra(role, nil); !strings.Contains(got, want) {
			t.Errorf("role %s: %s is not in\n%s", role, want, got)
		}
	}
}

// Contents of OneFlow 6 are a text, and its inputs custom_attrs.
func TestInputsOfOneFlow6AreReplaced(t *testing.T) {
	template := `{"name":"s","custom_attrs":{"RAM":"M|number|ram| |","OWN":"M|text|o| |"},"networks":{"Public":"M|network|p| |id:4"},"roles":[{"name":"a","cardinality":1,"vm_template":0,
		"custom_attrs":{"OWN":"M|text|o| |"},"vm_template_contents":"MEMORY=$RAM\nNIC=[NAME=\"N0\",NETWORK_ID=\"$Public\"]\nCONTEXT=[ID=\"$Public\",O=\"$OWN\"]\nLABELS=\"$OWN\"\n"}]}`
	s := deployed(t, template, `{"custom_attrs_values":{"RAM":"48","OWN":"s"},"roles":[{"name":"a","custom_attrs_values":{"OWN":"r"}}]}`)
	got := s.extra("a", nil)
	for _, want := range []string{`MEMORY = "48"`, `NETWORK_ID = "4"`, `ID = "4"`, `O = "r"`, `LABELS = "r"`} {
		if !strings.Contains(got, want) {
			t.Errorf("%s is not in\n%s", want, got)
		}
	}
}

// An optional input that was left out leaves what the VM template says.
func TestOptionalInputsThatAreLeftOut(t *testing.T) {
	template := `{"name":"s","user_inputs":{"RAM":"O|number|ram| |","TAG":"O|text|t| |"},"roles":[{"name":"a","type":"vm","cardinality":1,"template_id":0,
		"template_contents":{"MEMORY":"$RAM","DESCRIPTION":"tag $TAG.","NIC":[{"NETWORK_ID":"1","MODEL":"$TAG"}],"CONTEXT":{"TAG":"$TAG"}}}]}`
	got := deployed(t, template, ``).extra("a", one.Template{{Name: "MEMORY", Value: "16"}})
	if want := "MEMORY = \"16\"\nDESCRIPTION = \"tag .\"\nNIC = [\nNETWORK_ID = \"1\"\n]\nCONTEXT = [\nTAG = \"$TAG\"\n]\n"; !strings.HasPrefix(got, want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// Null for an input is as if it had been left out: also where a role has it beside the service's value, and where an older version has
// written it into the contents. In contents alone it empties what the VM template says.
func TestInputsThatAreNull(t *testing.T) {
	template := `{"name":"s","roles":[{"name":"a","type":"vm","cardinality":1,"template_id":0,"template_contents":{"CPU":null}},
		{"name":"b","type":"vm","cardinality":1,"template_id":0}]}`
	s := deployed(t, template, `{"user_inputs_values":{"MEMORY":null,"TAG":"x"},"roles":[{"name":"b","user_inputs_values":{"TAG":null}}]}`)
	base := one.Template{{Name: "MEMORY", Value: "16"}, {Name: "CPU", Value: "1"}}
	const want = "MEMORY = \"16\"\nCPU = \"\"\n"
	if got := s.extra("a", base); !strings.HasPrefix(got, want) {
		t.Errorf("got\n%s", got)
	}
	if got := s.extra("b", base); !strings.Contains(got, `TAG = "x"`) {
		t.Errorf("got\n%s", got)
	}
	contents := raw.Attributes(s.role("a").TemplateContents)
	contents["MEMORY"] = json.RawMessage("null")
	s.role("a").TemplateContents = contents.JSON()
	if got := s.extra("a", base); !strings.HasPrefix(got, want) {
		t.Errorf("got\n%s", got)
	}
}

func TestOptionalInputsTakeTheirDefaults(t *testing.T) {
	for name, test := range map[string]struct{ inputs, given, values string }{
		"nothing given":        {`{"DNS":"O|text|dns| |9.9.9.9"}`, ``, `"user_inputs_values":{"DNS":"9.9.9.9"}`},
		"others given":         {`{"DNS":"O|text|dns| |9.9.9.9","A":"M|text"}`, `{"user_inputs_values":{"A":"1"}}`, `"user_inputs_values":{"A":"1","DNS":"9.9.9.9"}`},
		"given":                {`{"DNS":"O|text|dns| |9.9.9.9"}`, `{"user_inputs_values":{"DNS":"8.8.8.8"}}`, `"user_inputs_values":{"DNS":"8.8.8.8"}`},
		"given empty":          {`{"DNS":"O|text|dns| |9.9.9.9"}`, `{"user_inputs_values":{"DNS":""}}`, `"user_inputs_values":{"DNS":""}`},
		"given null":           {`{"DNS":"O|text|dns| |9.9.9.9"}`, `{"user_inputs_values":{"DNS":null}}`, `"user_inputs_values":{"DNS":"9.9.9.9"}`},
		"no default":           {`{"DNS":"O|text|dns| |","B":"O|text"}`, `{"user_inputs_values":{}}`, `"user_inputs_values":{}`},
		"lists, ranges, yes":   {`{"A":"O|list|a|x,y|y","B":"O|range|b|1..9|4","C":"O|boolean|c| |YES"}`, ``, `"user_inputs_values":{"A":"y","B":"4","C":"YES"}`},
		"text64":               {`{"A":"O|text64|a| |hi"}`, ``, `"user_inputs_values":{"A":"aGk="}`},
		"with what divides it": {`{"A":"O|text|a| |x|y"}`, ``, `"user_inputs_values":{"A":"x|y"}`},
	} {
		t.Run(name, func(t *testing.T) {
			s := deployed(t, `{"name":"s","user_inputs":`+test.inputs+`,"roles":[]}`, test.given)
			if got := asJSON(t, s.state.Service.Body); !strings.Contains(got, test.values) {
				t.Errorf("%s is not in %s", test.values, got)
			}
			role := `{"name":"s","roles":[{"name":"a","type":"vm","cardinality":0,"template_id":0,"user_inputs":` + test.inputs + `}]}`
			given := strings.Replace(test.given, `{"user`, `{"roles":[{"name":"a","user`, 1)
			if given != "" {
				given += "]}"
			}
			if got := asJSON(t, deployed(t, role, given).state.Service.Body.Roles[0]); !strings.Contains(got, test.values) {
				t.Errorf("a role's: %s is not in %s", test.values, got)
			}
		})
	}
	s := runningStage(t, oneRole(1))
	s.command(flow.VerbAddRole, flow.AddRoleArguments{Role: json.RawMessage(
		`{"name":"b","type":"vm","cardinality":1,"template_id":0,"user_inputs":{"RAM":"O|number|r| |64"},"template_contents":{"MEMORY":"$RAM"}}`)})
	if got := s.extra("b", nil); !strings.Contains(got, `MEMORY = "64"`) {
		t.Errorf("a role that was added is made with\n%s", got)
	}
}

// What the service says of itself is replaced where that was asked for.
func TestExpand(t *testing.T) {
	const contents = `"template_contents":{"LABELS":"$SERVICE_ID/$SERVICE_NAME/$ROLE_NAME/$VM_NUMBER $NAME $VMID","CONTEXT":{"HOSTNAME":"$ROLE_NAME-$VM_NUMBER","N":"$NAME"}}`
	const expanded, left = `LABELS = "27/web/a/0 $NAME $VMID"`, `LABELS = "$SERVICE_ID/$SERVICE_NAME/$ROLE_NAME/$VM_NUMBER $NAME $VMID"`
	for name, test := range map[string]struct{ body, role, want string }{
		"nobody says":        {``, ``, left},
		"the service":        {`"expand":true,`, ``, expanded},
		"the role":           {``, `"expand":true,`, expanded},
		"the role's no":      {`"expand":true,`, `"expand":false,`, left},
		"the role against a": {`"expand":false,`, `"expand":true,`, expanded},
	} {
		t.Run(name, func(t *testing.T) {
			s := deployed(t, `{"name":"web",`+test.body+`"roles":[{"name":"a","type":"vm","cardinality":2,"template_id":0,`+test.role+contents+`}]}`, ``)
			got := s.extra("a", nil)
			if !strings.Contains(got, test.want) {
				t.Errorf("%s is not in\n%s", test.want, got)
			}
			if test.want == expanded && !strings.Contains(got, "HOSTNAME = \"a-0\",\nN = \"$NAME\"") {
				t.Errorf("the context is\n%s", got)
			}
			if got, want := strings.Count(asJSON(t, s.state.Service.Body), `"expand":`), strings.Count(test.body+test.role, `"expand":`); got != want {
				t.Errorf("the attribute stands %d times in the document, not %d", got, want)
			}
		})
	}
	if _, err := template.Read([]byte(`{"name":"s","expand":"yes","roles":[]}`), stageStart); err == nil || !strings.Contains(err.Error(), `expand: is "yes"; it must be true or false`) {
		t.Errorf("got %v", err)
	}
}

// A virtual router has no number; its VMs have.
func TestExpandOfVirtualRouters(t *testing.T) {
	body, err := spec.ParseBody([]byte(`{"name":"web","expand":true,"roles":[{"name":"r","type":"vr","template_id":3,"template_contents":{"DESCRIPTION":"$ROLE_NAME $VM_NUMBER"}}]}`))
	if err != nil {
		t.Fatal(err)
	}
	service := spec.Service{ID: 27, Body: body}
	router, err := render.ExtraTemplate(service, render.Instance{Role: "r", Key: "k", Ordinal: render.NoOrdinal}, nil, nil)
	if err != nil || !strings.Contains(router, `DESCRIPTION = "r $VM_NUMBER"`) {
		t.Errorf("the router is made with %s, %v", router, err)
	}
	vm, err := render.ExtraTemplate(service, render.Instance{Role: "r", Ordinal: 1}, nil, nil)
	if err != nil || !strings.Contains(vm, `DESCRIPTION = "r 1"`) {
		t.Errorf("its VM is made with %s, %v", vm, err)
	}
}

// oned repeats what it cannot read; passwords are left out of it.
func TestRefusalsWithoutSecrets(t *testing.T) {
	const template = `{"name":"s","user_inputs":{"PASS":"M|password|p| |","NAME":"M|text|n| |"},"roles":[
		{"name":"a","type":"vm","cardinality":1,"template_id":0,"user_inputs":{"OWN":"M|password|o| |"},"template_contents":{"MEMORY":"$PASS"}}]}`
	const given = `{"user_inputs_values":{"PASS":"hush","NAME":"web"},"roles":[{"name":"a","user_inputs_values":{"OWN":"hush-hush"}}]}`
	for said, want := range map[string]string{
		"Virtual network with ID: hush does not exist": "Virtual network with ID: *** does not exist",
		"web hush-hush": "web ***",
		"Error parsing: DISK_ID=1\x1fP=$$hush\nX=other. syntax error, unexpected EOA": "Error parsing CONTEXT: syntax error, unexpected EOA",
	} {
		s := deployed(t, template, given)
		s.take(flow.Decide(s.in(), flow.Refused{Action: s.actions[0], Message: said}))
		s.wantState(spec.ServiceFailedDeploying)
		s.wantLog("E Role a : VM 0 could not be created from template 0: "+want, "I New state: FAILED_DEPLOYING")
		s = deployed(t, template, given)
		s.take(flow.Decide(s.in(), flow.Postponed{Action: s.actions[0], Message: said}))
		for _, retry := range s.state.Retries {
			if retry.Message != want {
				t.Errorf("%q is kept as %q, not %q", said, retry.Message, want)
			}
		}
	}
}
