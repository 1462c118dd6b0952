package flow

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
)

func (d deployer) deploy() {
	for progressed := true; progressed; {
		progressed = false
		for role := range d.Service.Body.EachRole() {
			before := role.CurrentState()
			d.deployRole(role)
			progressed = progressed || role.CurrentState() != before
		}
	}
	invalid := slices.IndexFunc(d.Service.Body.Roles, func(role spec.Role) bool { // another server wrote it; a user has to recover it
		return slices.Contains([]spec.RoleState{spec.RoleUndeploying, spec.RoleFailedUndeploying, spec.RoleDone}, role.CurrentState())
	})
	switch {
	case d.anyRole(spec.RoleFailedDeploying, spec.RoleFailedScaling): // a failed service's role may have been scaled
		d.to(spec.ServiceFailedDeploying)
	case invalid >= 0:
		role := &d.Service.Body.Roles[invalid]
		d.log("E", "Role %s : it is %s, which is not possible in a service that is being deployed", role.Name, role.CurrentState())
		d.to(spec.ServiceFailedDeploying)
	case d.Service.State() == spec.ServiceHold && (d.anyRole(spec.RoleDeploying) || d.everyRole(spec.RoleRunning, spec.RoleWarning)):
		d.to(spec.ServiceDeploying)
	case d.everyRole(spec.RoleRunning, spec.RoleWarning):
		d.to(spec.ServiceRunning)
	case d.everyRole(spec.RoleRunning, spec.RoleWarning, spec.RoleHold):
		if d.Service.State() != spec.ServiceHold {
			d.to(spec.ServiceHold)
		}
	case slices.ContainsFunc(d.Service.Body.Roles, func(role spec.Role) bool { return d.holdsBack(&role) }):
		// It waits until its parents are ready again.
	case d.everyRole(spec.RolePending, spec.RoleRunning, spec.RoleWarning, spec.RoleHold):
		d.log("E", "Roles that wait for each other, or for parents that do not exist, cannot be deployed: %s", d.pendingRoles())
		d.to(spec.ServiceFailedDeploying)
	}
}

func (d deployer) pendingRoles() string {
	var names []string
	for _, role := range d.Service.Body.Roles {
		if role.CurrentState() == spec.RolePending {
			names = append(names, role.Name)
		}
	}
	return strings.Join(names, ", ")
}

func (d deployer) deployRole(role *spec.Role) {
	switch role.CurrentState() {
	case spec.RolePending:
		states, next := []spec.RoleState{spec.RoleRunning, spec.RoleWarning}, spec.RoleDeploying
		if d.holds(role) {
			states, next = append(states, spec.RoleHold), spec.RoleHold
		}
		if !d.parentsAre(role, states...) {
			return
		}
		d.start(role)
		if next == spec.RoleHold {
			role.OnHold = new(true)
		}
		d.roleTo(role, next, "")
	case spec.RoleHold:
		d.hold(role)
	case spec.RoleDeploying:
		if role.Shrinking() && !d.scaler.reduce(role) {
			return
		}
		d.watcher.healRole(role)
		if !d.tracker.unstickRole(role, role.Nodes, false) {
			return
		}
		d.inventory.fill(role)
		for _, node := range role.Nodes {
			if vm, known := d.facts[node.DeployID]; known && vm.State == one.VMHold && d.holds(role) {
				d.requester.ask(vm, callRelease, role.Name)
			}
		}
		d.arrive(role, spec.RoleRunning)
	case spec.RoleScaling:
		d.scaler.scaleRole(role)
	case spec.RoleCooldown:
		d.roleTo(role, spec.RoleRunning, "")
	case spec.RoleRunning, spec.RoleWarning:
		if d.holdsBack(role) || role.CurrentState() == spec.RoleWarning && flag(d.Service.Body.ReadyStatusGate) {
			d.watcher.watchRole(role)
		}
	}
}

