package flow

import (
	"encoding/json"
	"maps"
	"reflect"
	"strings"
	"sync"
)

// unmarshalKeeping reads a JSON object into the struct that known points to
// and returns the attributes for which the struct has no field, nil if none.
func unmarshalKeeping(text []byte, known any) (map[string]json.RawMessage, error) {
	names := attributeNames(reflect.TypeOf(known).Elem())
	if names.fits(text) {
		return nil, json.Unmarshal(text, known)
	}
	var extra map[string]json.RawMessage
	if err := json.Unmarshal(text, &extra); err != nil {
		return nil, err
	}
	exact := make(map[string]json.RawMessage, len(names))
	for name := range names {
		if value, ok := extra[name]; ok {
			exact[name] = value
			delete(extra, name)
		}
	}
	if resembles(extra, names) {
		var err error
		if text, err = json.Marshal(exact); err != nil {
			return nil, err
		}
	}
	if err := json.Unmarshal(text, known); err != nil {
		return nil, err
	}
	if len(extra) == 0 {
		return nil, nil
	}
	return extra, nil
}

// resembles reports whether an extra attribute differs from a known one in case only.
// encoding/json would take the one for the other.
func resembles(extra map[string]json.RawMessage, names shape) bool {
	for name := range extra {
		for known := range names {
			if strings.EqualFold(name, known) {
				return true
			}
		}
	}
	return false
}

// withAttribute is extra with one attribute more; extra itself is left alone.
func withAttribute(extra map[string]json.RawMessage, name, value string) map[string]json.RawMessage {
	more := maps.Clone(extra)
	if more == nil {
		more = map[string]json.RawMessage{}
	}
	more[name] = json.RawMessage(value)
	return more
}

var attributeNameCache sync.Map // reflect.Type -> shape

// attributeNames are the JSON names of a struct's fields.
func attributeNames(t reflect.Type) shape {
	if names, ok := attributeNameCache.Load(t); ok {
		return names.(shape)
	}
	names := shape{}
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		if name != "" && name != "-" {
			names[name] = nil
		}
	}
	attributeNameCache.Store(t, names)
	return names
}
