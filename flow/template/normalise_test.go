package template

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/flowjet/flowjet/flow/internal/raw"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
)

// normalised is a body as it is kept, without registration_time.
func normalised(t *testing.T, text string) string {
	t.Helper()
	whole, err := readObject([]byte(text))
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	body, found := normalise(whole, registered)
	if err := found.err(); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	if body.RegistrationTime != registered.Unix() {
		t.Errorf("registered at %d", body.RegistrationTime)
	}
	body.RegistrationTime = 0
	written, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	return string(written)
}

func TestNormalise(t *testing.T) {
	const before, after = `{"name":"s","deployment":"none","roles":[`, `],"description":""}`
	for name, test := range map[string]struct{ body, want string }{
		"defaults": {`{"name":"s","roles":[{"name":"a","type":"vm","template_id":0}]}`,
			before + `{"name":"a","type":"vm","cardinality":0,"template_id":0}` + after},
		"numbers as texts": {`{"name":"s","roles":[{"name":"a","type":"vm","template_id":"7","cardinality":" 2 ","min_vms":"1","max_vms":3.0,"cooldown":"5"}]}`,
			before + `{"name":"a","type":"vm","cardinality":2,"template_id":7,"min_vms":1,"max_vms":3,"cooldown":5}` + after},
		"numbers in policies": {`{"name":"s","roles":[{"name":"a","type":"vm","template_id":0,"elasticity_policies":[{"adjust":"-1","period":"5","mine":"5"}]}]}`,
			before + `{"name":"a","type":"vm","cardinality":0,"template_id":0,"elasticity_policies":[{"adjust":-1,"mine":"5","period":5}]}` + after},
		"unknown stays": {`{"name":"s","foo":{"b":1,"a":[2]},"roles":[{"name":"a","type":"vm","template_id":0,"bar":"x"}]}`,
			before + `{"name":"a","type":"vm","cardinality":0,"template_id":0,"bar":"x"}],"description":"","foo":{"b":1,"a":[2]}}`},
		"inputs keep their order": {`{"name":"s","roles":[],"user_inputs":{"Z":"M|text|z| |","A":"M|text|a| |"}}`,
			before + `],"user_inputs":{"Z":"M|text|z| |","A":"M|text|a| |"},"description":""}`},
		"a service's state is left out": {`{"name":"s","state":2,"start_time":"x","log":[],"roles":[{"name":"a","type":"vm","template_id":0,"state":"x","nodes":[{"deploy_id":1}],"last_vmname":3,"scale_way":1}]}`,
			before + `{"name":"a","type":"vm","cardinality":0,"template_id":0}` + after},
		"version 6": {`{"name":"s","custom_attrs":{"A":"M|text"},"custom_attrs_values":{"A":"1"},"roles":[{"name":"a","cardinality":"1","vm_template":"3","vm_template_contents":"NIC=[NAME=\"N0\",NETWORK_ID=\"$Public\"]\n","custom_attrs":{"B":"O|text"}}]}`,
			before + `{"name":"a","type":"vm","cardinality":1,"template_id":3,"user_inputs":{"B":"O|text"},"template_contents":{"NIC":[{"NAME":"N0","NETWORK_ID":"$Public"}]}}],"user_inputs":{"A":"M|text"},"user_inputs_values":{"A":"1"},"description":""}`},
		"version 6, nothing to add": {`{"name":"s","roles":[{"name":"a","vm_template":3,"vm_template_contents":""},{"name":"b","vm_template":3,"vm_template_contents":null}]}`,
			before + `{"name":"a","type":"vm","cardinality":0,"template_id":3},{"name":"b","type":"vm","cardinality":0,"template_id":3}` + after},
	} {
		t.Run(name, func(t *testing.T) {
			if got := normalised(t, test.body); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestParseTemplateText(t *testing.T) {
	for text, want := range map[string]string{
		"":                        `{}`,
		"A = 1":                   `{"A":"1"}`,
		"a=\"x y\"\nB = z w # no": `{"A":"x y","B":"z w # no"}`,
		"# nothing\nA=1":          `{"A":"1"}`,
		`A="say \"hi\" \n"`:       `{"A":"say \"hi\" \\n"}`,
		"A=\"two\nlines\"":        `{"A":"two\nlines"}`,
		"CONTEXT=[A=\"1\", B=$X ,\n C = \"[,]\" ]\nX=1":     `{"CONTEXT":{"A":"1","B":"$X","C":"[,]"},"X":"1"}`,
		"NIC=[NETWORK_ID=0]":                                `{"NIC":[{"NETWORK_ID":"0"}]}`,
		"NIC=[NETWORK_ID=0]\nNIC=[NETWORK_ID=1]\nNIC = [ ]": `{"NIC":[{"NETWORK_ID":"0"},{"NETWORK_ID":"1"},{}]}`,
		"A=1\nA=2\nA=3":                                     `{"A":["1","2","3"]}`,
		"A=":                                                `{"A":""}`,
		"A=\nB = # none\n\nC=1":                             `{"A":"","B":"","C":"1"}`,
		"A=[B=\nC=1,D=,E=\n\n]":                             `{"A":{"B":"","C":"1","D":"","E":""}}`,
		"A=\n # a value's own line\n \"x\"\nNIC =\n [ B=1 ]": `{"A":"x","NIC":[{"B":"1"}]}`,
	} {
		got, err := one.ParseTemplate(text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if written := string(raw.Marshal(got)); written != want {
			t.Errorf("%q: got %s, want %s", text, written, want)
		}
	}
	for _, text := range []string{"A", "=1", "A=[B=1", "A=\"x", "A B=1", "A=[B]"} {
		if got, err := one.ParseTemplate(text); err == nil {
			t.Errorf("%q is read as %v", text, got)
		}
	}
}

func FuzzParseTemplateText(f *testing.F) {
	f.Add("NIC=[NAME=\"N0\",\nNETWORK_ID=$x]\nA=b # c")
	f.Fuzz(func(_ *testing.T, text string) {
		_, _ = one.ParseTemplate(text)
	})
}

// OneFlow's clients decode the start of a policy as a text, and read no service or template at all in which it is a number.
func TestASchedulesStartIsAText(t *testing.T) {
	const sent = `{"name":"s","roles":[{"name":"a","type":"vm","template_id":0,"min_vms":0,"max_vms":3,"scheduled_policies":[{"type":"CHANGE","adjust":1,"start_time":%s}]}]}`
	body, err := Read(fmt.Appendf(nil, sent, `1893456000`), registered)
	if err != nil {
		t.Fatal(err)
	}
	const want = `[{"adjust":1,"start_time":"1893456000","type":"CHANGE"}]`
	if got := string(body.Roles[0].ScheduledPolicies); got != want {
		t.Errorf("a template has %s", got)
	}
	service, err := Instantiate(fmt.Appendf(nil, sent, `1893456000`), nil, registered) // stored as it was given
	if err != nil || string(service.Roles[0].ScheduledPolicies) != want {
		t.Errorf("a service has %s: %v", service.Roles[0].ScheduledPolicies, err)
	}
	for _, wrong := range []string{`1.5`, `-1`, `true`, `{}`} {
		if _, err := Read(fmt.Appendf(nil, sent, wrong), registered); err == nil || !strings.Contains(err.Error(), "which is not a time") {
			t.Errorf("%s gives %v", wrong, err)
		}
	}
}

// A client that compares what it has sent with what it reads, as Terraform does, finds empty lists and null again, after a change as well.
func TestEmptyListsAndNullStay(t *testing.T) {
	const sent = `{"name":"s","deployment":"straight","description":"","shutdown_action":null,"networks":{},"user_inputs":null,"unknown":null,"roles":[
		{"name":"a","type":"vm","cardinality":1,"template_id":0,"parents":[],"min_vms":1,"max_vms":2,"shutdown_action":null,"cooldown":null,"elasticity_policies":[],
		"scheduled_policies":[{"type":"CHANGE","adjust":1,"recurrence":"@daily","start_time":null,"min_adjust_step":null}],
		"heal":null,"deadlines":null,"victims":null},
		{"name":"b","type":"vm","cardinality":0,"template_id":0,"parents":null,"template_contents":null}]}`
	body, err := Read([]byte(sent), registered)
	for _, change := range []func(held []byte) (spec.Body, error){
		func(held []byte) (spec.Body, error) { return Replace(held, held, registered) },
		func(held []byte) (spec.Body, error) { return Replace(held, []byte(sent), registered) },
		func(held []byte) (spec.Body, error) { return Append(held, []byte(`{"description":""}`), registered) },
	} {
		if err != nil {
			t.Fatal(err)
		}
		kept := raw.Attributes(raw.Marshal(body))
		delete(kept, "registration_time")
		if !raw.Equal(kept.JSON(), []byte(sent)) {
			t.Errorf("it becomes %s", kept.JSON())
		}
		body, err = change(raw.Marshal(body))
	}
	if _, err := Instantiate(raw.Marshal(body), nil, registered); err != nil {
		t.Error("it cannot be instantiated: ", err)
	}
}
