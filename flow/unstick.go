package flow

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

const (
	// maxRemade is how often another VM is made in the place of one that does not come.
	maxRemade = 2
	// maxRetries is how often oned is asked to retry what it was told to let fail.
	maxRetries = 3
)

// The calls of one.vm.recover.
const (
	callRetry  = "recover"
	callFail   = "recover-failure"
	callDelete = "recover-delete"
)

// retryFailing has oned retry what it was told to let fail, once it has.
func (p *planner) retryFailing() {
	for _, id := range slices.Sorted(maps.Keys(p.Stays)) {
		stay, vm := p.Stays[id], p.facts[id]
		if !stay.Failing || !vm.Failed() || stay.Retries > 0 && p.now.Before(stay.Acted.Add(p.settings.Look)) {
			continue
		}
		if stay.Retries >= maxRetries || !p.awaitedVMs()[id] {
			delete(p.Stays, id)
			continue
		}
		stay.Retries, stay.Acted = stay.Retries+1, p.now
		p.Stays[id] = stay
		p.act(Action{Kind: ActionRecoverVM, VM: id, Call: callRetry, Role: vm.Role})
	}
}

// unstick does the next thing about a VM that has overstayed. It returns why its role has
// to fail when there is nothing left to do, else nothing.
func (p *planner) unstick(role *Role, vm VM, ends bool) (failure string) {
	stay, stays := p.Stays[vm.ID]
	if !stays || vm.Seen == nil || !p.overdue(stay) {
		return ""
	}
	reason := stay.text(vm)
	ends = ends || vm.Ending()
	asked := p.Asked[vm.ID].Action
	stay.Acted = p.now
	switch {
	case p.stageOf(vm) == stageReady:
		return reason + " and has not reported READY=YES"
	case ends && vm.stage() == stageShutdown && asked == "terminate":
		p.ask(vm, "terminate-hard", role.Name)
		p.tellStay(role, vm, "terminated", reason+" and is ended the hard way")
	case vm.retriable() && !stay.Retried && (!ends || vm.stage() == stageEpilog):
		stay.Retried, stay.Failing, stay.Retries = true, true, 0
		p.act(Action{Kind: ActionRecoverVM, VM: vm.ID, Call: callFail, Role: role.Name})
		p.tellStay(role, vm, "retried", reason+" and is retried")
	case ends && vm.stage() != stageOther && asked != callDelete:
		p.ask(vm, callDelete, role.Name)
		p.tellStay(role, vm, "terminated", reason+" and is deleted")
	case !ends && vm.stage() != stageOther && !role.isRouter() && stay.Remade < maxRemade:
		p.remake(role, vm, stay)
		p.tellStay(role, vm, "replaced", reason+" and is replaced")
	default:
		return reason + stay.history()
	}
	stay.Due = p.stayDue(stay, vm)
	p.Stays[vm.ID] = stay
	return ""
}

// remake decides on another VM in the place of one that does not come.
func (p *planner) remake(role *Role, vm VM, stay Stay) {
	role.Nodes = slices.DeleteFunc(role.Nodes, func(n Node) bool { return n.DeployID == vm.ID })
	p.ask(vm, callDelete, role.Name)
	intent := p.newIntent(role)
	intent.Remade = stay.Remade + 1
	p.Intents = append(p.Intents, intent)
}

func (p *planner) tellStay(role *Role, vm VM, what, reason string) {
	p.log("I", fmt.Sprintf("Role %s : %s", role.Name, reason))
	p.changes = append(p.changes, Change{Kind: "vm", VM: pointerTo(vm.ID), Role: role.Name, New: what, Reason: reason})
}

// text says since when the VM stays in its state.
func (s Stay) text(vm VM) string {
	said := fmt.Sprintf("VM %d has been in %s since %s", vm.ID, vm.stateText(), s.Since.UTC().Format(time.RFC3339))
	if quoted := s.said(); quoted != "" {
		said += " (" + quoted + ")"
	}
	return said
}

// said is what oned's scheduler says of the VM, else what oned noted of its last failure.
func (s Stay) said() string {
	if s.Scheduler != "" {
		return s.Scheduler
	}
	return s.Error
}

// history says what was done about it.
func (s Stay) history() string {
	var done []string
	if s.Retried {
		done = append(done, "it was retried")
	}
	switch {
	case s.Remade == 1:
		done = append(done, "it was made anew once before")
	case s.Remade > 1:
		done = append(done, fmt.Sprintf("it was made anew %d times before", s.Remade))
	}
	if len(done) == 0 {
		return ""
	}
	return "; " + strings.Join(done, ", ")
}

// inherit notes of a VM how many were made before it.
func (p *planner) inherit(intent Intent, vm VM) {
	if intent.Remade == 0 {
		return
	}
	if p.Stays == nil {
		p.Stays = map[int]Stay{}
	}
	p.Stays[vm.ID] = Stay{Remade: intent.Remade}
}

// endCall is how a VM is asked to end that otherwise is asked so: one that had to be
// deleted goes on being.
func (p *planner) endCall(vm VM, otherwise string) string {
	if p.Asked[vm.ID].Action == callDelete {
		return callDelete
	}
	return otherwise
}

// beingRetried reports whether oned was told to let fail what it does with the VM, and is
// to retry it.
func (p *planner) beingRetried(vm VM) bool {
	stay, stays := p.Stays[vm.ID]
	return stays && stay.Failing
}

// unstickRole does what is due about the role's VMs. It returns false when the role has
// failed.
func (p *planner) unstickRole(role *Role, nodes []Node, ends bool, failed RoleState) bool {
	for _, node := range slices.Clone(nodes) {
		vm, known := p.facts[node.DeployID]
		if !known {
			continue
		}
		if failure := p.unstick(role, vm, ends); failure != "" {
			p.failRole(role, failed, failure)
			return false
		}
	}
	return true
}

// unstickStrays does what is due about VMs that no role has and that were asked to end.
func (p *planner) unstickStrays() {
	for _, id := range slices.Sorted(maps.Keys(p.Stays)) {
		if vm, known := p.facts[id]; known && p.AskedToEnd(id) && p.overdue(p.Stays[id]) && p.node(id) == nil {
			p.unstick(&Role{Name: vm.Role}, vm, true)
		}
	}
}

// forgetStays lets everything be done anew about what does not move.
func (p *planner) forgetStays() {
	p.Stays = nil
	for i := range p.Networks {
		p.Networks[i].Since = time.Time{}
	}
}
