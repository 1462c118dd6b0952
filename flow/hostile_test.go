package flow_test

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/expression"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/policy"
	"github.com/flowjet/flowjet/flow/render"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/flow/template"
	"github.com/flowjet/flowjet/internal/effort"
	"github.com/flowjet/flowjet/pipeline"
)

// Whatever figures a tenant has his VMs show, what was measured can be written, and a
// condition on them is no longer than it may be.
func TestHostileFigures(t *testing.T) {
	long := strings.TrimSuffix(strings.Repeat("A>1|", expression.MaxLength/4), "|")
	for name, figures := range map[string][]float64{
		"greatest":             {math.MaxFloat64},
		"a sum of greatest":    {math.MaxFloat64, math.MaxFloat64},
		"greatest and lowest":  {math.MaxFloat64, -math.MaxFloat64},
		"beyond any unit":      {1e300, 1e300},
		"as long as there are": {-999999999999999999, -999999999999999999},
	} {
		t.Run(name, func(t *testing.T) {
			s := runningStage(t, elastic(fmt.Sprintf(`{"type":"CHANGE","adjust":1,"expression":%q}`, long)))
			samples := map[int]policy.Sample{}
			for i, id := range s.state.Service.RoleNodes("a") {
				samples[id] = policy.Sample{"A": figures[i%len(figures)]}
			}
			s.now = s.now.Add(time.Second)
			measures := policy.Measure(s.state.Service, samples, s.now, s.now.Add(time.Hour))
			_ = pipeline.Encode(pipeline.Work{Service: 27, Measures: &measures})
			effort.Bounded(t, len(long), func() { s.take(flow.Decide(s.in(), flow.Measured{Measures: measures})) })
			written, _ := s.policy(s.state.Service.Body.Roles[0].ElasticityPolicies)["expression_evaluated"].(string)
			if written == "" || len(written) > expression.MaxLength {
				t.Errorf("the condition is written with %d bytes", len(written))
			}
		})
	}
}

