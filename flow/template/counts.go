package template

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"unicode/utf8"

	"github.com/flowjet/flowjet/flow/internal/raw"
	"github.com/flowjet/flowjet/flow/spec"
)

// checkCounts returns what is more, or longer, than the limits in a body that has not been read yet.
func checkCounts(whole raw.Object) Violations {
	f := newFindings(nil)
	checkCount(f, "roles", whole["roles"], spec.MaxRoles)
	checkNames(f, "networks", whole["networks"], spec.MaxNetworks)
	checkCount(f, "networks_values", whole["networks_values"], spec.MaxNetworks)
	for _, attribute := range []string{"user_inputs", "user_inputs_values", "custom_attrs", "custom_attrs_values"} {
		checkNames(f, attribute, whole[attribute], spec.MaxInputs)
	}
	if len(f.violations) > 0 {
		return f.violations
	}
	schedules := 0
	for i, role := range raw.Objects(whole["roles"]) {
		path := fmt.Sprintf("roles[%d].", i)
		checkCount(f, path+"parents", role["parents"], spec.MaxRoles)
		checkCount(f, path+"elasticity_policies", role["elasticity_policies"], spec.MaxPolicies)
		checkCount(f, path+"scheduled_policies", role["scheduled_policies"], spec.MaxPolicies)
		if raw.KindOf(role["scheduled_policies"]) == raw.KindArray {
			schedules += raw.Count(role["scheduled_policies"])
		}
		checkNames(f, path+"user_inputs", role["user_inputs"], spec.MaxInputs)
		checkNames(f, path+"user_inputs_values", role["user_inputs_values"], spec.MaxInputs)
		if name := raw.Text(role["name"]); utf8.RuneCountInString(name) > spec.MaxName {
			f.add(path+"name", "has more than %d characters", spec.MaxName)
		}
	}
	if schedules > spec.MaxSchedules {
		f.add("roles", "have %d scheduled policies together; at most %d are possible", schedules, spec.MaxSchedules)
	}
	return f.violations
}

// checkCount holds an array to so many elements. Anything else is a matter for its rule.
func checkCount(f *findings, path string, value json.RawMessage, most int) {
	if raw.KindOf(value) != raw.KindArray {
		return
	}
	if count := raw.Count(value); count > most {
		f.add(path, "has %d elements; at most %d are possible", count, most)
	}
}

// checkNames holds an object to so many attributes with names of at most MaxName characters.
func checkNames(f *findings, path string, value json.RawMessage, most int) {
	if raw.KindOf(value) != raw.KindObject {
		return
	}
	if count := raw.Count(value); count > most {
		f.add(path, "has %d attributes; at most %d are possible", count, most)
		return
	}
	for _, name := range slices.Sorted(maps.Keys(raw.Attributes(value))) {
		if utf8.RuneCountInString(name) > spec.MaxName {
			f.add(path, "has a name of more than %d characters", spec.MaxName)
			return
		}
	}
}
