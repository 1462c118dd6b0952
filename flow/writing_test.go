package flow

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// byReflection writes a struct as encoding/json does and then the extra attributes
// by name: what a document looked like before there was a bodyWriter. What is nested
// has a MarshalJSON, which is held against this by itself.
func byReflection(t *rapid.T, known any, extra map[string]json.RawMessage) string {
	text, err := json.Marshal(known)
	if err != nil {
		t.Fatal(err)
	}
	out := strings.TrimSuffix(string(text), "}")
	for _, name := range slices.Sorted(maps.Keys(extra)) {
		if len(out) > 1 {
			out += ","
		}
		out += string(mustMarshal(name)) + ":" + string(extra[name])
	}
	return string(mustMarshal(json.RawMessage(out + "}")))
}

// anything sets a value, and all that is in it, to something.
func anything(t *rapid.T, value reflect.Value) {
	if value.Type() == reflect.TypeFor[json.RawMessage]() {
		value.SetBytes([]byte(rapid.SampledFrom([]string{
			"", "null", "0", `""`, "{}", "[ ]", "12345678901234567890", "1.50", `{ "b" : [1, 2] , "a":"<&>\u003c` + "\u2028\u00fc" + `"}`,
		}).Draw(t, "JSON")))
		return
	}
	switch value.Kind() {
	case reflect.Struct:
		for i := range value.NumField() {
			if value.Type().Field(i).IsExported() {
				anything(t, value.Field(i))
			}
		}
	case reflect.Pointer:
		if rapid.Bool().Draw(t, "set") {
			value.Set(reflect.New(value.Type().Elem()))
			anything(t, value.Elem())
		}
	case reflect.Slice:
		if length := rapid.IntRange(-1, 2).Draw(t, "length"); length >= 0 {
			value.Set(reflect.MakeSlice(value.Type(), length, length))
			for i := range length {
				anything(t, value.Index(i))
			}
		}
	case reflect.Map:
		names := rapid.SliceOfN(rapid.SampledFrom([]string{"", "x", "Name", "nodes", "zz", `<"é&`}), 0, 2).Draw(t, "extra")
		for _, name := range names {
			text := reflect.New(value.Type().Elem()).Elem()
			if anything(t, text); text.Len() == 0 {
				continue
			}
			if value.IsNil() {
				value.Set(reflect.MakeMap(value.Type()))
			}
			value.SetMapIndex(reflect.ValueOf(name), text)
		}
	case reflect.Int, reflect.Int64:
		value.SetInt(rapid.Int64Range(-2, 2).Draw(t, "number"))
	case reflect.Bool:
		value.SetBool(rapid.Bool().Draw(t, "flag"))
	case reflect.String:
		value.SetString(rapid.SampledFrom([]string{"", "web_0_(service_7)", "a \"<text>\" & \u00fcml\u00e4ut\n\x7f", "\xff\u2028", `\`}).Draw(t, "text"))
	default:
		t.Fatalf("anything: an unknown kind of field: %s", value.Kind())
	}
}

// Any body, with any field set, is written as encoding/json would write it: a field
// that is added later cannot be forgotten, and digests stay what they were.
func TestBodiesAreWrittenAsTheGeneralEncoderDoes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var body Body
		anything(t, reflect.ValueOf(&body).Elem())
		wrote := func(value any, want string) {
			if text, err := json.Marshal(value); err != nil || string(text) != want {
				t.Fatalf("%v: wrote\n%s\nwant\n%s", err, text, want)
			}
		}
		for _, role := range body.Roles {
			for _, node := range role.Nodes {
				wrote(node, byReflection(t, nodeFields(node), node.Extra))
			}
			extra := role.Extra
			if role.Nodes != nil && len(role.Nodes) == 0 {
				extra = withAttribute(extra, "nodes", "[]")
			}
			wrote(role, byReflection(t, roleFields(role), extra))
		}
		want := byReflection(t, bodyFields(body), body.Extra)
		wrote(body, want)
		text, err := body.Text()
		if err != nil || string(text) != want || body.Digest() != DigestOf([]byte(want)) {
			t.Fatalf("the document's text is %v\n%s\nwant\n%s", err, text, want)
		}
	})
}

// Records hold digests that an older version wrote.
func TestDigestsStayWhatTheyWere(t *testing.T) {
	body, err := ParseBody([]byte(`{"name":"w<e>b","deployment":"straight","foo": [1, 2],"state":2,"start_time":17,"registration_time":16,
		"log":[{"timestamp":1,"severity":"I","message":"New state: RUNNING"}],"networks":{"net": {"id":"1 & 2"}},"roles":[
		{"name":"a","type":"vm","cardinality":1,"template_id":0,"state":2,"parents":["b"],"mine":1.50,"last_vmname":1,"nodes":[
			{"deploy_id":4,"running":true,"vm_info":{"VM":{"ID":"4","UID":"0","GID":"0","UNAME":"öne","GNAME":"g","NAME":"a_0"}}}]},
		{"name":"b","type":"vr","cardinality":0,"template_id":1,"nodes":[],"zoo":1,"amy":2,"template_contents":{"A": "<"}}]}`))
	if err != nil {
		t.Fatal(err)
	}
	if got := body.Digest(); got != "0124fd4244a30d31131a8c16449837d1" {
		t.Errorf("the digest is %s", got)
	}
}

func TestWhatIsNoJSONIsNotWritten(t *testing.T) {
	for _, body := range []Body{
		{Networks: json.RawMessage(`{"a":}`)},
		{Extra: map[string]json.RawMessage{"x": json.RawMessage(`1,"y":2`)}},
		{Roles: []Role{{Nodes: []Node{{Extra: map[string]json.RawMessage{"x": json.RawMessage("")}}}}}},
	} {
		if text, err := body.Text(); err == nil {
			t.Errorf("wrote %s", text)
		}
		if text, err := json.Marshal(body); err == nil {
			t.Errorf("wrote %s", text)
		}
	}
}

func TestRoughSizeIsRoughlyTheSize(t *testing.T) {
	role := Role{Name: "web"}
	for i := range 100 {
		role.Nodes = append(role.Nodes, NewNode(VM{ID: 1000 + i, Name: fmt.Sprintf("web_%d_(service_1000)", i), Owner: Identity{UName: "oneadmin", GName: "oneadmin"}}))
	}
	body := Body{Name: "bench", Roles: []Role{role}}
	text, err := body.Text()
	if size := body.roughSize(); err != nil || len(text) > size || 2*len(text) < size {
		t.Errorf("%v: of %d bytes room was made for %d", err, len(text), size)
	}
}