// A document that was written past the API asks for no more measurements, references and
// values than a template may.
func TestHostileDocumentsAskForNoMoreThanTheLimits(t *testing.T) {
	var names, references strings.Builder
	for i := range 2000 {
		fmt.Fprintf(&names, "A%d>1|", i)
		fmt.Fprintf(&references, "${b.A%d}", i)
	}
	policies := strings.Repeat(fmt.Sprintf(`{"type":"CHANGE","adjust":1,"expression":%q},`, strings.TrimSuffix(names.String()[:4000], "|")+">1"), 3)
	for i := range 3 {
		policies += fmt.Sprintf(`{"type":"CHANGE","adjust":1,"expression":"B%d>1"},`, i)
	}
	text := fmt.Sprintf(`{"name":"s","state":2,"roles":[{"name":"a","type":"vm","template_id":0,"state":2,"cardinality":1,"min_vms":1,"max_vms":2,"parents":["b"],
		"elasticity_policies":[%s],"template_contents":{"X":%q},"nodes":[{"deploy_id":1}]},{"name":"b","type":"vm","template_id":0,"state":2,"cardinality":0,"nodes":[]}]}`,
		strings.TrimSuffix(policies, ","), references.String())
	body, _, err := spec.ReadService([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	service := spec.Service{ID: 27, Body: body}
	if measured := policy.MeasuredAttributes(service)["a"]; len(measured) != spec.MaxMeasured {
		t.Errorf("%d attributes are measured", len(measured))
	}
	if found := render.References(service, "a"); len(found) != spec.MaxReferences {
		t.Errorf("%d references are looked for", len(found))
	}
	said := template.Validate(body).Error()
	for _, want := range []string{"at most 64 are possible", "more than 256 values of parents' VMs"} {
		if !strings.Contains(said, want) {
			t.Errorf("validation does not tell of %q: %s", want, said)
		}
	}
}

// A document with more roles or nodes than there can be is not read, and one with roles of one
// name is in proportion.
func TestHostileDocumentsOfMany(t *testing.T) {
	for name, test := range map[string]struct{ text, refused string }{
		"roles": {`{"name":"s","state":2,"roles":[` + strings.Repeat(`{},`, 300_000) + `{}]}`, "roles has 300001 elements"},
		"nodes": {`{"name":"s","state":2,"roles":[{"name":"a","nodes":[` + numbered(`{"deploy_id":#},`, 30_000) + `{"deploy_id":99999}]}]}`, "more than 20000 nodes"},
		"nodes of many roles": {`{"name":"s","state":2,"roles":[` + numbered(`{"name":"a#","nodes":[{"deploy_id":#}]},`, 900) + `{"name":"z","nodes":[` +
			numbered(`{"deploy_id":1#},`, 30_000) + `{"deploy_id":99999}]}]}`, "more than 20000 nodes"},
		"roles without a name": {`{"name":"s","state":2,"roles":[` + strings.Repeat(`{},`, spec.MaxRoles-1) + `{}]}`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var err error
			effort.Bounded(t, len(test.text), func() { _, _, err = spec.ReadService([]byte(test.text)) })
			if test.refused == "" && err != nil || test.refused != "" && (err == nil || !strings.Contains(err.Error(), test.refused)) {
				t.Errorf("got %v, want %q", err, test.refused)
			}
		})
	}
}

// numbered is a text as often as that, with its number for each #.
func numbered(text string, count int) string {
	var all strings.Builder
	for i := range count {
		all.WriteString(strings.ReplaceAll(text, "#", fmt.Sprint(i)))
	}
	return all.String()
}

// decided has a service decided on until nothing changes, with no VM, and returns what it has become.
func decided(t *testing.T, text string) flow.State {
	t.Helper()
	body, _, err := spec.ReadService([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return flow.Decide(flow.Input{State: flow.State{Service: spec.Service{ID: 27, Body: body}}, Now: stageStart, Settings: flow.DefaultSettings()}, nil).State
}

// Roles that wait for each other are deployed and ended with work in proportion to what is
// written of them, in whatever order and however often they are joined.
func TestHostileGraphsOfRoles(t *testing.T) {
	role := func(name string, parents ...string) string {
		text, _ := json.Marshal(parents)
		return fmt.Sprintf(`{"name":%q,"type":"vm","template_id":0,"cardinality":0,"parents":%s}`, name, text)
	}
	var layers, forwards, backwards, dense []string
	for i := range 200 {
		above := []string{fmt.Sprintf("a%d", i-1), fmt.Sprintf("b%d", i-1)}
		if i == 0 {
			above = nil
		}
		layers = append(layers, role(fmt.Sprintf("a%d", i), above...), role(fmt.Sprintf("b%d", i), above...))
	}
	var all []string
	for i := range 1000 {
		name := fmt.Sprintf("r%d", i)
		forwards, backwards = append(forwards, role(name, all[max(0, i-1):]...)), append([]string{role(name, all[max(0, i-1):]...)}, backwards...)
		if i < 500 {
			dense = append([]string{role(name, all...)}, dense...)
		}
		all = append(all, name)
	}
	for name, roles := range map[string][]string{"layers": layers, "a chain": forwards, "a chain from its end": backwards, "all for all": dense} {
		t.Run(name, func(t *testing.T) {
			text := `{"name":"s","deployment":"straight","roles":[` + strings.Join(roles, ",") + `]}`
			effort.Bounded(t, len(text), func() {
				if _, err := template.Read([]byte(text), stageStart); err != nil {
					t.Error(err)
				}
				running := decided(t, text)
				ended, err := flow.Apply(flow.Input{State: running, Now: stageStart, Settings: flow.DefaultSettings()}, flow.Command{Verb: flow.VerbUndeploy})
				if err != nil || running.Service.State() != spec.ServiceRunning || ended.State.Service.State() != spec.ServiceDone {
					t.Errorf("it became %s and %s: %v", running.Service.State(), ended.State.Service.State(), err)
				}
			})
		})
	}
}

// Values of inputs are not put into so many roles that the service becomes too large.
func TestHostileInputsInManyRoles(t *testing.T) {
	var roles []string
	for i := range 1000 {
		roles = append(roles, fmt.Sprintf(`{"name":"r%d","type":"vm","template_id":0,"cardinality":0}`, i))
	}
	for _, attribute := range []string{"user_inputs_values", "custom_attrs_values"} {
		text := fmt.Sprintf(`{"name":"s",%q:{"V":%q},"roles":[%s]}`, attribute, strings.Repeat("v", 500_000), strings.Join(roles, ","))
		effort.Bounded(t, len(text), func() {
			if _, err := template.Instantiate([]byte(text), nil, stageStart); err == nil || !strings.Contains(err.Error(), "more than 4194304 bytes together") {
				t.Errorf("%s: %v", attribute, err)
			}
			made := decided(t, text)
			if body, err := made.Service.Body.Text(); made.Service.State() != spec.ServiceFailedDeployingNets || len(body) > 2*len(text) {
				t.Errorf("%s: a document is %s with %d bytes (%v)", attribute, made.Service.State(), len(body), err)
			}
		})
	}
}

// However many passwords stand for each other, what oned said does not grow.
func TestHostilePasswords(t *testing.T) {
	var inputs, values strings.Builder
	for i := range 40 {
		fmt.Fprintf(&inputs, `"P%d":"M|password|p",`, i)
		fmt.Fprintf(&values, `"P%d":"*",`, i)
	}
	s := decided(t, fmt.Sprintf(`{"name":"s","user_inputs":{%s"Q":"M|password|q"},"user_inputs_values":{%s"Q":"secret"},"roles":[{"name":"a","type":"vm","template_id":0,"cardinality":1}]}`, &inputs, &values))
	action := flow.Action{Kind: flow.ActionCreateVM, Intent: s.Intents[0], Role: "a"}
	failed := flow.Decide(flow.Input{State: s, Now: stageStart, Settings: flow.DefaultSettings()}, flow.Refused{Action: action, Message: "no * for secret"})
	said := failed.State.Service.Body.Log[len(failed.State.Service.Body.Log)-2].Message
	if !strings.HasSuffix(said, "no *** for ***") {
		t.Errorf("it says %q", said)
	}
}

// What is explained of a document with many attributes and a long log is in proportion.
func TestHostileExplanations(t *testing.T) {
	for name, text := range map[string]string{
		"attributes": `{"name":"s","state":2,` + numbered(`"a#":1,`, 80_000) + `"roles":[]}`,
		"one name":   `{"name":"s","state":2,"` + strings.Repeat("a", 900_000) + `":1,"roles":[]}`,
		"the log":    `{"name":"s","state":7,"roles":[],"log":[` + numbered(`{"severity":"E","message":"Role r : a long line of the log, number #"},`, 15_000) + `{}]}`,
	} {
		body, _, err := spec.ReadService([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		effort.Bounded(t, len(text), func() {
			explained := flow.Explain(flow.State{Service: spec.Service{ID: 27, Body: body}}, nil, stageStart)
			if told, _ := json.Marshal(explained); len(told) > 20_000 {
				t.Errorf("%s: it is told with %d bytes", name, len(told))
			}
		})
	}
}

// Schedules that never come due, and those of far times, cost no decision, and their timers
// can be written.
func TestHostileSchedules(t *testing.T) {
	for name, schedule := range map[string]string{
		"a sixth Friday":       `"recurrence":"0 0 * * 5#6"`,
		"a date there is not":  `"recurrence":"0 0 31 2 *"`,
		"a long one":           `"recurrence":"59 23 29 2 ` + strings.Repeat("1,", 2000) + `1"`,
		"the end of time":      `"start_time":9223372036854775807`,
		"the year 10000":       `"start_time":"253402300800"`,
		"there, in some zones": `"start_time":"9999-12-31 23:59:59"`,
	} {
		t.Run(name, func(t *testing.T) {
			policies := strings.TrimSuffix(strings.Repeat(`{"type":"CHANGE","adjust":1,`+schedule+`},`, spec.MaxPolicies), ",")
			written := `{"name":"s","roles":[{"name":"a","type":"vm","template_id":0,"min_vms":0,"max_vms":9,"scheduled_policies":[` + policies + `]}]}`
			if _, err := template.Read([]byte(written), stageStart); err == nil {
				t.Error("it is taken")
			}
			document := strings.Replace(written, `"name":"s"`, `"name":"s","state":2`, 1)
			var state flow.State
			effort.Bounded(t, len(document), func() { state = decided(t, document) })
			if _, set := state.Deadlines[flow.DeadlineSchedule]; set {
				t.Error("it has a timer")
			}
			_ = pipeline.Encode(pipeline.Record{State: state})
		})
	}
}

// Contents of any form make no document that cannot be written, and none that oned takes for
// what tells whose a VM is.
func TestHostileContents(t *testing.T) {
	for _, contents := range []string{`[1]`, `"x"`, `7`, `[]`, `true`, `{"NAME":{}}`} {
		for _, kind := range []string{"vm", "vr"} {
			state := decided(t, `{"name":"s","roles":[{"name":"a","type":"`+kind+`","template_id":0,"cardinality":1,"template_contents":`+contents+`}]}`)
			if _, err := state.Service.Body.Text(); err != nil {
				t.Errorf("%s of %s: %v", contents, kind, err)
			}
		}
	}
	for _, name := range []string{"-SERVICE_ID", "service_id.", "+FLOWJET_KEY", "Role_Name!", "é.SERVICE_ID"} {
		state := decided(t, `{"name":"s","roles":[{"name":"a","type":"vm","template_id":0,"cardinality":1,"template_contents":{"`+name+`":"99"}}]}`)
		text, err := render.ExtraTemplate(state.Service, render.Instance{Role: "a", Key: state.Intents[0].Key}, one.Template{{Name: name, Value: "99"}}, nil)
		if err != nil || strings.Contains(text, "99") {
			t.Errorf("%s: %q (%v)", name, text, err)
		}
	}
}

// What is added to a service bit by bit is held to the limits of the whole.
func TestHostileGrowth(t *testing.T) {
	long := strings.Repeat("d", 900_000)
	schedules := strings.TrimSuffix(strings.Repeat(`{"type":"CHANGE","adjust":1,"recurrence":"0 9 * * *"},`, spec.MaxPolicies), ",")
	added := func(i int, more string) flow.AddRoleArguments {
		return flow.AddRoleArguments{Role: json.RawMessage(fmt.Sprintf(`{"name":"r%d","type":"vm","template_id":0%s}`, i, more))}
	}
	for name, test := range map[string]struct {
		verb flow.Verb
		more func(i int) any
		want string
	}{
		"VMs of added roles":     {flow.VerbAddRole, func(i int) any { return added(i, `,"cardinality":4000`) }, "12000 VMs"},
		"schedules":              {flow.VerbAddRole, func(i int) any { return added(i, `,"min_vms":0,"max_vms":9,"scheduled_policies":[`+schedules+`]`) }, "320 scheduled policies"},
		"contents of added ones": {flow.VerbAddRole, func(i int) any { return added(i, `,"template_contents":{"A":"`+long+`"}`) }, "bytes in its document"},
		"attributes": {flow.VerbUpdate, func(i int) any {
			return flow.UpdateArguments{Append: true, Template: json.RawMessage(fmt.Sprintf(`{"x%d":%q}`, i, long))}
		}, "bytes in its document"},
	} {
		t.Run(name, func(t *testing.T) {
			state := decided(t, `{"name":"s","state":2,"roles":[]}`)
			for i := range 10 {
				arguments, err := json.Marshal(test.more(i))
				if err != nil {
					t.Fatal(err)
				}
				next, err := flow.Apply(flow.Input{State: state, Now: stageStart, Settings: flow.DefaultSettings()}, flow.Command{Verb: test.verb, Arguments: arguments})
				if err != nil {
					if !strings.Contains(err.Error(), test.want) {
						t.Errorf("it is refused with %v", err)
					}
					return
				}
				state = next.State
				running := spec.ServiceRunning
				state.Service.Body.State = &running
			}
			t.Error("nothing is refused")
		})
	}
	state := decided(t, `{"name":"s","state":2,"roles":[{"name":"a","type":"vm","template_id":0,"state":2,"cardinality":6000,"nodes":[]},{"name":"b","type":"vm","template_id":0,"state":2,"cardinality":1,"nodes":[]}]}`)
	for i := range state.Service.Body.Roles {
		state.Service.Body.Roles[i].Cardinality = []int{6000, 1}[i]
	}
	_, err := flow.Apply(flow.Input{State: state, Now: stageStart, Settings: flow.DefaultSettings()}, flow.Command{Verb: flow.VerbScale, Arguments: json.RawMessage(`{"role_name":"b","cardinality":5000,"force":true}`)})
	if err == nil || !strings.Contains(err.Error(), "in all roles together") {
		t.Errorf("a scaling beyond the limit: %v", err)
	}
}

// All that OneFlow 6 and others have written secrets into is sealed, of whatever form it is,
// and comes back as it was.
func TestHostileFormsAreSealed(t *testing.T) {
	const mark = "PLANTED"
	for _, text := range []string{
		`{"name":"s","roles":[{"name":"a","vm_template":0,"cardinality":1,"vm_template_contents":"CONTEXT=[PASS=\"` + mark + `\"]\n"}]}`,
		`{"name":"s","custom_attrs":"` + mark + `","custom_attrs_values":["` + mark + `"],"user_inputs":"` + mark + `","roles":[{"name":"a","type":"vm","template_id":0,"template_contents":"` + mark + `"}]}`,
		`{"name":"s","roles":[{"name":"a","type":"vm","template_id":0,"template_contents":"sealed:` + mark + `","custom_attrs":"","user_inputs":""}]}`,
	} {
		body, _, err := spec.ReadService([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		sealed, err := body.Sealed(func(text []byte) string { return "sealed:" + hex.EncodeToString(text) }).Text()
		if err != nil || strings.Contains(string(sealed), mark) {
			t.Errorf("it is stored as %s (%v)", sealed, err)
		}
		stored, err := spec.ParseBody(sealed)
		if err != nil {
			t.Fatal(err)
		}
		opened, err := stored.Opened(func(text string) ([]byte, error) { return hex.DecodeString(strings.TrimPrefix(text, "sealed:")) })
		if err != nil || opened.Digest() != body.Digest() {
			t.Errorf("%s comes back as another (%v)", text, err)
		}
	}
}
