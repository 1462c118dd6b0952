package flow

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// wantSameRead fails where a body that is read at once differs from the one that is
// read level by level.
func wantSameRead(t interface{ Fatalf(string, ...any) }, text string) (plain bool) {
	var atOnce, byLevel Body
	if !atOnce.unmarshalPlain([]byte(text)) {
		return false
	}
	extra, err := unmarshalKeeping([]byte(text), (*bodyFields)(&byLevel))
	byLevel.Extra = extra
	if err != nil || !reflect.DeepEqual(atOnce, byLevel) {
		t.Fatalf("%s\nis read as\n%+v\nand by level as\n%+v, %v", text, atOnce, byLevel, err)
	}
	return true
}

var someBodies = []string{
	`{}`, `null`, `{"roles":null}`, `{"roles":[]}`, ` { "name" : "web" , "roles" : [ { "name" : "a" } , { } ] } `,
	`{"roles":[{"name":"a","nodes":null}]}`, `{"roles":[{"name":"a","nodes":[]}]}`, `{"roles":[null]}`, `{"roles":[{"nodes":[null]}]}`,
	`{"name":"web","Name":"x"}`, `{"roles":[{"NAME":"a"}]}`, `{"roles":[{"nodes":[{"Deploy_id":1}]}]}`, `{"ROLES":[{"name":"a"}]}`,
	`{"name":"web","name":"x","roles":[{"name":"a","cardinality":1}],"roles":[{"name":"b"},{"name":"c"}]}`,
	`{"roles":[{"nodes":[{"deploy_id":1,"vm_info":{"VM":{"ID":"1"}}}],"nodes":[{"deploy_id":2},{"vm_info":null}]}]}`,
	`{"roles":[{"nodes":[{"deploy_id":1,"vm_info":{"vm":{"id":"1","X":2}}}]}]}`, `{"roles":[{"nodes":[{"deploy_id":1}],"nodes":null}]}`,
	`{"roles":[{"name":"a"}],"roles":null}`, `{"roles":[{"name":"a"}],"roles":[]}`, `{"roles":[{"n\u0061me":"a"}]}`,
	`{"roles":[{"nodes":[{"running":true,"deploy_id":1}]}]}`, `{"roles":[{"name":"a"},7]}`, `{"roles":{}}`, `{"roles":[{"nodes":{}}]}`,
	`{"state":2,"on_hold":null,"networks": {"a" : 1} ,"networks_values":null,"description":"","log":[{"Timestamp":1}]}`,
	`{"name":3}`, `{"roles":[{"cardinality":"1"}]}`, `{"roles":[{"cardinality":1.0}]}`, `{"name":"\ud800"}`, `{"name":"web"} x`, `{"name":`,
}

func TestABodyIsReadAtOnceAsByLevel(t *testing.T) {
	for _, text := range someBodies {
		wantSameRead(t, text)
	}
}

func FuzzPlainBody(f *testing.F) {
	for _, text := range someBodies {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) { wantSameRead(t, text) })
}

// The names and values of which anyObject makes attributes.
var (
	namesInBody = append([]string{"Name", "ROLES", "x", `n\u0061me`, "nodes", "roles"}, slices.Sorted(maps.Keys(plainShape))...)
	namesInRole = append([]string{"Nodes", "x", "nodes"}, slices.Sorted(maps.Keys(plainShape["roles"]))...)
	namesInNode = append([]string{"Deploy_ID", "x"}, slices.Sorted(maps.Keys(plainShape["roles"]["nodes"]))...)
	someValues  = []string{"null", "0", "-7", "1.5", `""`, `"a\"]}"`, "true", "{}", `{"VM":{"ID":"3","y":[]}}`, "[]", "[{}]", `["p"]`, "[null]"}
)

// anyObject draws a JSON object with some of the names, each with a value that
// is most often of the right kind.
func anyObject(t *rapid.T, names []string) string {
	var attributes []string
	for _, name := range rapid.SliceOfN(rapid.SampledFrom(names), 0, 4).Draw(t, "names") {
		value := rapid.SampledFrom(someValues).Draw(t, "value")
		switch odd := rapid.IntRange(0, 9).Draw(t, "odd") == 0; {
		case odd:
		case name == "roles":
			value = anyList(t, namesInRole)
		case name == "nodes":
			value = anyList(t, namesInNode)
		default:
			value = usualValue(name)
		}
		attributes = append(attributes, `"`+name+`" : `+value)
	}
	return "{" + strings.Join(attributes, " , ") + "}"
}

func anyList(t *rapid.T, names []string) string {
	elements := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) string { return anyObject(t, names) }), 0, 3).Draw(t, "list")
	return "[" + strings.Join(elements, ",") + "]"
}

// usualValue is the first of the values that every struct takes for the name.
func usualValue(name string) string {
	for _, value := range someValues[1:] {
		text := []byte(`{"` + name + `":` + value + `}`)
		if json.Unmarshal(text, &bodyFields{}) == nil && json.Unmarshal(text, &roleFields{}) == nil && json.Unmarshal(text, &nodeFields{}) == nil {
			return value
		}
	}
	return "null"
}

func TestAnyBodyIsReadAtOnceAsByLevel(t *testing.T) {
	plain := 0
	rapid.Check(t, func(t *rapid.T) {
		if wantSameRead(t, anyObject(t, namesInBody)) {
			plain++
		}
	})
	if plain == 0 {
		t.Error("no body was read at once")
	}
}

// What Flowjet writes itself is read at once, unless somebody added attributes.
func TestWhatIsWrittenIsReadAtOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var body Body
		anything(t, reflect.ValueOf(&body).Elem())
		text, err := body.Text()
		if err != nil {
			t.Fatal(err)
		}
		extra := len(body.Extra) > 0
		for _, role := range body.Roles {
			extra = extra || len(role.Extra) > 0
			for _, node := range role.Nodes {
				extra = extra || len(node.Extra) > 0
			}
		}
		if plain := wantSameRead(t, string(text)); plain == extra {
			// An extra attribute called nodes is none once it is written.
			if !extra || !strings.Contains(string(text), `"nodes"`) {
				t.Fatalf("read at once %v: %s", plain, text)
			}
		}
	})
}

// A body that is read into another keeps what the text does not have.
func TestReadingIntoABodyKeepsTheRest(t *testing.T) {
	body := Body{Name: "web", Description: pointerTo("old"), Roles: []Role{{Name: "a", Cardinality: 2}}}
	if err := json.Unmarshal([]byte(`{"description":"new","roles":[{"name":"b"}]}`), &body); err != nil {
		t.Fatal(err)
	}
	if body.Name != "web" || *body.Description != "new" || body.Roles[0].Name != "b" || body.Roles[0].Cardinality != 2 {
		t.Errorf("read %+v", body)
	}
}
