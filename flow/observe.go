package flow

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
)

// observe brings the state up to the facts: VMs that were decided on become
// nodes, VMs that are gone cease to be, VMs that nobody wants are ended.
func (p *planner) observe() {
	lost := make([]int, len(p.roles()))
	for i := range p.roles() {
		lost[i] = p.dropGone(&p.roles()[i])
	}
	ids := slices.AppendSeq(make([]int, 0, len(p.facts)), maps.Keys(p.facts))
	slices.Sort(ids)
	for _, id := range ids {
		vm := p.facts[id]
		if node := p.node(vm.ID); node != nil {
			node.showOwner(vm)
		} else {
			p.adopt(vm)
		}
		p.settleAsked(vm)
	}
	for i, count := range lost {
		if count > 0 {
			p.followLoss(&p.roles()[i], count)
		}
	}
}

// adopt makes a node of a VM that is none: of one that an intent stands for, or,
// where the intents were lost, of one that a role lacks. A second VM with the same
// key, or one that no role has room for, is a call that took effect after it had been
// given up: it is ended before anybody uses it. Of two that are seen together the
// younger is ended, since VMs are looked at in the order of their ids.
func (p *planner) adopt(vm VM) {
	if vm.Key == "" || vm.Service != p.Service.ID {
		return
	}
	at := slices.IndexFunc(p.Intents, func(i Intent) bool { return i.Key == vm.Key })
	if at >= 0 {
		intent := p.Intents[at]
		p.Intents = slices.Delete(p.Intents, at, at+1)
		if !vm.Gone() {
			p.addNode(p.role(intent.Role), vm)
			p.inherit(intent, vm)
		}
		return
	}
	role := p.role(vm.Role)
	switch {
	case vm.Ending():
	case p.Asked[vm.ID].Action != "" || role == nil || !p.growing(role) || p.missing(role) <= 0 || p.keyTaken(role, vm.Key):
		p.endStray(vm)
	case p.everyNodeKnown(role):
		p.addNode(role, vm)
	}
}

// keyTaken reports whether one of the role's nodes has the key.
func (p *planner) keyTaken(role *Role, key string) bool {
	return slices.ContainsFunc(role.Nodes, func(n Node) bool { return p.facts[n.DeployID].Key == key })
}

// everyNodeKnown reports whether the keys of all the role's nodes are known; before
// that nobody can tell a VM that the role lacks from one that it has twice.
func (p *planner) everyNodeKnown(role *Role) bool {
	return !slices.ContainsFunc(role.Nodes, func(n Node) bool {
		_, known := p.facts[n.DeployID]
		return !known
	})
}

func (p *planner) endStray(vm VM) {
	if vm.Ending() || p.beingRetried(vm) {
		return
	}
	known := p.Asked[vm.ID].Action != ""
	p.ask(vm, p.endCall(vm, "terminate-hard"), vm.Role)
	if known {
		return
	}
	p.changes = append(p.changes, Change{Kind: "vm", VM: &vm.ID, Role: vm.Role, New: "terminated",
		Reason: "the VM was created twice or too late: no role has a place for it"})
}

func (p *planner) addNode(role *Role, vm VM) {
	if role == nil {
		p.endStray(vm)
		return
	}
	role.Nodes = append(role.Nodes, NewNode(vm))
	slices.SortStableFunc(role.Nodes, func(a, b Node) int { return a.DeployID - b.DeployID })
	p.changes = append(p.changes, Change{Kind: "vm", VM: &vm.ID, Role: role.Name, New: "created"})
}

// showOwner writes into a VM's node whose it is, which chown may have changed.
func (n *Node) showOwner(vm VM) {
	if vm.Owner.UName == "" || vm.Owner.GName == "" {
		return // not all is known
	}
	shown := &n.VMInfo.VM
	shown.UID, shown.GID = strconv.Itoa(vm.Owner.UID), strconv.Itoa(vm.Owner.GID)
	shown.UName, shown.GName = vm.Owner.UName, vm.Owner.GName
}

// NewNode is how a VM stands in a role's nodes.
func NewNode(vm VM) Node {
	return Node{DeployID: vm.ID, VMInfo: NodeInfo{VM: NodeVM{
		ID:    strconv.Itoa(vm.ID),
		UID:   strconv.Itoa(vm.Owner.UID),
		GID:   strconv.Itoa(vm.Owner.GID),
		UName: vm.Owner.UName,
		GName: vm.Owner.GName,
		Name:  vm.Name,
	}}}
}

// dropGone removes the nodes whose VMs are DONE. It says how many there were.
func (p *planner) dropGone(role *Role) int {
	before := len(role.Nodes)
	role.Nodes = slices.DeleteFunc(role.Nodes, func(n Node) bool {
		vm, known := p.facts[n.DeployID]
		gone := known && vm.Gone()
		if gone {
			p.changes = append(p.changes, Change{Kind: "vm", VM: pointerTo(n.DeployID), Role: role.Name, New: "removed"})
			delete(p.Asked, n.DeployID)
		}
		return gone
	})
	return before - len(role.Nodes)
}

