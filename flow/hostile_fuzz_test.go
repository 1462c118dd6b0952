package flow_test

import (
	"bytes"
	"encoding/json"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/policy"
	"github.com/flowjet/flowjet/flow/render"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/flow/template"
	"github.com/flowjet/flowjet/internal/effort"
	"github.com/flowjet/flowjet/pipeline"
)

// FuzzInstantiate merges, reads and validates whatever it is given, with work in proportion.
func FuzzInstantiate(f *testing.F) {
	for _, seed := range [][2]string{
		{`{"name":"s","roles":[{"name":"a","type":"vm","template_id":0}]}`, `{"roles":[{"name":"a","cardinality":"2"},{"name":"a"}]}`},
		{`{"name":"s","roles":[],"x":[{"a":[1]},2]}`, `{"x":[{"a":[1.0]},{"b":null}],"networks":{"n":"M|network|n| |id:0"}}`},
		{`{"name":"s","roles":[{"name":"a","vm_template":0,"vm_template_contents":"NIC=[A=1]"}]}`, `{"user_inputs_values":{"P":"x"}}`},
		{`{"name":"s","roles":[{"name":"a","vm_template":0,"_":""}]}`, "{\"user_inputs_values\":{\"P\":\"\x9b\"}}"},
	} {
		f.Add([]byte(seed[0]), []byte(seed[1]))
	}
	f.Fuzz(func(t *testing.T, held, given []byte) {
		effort.Bounded(t, len(held)+len(given), func() {
			body, err := template.Instantiate(held, given, time.Unix(1_900_000_000, 0))
			if err != nil {
				return
			}
			if _, err := json.Marshal(body); err != nil {
				t.Fatalf("what was accepted cannot be written: %v", err)
			}
			box := func(text []byte) string { return "sealed:" + string(text) }
			opened, err := body.Sealed(box).Opened(func(text string) ([]byte, error) { return []byte(text[len("sealed:"):]), nil })
			if err != nil || opened.Digest() != body.Digest() {
				t.Fatalf("what is sealed and opened is another body: %v", err)
			}
		})
	})
}

// FuzzAdopt plans a service from any document, with strangers' VMs around, with work in
// proportion: nothing is asked of them.
func FuzzAdopt(f *testing.F) {
	f.Add([]byte(`{"name":"s","state":1,"roles":[{"name":"a","state":1,"cardinality":2,"nodes":[{"deploy_id":900}]}]}`), uint64(1))
	f.Add([]byte(`{"name":"s","state":3,"roles":[{"name":"a","state":3,"nodes":[{"deploy_id":901},{"deploy_id":902}]}]}`), uint64(2))
	f.Add([]byte(`{"name":"s","state":8,"deployment":"straight","roles":[{"name":"a","state":8,"scale_way":1,"cardinality":0,"nodes":[{"deploy_id":900}],"parents":["a"]}]}`), uint64(3))
	f.Fuzz(func(t *testing.T, document []byte, seed uint64) {
		effort.Bounded(t, len(document), func() { adopt(t, document, seed) })
	})
}

// adopt has a service decided on from a document, with strangers' VMs around, of which nothing
// may be asked. What its VMs are made with is written, too.
func adopt(t *testing.T, document []byte, seed uint64) {
	t.Helper()
	body, _, err := spec.ReadService(document)
	if err != nil {
		return
	}
	random := rand.New(rand.NewPCG(seed, 3))
	s := &stage{t: t, facts: flow.Facts{}, settings: flow.DefaultSettings(), state: flow.State{Service: spec.Service{ID: 27, Owner: stageOwner, Body: body}}}
	for id := 900; id < 905; id++ {
		s.facts[id] = stranger(random, s, id)
	}
	for step := range 3 {
		s.now = stageStart.Add(time.Duration(step) * time.Minute)
		decision := flow.Decide(s.in(), nil)
		for _, action := range decision.Actions {
			if (action.Kind == flow.ActionVM || action.Kind == flow.ActionRecoverVM) && action.VM >= 900 {
				t.Fatalf("%s is asked of a stranger's VM", action.Call)
			}
		}
		s.state = decision.State
	}
	if roles := s.state.Service.Body.Roles; len(roles) > 0 {
		values := map[string]string{}
		for _, reference := range render.References(s.state.Service, roles[0].Name) {
			values[reference.Text] = "a value of a parent's VM"
		}
		_, _ = render.ExtraTemplate(s.state.Service, render.Instance{Role: roles[0].Name, Key: "27-a-0-k"}, nil, values)
	}
	measures := policy.Measure(s.state.Service, map[int]policy.Sample{900: {"A": math.MaxFloat64}}, s.now, s.now)
	_ = pipeline.Encode(pipeline.Work{Service: 27, Measures: &measures})
	s.state = flow.Decide(s.in(), flow.Measured{Measures: measures}).State
}

