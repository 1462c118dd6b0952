package flow

import (
	"fmt"
	"slices"
)

// holds reports whether the role's VMs are created on hold: because of the role, of
// its service or, with the strategy straight, of a role that it waits for.
func (p *planner) holds(role *Role) bool { return p.holdsWithin(role, len(p.roles())) }

// holdsWithin looks so many generations of parents back; more there are not,
// unless they wait for each other.
func (p *planner) holdsWithin(role *Role, generations int) bool {
	if flag(p.Service.Body.OnHold) || flag(role.OnHold) {
		return true
	}
	if p.Service.Body.Deployment != DeploymentStraight || generations == 0 {
		return false
	}
	for _, name := range role.Parents {
		if parent := p.role(name); parent != nil && p.holdsWithin(parent, generations-1) {
			return true
		}
	}
	return false
}

// everyRoleHolds reports whether no role will run before it is released.
func (p *planner) everyRoleHolds() bool {
	for i := range p.roles() {
		if !p.holds(&p.roles()[i]) {
			return false
		}
	}
	return len(p.roles()) > 0
}

// beginHold takes a role whose VMs are created on hold out of PENDING.
func (p *planner) beginHold(role *Role) {
	held := true
	role.OnHold = &held
	p.roleTo(role, RoleHold, "")
}

// hold waits for a role's release: by a command, in the order of the parents,
// or by hand, VM by VM. It reports whether the role changed its state.
func (p *planner) hold(role *Role) bool {
	p.fill(role)
	if p.intended(role) > 0 || role.isRouter() && role.VRouterID == nil {
		return false
	}
	held := len(role.Nodes) == 0
	for _, node := range role.Nodes {
		vm, known := p.facts[node.DeployID]
		if known && vm.Failed() && !p.retrying(vm) && !p.beingRetried(vm) {
			p.failRole(role, RoleFailedDeploying, fmt.Sprintf("VM %d is in %s", vm.ID, vm.stateText()))
			return true
		}
		held = held || !known || vm.State == VMHold
	}
	if held && !p.mayRelease(role) {
		return false
	}
	p.roleTo(role, RoleDeploying, "")
	return true
}

// mayRelease: the role was released, and the roles that it waits for run.
func (p *planner) mayRelease(role *Role) bool {
	return slices.Contains(p.Released, role.Name) && p.parentsAre(role, RoleRunning, RoleWarning)
}

// releaseHeld has the VMs of a role that is released start.
func (p *planner) releaseHeld(role *Role) {
	if !p.holds(role) {
		return
	}
	for _, node := range role.Nodes {
		if vm, known := p.facts[node.DeployID]; known && vm.State == VMHold {
			p.ask(vm, callRelease, role.Name)
		}
	}
}

// callRelease is oned's action that lets a VM on hold start.
const callRelease = "release"

// applyRelease marks what is to be released; the steps do it in order.
func (p *planner) applyRelease(arguments ReleaseArguments) error {
	var names []string
	for i := range p.roles() {
		role := &p.roles()[i]
		if role.state() == RoleHold && (arguments.Role == "" || arguments.Role == role.Name) {
			names = append(names, role.Name)
		}
	}
	switch {
	case len(names) > 0:
	case arguments.Role == "":
		return refuse(RefusedState, "service %d is %s and has no roles in HOLD", p.Service.ID, p.state())
	case p.role(arguments.Role) == nil:
		return refuse(RefusedMissing, "%s", p.Service.NoRole(arguments.Role))
	default:
		return refuse(RefusedState, "role %s is %s and not in HOLD", arguments.Role, p.role(arguments.Role).state())
	}
	for _, name := range names {
		if !slices.Contains(p.Released, name) {
			p.Released = append(p.Released, name)
		}
	}
	return nil
}

// retryDeploying takes the roles that failed to deploy back to what they did.
func (p *planner) retryDeploying() {
	for i := range p.roles() {
		role := &p.roles()[i]
		switch {
		case role.state() != RoleFailedDeploying:
		case flag(role.OnHold) && !slices.Contains(p.Released, role.Name):
			p.roleTo(role, RoleHold, "")
		default:
			p.roleTo(role, RoleDeploying, "")
		}
	}
}