// followLoss: where fewer VMs are left than the role should have, somebody else
// ended them, and the cardinality follows. A role that is being healed may lack
// more than were lost just now.
func (p *planner) followLoss(role *Role, lost int) {
	if p.leaving(role) {
		return
	}
	have := len(role.Nodes) + p.intended(role) + len(p.strangers[role.Name])
	if _, heals := healRuleOf(role); heals {
		have = max(have, role.Cardinality-lost)
	}
	if have < role.Cardinality {
		p.log("I", fmt.Sprintf("Role %s scaling down from %d to %d nodes", role.Name, role.Cardinality, have))
		role.Cardinality = have
	}
}

// leaving reports whether the role's VMs are meant to end, or failed to come: their
// end does not change how many the role should have.
func (p *planner) leaving(role *Role) bool {
	switch role.state() {
	case RoleUndeploying, RoleFailedUndeploying, RoleDone, RoleFailedDeploying:
		return true
	case RoleFailedScaling:
		return !role.shrinking()
	}
	return p.ending()
}

// growing reports whether the role may be given VMs.
func (p *planner) growing(role *Role) bool {
	switch role.state() {
	case RoleDeploying, RoleFailedDeploying, RoleHold:
		return true
	case RoleScaling, RoleFailedScaling:
		return !role.shrinking()
	case RoleRunning, RoleWarning:
		_, heals := healRuleOf(role)
		return heals
	}
	return false
}

// shrinking reports whether the role scales down, or failed to.
func (r *Role) shrinking() bool { return r.ScaleWay != nil && *r.ScaleWay == ScaleDown }

// intended counts the role's VMs that are decided on but not there.
func (p *planner) intended(role *Role) int {
	count := 0
	for _, intent := range p.Intents {
		if intent.Role == role.Name {
			count++
		}
	}
	return count
}

// missing is how many VMs the role lacks that are not decided on either.
func (p *planner) missing(role *Role) int {
	return role.Cardinality - len(role.Nodes) - p.intended(role) - len(p.strangers[role.Name])
}

func (p *planner) node(vm int) *Node {
	for i := range p.roles() {
		for j := range p.roles()[i].Nodes {
			if p.roles()[i].Nodes[j].DeployID == vm {
				return &p.roles()[i].Nodes[j]
			}
		}
	}
	return nil
}

// ask adds a request to a VM to the actions, once: until its effect is seen, or
// it has had as long as a look, it is not repeated.
func (p *planner) ask(vm VM, call, role string) {
	asked, pending := p.Asked[vm.ID]
	if pending && asked.Action == call && (!p.unanswered(asked, vm) || !asked.moved(vm) && p.held(requestName(call, vm.ID))) {
		return
	}
	if p.Asked == nil {
		p.Asked = map[int]Asked{}
	}
	p.Asked[vm.ID] = Asked{Action: call, At: p.now, State: vm.State, LCMState: vm.LCMState}
	kind := ActionVM
	if call == callRetry || call == callDelete {
		kind = ActionRecoverVM
	}
	p.actions = append(p.actions, Action{Kind: kind, VM: vm.ID, Call: call, Role: role})
}

// unanswered reports whether a request may be made again: it was refused, the VM has
// moved on without ending, or has not moved for as long as a look.
func (p *planner) unanswered(asked Asked, vm VM) bool {
	return asked.Refused || asked.moved(vm) || !p.now.Before(asked.At.Add(p.settings.Look))
}

// forgetAskedOfNodes: a failed service waits for somebody to recover it, and
// not for its VMs. Those that it does not want are still asked to end.
func (p *planner) forgetAskedOfNodes() {
	for _, role := range p.roles() {
		for _, node := range role.Nodes {
			delete(p.Asked, node.DeployID)
		}
	}
}

// settleAsked forgets a request whose effect is seen, and one that was only meant
// to help once it has had its time: whoever asked may ask again.
func (p *planner) settleAsked(vm VM) {
	asked, pending := p.Asked[vm.ID]
	if !pending || p.askAgain(asked, vm) {
		return
	}
	timely := p.now.Before(asked.At.Add(p.settings.Look))
	if vm.Gone() || asked.helps() && (asked.answered(vm) || !timely) {
		delete(p.Asked, vm.ID)
	}
}

// askAgain repeats a request that was to help the VM and may not have been made:
// the VM stands where it stood. Otherwise somebody who was told that his recover
// had begun would wait for nothing.
func (p *planner) askAgain(asked Asked, vm VM) bool {
	unmade := asked.Doubt || asked.Refused && asked.helps()
	if !unmade || asked.moved(vm) {
		return false
	}
	if p.held(requestName(asked.Action, vm.ID)) {
		return true
	}
	delete(p.Asked, vm.ID)
	p.ask(vm, asked.Action, vm.Role)
	return true
}
