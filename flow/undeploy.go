package flow

import (
	"fmt"
	"slices"
)

// undeploy ends the roles, children first with the strategy straight.
func (p *planner) undeploy() {
	p.dropIntents()
	if role := p.removing(); role != nil {
		p.removeRole(role)
		return
	}
	for progressed := true; progressed; {
		progressed = false
		for i := len(p.roles()) - 1; i >= 0; i-- {
			progressed = p.undeployRole(&p.roles()[i]) || progressed
		}
		progressed = progressed || p.breakCircle()
	}
	switch {
	case p.anyRole(RoleFailedUndeploying):
		p.to(ServiceFailedUndeploying)
	case !p.everyRole(RoleDone) || p.straysLeft():
	case p.networksLeft():
		p.to(ServiceUndeployingNets)
	default:
		p.to(ServiceDone)
	}
}

// straysLeft reports whether a VM that no role has was asked to end and has not begun
// to. Once the service is gone nobody asks again. One that failed on its way
// would keep the service for ever, and is left to the operator.
func (p *planner) straysLeft() bool {
	for id := range p.Asked {
		vm, known := p.facts[id]
		if !known || !vm.Ending() && !vm.Failed() {
			return true
		}
	}
	return false
}

// dropIntents gives up the VMs that no call was made for. One whose call may
// have been applied is looked for first: it is created or given up by what the
// worker finds.
func (p *planner) dropIntents() {
	p.Intents = slices.DeleteFunc(p.Intents, func(i Intent) bool { return i.Attempts == 0 })
	for _, intent := range p.Intents {
		if !p.finding(intent.Key) {
			p.act(Action{Kind: ActionFindVM, Intent: intent, Role: intent.Role})
		}
	}
}

func (p *planner) finding(key string) bool {
	return slices.ContainsFunc(p.actions, func(a Action) bool {
		return a.Kind == ActionFindVM && a.Intent.Key == key
	})
}

// undeployRole takes the role on, and reports whether its state changed.
func (p *planner) undeployRole(role *Role) bool {
	switch role.state() {
	case RoleDone, RoleFailedUndeploying:
		return false
	case RoleUndeploying:
		return p.endRole(role)
	}
	if !p.mayEnd(role) {
		return false
	}
	p.beginEnd(role)
	return true
}

// breakCircle begins with the last role where every role waits for another.
// Parents that wait for each other cannot be deployed, but other servers took
// them. It reports whether a role changed its state.
func (p *planner) breakCircle() bool {
	if p.anyRole(RoleUndeploying) || p.anyRole(RoleFailedUndeploying) || p.everyRole(RoleDone) {
		return false
	}
	for i := len(p.roles()) - 1; i >= 0; i-- {
		if role := &p.roles()[i]; role.state() != RoleDone {
			p.beginEnd(role)
			return true
		}
	}
	return false
}

func (p *planner) beginEnd(role *Role) {
	role.ScaleWay = nil
	p.roleTo(role, RoleUndeploying, "")
}

// mayEnd: with the strategy straight, a role waits for the roles that have it
// as a parent.
func (p *planner) mayEnd(role *Role) bool {
	if p.Service.Body.Deployment != DeploymentStraight {
		return true
	}
	for _, other := range p.roles() {
		if slices.Contains(other.Parents, role.Name) && other.state() != RoleDone {
			return false
		}
	}
	return true
}

// endRole asks the role's VMs to end, and is done when none is left.
func (p *planner) endRole(role *Role) bool {
	routed := p.endRouter(role)
	if len(role.Nodes) == 0 && p.intended(role) == 0 && !routed {
		p.roleTo(role, RoleDone, "")
		return true
	}
	if routed {
		return false // the VMs end with their router, and only what that leaves is asked to
	}
	if !p.unstickRole(role, role.Nodes, true, RoleFailedUndeploying) {
		return true
	}
	for _, node := range role.Nodes {
		vm, known := p.facts[node.DeployID]
		if !known || vm.Ending() || p.beingRetried(vm) {
			continue
		}
		if p.failedToEnd(vm) {
			p.failRole(role, RoleFailedUndeploying, fmt.Sprintf("VM %d does not end: it is in %s", vm.ID, vm.stateText()))
			return true
		}
		p.ask(vm, p.endCall(vm, p.shutdownAction(role)), role.Name)
	}
	return false
}

// failedToEnd: the VM was asked to end, and failed on the way.
func (p *planner) failedToEnd(vm VM) bool {
	asked, pending := p.Asked[vm.ID]
	if !pending || asked.helps() || !vm.Failed() || p.beingRetried(vm) {
		return false
	}
	return vm.State != asked.State || vm.LCMState != asked.LCMState
}

// shutdownAction is the role's, the service's or the configuration's. OneFlow's
// old names mean what oned now calls terminate.
func (p *planner) shutdownAction(role *Role) string {
	action := p.settings.ShutdownAction
	if p.Service.Body.ShutdownAction != "" {
		action = p.Service.Body.ShutdownAction
	}
	if role.ShutdownAction != "" {
		action = role.ShutdownAction
	}
	switch action {
	case "shutdown-hard":
		return "terminate-hard"
	case "shutdown", "":
		return "terminate"
	}
	return action
}
