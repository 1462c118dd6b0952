package template

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/flowjet/flowjet/flow/expression"
	"github.com/flowjet/flowjet/flow/internal/raw"
	"github.com/flowjet/flowjet/flow/policy"
	"github.com/flowjet/flowjet/flow/spec"
)

// checkLimits holds min_vms <= cardinality <= max_vms.
func checkLimits(f *findings, path string, role spec.Role) {
	if role.MinVMs != nil && role.MaxVMs != nil && *role.MinVMs > *role.MaxVMs {
		f.add(path+".min_vms", "is %d, more than max_vms %d", *role.MinVMs, *role.MaxVMs)
		return
	}
	if role.MinVMs != nil && role.Cardinality < *role.MinVMs {
		f.add(path+".cardinality", "is %d, less than min_vms %d", role.Cardinality, *role.MinVMs)
	}
	if role.MaxVMs != nil && role.Cardinality > *role.MaxVMs {
		f.add(path+".cardinality", "is %d, more than max_vms %d", role.Cardinality, *role.MaxVMs)
	}
	if (raw.Filled(role.ElasticityPolicies) || raw.Filled(role.ScheduledPolicies)) && (role.MinVMs == nil || role.MaxVMs == nil) {
		f.add(path, "has policies, so it needs both min_vms and max_vms")
	}
}

// checkRouter holds the rule for virtual routers of several VMs: they share their networks through a floating IP.
func checkRouter(f *findings, path string, role spec.Role) {
	if role.Type != spec.RoleTypeVR || role.Cardinality < 2 {
		return
	}
	var contents struct{ NIC json.RawMessage }
	if json.Unmarshal(role.TemplateContents, &contents) != nil || len(contents.NIC) == 0 {
		return
	}
	nics := raw.List(contents.NIC)
	hasFloatingIP := func(text json.RawMessage) bool { // or cannot be read, which oned says
		var nic struct {
			FloatingIP string `json:"FLOATING_IP"`
		}
		return json.Unmarshal(text, &nic) != nil || strings.EqualFold(nic.FloatingIP, "yes")
	}
	if len(nics) == 0 || slices.ContainsFunc(nics, hasFloatingIP) {
		return
	}
	f.add(path+".template_contents", "has NICs and none with FLOATING_IP = \"yes\"; a virtual router of %d VMs needs one", role.Cardinality)
}

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
		var names []string
		for _, role := range append(circle, circle[0]) {
			names = append(names, roles[role].Name)
		}
		if len(names) > maxCircleNames {
			names = append(names[:maxCircleNames:maxCircleNames], "...", roles[circle[0]].Name)
		}
		f.add(rolePathOf(circle[0], "parents"), "is part of a cycle: %s wait for each other", strings.Join(names, " -> "))
	}
}

// maxCircles bounds how many circles are looked for: each can have every role, and names maxCircleNames.
const (
	maxCircles     = 10
	maxCircleNames = 20
)

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

// rolePolicies are a role's policies as far as the rules know them.
type rolePolicies struct {
	elasticity []elasticityShape
	scheduled  []scheduledShape
	broken     Violations // of attributes that are no arrays of policies
}

// readPolicies reads every role's policies.
func readPolicies(roles []spec.Role) []rolePolicies {
	all := make([]rolePolicies, len(roles))
	for i, role := range roles {
		read := func(attribute string, text json.RawMessage, into any) {
			if err := json.Unmarshal(text, into); err != nil && len(text) > 0 {
				all[i].broken = append(all[i].broken, Violation{attribute, "is not an array of policies: " + err.Error()})
			}
		}
		read("elasticity_policies", role.ElasticityPolicies, &all[i].elasticity)
		read("scheduled_policies", role.ScheduledPolicies, &all[i].scheduled)
	}
	return all
}

// checkPolicies holds the rules that look at several attributes, and parses.
func checkPolicies(f *findings, path string, policies rolePolicies) {
	for _, broken := range policies.broken {
		f.addWrong(path+"."+broken.Path, broken.Message)
	}
	measured := map[string]bool{}
	for i, given := range policies.elasticity {
		condition, err := expression.Parse(given.Expression)
		switch {
		case given.Expression == "":
			continue
		case err != nil:
			f.add(fmt.Sprintf("%s.elasticity_policies[%d].expression", path, i), "%q cannot be read: %v", raw.Shown(given.Expression), err)
			continue
		}
		for _, name := range condition.Attributes() {
			measured[name] = true
		}
	}
	if len(measured) > spec.MaxMeasured {
		f.add(path+".elasticity_policies", "have expressions with %d attributes; at most %d are possible", len(measured), spec.MaxMeasured)
	}
	for i, given := range policies.scheduled {
		path := fmt.Sprintf("%s.scheduled_policies[%d]", path, i)
		_, err := policy.ParseStartTime(given.StartTime, time.UTC)
		reference := time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)
		by := policy.Adjustment{Recurrence: given.Recurrence, LastEval: reference.Unix()}
		once, again := len(given.StartTime) > 0, given.Recurrence != ""
		switch {
		case once == again:
			f.add(path, "needs either \"start_time\" or \"recurrence\", and not both")
		case once && err != nil:
			f.add(path+".start_time", "%v", err)
		case again && !f.hides(path+".recurrence"):
			if _, comes := by.NextStart(reference); !comes {
				f.add(path+".recurrence", "is %q, which never occurs: there is no such date", given.Recurrence)
			}
		}
	}
}
