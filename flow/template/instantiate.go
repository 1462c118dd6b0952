package template

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/flowjet/flowjet/flow/internal/raw"
	"github.com/flowjet/flowjet/flow/render"
	"github.com/flowjet/flowjet/flow/spec"
)

// Instantiate makes a service's body from a template's as oned holds it, which may be in the form of OneFlow 6, and the user's values for
// instantiating it (a JSON object merged over the template; empty for nothing). The service and its roles are PENDING. The error is a
// Violations or a *SyntaxError.
func Instantiate(template []byte, given json.RawMessage, now time.Time) (spec.Body, error) {
	whole, err := readObject(template)
	if err != nil {
		return spec.Body{}, fmt.Errorf("read the template: %w", err)
	}
	registered, old := registrationTime(whole, now), isOld(whole)
	var chosen, networks json.RawMessage
	if len(given) > 0 && raw.KindOf(given) != raw.KindNull {
		merge, err := readObject(given)
		if err != nil {
			return spec.Body{}, fmt.Errorf("read merge_template: %w", err)
		}
		if found := append(checkCounts(whole), checkCounts(merge)...); len(found) > 0 {
			return spec.Body{}, found
		}
		if found := checkGivenRoles(whole["roles"], merge["roles"]); found != nil {
			return spec.Body{}, found
		}
		chosen, networks = merge["networks_values"], whole["networks"]
		upgradeForMerge(whole)
		upgradeGiven(merge, old)
		if string(merge["name"]) == `""` { // as Ansible's module has it where the user gave none
			delete(merge, "name")
		}
		mergeTemplates(whole, merge)
	}
	if found := checkCounts(whole); found != nil {
		return spec.Body{}, found
	}
	body, found := normalise(whole, registered)
	found.addOthers(Validate(body))
	if lacking := chooseInputs(&body); !old { // OneFlow 7 does not ask for what OneFlow 6 called custom_attrs
		found.addOthers(lacking)
	}
	chooseNetworks(found, &body, networks, chosen)
	imagined := body
	imagined.Roles = slices.Clone(body.Roles)
	if len(found.violations) == 0 && !render.FillAll(&imagined, func(*spec.Role) {}) {
		found.add("user_inputs_values", "are put into each role's template_contents, which then have more than %d bytes together; use shorter values, or fewer roles", spec.MaxBody)
	}
	if err := found.err(); err != nil {
		return spec.Body{}, err
	}
	body.State = new(spec.ServicePending)
	body.StartTime = now.Unix()
	for role := range body.EachRole() {
		role.State = new(spec.RolePending)
	}
	return body, nil
}

// upgradeForMerge brings both sides of a merge to the same names. Mistakes are found when the result is read.
func upgradeForMerge(whole raw.Object) {
	if !bytes.Contains(whole["roles"], []byte(`"vm_template`)) {
		return
	}
	upgradeBody(whole)
	whole["roles"] = raw.Changed(whole["roles"], func(_ int, role raw.Object) bool {
		if kept := maps.Clone(role); upgradeRole(role) != nil {
			maps.Copy(role, kept)
		}
		return true
	})
}

// upgradeGiven is upgradeForMerge for the values for instantiating: values of custom_attrs are those of user inputs whatever form the
// template has.
func upgradeGiven(given raw.Object, old bool) {
	foldInputs := func(_ int, given raw.Object) bool {
		foldInto(given, "custom_attrs_values", "user_inputs_values")
		if old {
			foldInto(given, "custom_attrs", "user_inputs")
		}
		return true
	}
	foldInputs(0, given)
	if bytes.Contains(given["roles"], []byte(`"custom_attrs`)) {
		given["roles"] = raw.Changed(given["roles"], foldInputs)
	}
	upgradeForMerge(given)
}

// chooseInputs sets optional inputs without a value to their defaults, and returns which others have none.
func chooseInputs(body *spec.Body) Violations {
	f := newFindings(spec.RoleNames(body.Roles))
	body.UserInputsValues = chooseInputsOf(f, "", body.UserInputs, body.UserInputsValues)
	for i := range body.Roles {
		role := &body.Roles[i]
		role.UserInputsValues = chooseInputsOf(f, fmt.Sprintf("roles[%d].", i), role.UserInputs, role.UserInputsValues)
	}
	return f.violations
}