// parentsAre reports whether all roles for which the role waits are in one of the states.
func (d deployer) parentsAre(role *spec.Role, states ...spec.RoleState) bool {
	if d.Service.Body.Deployment != spec.DeploymentStraight {
		return true
	}
	for _, at := range d.dependencies().parents[role.Name] {
		if at < 0 || !slices.Contains(states, d.Service.Body.Roles[at].CurrentState()) {
			return false
		}
		if !slices.Contains(states, spec.RoleHold) && !d.ready(&d.Service.Body.Roles[at]) {
			return false
		}
	}
	return true
}

// ready reports whether the VMs of a role run and, behind a gate, are READY: since then they may have been stopped or have taken READY
// back.
func (d deployer) ready(role *spec.Role) bool {
	if !flag(d.Service.Body.ReadyStatusGate) {
		return true
	}
	return d.whole(role) && !slices.ContainsFunc(role.Nodes, func(node spec.Node) bool {
		vm, known := d.facts[node.DeployID]
		return known && (!vm.Running() || !vm.Ready)
	})
}

// whole reports whether all VMs of a role exist.
func (d deployer) whole(role *spec.Role) bool {
	return len(role.Nodes)+len(d.strangers[role.Name]) >= role.Cardinality
}

// holdsBack reports whether a role that is up is not ready, and another role waits for that.
func (d deployer) holdsBack(parent *spec.Role) bool {
	if d.Service.Body.Deployment != spec.DeploymentStraight || d.ready(parent) || parent.CurrentState() != spec.RoleRunning && parent.CurrentState() != spec.RoleWarning {
		return false
	}
	return slices.ContainsFunc(d.dependencies().children[parent.Name], func(at int) bool {
		role, state := &d.Service.Body.Roles[at], d.Service.Body.Roles[at].CurrentState()
		return state == spec.RolePending && !d.holds(role) || state == spec.RoleHold && slices.Contains(d.Released, role.Name)
	})
}

// start gives a role the attributes that it has from its first VM on.
func (d deployer) start(role *spec.Role) {
	if role.TemplateContents == nil {
		role.TemplateContents = json.RawMessage("{}")
	}
	if role.LastVMName == nil {
		role.LastVMName = new(int)
	}
}

// arrive takes the role to its next state when all its VMs have come, or to failure when one has failed.
func (d deployer) arrive(role *spec.Role, arrived spec.RoleState) {
	isMissing := func(node spec.Node) bool {
		vm, known := d.facts[node.DeployID]
		return !known || !d.come(role, vm)
	}
	if d.made(role) && !slices.ContainsFunc(role.Nodes, isMissing) {
		d.roleTo(role, arrived, "")
		delete(d.Refilled, role.Name)
	}
}

// made reports whether all VMs of a role have been made. If one has failed, and nothing is under way to recover it, the role fails.
func (d deployer) made(role *spec.Role) bool {
	if d.inventory.intended(role) > 0 || role.AwaitsRouter() {
		return false
	}
	for _, node := range role.Nodes {
		vm := d.facts[node.DeployID]
		asked := d.Asked[vm.ID]
		retrying := asked.Action == callRetry && (asked.Refused || d.now.Before(asked.At.Add(d.settings.CheckInterval))) // oned has had no time for it
		if vm.Failed() && !retrying && !d.Stays[vm.ID].Failing && !d.mended[vm.ID] {
			d.failRole(role, fmt.Sprintf("VM %d is in %s", vm.ID, vm.StateText()))
			return false
		}
	}
	return true
}

// come reports whether a role need not wait longer for the VM. Behind a ready gate a VM that was stopped before it was ready has not come.
// A role that scales does not wait for a host to come back: it has been running without it before.
func (d deployer) come(role *spec.Role, vm one.VM) bool {
	if vm.Running() || vm.Arrived() {
		return vm.Ready || !flag(d.Service.Body.ReadyStatusGate)
	}
	return role.CurrentState() == spec.RoleScaling && vm.Lost()
}

