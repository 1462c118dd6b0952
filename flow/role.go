package flow

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

func (r *Role) has(vm int) bool {
	for _, node := range r.Nodes {
		if node.DeployID == vm {
			return true
		}
	}
	return false
}

// belowMinimum reports whether the role has lost VMs, or was forced to fewer, than
// its minimum.
func (r *Role) belowMinimum() bool {
	return !r.isRouter() && r.MinVMs != nil && r.Cardinality < *r.MinVMs
}

// nextOrdinal is more than the number of any of the role's VMs, as far as their names tell.
func (r *Role) nextOrdinal() int {
	next := 0
	for _, node := range r.Nodes {
		if found := numberedName.FindStringSubmatch(node.VMInfo.VM.Name); found != nil {
			if number, err := strconv.Atoi(found[1]); err == nil {
				next = max(next, number+1)
			}
		}
	}
	return next
}

// shrinking reports whether the role scales down, or failed to.
func (r *Role) shrinking() bool { return r.ScaleWay != nil && *r.ScaleWay == ScaleDown }

// adjusted is the cardinality that the policy asks of the role, within the
// role's limits. A role that was forced beyond a limit is not taken further
// out, and comes back by the policy's steps.
func (r *Role) adjusted(by policy) int {
	wanted := r.Cardinality
	switch by.Type {
	case changeBy:
		wanted += by.Adjust
	case changeTo:
		wanted = by.Adjust
	case changeByPercent:
		wanted += percentage(r.Cardinality, by)
	}
	lowest, highest := 0, max(r.Cardinality, wanted)
	if r.MinVMs != nil {
		lowest = min(*r.MinVMs, r.Cardinality)
	}
	if r.MaxVMs != nil {
		highest = max(*r.MaxVMs, r.Cardinality)
	}
	return max(0, lowest, min(wanted, highest, max(r.Cardinality, MaxVMs)))
}

// isRouter reports whether the role's VMs are those of a virtual router.
func (r *Role) isRouter() bool { return r.Type == RoleTypeVR }

// sound counts the role's VMs that have come and are not in trouble.
func (r *Role) sound(facts Facts) int {
	count := 0
	for _, node := range r.Nodes {
		if vm, known := facts[node.DeployID]; !known || !vm.Troubled() && !vm.Gone() && !vm.isNew() {
			count++
		}
	}
	return count
}

// HealRule describes the role's attribute heal for people; empty without one that can be used.
func (r *Role) HealRule() string {
	rule, has := healRuleOf(r)
	if !has {
		return ""
	}
	return fmt.Sprintf("%s after %s, at most %d an hour", rule.action, rule.after, rule.max)
}

// references are a role's, in their order, up to one more than there may be.
func (r *Role) references() []Reference {
	var found []Reference
	parents, known := r.parentNames(), map[string]bool{}
	for rest := []byte(r.TemplateContents); len(found) <= MaxReferences; {
		at := referencePattern.FindSubmatchIndex(rest)
		if at == nil {
			break
		}
		text, name, path := string(rest[at[0]:at[1]]), string(rest[at[2]:at[3]]), string(rest[at[4]:at[5]])
		rest = rest[at[1]:]
		if parent := parents[strings.ToLower(name)]; parent != "" && !known[text] {
			known[text] = true
			found = append(found, Reference{Text: text, Parent: parent, Path: strings.Split(path, ".")})
		}
	}
	return found
}

// parentNames are the names of a role's parents by how they are looked for.
func (r *Role) parentNames() map[string]string {
	names := map[string]string{}
	for _, parent := range slices.Backward(r.Parents) {
		names[strings.ToLower(parent)] = parent
	}
	return names
}

// state is the role's; a role without one is PENDING.
func (r *Role) state() RoleState {
	if r.State == nil {
		return RolePending
	}
	return *r.State
}