func chooseInputsOf(f *findings, path string, declared, values json.RawMessage) json.RawMessage {
	inputs, given := raw.Attributes(declared), raw.Attributes(values)
	var missing []string
	changed := false
	for _, name := range slices.Sorted(maps.Keys(inputs)) {
		if raw.KindOf(given[name]) != raw.KindNull {
			continue
		}
		input := spec.ParseInput(inputs[name])
		switch {
		case !input.Optional:
			missing = append(missing, name)
		case input.Initial != "":
			if given == nil {
				given = raw.Object{}
			}
			given[name], changed = raw.Marshal(input.Value()), true
		}
	}
	if len(missing) > 0 {
		f.add(path+"user_inputs_values", "lacks a value for %s", strings.Join(missing, ", "))
	}
	if !changed {
		return values
	}
	return given.JSON()
}

// mergeValues merges two JSON values the way OneFlow merges templates: objects attribute by attribute, arrays by appending, and otherwise
// the second wins. Objects in arrays that are there already are not appended again. An absent value leaves the other.
func mergeValues(first, second json.RawMessage) json.RawMessage {
	switch {
	case len(second) == 0:
		return first
	case len(first) == 0:
		return second
	}
	return raw.Marshal(mergeTrees([]any{first, second}))
}

// mergeTrees merges any number of values like mergeValues, but all at once, so that it takes time by their length and not by their number
// and depth as well. A single value is kept as it was written.
func mergeTrees(values []any) any {
	if len(values) == 1 {
		return values[0]
	}
	trees := make([]any, len(values))
	for i, value := range values {
		trees[i] = treeOf(value)
	}
	last := len(trees) - 1
	first := last // values before one of another kind are lost
	for first > 0 && reflect.TypeOf(trees[first-1]) == reflect.TypeOf(trees[last]) {
		first--
	}
	switch trees[last].(type) {
	case map[string]any:
		members := map[string][]any{}
		for _, tree := range trees[first:] {
			for name, member := range tree.(map[string]any) {
				members[name] = append(members[name], member)
			}
		}
		merged := make(map[string]any, len(members))
		for name, each := range members {
			merged[name] = mergeTrees(each)
		}
		return merged
	case []any:
		merged, known := []any{}, map[string]bool{}
		for i, tree := range trees[first:] {
			for _, element := range tree.([]any) {
				if _, isObject := element.(map[string]any); isObject {
					canonical := jsontext.Value(raw.Marshal(element)) // the same text for objects that are equal
					_ = canonical.Canonicalize()                      // it is valid
					if i > 0 && known[string(canonical)] {
						continue
					}
					known[string(canonical)] = true
				}
				merged = append(merged, element)
			}
		}
		return merged
	}
	return trees[last]
}

// treeOf decodes a value as a whole; of an object with encoded values it only converts the object.
func treeOf(value any) any {
	switch encoded := value.(type) {
	case raw.Object:
		if encoded == nil {
			return nil
		}
		tree := make(map[string]any, len(encoded))
		for name, member := range encoded {
			tree[name] = member
		}
		return tree
	case json.RawMessage:
		reader := json.NewDecoder(bytes.NewReader(encoded))
		reader.UseNumber() // a number is kept as it is written
		var tree any
		if reader.Decode(&tree) == nil {
			return tree
		}
	}
	return value
}

// mergeTemplates merges the values for instantiating over a template: roles by their names, or their indexes if they have none,
// networks_values by the network, the rest deeply.
func mergeTemplates(template, given raw.Object) {
	networkKey := func(named raw.Object) string { return strings.Join(slices.Collect(maps.Keys(named)), "") } // its only attribute's name
	for name, value := range given {
		lists := raw.KindOf(value) == raw.KindArray && raw.KindOf(template[name]) == raw.KindArray
		switch {
		case name == "roles" && lists:
			template[name] = mergeNamed(template[name], value, roleKey, true)
		case name == "networks_values" && lists:
			template[name] = mergeNamed(oneNetworkEach(dropOtherSources(template[name], value)), oneNetworkEach(value), networkKey, false)
		default:
			template[name] = mergeValues(template[name], value)
		}
	}
}

