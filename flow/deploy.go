package flow

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/render"
	"github.com/flowjet/flowjet/flow/spec"
)

// deploy starts the roles whose turn it is and waits for those started.
func (d deployer) deploy() {
	for progressed := true; progressed; {
		progressed = false
		for role := range d.eachRole() {
			progressed = d.deployRole(role) || progressed
		}
	}
	switch {
	case d.anyRole(spec.RoleFailedDeploying) || d.misfit():
		d.to(spec.ServiceFailedDeploying)
	case d.state() == spec.ServiceHold && (d.anyRole(spec.RoleDeploying) || d.everyRole(spec.RoleRunning, spec.RoleWarning)):
		d.to(spec.ServiceDeploying)
	case d.everyRole(spec.RoleRunning, spec.RoleWarning):
		d.to(spec.ServiceRunning)
	case d.everyRole(spec.RoleRunning, spec.RoleWarning, spec.RoleHold):
		if d.state() != spec.ServiceHold {
			d.to(spec.ServiceHold)
		}
	case slices.ContainsFunc(d.roles(), func(role spec.Role) bool { return d.holdsBack(&role) }): // it waits for its parents to be ready again
	case d.everyRole(spec.RolePending, spec.RoleRunning, spec.RoleWarning, spec.RoleHold):
		d.log("E", "Roles that wait for each other, or for parents that do not exist, cannot be deployed: "+d.pendingRoles())
		d.to(spec.ServiceFailedDeploying)
	}
}

// pendingRoles names the roles that have not started.
func (d deployer) pendingRoles() string {
	var names []string
	for _, role := range d.roles() {
		if role.CurrentState() == spec.RolePending {
			names = append(names, role.Name)
		}
	}
	return strings.Join(names, ", ")
}

// deployRole takes the role on, and reports whether its state changed.
func (d deployer) deployRole(role *spec.Role) bool {
	switch role.CurrentState() {
	case spec.RolePending:
		states, holds := []spec.RoleState{spec.RoleRunning, spec.RoleWarning}, d.holder.holds(role)
		if holds {
			states = append(states, spec.RoleHold)
		}
		if !d.parentsAre(role, states...) {
			return false
		}
		d.start(role)
		if holds {
			role.OnHold = new(true)
			d.roleTo(role, spec.RoleHold, "")
		} else {
			d.roleTo(role, spec.RoleDeploying, "")
		}
		return true
	case spec.RoleHold:
		return d.holder.hold(role)
	case spec.RoleDeploying:
		if !d.reduced(role) {
			return role.CurrentState() != spec.RoleDeploying
		}
		d.healer.healRole(role)
		if !d.recoverer.unstickRole(role, role.Nodes, false, spec.RoleFailedDeploying) {
			return true
		}
		d.filler.fill(role)
		d.holder.releaseHeld(role)
		return d.arrive(role, spec.RoleRunning, spec.RoleFailedDeploying)
	case spec.RoleScaling:
		d.scaler.scaleRole(role)
		return role.CurrentState() != spec.RoleScaling
	case spec.RoleCooldown:
		d.roleTo(role, spec.RoleRunning, "")
		return true
	case spec.RoleRunning, spec.RoleWarning:
		before := role.CurrentState()
		if d.holdsBack(role) || before == spec.RoleWarning && flag(d.Service.Body.ReadyStatusGate) {
			d.watcher.watchRole(role)
		}
		return role.CurrentState() != before
	}
	return false
}

// reduced reports whether the role has no VM beyond the cardinality that it was given
// after a failure.
func (d deployer) reduced(role *spec.Role) bool {
	if !role.Shrinking() {
		return true
	}
	if !d.scaler.reduce(role, spec.RoleFailedDeploying) {
		return false
	}
	role.ScaleWay = nil
	return true
}

// parentsAre reports whether all the roles that the role waits for are in one of the
// states.
func (d deployer) parentsAre(role *spec.Role, states ...spec.RoleState) bool {
	if d.Service.Body.Deployment != spec.DeploymentStraight {
		return true
	}
	for _, at := range d.dependencies().parents[role.Name] {
		if at < 0 || !slices.Contains(states, d.roles()[at].CurrentState()) {
			return false
		}
		if !slices.Contains(states, spec.RoleHold) && !d.ready(&d.roles()[at]) {
			return false
		}
	}
	return true
}

// ready reports whether the VMs of a role run and are READY, where there is a gate: those
// that were may have been stopped or have taken it back since.
func (d deployer) ready(role *spec.Role) bool {
	if !flag(d.Service.Body.ReadyStatusGate) {
		return true
	}
	whole := len(role.Nodes)+len(d.strangers[role.Name]) >= role.Cardinality
	return whole && !slices.ContainsFunc(role.Nodes, func(node spec.Node) bool {
		vm, known := d.facts[node.DeployID]
		return known && (!vm.Running() || !vm.Ready)
	})
}

