package flow

import (
	"encoding/json"
	"fmt"
	"strings"
)

// checkGivenRoles returns what keeps the roles of a merge_template from being merged over the
// template's: each is meant by its name, or by its place where it has none.
func checkGivenRoles(template, given json.RawMessage) Violations {
	held := objectsOf(template)
	if kindOf(given) != kindArray || held == nil {
		return nil
	}
	roles := givenRoles{findings: newFindings(nil), names: make([]string, len(held)), places: map[string]int{}, named: map[int]int{}}
	for i, role := range held {
		roles.names[i] = roleKey(role)
		roles.places[roles.names[i]] = i
	}
	elements := elementsOf(given)
	objects := make([]object, len(elements))
	for i, element := range elements {
		objects[i] = attributesOf(element)
		if place, known := roles.places[roleKey(objects[i])]; known {
			roles.named[place] = i
		}
	}
	for i, role := range objects {
		if role == nil {
			roles.add(givenRolePath(i), `is %s; it must be an object such as {"name": "web", "cardinality": 2}`, short(elements[i]))
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

func (g givenRoles) check(i int, role object) {
	name := roleKey(role)
	_, known := g.places[name]
	other, taken := g.named[i]
	switch {
	case name != "" && !known && len(role["template_id"]) == 0 && len(role["vm_template"]) == 0:
		g.add(givenRolePath(i), "names %q; the template has %s", shown(name), g.list())
	case name == "" && i >= len(g.names):
		g.add(givenRolePath(i), "has no name, so it is meant by its place; the template has %s only", g.list())
	case name == "" && taken && !isEmptyRole(role):
		g.add(givenRolePath(i), "has no name, so it is meant for role %q by its place, which roles[%d] names: give it the name of the role that it is for",
			shown(g.names[i]), other)
	}
}

func givenRolePath(i int) string { return fmt.Sprintf("merge_template.roles[%d]", i) }

// isEmptyRole reports whether a role without a name changes nothing.
func isEmptyRole(role object) bool {
	_, named := role["name"]
	return len(role) == 0 || named && len(role) == 1
}

// list names the template's roles for a message.
func (g givenRoles) list() string {
	switch {
	case len(g.names) == 0:
		return "no roles"
	case len(g.names) > maxNamed:
		return fmt.Sprintf("%d roles", len(g.names))
	}
	return "the roles " + shown(strings.Join(g.names, ", "))
}
