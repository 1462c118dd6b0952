package flow

import (
	"fmt"
	"slices"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
)

// holds reports whether the role's VMs are created on hold: because of the role, of
// its service or, with the strategy straight, of a role that it waits for.
func (h holder) holds(role *spec.Role) bool {
	return flag(h.Service.Body.OnHold) || flag(role.OnHold) || h.dependencies().holding[role.Name]
}

// everyRoleHolds reports whether no role will run before it is released.
func (h holder) everyRoleHolds() bool {
	for role := range h.eachRole() {
		if !h.holds(role) {
			return false
		}
	}
	return len(h.roles()) > 0
}

// hold waits for a role's release: by a command, in the order of the parents,
// or by hand, VM by VM. It reports whether the role changed its state.
func (h holder) hold(role *spec.Role) bool {
	if !h.deployer.reduced(role) {
		return role.CurrentState() != spec.RoleHold
	}
	h.filler.fill(role)
	if h.observer.intended(role) > 0 || role.IsRouter() && role.VRouterID == nil {
		return false
	}
	held := len(role.Nodes) == 0
	for _, node := range role.Nodes {
		vm, known := h.facts[node.DeployID]
		if known && vm.Failed() && !h.deployer.retrying(vm) && !h.recoverer.beingRetried(vm) {
			h.deployer.failRole(role, spec.RoleFailedDeploying, fmt.Sprintf("VM %d is in %s", vm.ID, vm.StateText()))
			return true
		}
		held = held || !known || vm.State == one.VMHold
	}
	released := slices.Contains(h.Released, role.Name) && h.deployer.parentsAre(role, spec.RoleRunning, spec.RoleWarning)
	if held && !released {
		return false
	}
	h.roleTo(role, spec.RoleDeploying, "")
	return true
}

// releaseHeld has the VMs of a role that is released start.
func (h holder) releaseHeld(role *spec.Role) {
	if !h.holds(role) {
		return
	}
	for _, node := range role.Nodes {
		if vm, known := h.facts[node.DeployID]; known && vm.State == one.VMHold {
			h.requester.ask(vm, callRelease, role.Name)
		}
	}
}

// callRelease is oned's action that lets a VM on hold start.
const callRelease = "release"
