package flow

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

// MaxNesting is how deep objects and arrays may be nested in what clients
// send. OneFlow's own documents need about ten.
const MaxNesting = 64

// SyntaxError is a text that is not the JSON object that was asked for.
type SyntaxError struct{ Reason string }

// Error says what is wrong with the text, and where.
func (e *SyntaxError) Error() string { return e.Reason }

// object is a JSON object whose values have not been read.
type object map[string]json.RawMessage

// readObject reads a text that has to be one JSON object.
func readObject(text []byte) (object, error) {
	if err := CheckNesting(text); err != nil {
		return nil, err
	}
	var whole object
	err := json.Unmarshal(text, &whole)
	var syntax *json.SyntaxError
	switch {
	case len(bytes.TrimSpace(text)) == 0:
		return nil, &SyntaxError{Reason: "the body is empty; it must be a JSON object"}
	case errors.As(err, &syntax):
		return nil, &SyntaxError{Reason: fmt.Sprintf("the body is not JSON: %v (byte %d)", syntax, syntax.Offset)}
	case err != nil || whole == nil:
		return nil, &SyntaxError{Reason: fmt.Sprintf("the body is %s; it must be a JSON object", kindOf(text))}
	}
	return whole, nil
}

// CheckNesting refuses texts that are nested deeper than MaxNesting, without
// reading them. It says nothing about texts that are not JSON.
func CheckNesting(text []byte) error {
	depth, inText := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case inText && c == '\\':
			i++
		case c == '"':
			inText = !inText
		case inText:
		case c == '{' || c == '[':
			if depth++; depth > MaxNesting {
				return &SyntaxError{Reason: fmt.Sprintf("the body is nested deeper than %d levels (byte %d)", MaxNesting, i+1)}
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return nil
}

// normalise brings a service template's body as clients send it, with numbers as texts
// and in the forms of OneFlow 6, into the form in which Flowjet keeps it, with OneFlow's
// defaults. What belongs to running services only (state, nodes, log and the like) is left
// out; every value of the wrong type is a finding. It changes whole.
func normalise(whole object, registered time.Time) (Body, *findings) {
	upgradeBody(whole)
	dropAttributes(whole, "state", "start_time", "log", "registration_time")
	found := newFindings(nil)
	convert(found, "", whole, bodyRules)
	if text, has := whole["roles"]; has {
		whole["roles"] = convertRoles(found, text)
	}
	setDefault(whole, "deployment", `"none"`)
	setDefault(whole, "description", `""`)
	body, err := ParseBody(whole.text())
	if err != nil {
		found.add("", "cannot be read: %v", err)
	}
	body.RegistrationTime = registered.Unix()
	return body, found
}

func convertRoles(f *findings, text json.RawMessage) json.RawMessage {
	var roles []object
	if err := json.Unmarshal(text, &roles); err != nil {
		return text
	}
	for _, role := range roles {
		f.roles = append(f.roles, textOf(role["name"]))
	}
	for i, role := range roles {
		convertRole(f, fmt.Sprintf("roles[%d].", i), role)
	}
	return mustMarshal(roles)
}

// runtimeAttributes are what a worker writes into a service's roles.
var runtimeAttributes = []string{"state", "nodes", "last_vmname", "scale_way", "vrouter_id", "vrouter_ips"}

func convertRole(f *findings, path string, role object) {
	if err := upgradeRole(role); err != nil {
		f.add(path+"vm_template_contents", "%v", err)
	}
	dropAttributes(role, runtimeAttributes...)
	if kindOf(role["template_id"]) == kindNull {
		f.add(path+"template_id", "is missing; it must be the id of a VM template")
	}
	convert(f, path, role, roleRules)
	setDefault(role, "cardinality", "0")
	convertPolicies(f, path, "elasticity_policies", role, elasticityRules)
	convertPolicies(f, path, "scheduled_policies", role, scheduledRules)
}

func convertPolicies(f *findings, path, attribute string, role object, rules map[string]rule) {
	var policies []object
	if json.Unmarshal(role[attribute], &policies) != nil || policies == nil {
		return
	}
	for i, policy := range policies {
		convert(f, fmt.Sprintf("%s%s[%d].", path, attribute, i), policy, rules)
	}
	role[attribute] = mustMarshal(policies)
}

// convert brings the attributes for which there is a rule into their form, and
// takes out those that have none.
func convert(f *findings, path string, o object, rules map[string]rule) {
	for _, attribute := range slices.Sorted(maps.Keys(rules)) {
		value, has := o[attribute]
		if !has {
			continue
		}
		if kindOf(value) == kindNull {
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

func dropAttributes(o object, attributes ...string) {
	for _, attribute := range attributes {
		delete(o, attribute)
	}
}

func setDefault(o object, attribute, value string) {
	if _, has := o[attribute]; !has {
		o[attribute] = json.RawMessage(value)
	}
}

func (o object) text() json.RawMessage { return mustMarshal(o) }
