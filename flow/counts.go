package flow

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"unicode/utf8"
)

// checkCounts returns what is more, or longer, than the limits in a body that has not
// been read yet.
func checkCounts(whole object) Violations {
	f := newFindings(nil)
	checkCount(f, "roles", whole["roles"], MaxRoles)
	checkNames(f, "networks", whole["networks"], MaxNetworks)
	checkCount(f, "networks_values", whole["networks_values"], MaxNetworks)
	for _, attribute := range []string{"user_inputs", "user_inputs_values", "custom_attrs", "custom_attrs_values"} {
		checkNames(f, attribute, whole[attribute], MaxInputs)
	}
	if len(f.violations) > 0 {
		return f.violations
	}
	schedules := 0
	for i, role := range objectsOf(whole["roles"]) {
		path := fmt.Sprintf("roles[%d].", i)
		checkCount(f, path+"parents", role["parents"], MaxRoles)
		checkCount(f, path+"elasticity_policies", role["elasticity_policies"], MaxPolicies)
		checkCount(f, path+"scheduled_policies", role["scheduled_policies"], MaxPolicies)
		if kindOf(role["scheduled_policies"]) == kindArray {
			schedules += countOf(role["scheduled_policies"])
		}
		checkNames(f, path+"user_inputs", role["user_inputs"], MaxInputs)
		checkNames(f, path+"user_inputs_values", role["user_inputs_values"], MaxInputs)
		if name := textOf(role["name"]); utf8.RuneCountInString(name) > MaxName {
			f.add(path+"name", "has more than %d characters", MaxName)
		}
	}
	if schedules > MaxSchedules {
		f.add("roles", "have %d scheduled policies together; at most %d are possible", schedules, MaxSchedules)
	}
	return f.violations
}

// checkCount holds an array to so many elements. Anything else is a matter for its rule.
func checkCount(f *findings, path string, value json.RawMessage, most int) {
	if kindOf(value) != kindArray {
		return
	}
	if count := countOf(value); count > most {
		f.add(path, "has %d elements; at most %d are possible", count, most)
	}
}

// checkNames holds an object to so many attributes with names of at most MaxName
// characters.
func checkNames(f *findings, path string, value json.RawMessage, most int) {
	if kindOf(value) != kindObject {
		return
	}
	if count := countOf(value); count > most {
		f.add(path, "has %d attributes; at most %d are possible", count, most)
		return
	}
	for _, name := range slices.Sorted(maps.Keys(attributesOf(value))) {
		if utf8.RuneCountInString(name) > MaxName {
			f.add(path, "has a name of more than %d characters", MaxName)
			return
		}
	}
}

// checkSize holds the number of VMs.
func checkSize(f *findings, roles []Role) {
	total := 0
	for i, role := range roles {
		if role.Cardinality > MaxVMs {
			f.add(rolePathOf(i, "cardinality"), "is %d; at most %d VMs are possible", role.Cardinality, MaxVMs)
			return
		}
		if total += role.Cardinality; total > MaxVMs {
			f.add("roles", "have more than %d VMs together; at most so many are possible", MaxVMs)
			return
		}
	}
}