// oneNetworkEach returns networks_values with one network in each element.
func oneNetworkEach(values json.RawMessage) json.RawMessage {
	each := []any{}
	for _, element := range raw.Elements(values) {
		networks := raw.Attributes(element)
		if len(networks) < 2 {
			each = append(each, element)
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(networks)) {
			each = append(each, raw.Object{name: networks[name]})
		}
	}
	return raw.Marshal(each)
}

// dropOtherSources empties the values of a template's networks for which another source is chosen: a user who chooses an existing network
// (id) does not want the reservation that the template proposes.
func dropOtherSources(proposed, chosen json.RawMessage) json.RawMessage {
	sources := map[string]string{}
	for _, value := range raw.Objects(chosen) {
		for name, choice := range value {
			if source, id := chosenID(raw.Attributes(choice)); id != nil {
				sources[name] = source
			}
		}
	}
	return raw.Changed(proposed, func(_ int, value raw.Object) bool {
		changed := false
		for name, choice := range value {
			source, _ := chosenID(raw.Attributes(choice))
			if other, isChosen := sources[name]; isChosen && other != source {
				value[name], changed = json.RawMessage("{}"), true
			}
		}
		return changed
	})
}

// mergeNamed merges two arrays of objects, those of one name with each other. The key of an element is empty if it has none; byIndex then
// merges it by its index.
func mergeNamed(first, second json.RawMessage, key func(raw.Object) string, byIndex bool) json.RawMessage {
	held, more := raw.Objects(first), raw.Objects(second)
	if held == nil || more == nil { // refused when the result is read
		return raw.Marshal(append(raw.Elements(first), raw.Elements(second)...))
	}
	merges, indexes := make([][]any, len(held)), map[string]int{}
	for i, element := range held {
		merges[i] = []any{element}
		indexes[key(element)] = i
	}
	for i, element := range more {
		name := key(element)
		index, known := indexes[name]
		known = known && name != ""
		if name == "" && byIndex && i < len(held) && element != nil {
			index, known = i, true
			delete(element, "name") // an empty name must not replace another
		}
		if known {
			merges[index] = append(merges[index], element)
		} else {
			merges = append(merges, []any{element})
		}
	}
	elements := make([]any, len(merges))
	for i, merge := range merges {
		elements[i] = mergeTrees(merge)
	}
	return raw.Marshal(elements)
}

func roleKey(role raw.Object) string { return raw.Text(role["name"]) }

// checkGivenRoles returns what keeps the roles of a merge_template from being merged over the template's, which they match by name, or by
// index without one.
func checkGivenRoles(template, given json.RawMessage) Violations {
	held := raw.Objects(template)
	if raw.KindOf(given) != raw.KindArray || held == nil {
		return nil
	}
	found, names, indexes := newFindings(nil), make([]string, len(held)), map[string]int{}
	for i, role := range held {
		names[i] = roleKey(role)
		indexes[names[i]] = i
	}
	elements, named := raw.Elements(given), map[int]int{} // which of the given roles names the role at an index
	objects := make([]raw.Object, len(elements))
	for i, element := range elements {
		objects[i] = raw.Attributes(element)
		if index, known := indexes[roleKey(objects[i])]; known {
			named[index] = i
		}
	}
	list := "the roles " + raw.Shown(strings.Join(names, ", "))
	switch {
	case len(names) == 0:
		list = "no roles"
	case len(names) > raw.MaxListed:
		list = fmt.Sprintf("%d roles", len(names))
	}
	for i, role := range objects {
		path, name := fmt.Sprintf("merge_template.roles[%d]", i), roleKey(role)
		_, known := indexes[name]
		other, taken := named[i]
		_, hasName := role["name"]
		empty := len(role) == 0 || hasName && len(role) == 1 // it changes nothing
		switch {
		case role == nil:
			found.add(path, `is %s; it must be an object such as {"name": "web", "cardinality": 2}`, raw.Short(elements[i]))
		case name != "" && !known && len(role["template_id"]) == 0 && len(role["vm_template"]) == 0:
			found.add(path, "names %q; the template has %s", raw.Shown(name), list)
		case name == "" && i >= len(names):
			found.add(path, "has no name and is matched by its index; the template has only %s", list)
		case name == "" && taken && !empty:
			found.add(path, "has no name and is matched by its index to role %q, which roles[%d] has too: give it the name of its role",
				raw.Shown(names[i]), other)
		}
	}
	return found.violations
}
