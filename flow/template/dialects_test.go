package template

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/flowjet/flowjet/flow/internal/raw"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/render"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/fixtures"
)

// oldTemplates are templates as OneFlow 5.12 and 6 stored them.
var oldTemplates = []string{
	`{"name":"five","deployment":"straight","description":"","ready_status_gate":false,"roles":[
		{"name":"db","cardinality":1,"vm_template":3,"shutdown_action":"terminate","min_vms":1,"max_vms":2,"cooldown":5,"elasticity_policies":[],"scheduled_policies":[]},
		{"name":"app","cardinality":2,"vm_template":"4","parents":["db"],"vm_template_contents":"NIC=[NAME=\"N0\",NETWORK_ID=\"$Public\"]\nMEMORY=\"96\"\n"}],
		"networks":{"Public":"M|network|Public| |id:0"},"registration_time":1600000000}`,
	`{"name":"six","deployment":"none","roles":[{"name":"a","cardinality":1,"vm_template":0,"vm_template_contents":"","custom_attrs":{"R":"M|text|of the role| |"}}],
		"custom_attrs":{"A":"M|text|of the service| |","B":"O|text|b| |x"},"custom_attrs_values":{"A":"1"},"registration_time":1650000000}`,
	`{"name":"between","deployment":"none","roles":[{"name":"a","type":"vm","cardinality":1,"template_id":0,"custom_attrs":{"R":"O|text"}}],
		"custom_attrs":{"A":"M|text|of the service| |"},"custom_attrs_values":{"A":"1"},"registration_time":1650000000}`,
	`{"name":"bare","roles":[{"name":"a","type":"vm","cardinality":1,"template_id":0}],"registration_time":1}`,
}

// recordedBodies are the bodies of all documents in recorded answers.
func recordedBodies(t testing.TB) (templates, services []string) {
	type document struct {
		Template struct {
			Body json.RawMessage `json:"BODY"`
		} `json:"TEMPLATE"`
		Type string `json:"TYPE"`
	}
	type answer struct {
		Response string `json:"response_body"`
	}
	seen := map[string]bool{}
	for _, name := range []string{"rest.jsonl", "clients.jsonl"} {
		for _, line := range fixtures.Lines[answer](t, name) {
			var read struct {
				Document document `json:"DOCUMENT"`
				Pool     struct {
					Documents []document `json:"DOCUMENT"`
				} `json:"DOCUMENT_POOL"`
			}
			if json.Unmarshal([]byte(line.Response), &read) != nil {
				continue
			}
			for _, found := range append(read.Pool.Documents, read.Document) {
				text := string(found.Template.Body)
				switch {
				case text == "" || seen[text]:
				case found.Type == "101":
					templates = append(templates, text)
				default:
					services = append(services, text)
				}
				seen[text] = true
			}
		}
	}
	return templates, services
}

func wantEqualJSON(t testing.TB, what, got, want string) {
	t.Helper()
	if !raw.Equal(json.RawMessage(got), json.RawMessage(want)) {
		t.Errorf("%s: got\n%s\nwant\n%s", what, got, want)
	}
}

// A client that writes back what it has read changes nothing, in whatever form OneFlow wrote it.
func TestPuttingWhatWasReadChangesNothing(t *testing.T) {
	templates, services := recordedBodies(t)
	if len(templates) < 20 || len(services) < 50 {
		t.Fatalf("only %d templates and %d services were recorded", len(templates), len(services))
	}
	now := time.Unix(1_900_000_000, 0)
	for _, text := range slices.Concat(templates, oldTemplates) {
		body, err := Replace([]byte(text), []byte(text), now)
		if err != nil {
			// What OneFlow took and Flowjet does not, such as a circle of parents, is refused again.
			if _, fresh := Read([]byte(text), now); fresh == nil {
				t.Errorf("%s: %v", text, err)
			}
			continue
		}
		wantEqualJSON(t, "a template", string(raw.Marshal(body)), text)
		if body, err = Append([]byte(text), []byte(`{}`), now); err != nil {
			t.Errorf("%s: %v", text, err)
		}
		wantEqualJSON(t, "a template, nothing appended", string(raw.Marshal(body)), text)
	}
	for _, text := range services {
		held, err := spec.ParseBody([]byte(text))
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		wantEqualJSON(t, "a service as it is written", string(raw.Marshal(held)), text)
		for _, appendTo := range []bool{false, true} {
			body, err := Update(held, json.RawMessage(text), appendTo)
			if err != nil {
				t.Errorf("%s: %v", text, err)
				continue
			}
			wantEqualJSON(t, "a service", string(raw.Marshal(body)), text)
		}
	}
}

// Appending anything that nobody knows leaves the rest as it is.
func TestAppendingKeepsTheRest(t *testing.T) {
	templates, _ := recordedBodies(t)
	all := slices.Concat(templates, oldTemplates)
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.SampledFrom(all).Draw(t, "template")
		value := rapid.SampledFrom([]string{`"a"`, `1`, `null`, `{"a":[1]}`, `[]`, `""`, `true`}).Draw(t, "value")
		if _, err := Read([]byte(text), registered); err != nil {
			return
		}
		body, err := Append([]byte(text), []byte(`{"labels":`+value+`}`), registered)
		if err != nil {
			t.Fatal(err)
		}
		want := raw.Attributes(json.RawMessage(text))
		want["labels"] = json.RawMessage(value)
		var got map[string]any
		if err := json.Unmarshal(raw.Marshal(body), &got); err != nil {
			t.Fatal(err)
		}
		for name, value := range want {
			var expected any
			if err := json.Unmarshal(value, &expected); err != nil || !reflect.DeepEqual(got[name], expected) {
				t.Errorf("%s is %v, want %v", name, got[name], expected)
			}
		}
	})
}

