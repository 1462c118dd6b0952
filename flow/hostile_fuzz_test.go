package flow_test

import (
	"encoding/json"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow"
)

// within fails for work that takes longer than its input is worth: 2 microseconds a byte and
// a second for a busy machine.
func within(t *testing.T, size int, work func()) {
	t.Helper()
	began := time.Now()
	work()
	if took := time.Since(began); took > time.Second+time.Duration(size)*2*time.Microsecond {
		t.Fatalf("%d bytes took %v", size, took)
	}
}

// FuzzInstantiate merges, reads and validates whatever it is given, in bounded time.
func FuzzInstantiate(f *testing.F) {
	for _, seed := range [][2]string{
		{`{"name":"s","roles":[{"name":"a","type":"vm","template_id":0}]}`, `{"roles":[{"name":"a","cardinality":"2"},{"name":"a"}]}`},
		{`{"name":"s","roles":[],"x":[{"a":[1]},2]}`, `{"x":[{"a":[1.0]},{"b":null}],"networks":{"n":"M|network|n| |id:0"}}`},
		{`{"name":"s","roles":[{"name":"a","vm_template":0,"vm_template_contents":"NIC=[A=1]"}]}`, `{"user_inputs_values":{"P":"x"}}`},
	} {
		f.Add([]byte(seed[0]), []byte(seed[1]))
	}
	f.Fuzz(func(t *testing.T, template, given []byte) {
		within(t, len(template)+len(given), func() {
			body, err := flow.InstantiateTemplate(template, given, time.Unix(1_900_000_000, 0))
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

// FuzzAdopt plans a service from any document, with strangers' VMs around, in bounded time:
// nothing is asked of them.
func FuzzAdopt(f *testing.F) {
	f.Add([]byte(`{"name":"s","state":1,"roles":[{"name":"a","state":1,"cardinality":2,"nodes":[{"deploy_id":900}]}]}`), uint64(1))
	f.Add([]byte(`{"name":"s","state":3,"roles":[{"name":"a","state":3,"nodes":[{"deploy_id":901},{"deploy_id":902}]}]}`), uint64(2))
	f.Add([]byte(`{"name":"s","state":8,"deployment":"straight","roles":[{"name":"a","state":8,"scale_way":1,"cardinality":0,"nodes":[{"deploy_id":900}],"parents":["a"]}]}`), uint64(3))
	f.Fuzz(func(t *testing.T, document []byte, seed uint64) {
		body, err := flow.ParseBody(document)
		if err != nil || len(body.Roles) > 20 {
			return
		}
		random := rand.New(rand.NewPCG(seed, 3))
		s := &stage{t: t, facts: flow.Facts{}, settings: flow.DefaultSettings(), state: flow.State{Service: flow.Service{ID: 27, Owner: stageOwner, Body: body}}}
		for id := 900; id < 905; id++ {
			s.facts[id] = stranger(random, s, id)
		}
		within(t, len(document), func() {
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
		})
	})
}
