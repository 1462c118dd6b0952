package flow

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"unicode/utf8"

	"github.com/flowjet/flowjet/flow/expression"
)

// The limits of a service template and of a service, each of which docs/security.md and
// the API's description name. They are checked before anything is done with what a client
// sent, because a tenant must not be able to make others pay for what he writes.
const (
	// MaxName is in characters; oned has the same for the names of its objects.
	MaxName = 128
	// MaxRoles, MaxNetworks and MaxInputs are counts for a service; a role's own inputs
	// are counted apart.
	MaxRoles    = 1024
	MaxNetworks = 256
	MaxInputs   = 512
	// MaxPolicies is for the elasticity policies of a role, and for the scheduled ones.
	MaxPolicies = 64
	// MaxSchedules is for the scheduled policies of all roles of a service together: when the
	// next one is due is found at each decision.
	MaxSchedules = 256
	// MaxVMs is for a role and for all roles of a service together: a record of so many
	// VMs is half of what NATS takes in one message.
	MaxVMs = 10_000
	// MaxAddresses is for a network that is reserved or made for a service. oned 7.4 looks
	// for free addresses one by one: a million takes it 3.4 s, in which it does nothing
	// else, and a hundred million end it.
	MaxAddresses = 65_536
	// MaxAttributes is for a text in OpenNebula's template language, those in vectors
	// included: it takes 4 bytes to write one.
	MaxAttributes = 10_000
	// MaxContents is for a role's template_contents with all values put in, in bytes: a long
	// value that is referred to often makes gigabytes of one body.
	MaxContents = 1 << 20
	// MaxReferences is for the values of parents' VMs that a role refers to: each is looked
	// for in all of them whenever a VM is made.
	MaxReferences = 256
	// MaxExpression is in characters.
	MaxExpression = expression.MaxLength
	// MaxMeasured is for the attributes that a role's elasticity policies name: each is
	// looked for in each of its VMs at every pass of the autoscaler.
	MaxMeasured = 64
	// maxViolations is how many mistakes are reported at a time.
	maxViolations = 100
	// maxShown bounds a value in a message, in bytes.
	maxShown = 80
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

// countOf is how many elements or attributes a valid array or object has, without reading
// them.
func countOf(value json.RawMessage) int {
	depth, commas, empty := 0, 0, true
	for i := 0; i < len(value); i++ {
		switch value[i] {
		case ' ', '\t', '\r', '\n':
			continue
		case '"':
			for i++; i < len(value) && value[i] != '"'; i++ {
				if value[i] == '\\' {
					i++
				}
			}
		case '{', '[':
			if depth++; depth == 1 {
				continue
			}
		case '}', ']':
			if depth--; depth == 0 {
				continue
			}
		case ',':
			if depth == 1 {
				commas++
			}
		}
		empty = false
	}
	if empty {
		return 0
	}
	return commas + 1
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

// shown is a text for a message, cut where it is long: what is told of a mistake must not
// hold a whole body.
func shown(text string) string {
	if len(text) <= maxShown {
		return text
	}
	cut := maxShown
	for cut > 0 && !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + "..."
}
