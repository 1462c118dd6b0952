package template

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/flowjet/flowjet/flow/internal/raw"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
)

// normalise converts a service template's body as clients send it, with numbers as texts and in the forms of OneFlow 6, into the form in
// which Flowjet keeps it, with OneFlow's defaults. Attributes of running services only (state, nodes, log and the like) are left out; every
// value of the wrong type is a finding. It changes whole.
func normalise(whole raw.Object, registered time.Time) (spec.Body, *findings) {
	upgradeBody(whole)
	for _, attribute := range []string{"state", "start_time", "log", "registration_time"} {
		delete(whole, attribute)
	}
	found := newFindings(nil)
	refuseEmpty(found, "", whole, bodyChoices)
	convert(found, "", whole, bodyRules)
	if roles, has := whole["roles"]; has {
		whole["roles"] = raw.Changed(roles, func(i int, role raw.Object) bool {
			found.roles = append(found.roles, raw.Text(role["name"]))
			normaliseRole(found, fmt.Sprintf("roles[%d].", i), role)
			return true
		})
	}
	raw.SetDefault(whole, "deployment", `"none"`)
	raw.SetDefault(whole, "description", `""`)
	body, err := spec.ParseBody(whole.JSON())
	if err != nil {
		found.add("", "cannot be read: %v", err)
	}
	body.RegistrationTime = registered.Unix()
	return body, found
}

func normaliseRole(f *findings, path string, role raw.Object) {
	if err := upgradeRole(role); err != nil {
		f.add(path+"vm_template_contents", "%v", err)
	}
	for _, attribute := range runtimeAttributes {
		delete(role, attribute)
	}
	if raw.KindOf(role["template_id"]) == raw.KindNull {
		f.add(path+"template_id", "is missing; it must be the id of a VM template")
	}
	refuseEmpty(f, path, role, roleChoices)
	convert(f, path, role, roleRules)
	raw.SetDefault(role, "cardinality", "0")
	convertPolicies(f, path, role)
}

// runtimeAttributes are the attributes that a worker writes into a service's roles.
var runtimeAttributes = []string{"state", "nodes", "last_vmname", "scale_way", "vrouter_id", "vrouter_ips"}

func convertPolicies(f *findings, path string, role raw.Object) {
	for _, attribute := range slices.Sorted(maps.Keys(policyRules)) {
		if policies, has := role[attribute]; has {
			role[attribute] = raw.Changed(policies, func(i int, policy raw.Object) bool {
				given := maps.Clone(policy)
				convert(f, fmt.Sprintf("%s%s[%d].", path, attribute, i), policy, policyRules[attribute])
				for name, value := range given {
					if raw.KindOf(value) == raw.KindNull { // kept, as with OneFlow
						policy[name] = value
					}
				}
				return true
			})
		}
	}
}

// refuseEmpty refuses empty texts for attributes with a closed set of values, as OneFlow does.
func refuseEmpty(f *findings, path string, o raw.Object, choices map[string][]string) {
	for _, attribute := range slices.Sorted(maps.Keys(choices)) {
		if value := o[attribute]; raw.KindOf(value) == raw.KindText && raw.Text(value) == "" {
			f.add(path+attribute, "is \"\"; it can be %s", raw.Choices(choices[attribute]))
		}
	}
}

var (
	bodyChoices = map[string][]string{"deployment": {"none", spec.DeploymentStraight}, "shutdown_action": shutdownActions}
	roleChoices = map[string][]string{"shutdown_action": shutdownActions}
)

// convert applies the rules to the attributes, and removes those that are null or wrong.
func convert(f *findings, path string, o raw.Object, rules map[string]rule) {
	for _, attribute := range slices.Sorted(maps.Keys(rules)) {
		value, has := o[attribute]
		if !has {
			continue
		}
		if raw.KindOf(value) == raw.KindNull {
			delete(o, attribute)
			continue
		}
		converted, wrong := rules[attribute](value)
		if wrong != "" {
			f.add(path+attribute, "%s", wrong)
			delete(o, attribute)
			continue
		}
		o[attribute] = converted
	}
}

// rule converts a value into its form, or returns what is wrong with it.
type rule func(value json.RawMessage) (converted json.RawMessage, wrong string)

var bodyRules = map[string]rule{
	"name": textRule, "deployment": textRule, "description": textRule, "shutdown_action": textRule,
	"ready_status_gate": booleanRule, "automatic_deletion": booleanRule, "on_hold": booleanRule, spec.ExpandAttribute: booleanRule,
	"user_inputs": objectRule, "user_inputs_values": secretRule, "custom_attrs": objectRule, "custom_attrs_values": secretRule,
	"deadlines": objectRule, "networks": objectRule, "networks_values": objectsRule, "roles": objectsRule,
}

var roleRules = map[string]rule{
	"name": textRule, "type": textRule, "shutdown_action": textRule, "parents": textsRule,
	"cardinality": wholeRule, "template_id": wholeRule, "min_vms": wholeRule, "max_vms": wholeRule,
	"victims": textRule, "deadlines": objectRule, "cooldown": wholeRule, "on_hold": booleanRule, "template_contents": secretRule,
	"user_inputs": objectRule, "user_inputs_values": secretRule, "custom_attrs": objectRule, "custom_attrs_values": secretRule, spec.ExpandAttribute: booleanRule,
	"elasticity_policies": objectsRule, "scheduled_policies": objectsRule,
}

