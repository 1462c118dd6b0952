package flow

import (
	"encoding/json"
	"reflect"
	"testing"
)

// FuzzShape holds the short way of reading attributes against the long one.
func FuzzShape(f *testing.F) {
	for _, text := range []string{
		`{}`, ` { "a" : 1 , "b" : [ {"x":"}"} , "\"]" ] } `, `{"a":1,"c":2}`, `{"A":1}`, `{"\u0061":1}`, `{"a":{"c":1}}`,
		`{"a":1,"a":2}`, `[]`, `null`, `{"a":"\\"}`, `{"a":1`, `{"a"`, `{"a" 1}`, `{,}`, `{"a":1,}`, `{"a":]}`,
		`{"list":[]}`, `{"list": null }`, ` { "list" : [ { "a" : 1 } , {} ] , "b":2}`, `{"list":[{"c":1}]}`, `{"list":{"a":1}}`,
		`{"list":[null]}`, `{"list":[{"a":1},7]}`, `{"list":[{"a":1}`, `{"list":[{"a":1},`, `{"list":[`, `{"list":"a"}`, `{"list":[{"list":[]}]}`,
	} {
		f.Add(text)
	}
	element := shape{"a": nil, "b": nil}
	object := shape{"a": nil, "b": nil, "list": element}
	f.Fuzz(func(t *testing.T, text string) {
		if !object.fits([]byte(text)) {
			return
		}
		var read map[string]json.RawMessage
		if json.Unmarshal([]byte(text), &read) != nil {
			return // who reads it next finds out
		}
		var elements []map[string]json.RawMessage
		if list, has := read["list"]; has {
			elements = make([]map[string]json.RawMessage, 1)
			if json.Unmarshal(list, &elements[0]) != nil {
				elements = nil
				if err := json.Unmarshal(list, &elements); err != nil {
					t.Errorf("%s has no object and no list of objects: %v", text, err)
				}
			}
		}
		for known, objects := range map[*shape][]map[string]json.RawMessage{&object: {read}, &element: elements} {
			for _, one := range objects {
				for name := range one {
					if _, has := (*known)[name]; !has {
						t.Errorf("%s has the attribute %q, which is not known", text, name)
					}
				}
			}
		}
	})
}

func TestAPlainObjectFits(t *testing.T) {
	names := attributeNames(reflect.TypeOf(nodeFields{}))
	text, err := json.Marshal(Node{DeployID: 7})
	if err != nil || !names.fits(text) {
		t.Errorf("a plain node is taken apart: %s", text)
	}
}