// prepare gives every role the attributes that a role has once a worker has handled it.
func (d deployer) prepare() {
	for role := range d.Service.Body.EachRole() {
		if role.Nodes == nil {
			role.Nodes = []spec.Node{}
		}
		role.OnHold = cmp.Or(role.OnHold, new(bool))
		if role.Cooldown == nil && !role.IsRouter() {
			role.Cooldown = new(int(d.settings.Cooldown / time.Second))
		}
		role.State = cmp.Or(role.State, new(spec.RolePending))
		d.scaler.noticeSchedules(role)
	}
}

// repair repairs a running service that another server has left with roles which are not running: it takes the service to the state that
// handles them. It reports whether the service's state changed.
func (d deployer) repair() bool {
	next := d.Service.State()
	for role := range d.Service.Body.EachRole() {
		switch role.CurrentState() {
		case spec.RoleCooldown:
			d.roleTo(role, spec.RoleRunning, "")
		case spec.RolePending, spec.RoleDeploying, spec.RoleHold, spec.RoleFailedDeploying:
			next = spec.ServiceDeploying
		case spec.RoleFailedScaling:
			next = spec.ServiceScaling
		case spec.RoleUndeploying, spec.RoleFailedUndeploying, spec.RoleDone:
			d.Removing = role.Name
			d.to(spec.ServiceUndeploying)
			return true
		}
	}
	if next == d.Service.State() {
		return false
	}
	d.to(next)
	return true
}

// holds reports whether the role's VMs are created on hold: because of the role, of its service or, with the strategy straight, of a role
// for which it waits.
func (d deployer) holds(role *spec.Role) bool {
	return flag(d.Service.Body.OnHold) || flag(role.OnHold) || d.dependencies().holding[role.Name]
}

// hold waits for a role's release: by a command, in the order of the parents, or by hand, VM by VM.
func (d deployer) hold(role *spec.Role) {
	if role.Shrinking() && !d.scaler.reduce(role) {
		return
	}
	if d.Service.Body.Deployment == spec.DeploymentStraight && slices.ContainsFunc(d.dependencies().parents[role.Name], func(at int) bool {
		return at >= 0 && !d.whole(&d.Service.Body.Roles[at])
	}) {
		return // its contents may refer to the parents' VMs
	}
	d.inventory.fill(role)
	if !d.made(role) {
		return
	}
	isHeld := func(node spec.Node) bool {
		vm, known := d.facts[node.DeployID]
		return !known || vm.State == one.VMHold
	}
	released := slices.Contains(d.Released, role.Name) && d.parentsAre(role, spec.RoleRunning, spec.RoleWarning)
	if released || len(role.Nodes) > 0 && !slices.ContainsFunc(role.Nodes, isHeld) {
		d.roleTo(role, spec.RoleDeploying, "")
	}
}

// dependencies are which roles wait for which, by their names and indexes.
type dependencies struct {
	// parents are -1 for a role that does not exist.
	parents, children map[string][]int
	// holding are the roles that are on hold, or wait for such a role.
	holding map[string]bool
}

// dependencies returns the dependencies of the roles, computed once in a step: there may be hundreds of thousands.
func (p *planner) dependencies() *dependencies {
	if p.waiting != nil {
		return p.waiting
	}
	d := &dependencies{parents: map[string][]int{}, children: map[string][]int{}, holding: map[string]bool{}}
	p.waiting = d
	indexes := map[string]int{}
	for i, role := range p.Service.Body.Roles {
		indexes[role.Name] = i
	}
	var holding []int // roles on hold, and with the strategy straight those that wait for them
	for i, role := range p.Service.Body.Roles {
		for _, parent := range role.Parents {
			at, exists := indexes[parent]
			if !exists {
				at = -1
			}
			d.parents[role.Name] = append(d.parents[role.Name], at)
			d.children[parent] = append(d.children[parent], i)
		}
		if flag(role.OnHold) {
			holding = append(holding, i)
		}
	}
	for ; len(holding) > 0; holding = holding[1:] {
		name := p.Service.Body.Roles[holding[0]].Name
		if !d.holding[name] && p.Service.Body.Deployment == spec.DeploymentStraight {
			holding = append(holding, d.children[name]...)
		}
		d.holding[name] = true
	}
	return d
}