// FuzzRepeated has a body in which one part stands as often as there is room read as a
// template, merged with itself, and adopted as a service, with work in proportion: what takes
// time with the square of the length is not seen in short bodies.
func FuzzRepeated(f *testing.F) {
	const role = `{"name":"s","state":2,"roles":[{"name":"a","type":"vm","template_id":0,"min_vms":0,"max_vms":9,"state":2,"parents":["a","b"],`
	const contents = role + `"user_inputs_values":{"A":"0123456789"},"template_contents":{`
	for _, seed := range [][3]string{
		{`{"name":"s","roles":[`, `{},`, `{}]}`},
		{`{"name":"s","state":1,"roles":[`, `{"name":"a#","type":"vm","template_id":0},`, `{}]}`},
		{`{"name":"s","state":1,"roles":[`, `{"name":"a#","parents":["a#"],"nodes":[{"deploy_id":900}]},`, `{}]}`},
		{`{"name":"s","roles":[],"x":[`, `{"a#":1},`, `2]}`},
		{`{"name":"s","roles":[],"x":`, `[`, `2]}`},
		{role + `"nodes":[`, `{"deploy_id":900},`, `{"deploy_id":901}]}]}`},
		{role + `"parents":[`, `"b#",`, `"c"]}]}`},
		{role + `"elasticity_policies":[{"expression":"`, `A>1||`, `A>1"}]}]}`},
		{role + `"elasticity_policies":[`, `{"type":"CHANGE","adjust":1,"expression":"A>1"},`, `{}]}]}`},
		{role + `"scheduled_policies":[`, `{"type":"CHANGE","adjust":1,"recurrence":"0 0 29 2 *"},`, `{}]}]}`},
		{contents, `"A#":"$A",`, `"B":"1"}}]}`},
		{contents + `"A":"`, `$A`, `"}}]}`},
		{contents + `"CONTEXT":{"B":"`, `$A `, `"}}}]}`},
		{contents + `"A":"`, `${a.X#}`, `"}}]}`},
		{contents + `"A":"`, `\\`, `$"}}]}`},
		{contents + `"NIC":[`, `{"NETWORK_ID":"$a"},`, `{}]}}]}`},
		{contents + `"APPEND":"NIC`, `,NIC#`, `","NIC":[{}]}}]}`},
		{`{"name":"s","networks":{`, `"a#":"M|network|n| |id:0",`, `"b":""},"roles":[]}`},
		{`{"name":"s","roles":[],"user_inputs":{"A":"M|list|t|`, `a,`, `b|a"}}`},
		{`{"name":"s","state":2,"roles":[],"log":[`, `{"timestamp":1,"severity":"I","message":"m"},`, `{}]}`},
		{`{"name":"s","roles":[{"name":"a","vm_template":0,"vm_template_contents":"`, `A=1\n`, `"}]}`},
	} {
		f.Add([]byte(seed[0]), []byte(seed[1]), []byte(seed[2]), uint64(1))
	}
	f.Fuzz(func(t *testing.T, front, part, behind []byte, seed uint64) {
		const most = 32 << 10
		if len(front)+len(behind) > most {
			return
		}
		// Not one is the same as another: # is a number.
		body := slices.Clone(front)
		for number := 0; len(body)+len(part) < most && number < most; number++ {
			body = append(body, bytes.ReplaceAll(part, []byte("#"), strconv.AppendInt(nil, int64(number), 36))...)
		}
		body = append(body, behind...)
		now := time.Unix(1_900_000_000, 0)
		effort.Bounded(t, len(body), func() { _, _ = template.Read(body, now) })
		effort.Bounded(t, 2*len(body), func() { _, _ = template.Instantiate(body, body, now) })
		effort.Bounded(t, len(body), func() { adopt(t, body, seed) })
	})
}
