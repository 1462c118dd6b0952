package flow_test

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/expression"
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
