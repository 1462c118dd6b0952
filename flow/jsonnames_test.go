package flow

import (
	"encoding/json"
	"reflect"
	"testing"
)

// FuzzOnlyNames holds the short way of reading attributes against the long one.
func FuzzOnlyNames(f *testing.F) {
	for _, text := range []string{
		`{}`, ` { "a" : 1 , "b" : [ {"x":"}"} , "\"]" ] } `, `{"a":1,"c":2}`, `{"A":1}`, `{"\u0061":1}`, `{"a":{"c":1}}`,
		`{"a":1,"a":2}`, `[]`, `null`, `{"a":"\\"}`, `{"a":1`, `{"a"`, `{"a" 1}`, `{,}`, `{"a":1,}`, `{"a":]}`,
	} {
		f.Add(text)
	}
	names := map[string]bool{"a": true, "b": true}
	f.Fuzz(func(t *testing.T, text string) {
		only := onlyNames([]byte(text), names)
		var object map[string]json.RawMessage
		if json.Unmarshal([]byte(text), &object) != nil {
			return // who reads it next finds out
		}
		for name := range object {
			if !names[name] && only {
				t.Errorf("%s has the attribute %q, which is not known", text, name)
			}
		}
	})
}

func TestOnlyNamesKnowsPlainObjects(t *testing.T) {
	names := attributeNames(reflect.TypeOf(nodeFields{}))
	text, err := json.Marshal(Node{DeployID: 7})
	if err != nil || !onlyNames(text, names) {
		t.Errorf("a plain node is taken apart: %s", text)
	}
}
