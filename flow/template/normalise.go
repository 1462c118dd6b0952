package template

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/flowjet/flowjet/flow/internal/raw"
	"github.com/flowjet/flowjet/flow/spec"
)

// normalise brings a service template's body as clients send it, with numbers as texts
// and in the forms of OneFlow 6, into the form in which Flowjet keeps it, with OneFlow's
// defaults. What belongs to running services only (state, nodes, log and the like) is left
// out; every value of the wrong type is a finding. It changes whole.
func normalise(whole raw.Object, registered time.Time) (spec.Body, *findings) {
	upgradeBody(whole)
	dropAttributes(whole, "state", "start_time", "log", "registration_time")
	found := newFindings(nil)
	convert(found, "", whole, bodyRules)
	if text, has := whole["roles"]; has {
		whole["roles"] = convertRoles(found, text)
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

func convertRoles(f *findings, text json.RawMessage) json.RawMessage {
	var roles []raw.Object
	if err := json.Unmarshal(text, &roles); err != nil {
		return text
	}
	for _, role := range roles {
		f.roles = append(f.roles, raw.Text(role["name"]))
	}
	for i, role := range roles {
		convertRole(f, fmt.Sprintf("roles[%d].", i), role)
	}
	return raw.Marshal(roles)
}

// runtimeAttributes are what a worker writes into a service's roles.
var runtimeAttributes = []string{"state", "nodes", "last_vmname", "scale_way", "vrouter_id", "vrouter_ips"}

func convertRole(f *findings, path string, role raw.Object) {
	if err := upgradeRole(role); err != nil {
		f.add(path+"vm_template_contents", "%v", err)
	}
	dropAttributes(role, runtimeAttributes...)
	if raw.KindOf(role["template_id"]) == raw.KindNull {
		f.add(path+"template_id", "is missing; it must be the id of a VM template")
	}
	convert(f, path, role, roleRules)
	raw.SetDefault(role, "cardinality", "0")
	convertPolicies(f, path, "elasticity_policies", role, elasticityRules)
	convertPolicies(f, path, "scheduled_policies", role, scheduledRules)
}

func convertPolicies(f *findings, path, attribute string, role raw.Object, rules map[string]rule) {
	var policies []raw.Object
	if json.Unmarshal(role[attribute], &policies) != nil || policies == nil {
		return
	}
	for i, policy := range policies {
		convert(f, fmt.Sprintf("%s%s[%d].", path, attribute, i), policy, rules)
	}
	role[attribute] = raw.Marshal(policies)
}

// convert brings the attributes for which there is a rule into their form, and
// takes out those that have none.
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

func dropAttributes(o raw.Object, attributes ...string) {
	for _, attribute := range attributes {
		delete(o, attribute)
	}
}
