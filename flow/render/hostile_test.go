package render_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/render"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/effort"
)

// Values that are referred to often are put in until they are too long, in whatever way they
// are referred to, and then no VM is made.
func TestHostileValuesThatGrow(t *testing.T) {
	value := strings.Repeat("v", 100_000)
	var many strings.Builder
	for i := range 50_000 {
		fmt.Fprintf(&many, `"A%d":"$V",`, i)
	}
	for name, contents := range map[string]string{
		"in a text":              `{"A":"` + strings.Repeat("$V ", 50_000) + `"}`,
		"in many texts":          `{` + many.String() + `"B":1}`,
		"in CONTEXT":             `{"CONTEXT":{"A":"` + strings.Repeat("$V ", 50_000) + `"}}`,
		"in an array":            `{"A":[` + strings.Repeat(`"$V",`, 50_000) + `1]}`,
		"in an object inside":    `{"A":{"B":{"C":"` + strings.Repeat("$V ", 50_000) + `"}}}`,
		"a value of a parent's":  `{"A":"` + strings.Repeat("${b.V} ", 50_000) + `"}`,
		"a name":                 `{"` + value + `":[` + strings.Repeat(`1,`, 50_000) + `1]}`,
		"a name of nothing":      `{"` + value + `":[` + strings.Repeat(`[null],`, 50_000) + `1]}`,
		"a value that oned sees": `{"CONTEXT":{"A":"` + strings.Repeat("$W ", 50_000) + `"}}`,
	} {
		t.Run(name, func(t *testing.T) {
			text := fmt.Sprintf(`{"name":"s","roles":[{"name":"a","type":"vm","template_id":0,"parents":["b"],"user_inputs_values":{"V":%q,"W":%q},"template_contents":%s}]}`,
				value, value+"$", contents)
			body, err := spec.ParseBody([]byte(text))
			if err != nil {
				t.Fatal(err)
			}
			effort.Bounded(t, len(text), func() {
				_, err = render.ExtraTemplate(spec.Service{ID: 27, Body: body}, render.Instance{Role: "a"}, nil, map[string]string{"${b.V}": value})
			})
			if err == nil || !strings.Contains(err.Error(), "more than 1048576 bytes") {
				t.Errorf("got %v", err)
			}
		})
	}
}

// Contents are laid over a template in time that follows their length, and as OneFlow does it.
func TestHostileContentsAreMergedInProportion(t *testing.T) {
	var many, inner strings.Builder
	for i := range 40_000 {
		fmt.Fprintf(&many, `"A%d":"1",`, i)
		fmt.Fprintf(&inner, `"A%d":"1",`, i)
	}
	base := one.Template{{Name: "BIG", Vector: one.Template{{Name: "KEPT", Value: "1"}}}, {Name: "NIC", Vector: one.Template{{Name: "A", Value: "1"}}}, {Name: "nic", Vector: one.Template{{Name: "B", Value: "1"}}}}
	for name, test := range map[string]struct{ contents, has, not string }{
		"many attributes":        {`{` + many.String() + `"B":"2"}`, `A39999 = "1"`, ""},
		"a vector of many":       {`{"BIG":{` + inner.String() + `"B":"2"}}`, `KEPT = "1"`, ""},
		"many of one name":       {`{"NIC":[` + strings.Repeat(`{"C":"1"},`, 40_000) + `{"D":"1"}]}`, `D = "1"`, `B = "1"`},
		"many that are added":    {`{"APPEND":"NIC,` + strings.Repeat("X,", 40_000) + `","NIC":[` + strings.Repeat(`{"C":"1"},`, 40_000) + `{"D":"1"}]}`, `B = "1"`, ""},
		"one name over and over": {`{` + strings.Repeat(`"NIC":{"C":"1"},`, 40_000) + `"B":"2"}`, `C = "1"`, `A = "1"`},
	} {
		t.Run(name, func(t *testing.T) {
			text := fmt.Sprintf(`{"name":"s","roles":[{"name":"a","type":"vm","template_id":0,"template_contents":%s}]}`, test.contents)
			var role struct {
				Roles []struct {
					Contents json.RawMessage `json:"template_contents"`
				} `json:"roles"`
			}
			if err := json.Unmarshal([]byte(text), &role); err != nil {
				t.Fatal(err)
			}
			body, err := spec.ParseBody([]byte(text))
			if err != nil {
				t.Fatal(err)
			}
			made := ""
			effort.Bounded(t, len(text), func() {
				made, err = render.ExtraTemplate(spec.Service{ID: 27, Body: body}, render.Instance{Role: "a"}, base, nil)
			})
			if err != nil || !strings.Contains(made, test.has) || test.not != "" && strings.Contains(made, test.not) {
				t.Errorf("%d bytes are made (%v)", len(made), err)
			}
		})
	}
}
