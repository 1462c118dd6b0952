package flow

import (
	"encoding/json"
	"reflect"
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
	case kindOf(first) == kindObject && kindOf(second) == kindObject:
		return mergeObjects(first, second)
	case kindOf(first) == kindArray && kindOf(second) == kindArray:
		return mergeArrays(first, second)
	}
	return second
}

func mergeObjects(first, second json.RawMessage) json.RawMessage {
	var merged, more object
	if json.Unmarshal(first, &merged) != nil || json.Unmarshal(second, &more) != nil {
		return second
	}
	for name, value := range more {
		merged[name] = mergeValues(merged[name], value)
	}
	return merged.text()
}

func mergeArrays(first, second json.RawMessage) json.RawMessage {
	return mustMarshal(appendNew(elementsOf(first), elementsOf(second)))
}

func appendNew(elements, more []json.RawMessage) []json.RawMessage {
	for _, element := range more {
		if kindOf(element) != kindObject || !containsEqual(elements, element) {
			elements = append(elements, element)
		}
	}
	return elements
}

func elementsOf(array json.RawMessage) []json.RawMessage {
	elements := []json.RawMessage{}
	if json.Unmarshal(array, &elements) != nil {
		return nil
	}
	return elements
}

func containsEqual(elements []json.RawMessage, element json.RawMessage) bool {
	for _, known := range elements {
		if equalJSON(known, element) {
			return true
		}
	}
	return false
}

func equalJSON(a, b json.RawMessage) bool {
	var first, second any
	return json.Unmarshal(a, &first) == nil && json.Unmarshal(b, &second) == nil && reflect.DeepEqual(first, second)
}

// mergeTemplates merges what was given for instantiating over a template:
// roles by their names, networks_values by the network, the rest deeply.
func mergeTemplates(template, given object) {
	for name, value := range given {
		switch {
		case len(template[name]) == 0 || kindOf(value) != kindArray || kindOf(template[name]) != kindArray:
			template[name] = mergeValues(template[name], value)
		case name == "roles":
			template[name] = mergeNamed(template[name], value, roleKey)
		case name == "networks_values":
			template[name] = mergeNamed(template[name], value, onlyKey)
		default:
			template[name] = mergeArrays(template[name], value)
		}
	}
}

// mergeNamed merges two arrays of objects, those of one name with each other.
// The key of an element is empty if it has none.
func mergeNamed(first, second json.RawMessage, key func(json.RawMessage) string) json.RawMessage {
	elements := elementsOf(first)
	places := map[string]int{}
	for i, element := range elements {
		places[key(element)] = i
	}
	for _, element := range elementsOf(second) {
		if place, known := places[key(element)]; known && key(element) != "" {
			elements[place] = mergeValues(elements[place], element)
			continue
		}
		elements = append(elements, element)
	}
	return mustMarshal(elements)
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
