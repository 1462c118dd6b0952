package spec

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// anything sets a value, and all that is in it, to something.
func anything(t *rapid.T, value reflect.Value) {
	if value.Type() == reflect.TypeFor[json.RawMessage]() {
		value.SetBytes([]byte(rapid.SampledFrom([]string{
			"null", "0", `""`, "{}", "[ ]", "12345678901234567890", "1.50", `{ "b" : [1, 2] , "a":"<&>\u003c` + "\u2028\u00fc" + `"}`,
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
		for _, name := range rapid.SliceOfN(rapid.SampledFrom([]string{"", "x", "Name", "NODES", "zz", `<"é&`}), 0, 2).Draw(t, "extra") {
			if value.IsNil() {
				value.Set(reflect.MakeMap(value.Type()))
			}
			text := reflect.New(value.Type().Elem()).Elem()
			anything(t, text)
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

// Any body, with any field set and any attribute that nobody knows, is written as it was read:
// PUT of what GET gave changes nothing.
func TestBodiesAreWrittenAsTheyWereRead(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var body Body
		anything(t, reflect.ValueOf(&body).Elem())
		text, err := body.Text()
		if err != nil {
			t.Fatal(err)
		}
		read, err := ParseBody(text)
		if err != nil {
			t.Fatal(err)
		}
		written, err := read.Text()
		if err != nil || string(written) != string(text) || read.Digest() != DigestOf(text) {
			t.Fatalf("%v: wrote\n%s\nof\n%s", err, written, text)
		}
		// As a part of something else, as in a record, encoding/json writes and reads it alike.
		whole, err := json.Marshal(Service{Body: read})
		var service Service
		if err != nil || json.Unmarshal(whole, &service) != nil || service.Body.Digest() != body.Digest() {
			t.Fatalf("%v: as a part\n%s\nof\n%s", err, whole, text)
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

func TestOddBodies(t *testing.T) {
	for text, want := range map[string]string{
		`null`: `{"name":"","roles":null}`, `{"roles":[null]}`: `{"name":"","roles":[{"name":"","cardinality":0,"template_id":0}]}`,
		`{"name":"web","Name":"x"}`: `{"name":"web","roles":null,"Name":"x"}`, `{"name":"a","name":"b","roles":[]}`: `{"name":"b","roles":[]}`,
		`{"roles":[{"name":"a","template_id":null,"vm_template":3}]}`:   `{"name":"","roles":[{"name":"a","cardinality":0,"template_id":0,"vm_template":3}]}`,
		`{"roles":[{"name":"a","nodes":null}]}`:                         `{"name":"","roles":[{"name":"a","cardinality":0,"template_id":0}]}`,
		`{"roles":[{"name":"a","nodes":[],"zz":1,"x":2}]}`:              `{"name":"","roles":[{"name":"a","cardinality":0,"template_id":0,"nodes":[],"x":2,"zz":1}]}`,
		`{"name":"\ud800","roles":[],"foo":"\u00fc \/"}`:                "{\"name\":\"\ufffd\",\"roles\":[],\"foo\":\"\\u00fc \\/\"}",
		`{"name":"x","roles":[],"log":[{"Timestamp":1,"message":"<"}]}`: `{"name":"x","roles":[],"log":[{"timestamp":0,"severity":"","message":"\u003c","Timestamp":1}]}`,
	} {
		body, err := ParseBody([]byte(text))
		if err != nil {
			t.Errorf("%s: %v", text, err)
		}
		if written, err := body.Text(); err != nil || string(written) != want {
			t.Errorf("%s is written as\n%s (%v), want\n%s", text, written, err, want)
		}
	}
	for _, text := range []string{`{"roles":[{"name":"a"},7]}`, `{"roles":[{"nodes":{}}]}`, `{"roles":[{"cardinality":"1"}]}`, `{"roles":[{"cardinality":1.0}]}`, `{"name":"web"} x`, `{"name":`} {
		if body, err := ParseBody([]byte(text)); err == nil {
			t.Errorf("%s was read as %+v", text, body)
		}
	}
}

// oned takes no characters above U+FFFF, and returns what was written.
func TestEmojiAreEscaped(t *testing.T) {
	const body = `{"name":"s","description":"a 😀","roles":[],"other":{"x":["🚀",1]}}`
	read, err := ParseBody([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	written, err := read.Text()
	if err != nil || strings.ContainsFunc(string(written), func(r rune) bool { return r > 0xFFFF }) {
		t.Fatalf("%s (%v)", written, err)
	}
	again, err := ParseBody(written)
	if err != nil || *again.Description != *read.Description || again.Digest() != read.Digest() || DigestOf(written) != read.Digest() {
		t.Errorf("%s is read as %+v (%v)", written, again, err)
	}
}
