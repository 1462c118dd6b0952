package flow

import (
	"slices"

	"github.com/flowjet/flowjet/flow/spec"
)

// owned are the facts about VMs that can be the service's, or are gone.
func owned(service spec.Service, facts Facts) Facts {
	foreign := 0
	for _, vm := range facts {
		if !vm.Gone() && !service.Owns(vm) {
			foreign++
		}
	}
	if foreign == 0 {
		return facts
	}
	ours := make(Facts, len(facts)-foreign)
	for id, vm := range facts {
		if vm.Gone() || service.Owns(vm) {
			ours[id] = vm
		}
	}
	return ours
}

// Strangers are the nodes, and the VMs that something was asked of, that are not the
// service's by the facts.
func (s State) Strangers(facts Facts) []int {
	var strangers []int
	note := func(id int) {
		if vm, known := facts[id]; known && !vm.Gone() && !s.Service.Owns(vm) {
			strangers = append(strangers, id)
		}
	}
	for _, role := range s.Service.Body.Roles {
		for _, node := range role.Nodes {
			note(node.DeployID)
		}
	}
	for id := range s.Asked {
		note(id)
	}
	slices.Sort(strangers)
	return slices.Compact(strangers)
}

// hideStrangers takes VMs that are not the service's out of what is planned with. Nodes of
// such VMs stay in the document until their role ends, and nothing is made in their place:
// a service's VMs are chowned one by one.
func (f owners) hideStrangers() {
	strangers := f.Strangers(f.facts)
	f.facts = owned(f.Service, f.facts)
	if len(strangers) == 0 {
		return
	}
	f.strangers = map[string][]spec.Node{}
	for _, id := range strangers {
		delete(f.Asked, id)
		delete(f.Stays, id)
	}
	for role := range f.eachRole() {
		isForeign := func(n spec.Node) bool { _, found := slices.BinarySearch(strangers, n.DeployID); return found }
		for _, node := range role.Nodes {
			if isForeign(node) {
				f.strangers[role.Name] = append(f.strangers[role.Name], node)
			}
		}
		role.Nodes = slices.DeleteFunc(role.Nodes, isForeign)
	}
}

// showStrangers puts the nodes back, but for those of roles that end: their VMs are left
// alone.
func (f owners) showStrangers() {
	for role := range f.eachRole() {
		foreign := f.strangers[role.Name]
		if len(foreign) == 0 || f.remover.ending() || role.CurrentState() == spec.RoleUndeploying || role.CurrentState() == spec.RoleDone {
			continue
		}
		role.Nodes = append(role.Nodes, foreign...)
		slices.SortStableFunc(role.Nodes, func(a, b spec.Node) int { return a.DeployID - b.DeployID })
	}
}
