package template

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/flowjet/flowjet/flow/internal/raw"
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
	return raw.Marshal(mergeTrees(treeOf(first), treeOf(second)))
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

// mergeTrees is mergeValues for what treeOf returns, or mergeTrees has returned, with
// attributes that may be unread. It may change first.
func mergeTrees(first, second any) any {
	first, second = readTree(first), readTree(second)
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

func readTree(value any) any {
	if text, unread := value.(json.RawMessage); unread {
		return treeOf(text)
	}
	return value
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

// mergeTemplates merges what was given for instantiating over a template:
// roles by their names, or their places where they have none, networks_values by the network, the rest deeply.
func mergeTemplates(template, given raw.Object) {
	for name, value := range given {
		switch {
		case len(template[name]) == 0 || raw.KindOf(value) != raw.KindArray || raw.KindOf(template[name]) != raw.KindArray:
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
func mergeNamed(first, second json.RawMessage, key func(raw.Object) string, byPlace bool) json.RawMessage {
	held, more := raw.Objects(first), raw.Objects(second)
	if held == nil || more == nil { // they are refused when the result is read
		return raw.Marshal(append(raw.Elements(first), raw.Elements(second)...))
	}
	elements, places := make([]any, len(held)), map[string]int{}
	for i, element := range held {
		elements[i] = element.Tree()
		places[key(element)] = i
	}
	for i, element := range more {
		name := key(element)
		place, known := places[name]
		known = known && name != ""
		if name == "" && byPlace && i < len(held) && element != nil {
			place, known = i, true
			delete(element, "name") // an empty name is not to take the place of another
		}
		if !known {
			elements = append(elements, element)
			continue
		}
		elements[place] = mergeTrees(elements[place], element.Tree())
	}
	return raw.Marshal(elements)
}

func roleKey(role raw.Object) string { return raw.Text(role["name"]) }

// onlyKey is the name of an object's only attribute.
func onlyKey(named raw.Object) string {
	if len(named) != 1 {
		return ""
	}
	for name := range named {
		return name
	}
	return ""
}

// checkGivenRoles returns what keeps the roles of a merge_template from being merged over the
// template's: each is meant by its name, or by its place where it has none.
func checkGivenRoles(template, given json.RawMessage) Violations {
	held := raw.Objects(template)
	if raw.KindOf(given) != raw.KindArray || held == nil {
		return nil
	}
	roles := givenRoles{findings: newFindings(nil), names: make([]string, len(held)), places: map[string]int{}, named: map[int]int{}}
	for i, role := range held {
		roles.names[i] = roleKey(role)
		roles.places[roles.names[i]] = i
	}
	elements := raw.Elements(given)
	objects := make([]raw.Object, len(elements))
	for i, element := range elements {
		objects[i] = raw.Attributes(element)
		if place, known := roles.places[roleKey(objects[i])]; known {
			roles.named[place] = i
		}
	}
	for i, role := range objects {
		if role == nil {
			roles.add(givenRolePath(i), `is %s; it must be an object such as {"name": "web", "cardinality": 2}`, raw.Short(elements[i]))
			continue
		}
		roles.check(i, role)
	}
	return roles.violations
}

// givenRoles holds the roles of a merge_template against the template's.
type givenRoles struct {
	*findings
	names  []string
	places map[string]int
	// named is which of the roles given names the role in a place.
	named map[int]int
}

func (g givenRoles) check(i int, role raw.Object) {
	name := roleKey(role)
	_, known := g.places[name]
	other, taken := g.named[i]
	_, named := role["name"]
	empty := len(role) == 0 || named && len(role) == 1 // it changes nothing
	switch {
	case name != "" && !known && len(role["template_id"]) == 0 && len(role["vm_template"]) == 0:
		g.add(givenRolePath(i), "names %q; the template has %s", raw.Shown(name), g.list())
	case name == "" && i >= len(g.names):
		g.add(givenRolePath(i), "has no name and is matched by its index; the template has only %s", g.list())
	case name == "" && taken && !empty:
		g.add(givenRolePath(i), "has no name and is matched by its index to role %q, which roles[%d] has too: give it the name of its role",
			raw.Shown(g.names[i]), other)
	}
}

func givenRolePath(i int) string { return fmt.Sprintf("merge_template.roles[%d]", i) }

// list names the template's roles for a message.
func (g givenRoles) list() string {
	switch {
	case len(g.names) == 0:
		return "no roles"
	case len(g.names) > raw.MaxListed:
		return fmt.Sprintf("%d roles", len(g.names))
	}
	return "the roles " + raw.Shown(strings.Join(g.names, ", "))
}