func TestATemplateOfOldFormIsReplacedInItsForm(t *testing.T) {
	held := oldTemplates[0]
	changed := strings.Replace(strings.Replace(held, `"cardinality":2`, `"cardinality":1`, 1), `,"registration_time":1600000000`, ``, 1)
	body, err := Replace([]byte(held), []byte(changed), registered)
	if err != nil {
		t.Fatal(err)
	}
	wantEqualJSON(t, "changed", string(raw.Marshal(body)), strings.Replace(held, `"cardinality":2`, `"cardinality":1`, 1))
	if _, err = Replace([]byte(held), []byte(strings.Replace(held, `"parents":["db"]`, `"parents":["zz"]`, 1)), registered); err == nil {
		t.Error("an unknown parent was taken")
	}
	if body.Roles[1].TemplateID != 4 || body.Roles[1].Type != spec.RoleTypeVM || !strings.Contains(string(body.Roles[1].TemplateContents), `"$Public"`) {
		t.Errorf("read as %+v", body.Roles[1])
	}
	body.Roles[0].TemplateID = 9 // as a clone with VM templates of its own
	if text := string(raw.Marshal(body)); !strings.Contains(text, `"vm_template":9`) || strings.Contains(text, "template_id") {
		t.Errorf("written as %s", text)
	}
	// In a document that has today's form it is brought into that.
	body, err = Replace([]byte(oldTemplates[3]), []byte(`{"name":"n","roles":[{"name":"a","vm_template":2}]}`), registered)
	if err != nil || !strings.Contains(string(raw.Marshal(body)), `"type":"vm","cardinality":0,"template_id":2`) {
		t.Errorf("got %s, %v", raw.Marshal(body), err)
	}
}

func TestInstantiatingTemplatesOfOldForm(t *testing.T) {
	for name, test := range map[string]struct{ template, given, parts string }{
		"5.12":              {oldTemplates[0], ``, `"template_id":4|"parents":["db"]|{"NAME":"N0","NETWORK_ID":"$Public"}|"networks_values":[{"Public":{"id":"0"}}]`},
		"6, without values": {oldTemplates[1], ``, `"template_id":0|"user_inputs":{"A":"M|"user_inputs_values":{"A":"1"}`},
		"6, with values":    {oldTemplates[1], `{"custom_attrs_values":{"A":"2"},"roles":[{"name":"a","custom_attrs_values":{"R":"r"}}]}`, `"user_inputs_values":{"A":"2","B":"x"}|"user_inputs_values":{"R":"r"}`},
		"7 with 6's inputs": {oldTemplates[2], ``, `"custom_attrs":{"A":"M|"custom_attrs_values":{"A":"1"}|"custom_attrs":{"R":"O|text"}`},
		"and their values":  {oldTemplates[2], `{"custom_attrs_values":{"A":"v"}}`, `"custom_attrs":{"A":"M|"user_inputs_values":{"A":"v"}`},
	} {
		got := started(t, test.template, test.given)
		for _, part := range strings.Split(strings.ReplaceAll(test.parts, `"A":"M|"`, "\x00"), "|") {
			part, _, _ = strings.Cut(part, "\x00")
			if !strings.Contains(got, part) {
				t.Errorf("%s: %s is not in %s", name, part, got)
			}
		}
	}
}

// A running service of an earlier OneFlow is driven on, and its document stays in its form.
func TestServicesOfOldFormAreDriven(t *testing.T) {
	text := `{"name":"five","deployment":"none","state":2,"custom_attrs_values":{"A":"1"},"roles":[{"name":"a","cardinality":1,"vm_template":"3","state":2,"last_vmname":1,
		"vm_template_contents":"NIC=[NAME=\"N0\",NETWORK_ID=\"7\"]\n","nodes":[{"deploy_id":4,"vm_info":{"VM":{"ID":"4","UID":"0","GID":"0","UNAME":"oneadmin","GNAME":"oneadmin","NAME":"a"}}}]}]}`
	body, err := spec.ParseBody([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	service := spec.Service{ID: 9, Body: body}
	if id, needed := render.NeedsTemplate(service, "a"); id != 3 || !needed {
		t.Errorf("new VMs are of template %d", id)
	}
	extra, err := render.ExtraTemplate(service, render.Instance{Role: "a", Key: "k"}, one.Template{{Name: "CPU", Value: "1"}}, nil)
	if err != nil || !strings.Contains(extra, `NETWORK_ID = "7"`) {
		t.Errorf("new VMs get %s, %v", extra, err)
	}
	wantEqualJSON(t, "unchanged", string(raw.Marshal(body)), text)
	body.Roles[0].Cardinality = 2
	wantEqualJSON(t, "scaled", string(raw.Marshal(body)), strings.Replace(text, `"cardinality":1`, `"cardinality":2`, 1))
	wantEqualJSON(t, "read again", string(raw.Marshal(mustParse(t, string(raw.Marshal(body))))), strings.Replace(text, `"cardinality":1`, `"cardinality":2`, 1))
}

func mustParse(t *testing.T, text string) spec.Body {
	t.Helper()
	body, err := spec.ParseBody([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return body
}