// holdsBack reports whether a role that is up is not ready, and another waits for that.
func (d deployer) holdsBack(parent *spec.Role) bool {
	if d.Service.Body.Deployment != spec.DeploymentStraight || d.ready(parent) || parent.CurrentState() != spec.RoleRunning && parent.CurrentState() != spec.RoleWarning {
		return false
	}
	return slices.ContainsFunc(d.dependencies().children[parent.Name], func(at int) bool {
		role := &d.roles()[at]
		return role.CurrentState() == spec.RolePending && !d.holder.holds(role) || role.CurrentState() == spec.RoleHold && slices.Contains(d.Released, role.Name)
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

// maxIntents is how many VMs of a role are decided on at once. The others
// follow as these come, so that the stored state stays small however large a
// role is.
const maxIntents = 100

// arrive takes the role on when all its VMs have come, or one has failed. It
// reports whether the role changed its state.
func (d deployer) arrive(role *spec.Role, arrived, failed spec.RoleState) bool {
	if d.observer.intended(role) > 0 || role.IsRouter() && role.VRouterID == nil {
		return false
	}
	waiting := false
	for _, node := range role.Nodes {
		vm, known := d.facts[node.DeployID]
		switch {
		case !known:
			waiting = true
		case vm.Failed() && !d.retrying(vm) && !d.recoverer.beingRetried(vm) && !d.mended[vm.ID]:
			d.failRole(role, failed, fmt.Sprintf("VM %d is in %s", vm.ID, vm.StateText()))
			return true
		case !d.come(role, vm):
			waiting = true
		}
	}
	if waiting {
		return false
	}
	d.roleTo(role, arrived, "")
	return true
}

// come reports whether a role need not wait longer for the VM. Behind a ready gate one
// that was stopped before it was ready has not come. A role that scales does not wait
// for a host to come back: it has been running without it before.
func (d deployer) come(role *spec.Role, vm one.VM) bool {
	if vm.Running() {
		return vm.Ready || !flag(d.Service.Body.ReadyStatusGate)
	}
	return vm.Arrived() && (vm.Ready || !flag(d.Service.Body.ReadyStatusGate)) || role.CurrentState() == spec.RoleScaling && vm.Lost()
}

// retrying reports whether oned has been asked to retry what failed on the VM, and
// has had no time to do so.
func (d deployer) retrying(vm one.VM) bool {
	asked, pending := d.Asked[vm.ID]
	return pending && asked.Action == "recover" && (asked.Refused || d.now.Before(asked.At.Add(d.settings.Look)))
}

func (d deployer) failRole(role *spec.Role, state spec.RoleState, reason string) {
	d.log("E", fmt.Sprintf("Role %s : %s", role.Name, reason))
	d.roleTo(role, state, reason)
}

// prepare gives every role the attributes that a looked-at role has.
func (d deployer) prepare() {
	for role := range d.eachRole() {
		if role.Nodes == nil {
			role.Nodes = []spec.Node{}
		}
		if role.OnHold == nil {
			role.OnHold = new(bool)
		}
		if role.Cooldown == nil && !role.IsRouter() {
			role.Cooldown = new(int(d.settings.Cooldown / time.Second))
		}
		if role.State == nil {
			role.State = new(spec.RolePending)
		}
		d.autoscaler.noticeSchedules(role)
	}
}

// fillContents gives a role's template_contents everything that is known when deploying begins.
func (d deployer) fillContents(role *spec.Role) {
	render.FillContents(&d.Service.Body, role)
	d.routing.nameRouter(role)
}

// beginDeploying gives every role what its VMs are made with.
func (d deployer) beginDeploying() {
	if !render.FillAll(&d.Service.Body, d.routing.nameRouter) {
		d.networker.failNetworks(fmt.Sprintf("The values of user inputs are put into each role's template_contents, which then have more than %d bytes together", spec.MaxBody))
		return
	}
	if d.holder.everyRoleHolds() {
		d.to(spec.ServiceHold)
		return
	}
	d.to(spec.ServiceDeploying)
}

// retryDeploying takes the roles that failed to deploy back to what they did.
func (d deployer) retryDeploying() {
	for role := range d.eachRole() {
		switch {
		case role.CurrentState() != spec.RoleFailedDeploying:
			continue
		case flag(role.OnHold) && !slices.Contains(d.Released, role.Name):
			d.roleTo(role, spec.RoleHold, "")
		default:
			d.roleTo(role, spec.RoleDeploying, "")
		}
		d.fillContents(role) // they may have been corrected
	}
}

// putRight takes a running service that another server has left with roles which
// are not running to where they are seen to. It reports whether the service's state
// changed.
func (d deployer) putRight() bool {
	next := d.state()
	for role := range d.eachRole() {
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
	if next == d.state() {
		return false
	}
	d.to(next)
	return true
}

// misfit reports whether a service that is deployed has a role that is on its way out,
// or failed at something else: whoever wrote that has to say what is meant.
func (d deployer) misfit() bool {
	for role := range d.eachRole() {
		switch role.CurrentState() {
		case spec.RoleUndeploying, spec.RoleFailedUndeploying, spec.RoleDone, spec.RoleFailedScaling:
			d.log("E", fmt.Sprintf("Role %s : it is %s, which is not possible in a service that is being deployed", role.Name, role.CurrentState()))
			return true
		}
	}
	return false
}