var policyRules = map[string]map[string]rule{
	"elasticity_policies": {
		"type": textRule, "adjust": wholeRule, "min_adjust_step": wholeRule, "expression": textRule,
		"period": wholeRule, "period_number": wholeRule, "cooldown": wholeRule,
	},
	"scheduled_policies": {"type": textRule, "adjust": wholeRule, "min_adjust_step": wholeRule, "recurrence": textRule, "start_time": startRule},
}

var (
	textRule    = ofKind(raw.KindText, "a string")
	booleanRule = ofKind(raw.KindBoolean, "true or false")
	objectRule  = ofKind(raw.KindObject, "an object")
	objectsRule = arrayOf(raw.KindObject, "an array of objects")
	textsRule   = arrayOf(raw.KindText, "an array of strings")
)

// startRule requires a text, as OneFlow has it and its clients decode it. Seconds are accepted as a number, too.
func startRule(value json.RawMessage) (json.RawMessage, string) {
	if raw.KindOf(value) == raw.KindNumber {
		return raw.Marshal(string(value)), ""
	}
	return value, ""
}

// secretRule is objectRule for attributes that can hold secrets: the refusal does not show the value.
func secretRule(value json.RawMessage) (json.RawMessage, string) {
	if raw.KindOf(value) == raw.KindObject {
		return value, ""
	}
	return nil, fmt.Sprintf("is %s; it must be an object", raw.KindOf(value))
}

func ofKind(want raw.Kind, name string) rule {
	return func(value json.RawMessage) (json.RawMessage, string) {
		if raw.KindOf(value) == want {
			return value, ""
		}
		return nil, fmt.Sprintf("is %s; it must be %s", raw.Short(value), name)
	}
}

func arrayOf(want raw.Kind, name string) rule {
	return func(value json.RawMessage) (json.RawMessage, string) {
		var elements []json.RawMessage
		if raw.KindOf(value) != raw.KindArray || json.Unmarshal(value, &elements) != nil {
			return nil, fmt.Sprintf("is %s; it must be %s", raw.Short(value), name)
		}
		for i, element := range elements {
			if raw.KindOf(element) != want {
				return nil, fmt.Sprintf("must be %s; element %d is %s", name, i, raw.Short(element))
			}
		}
		return value, ""
	}
}

// wholeRule requires a whole number. Clients write numbers as texts too, and 2.0.
func wholeRule(value json.RawMessage) (json.RawMessage, string) {
	text := string(value)
	if raw.KindOf(value) == raw.KindText {
		text = strings.TrimSpace(raw.Text(value))
	}
	n, err := strconv.ParseFloat(text, 64)
	switch {
	case err == nil && !math.IsInf(n, 0) && n == math.Trunc(n) && math.Abs(n) > math.MaxInt32:
		return nil, fmt.Sprintf("is %s; it must be a whole number from -%d to %[2]d", raw.Short(value), math.MaxInt32)
	case err != nil || n != math.Trunc(n) || math.Abs(n) > math.MaxInt32:
		return nil, fmt.Sprintf("is %s; it must be a whole number", raw.Short(value))
	}
	return json.RawMessage(strconv.Itoa(int(n))), ""
}

// isOld reports whether a body is in the form of OneFlow 6 or 5: all its roles are. OneFlow 7 converts such a body and no other:
// custom_attrs beside roles of today's form are kept.
func isOld(body raw.Object) bool {
	if !bytes.Contains(body["roles"], []byte(`"vm_template`)) { // without parsing them
		return false
	}
	roles := raw.Objects(body["roles"])
	return len(roles) > 0 && !slices.ContainsFunc(roles, func(role raw.Object) bool {
		return len(role["vm_template"]) == 0 && len(role["vm_template_contents"]) == 0
	})
}

func upgradeBody(body raw.Object) {
	if isOld(body) {
		foldInto(body, "custom_attrs", "user_inputs")
		foldInto(body, "custom_attrs_values", "user_inputs_values")
	}
}

// upgradeRole converts a role of OneFlow 6 into today's form, in place. Only such a role may leave out its type. A text in OpenNebula's
// template language becomes template_contents; attributes that are there already are kept.
func upgradeRole(role raw.Object) error {
	old, isOld := role["vm_template"]
	if isOld {
		delete(role, "vm_template")
		raw.SetDefault(role, "template_id", string(old))
		raw.SetDefault(role, "type", `"`+spec.RoleTypeVM+`"`)
		foldInto(role, "custom_attrs", "user_inputs")
		foldInto(role, "custom_attrs_values", "user_inputs_values")
	}
	contents, has := role["vm_template_contents"]
	kind := raw.KindOf(contents)
	if !has || !isOld && kind != raw.KindText && kind != raw.KindNull {
		return nil
	}
	delete(role, "vm_template_contents")
	switch kind {
	case raw.KindNull:
		return nil
	case raw.KindText:
		attributes, err := one.ParseTemplate(raw.Text(contents))
		if len(attributes) > 0 {
			role["template_contents"] = mergeValues(raw.Marshal(attributes), role["template_contents"])
		}
		return err
	}
	return fmt.Errorf("is %s; it must be a string in OpenNebula's template language", raw.Short(contents))
}

// foldInto renames an attribute. If the new name is there already, both are merged and the new name's values win. A value that is no object
// keeps its name, by which it is refused.
func foldInto(o raw.Object, old, current string) {
	value := o[old]
	if kind := raw.KindOf(value); kind == raw.KindObject || kind == raw.KindNull {
		delete(o, old)
		if kind == raw.KindObject {
			o[current] = mergeValues(value, o[current])
		}
	}
}
