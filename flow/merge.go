package flow

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
)

// mergeValues merges two JSON values the way OneFlow merges templates: objects
// attribute by attribute, arrays by appending, and otherwise the second wins.
// Objects in arrays that are there already are not appended again. An absent
// value leaves the other.
func mergeValues(first, second json.RawMessage) json.RawMessage {
	switch {
	case len(second) == 0:
		return first
	case len(first) == 0:
		return second
	}
	return mustMarshal(mergeTrees(treeOf(first), treeOf(second)))
}

// treeOf reads a whole value once, so that merging takes time by its length and not by
// its depth as well.
func treeOf(value json.RawMessage) any {
	reader := json.NewDecoder(bytes.NewReader(value))
	reader.UseNumber() // a number is written as it came
	var tree any
	if reader.Decode(&tree) != nil {
		return value
	}
	return tree
}

// mergeTrees is mergeValues for what treeOf returns, or mergeTrees has returned. It may
// change first.
func mergeTrees(first, second any) any {
	switch known := first.(type) {
	case map[string]any:
		more, same := second.(map[string]any)
		if !same {
			return second
		}
		for name, value := range more {
			if held, has := known[name]; has {
				value = mergeTrees(held, value)
			}
			known[name] = value
		}
		return known
	case []any:
		if more, same := second.([]any); same {
			return newMergedArray(known).add(more)
		}
	case *mergedArray:
		if more, same := second.([]any); same {
			return known.add(more)
		}
	}
	return second
}

// mergedArray is an array that others are appended to.
type mergedArray struct {
	elements []any
	// objects has the canonical texts of the elements that are objects.
	objects map[string]bool
}

func newMergedArray(elements []any) *mergedArray {
	array := &mergedArray{elements: elements, objects: map[string]bool{}}
	for _, element := range elements {
		if text, isObject := canonicalObject(element); isObject {
			array.objects[text] = true
		}
	}
	return array
}

// add appends the elements, and no object that is there already.
func (a *mergedArray) add(more []any) *mergedArray {
	for _, element := range more {
		text, isObject := canonicalObject(element)
		if isObject && a.objects[text] {
			continue
		}
		if isObject {
			a.objects[text] = true
		}
		a.elements = append(a.elements, element)
	}
	return a
}

// MarshalJSON writes an array.
func (a *mergedArray) MarshalJSON() ([]byte, error) { return json.Marshal(a.elements) }

// canonicalObject is the same text for objects that are equal.
func canonicalObject(element any) (text string, isObject bool) {
	if _, isObject = element.(map[string]any); !isObject {
		return "", false
	}
	return string(appendCanonical(nil, element)), true
}

// appendCanonical writes a value so that equal ones are written alike: attributes by their
// names, and 1 as 1.0.
func appendCanonical(text []byte, value any) []byte {
	switch v := value.(type) {
	case map[string]any:
		text = append(text, '{')
		for _, name := range slices.Sorted(maps.Keys(v)) {
			text = append(appendCanonical(append(strconv.AppendQuote(text, name), ':'), v[name]), ',')
		}
		return append(text, '}')
	case []any:
		text = append(text, '[')
		for _, element := range v {
			text = append(appendCanonical(text, element), ',')
		}
		return append(text, ']')
	case json.Number:
		if number, err := v.Float64(); err == nil {
			return strconv.AppendFloat(text, number, 'g', -1, 64)
		}
		return append(text, v...)
	case string:
		return strconv.AppendQuote(text, v)
	}
	return fmt.Append(text, value) // true, false, and nil
}

func elementsOf(array json.RawMessage) []json.RawMessage {
	elements := []json.RawMessage{}
	if json.Unmarshal(array, &elements) != nil {
		return nil
	}
	return elements
}

func equalJSON(a, b json.RawMessage) bool {
	var first, second any
	return json.Unmarshal(a, &first) == nil && json.Unmarshal(b, &second) == nil && reflect.DeepEqual(first, second)
}

// mergeTemplates merges what was given for instantiating over a template:
// roles by their names, or their places where they have none, networks_values by the network, the rest deeply.
func mergeTemplates(template, given object) {
	for name, value := range given {
		switch {
		case len(template[name]) == 0 || kindOf(value) != kindArray || kindOf(template[name]) != kindArray:
			template[name] = mergeValues(template[name], value)
		case name == "roles":
			template[name] = mergeNamed(template[name], value, roleKey, true)
		case name == "networks_values":
			template[name] = mergeNamed(template[name], value, onlyKey, false)
		default:
			template[name] = mergeValues(template[name], value)
		}
	}
}

// mergeNamed merges two arrays of objects, those of one name with each other.
// The key of an element is empty if it has none; an object without one is then merged
// by its place, if that is asked for.
func mergeNamed(first, second json.RawMessage, key func(json.RawMessage) string, byPlace bool) json.RawMessage {
	elements := elementsOf(first)
	held := len(elements)
	places, merged := map[string]int{}, map[int]any{}
	for i, element := range elements {
		places[key(element)] = i
	}
	for i, element := range elementsOf(second) {
		name := key(element)
		place, known := places[name]
		known = known && name != ""
		if name == "" && byPlace && i < held && kindOf(element) == kindObject {
			place, known = i, true
			element = withoutName(element)
		}
		if !known {
			elements = append(elements, element)
			continue
		}
		tree, again := merged[place]
		if !again {
			tree = treeOf(elements[place])
		}
		merged[place] = mergeTrees(tree, treeOf(element))
	}
	for place, tree := range merged {
		elements[place] = mustMarshal(tree)
	}
	return mustMarshal(elements)
}

// withoutName is a role without an empty name, which is not to take the place of another.
func withoutName(element json.RawMessage) json.RawMessage {
	role := attributesOf(element)
	if _, has := role["name"]; !has {
		return element
	}
	delete(role, "name")
	return role.text()
}

func roleKey(element json.RawMessage) string {
	var role object
	if json.Unmarshal(element, &role) != nil {
		return ""
	}
	return textOf(role["name"])
}

// onlyKey is the name of an object's only attribute.
func onlyKey(element json.RawMessage) string {
	var named object
	if json.Unmarshal(element, &named) != nil || len(named) != 1 {
		return ""
	}
	for name := range named {
		return name
	}
	return ""
}
