package flow

import (
	"maps"
	"slices"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/policy"
	"github.com/flowjet/flowjet/flow/spec"
)

// observe brings the state up to the facts: VMs that were decided on become
// nodes, VMs that are gone cease to be, VMs that nobody wants are ended.
func (o observer) observe() {
	lost := make([]int, len(o.Service.Body.Roles))
	for i := range o.Service.Body.Roles {
		role := &o.Service.Body.Roles[i]
		role.Nodes = slices.DeleteFunc(role.Nodes, func(n spec.Node) bool {
			if vm, known := o.facts[n.DeployID]; !known || !vm.Gone() {
				return false
			}
			o.changes = append(o.changes, Change{Kind: "vm", VM: new(n.DeployID), Role: role.Name, New: "removed"})
			delete(o.Asked, n.DeployID)
			lost[i]++
			return true
		})
	}
	ids := slices.AppendSeq(make([]int, 0, len(o.facts)), maps.Keys(o.facts))
	slices.Sort(ids)
	for _, id := range ids {
		vm := o.facts[id]
		if node := o.node(vm.ID); node != nil {
			node.Show(vm)
			if vm.Key != "" { // the record may be older than the document
				o.Intents = slices.DeleteFunc(o.Intents, func(i Intent) bool { return i.Key == vm.Key })
			}
		} else {
			o.adopt(vm)
		}
		o.requester.settleAsked(vm)
	}
	for i, count := range lost {
		if count > 0 {
			o.followLoss(&o.Service.Body.Roles[i], count)
		}
	}
}

// adopt makes a node of a VM that is none: of one that an intent stands for, or, where the intents were lost, of one
// that a role lacks. A second VM with the same key, or one that no role has room for, is a call that took effect after
// it had been given up: it is ended before anybody uses it. Of two that are seen together the younger is ended, since
// VMs are looked at in the order of their ids.
func (o observer) adopt(vm one.VM) {
	if vm.Key == "" || vm.Service != o.Service.ID {
		return
	}
	at := slices.IndexFunc(o.Intents, func(i Intent) bool { return i.Key == vm.Key })
	if at >= 0 {
		intent := o.Intents[at]
		o.Intents = slices.Delete(o.Intents, at, at+1)
		if !vm.Gone() {
			o.addNode(o.Service.Role(intent.Role), vm)
			if intent.Remade > 0 {
				set(&o.Stays, vm.ID, Stay{Remade: intent.Remade})
			}
		}
		return
	}
	role := o.Service.Role(vm.Role)
	hasKey := func(n spec.Node) bool { return o.facts[n.DeployID].Key == vm.Key }
	// Before the keys of all nodes are known nobody can tell a VM that the role lacks from one that it has twice.
	isUnknown := func(n spec.Node) bool { _, known := o.facts[n.DeployID]; return !known }
	switch {
	case vm.Ending():
	case o.Asked[vm.ID].Action != "" || role == nil || !o.growing(role) || o.missing(role) <= 0 || slices.ContainsFunc(role.Nodes, hasKey):
		o.endStray(vm)
	case !slices.ContainsFunc(role.Nodes, isUnknown):
		o.addNode(role, vm)
	}
}

func (o observer) endStray(vm one.VM) {
	if vm.Ending() || o.recoverer.beingRetried(vm) {
		return
	}
	known := o.Asked[vm.ID].Action != ""
	o.requester.ask(vm, o.recoverer.endCall(vm, "terminate-hard"), vm.Role)
	if !known {
		o.changes = append(o.changes, Change{Kind: "vm", VM: &vm.ID, Role: vm.Role, New: "terminated",
			Reason: "the VM was created twice or too late: no role needs it"})
	}
}

func (o observer) addNode(role *spec.Role, vm one.VM) {
	if role == nil {
		o.endStray(vm)
		return
	}
	role.Nodes = append(role.Nodes, spec.NewNode(vm))
	slices.SortStableFunc(role.Nodes, func(a, b spec.Node) int { return a.DeployID - b.DeployID })
	o.changes = append(o.changes, Change{Kind: "vm", VM: &vm.ID, Role: role.Name, New: "created"})
}

// followLoss: where fewer VMs are left than the role should have, somebody else ended them, and the cardinality
// follows. A role that is being healed may lack more than were lost just now. The end of VMs that are meant to end, or
// of those of a role that failed to come, changes nothing.
func (o observer) followLoss(role *spec.Role, lost int) {
	leaving := o.undeployer.ending()
	switch role.CurrentState() {
	case spec.RoleUndeploying, spec.RoleFailedUndeploying, spec.RoleDone, spec.RoleFailedDeploying:
		leaving = true
	case spec.RoleFailedScaling:
		leaving = !role.Shrinking()
	}
	if leaving {
		return
	}
	have := len(role.Nodes) + o.intended(role) + len(o.strangers[role.Name])
	if _, heals := policy.HealRuleOf(role); heals {
		have = max(have, role.Cardinality-lost)
	}
	if have < role.Cardinality {
		o.log("I", "Role %s scaling down from %d to %d nodes", role.Name, role.Cardinality, have)
		role.Cardinality = have
	}
}

// growing reports whether the role may be given VMs.
func (o observer) growing(role *spec.Role) bool {
	switch role.CurrentState() {
	case spec.RoleDeploying, spec.RoleFailedDeploying, spec.RoleHold, spec.RoleScaling, spec.RoleFailedScaling:
		return !role.Shrinking()
	case spec.RoleRunning, spec.RoleWarning:
		_, heals := policy.HealRuleOf(role)
		return heals
	}
	return false
}

// intended counts the role's VMs that are decided on but not there.
func (o observer) intended(role *spec.Role) int {
	count := 0
	for _, intent := range o.Intents {
		if intent.Role == role.Name {
			count++
		}
	}
	return count
}

// missing is how many VMs the role lacks that are not decided on either.
func (o observer) missing(role *spec.Role) int {
	return role.Cardinality - len(role.Nodes) - o.intended(role) - len(o.strangers[role.Name])
}

func (o observer) node(vm int) *spec.Node {
	for role := range o.Service.Body.EachRole() {
		for j := range role.Nodes {
			if role.Nodes[j].DeployID == vm {
				return &role.Nodes[j]
			}
		}
	}
	return nil
}

// Strangers are the nodes, and the VMs that something was asked of, that are not the service's by the facts.
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
