package flow

import (
	"fmt"
	"maps"
	"slices"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/policy"
	"github.com/flowjet/flowjet/flow/spec"
)

// observe brings the state up to the facts: VMs that were decided on become
// nodes, VMs that are gone cease to be, VMs that nobody wants are ended.
func (o observer) observe() {
	lost := make([]int, len(o.roles()))
	for i := range o.roles() {
		lost[i] = o.dropGone(&o.roles()[i])
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
			o.followLoss(&o.roles()[i], count)
		}
	}
}

// adopt makes a node of a VM that is none: of one that an intent stands for, or,
// where the intents were lost, of one that a role lacks. A second VM with the same
// key, or one that no role has room for, is a call that took effect after it had been
// given up: it is ended before anybody uses it. Of two that are seen together the
// younger is ended, since VMs are looked at in the order of their ids.
func (o observer) adopt(vm one.VM) {
	if vm.Key == "" || vm.Service != o.Service.ID {
		return
	}
	at := slices.IndexFunc(o.Intents, func(i Intent) bool { return i.Key == vm.Key })
	if at >= 0 {
		intent := o.Intents[at]
		o.Intents = slices.Delete(o.Intents, at, at+1)
		if !vm.Gone() {
			o.addNode(o.role(intent.Role), vm)
			o.recoverer.inherit(intent, vm)
		}
		return
	}
	role := o.role(vm.Role)
	switch {
	case vm.Ending():
	case o.Asked[vm.ID].Action != "" || role == nil || !o.growing(role) || o.missing(role) <= 0 || o.keyTaken(role, vm.Key):
		o.endStray(vm)
	case o.everyNodeKnown(role):
		o.addNode(role, vm)
	}
}

// keyTaken reports whether one of the role's nodes has the key.
func (o observer) keyTaken(role *spec.Role, key string) bool {
	return slices.ContainsFunc(role.Nodes, func(n spec.Node) bool { return o.facts[n.DeployID].Key == key })
}

// everyNodeKnown reports whether the keys of all the role's nodes are known; before
// that nobody can tell a VM that the role lacks from one that it has twice.
func (o observer) everyNodeKnown(role *spec.Role) bool {
	return !slices.ContainsFunc(role.Nodes, func(n spec.Node) bool {
		_, known := o.facts[n.DeployID]
		return !known
	})
}

func (o observer) endStray(vm one.VM) {
	if vm.Ending() || o.recoverer.beingRetried(vm) {
		return
	}
	known := o.Asked[vm.ID].Action != ""
	o.requester.ask(vm, o.recoverer.endCall(vm, "terminate-hard"), vm.Role)
	if known {
		return
	}
	o.changes = append(o.changes, Change{Kind: "vm", VM: &vm.ID, Role: vm.Role, New: "terminated",
		Reason: "the VM was created twice or too late: no role needs it"})
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

// dropGone removes the nodes whose VMs are DONE. It says how many there were.
func (o observer) dropGone(role *spec.Role) int {
	before := len(role.Nodes)
	role.Nodes = slices.DeleteFunc(role.Nodes, func(n spec.Node) bool {
		vm, known := o.facts[n.DeployID]
		gone := known && vm.Gone()
		if gone {
			o.changes = append(o.changes, Change{Kind: "vm", VM: new(n.DeployID), Role: role.Name, New: "removed"})
			delete(o.Asked, n.DeployID)
		}
		return gone
	})
	return before - len(role.Nodes)
}

// followLoss: where fewer VMs are left than the role should have, somebody else
// ended them, and the cardinality follows. A role that is being healed may lack
// more than were lost just now.
func (o observer) followLoss(role *spec.Role, lost int) {
	if o.leaving(role) {
		return
	}
	have := len(role.Nodes) + o.intended(role) + len(o.strangers[role.Name])
	if _, heals := policy.HealRuleOf(role); heals {
		have = max(have, role.Cardinality-lost)
	}
	if have < role.Cardinality {
		o.log("I", fmt.Sprintf("Role %s scaling down from %d to %d nodes", role.Name, role.Cardinality, have))
		role.Cardinality = have
	}
}

// leaving reports whether the role's VMs are meant to end, or failed to come: their
// end does not change how many the role should have.
func (o observer) leaving(role *spec.Role) bool {
	switch role.CurrentState() {
	case spec.RoleUndeploying, spec.RoleFailedUndeploying, spec.RoleDone, spec.RoleFailedDeploying:
		return true
	case spec.RoleFailedScaling:
		return !role.Shrinking()
	}
	return o.remover.ending()
}

// growing reports whether the role may be given VMs.
func (o observer) growing(role *spec.Role) bool {
	switch role.CurrentState() {
	case spec.RoleDeploying, spec.RoleFailedDeploying, spec.RoleHold:
		return !role.Shrinking()
	case spec.RoleScaling, spec.RoleFailedScaling:
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
	for role := range o.eachRole() {
		for j := range role.Nodes {
			if role.Nodes[j].DeployID == vm {
				return &role.Nodes[j]
			}
		}
	}
	return nil
}
