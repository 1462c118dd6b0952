package template

import (
	"slices"
	"strings"

	"github.com/flowjet/flowjet/flow/internal/raw"
	"github.com/flowjet/flowjet/flow/spec"
)

// checkParents finds parents that do not exist, roles that are their own
// parent, and circles of roles that would wait for each other for ever.
func checkParents(f *findings, roles []spec.Role) {
	byName := map[string]int{}
	for i, role := range roles {
		byName[role.Name] = i
	}
	for i, role := range roles {
		for _, parent := range role.Parents {
			if parent == role.Name {
				f.add(rolePathOf(i, "parents"), "is the role itself: a role cannot be its own parent")
			} else if _, exists := byName[parent]; !exists {
				f.add(rolePathOf(i, "parents"), "has %q, which is not a role of this service", raw.Shown(parent))
			}
		}
	}
	for _, circle := range circles(roles, byName) {
		f.add(rolePathOf(circle[0], "parents"), "is part of a cycle: %s wait for each other", circleText(roles, circle))
	}
}

// maxCircles bounds how many circles are looked for: each can name every role.
const maxCircles = 10

// circles finds circles of roles that wait for each other, as indexes of roles: at least
// one if there is any, and at most maxCircles. Roles that are their own parent are left out.
func circles(roles []spec.Role, byName map[string]int) [][]int {
	const unseen, open, closed = 0, 1, 2
	state := make([]int, len(roles))
	var path []int
	var found [][]int
	var visit func(role int)
	visit = func(role int) {
		state[role] = open
		path = append(path, role)
		for _, name := range roles[role].Parents {
			parent, exists := byName[name]
			switch {
			case !exists || parent == role:
			case state[parent] == unseen:
				visit(parent)
			case state[parent] == open && len(found) < maxCircles:
				found = append(found, slices.Clone(path[slices.Index(path, parent):]))
			}
		}
		path = path[:len(path)-1]
		state[role] = closed
	}
	for role := range roles {
		if state[role] == unseen {
			visit(role)
		}
	}
	return found
}

// maxCircleNames is how many roles of a circle are named.
const maxCircleNames = 20

// circleText names the roles of a circle: "a -> b -> a".
func circleText(roles []spec.Role, circle []int) string {
	names := make([]string, 0, len(circle)+1)
	for _, role := range append(slices.Clone(circle), circle[0]) {
		names = append(names, roles[role].Name)
	}
	if len(names) > maxCircleNames {
		names = append(append(names[:maxCircleNames:maxCircleNames], "..."), roles[circle[0]].Name)
	}
	return strings.Join(names, " -> ")
}
