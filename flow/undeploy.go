package flow

import (
	"fmt"
	"slices"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
)

// undeploy ends the roles, children first with the strategy straight.
func (u undeployer) undeploy() {
	u.dropIntents("")
	if role := u.remover.removing(); role != nil {
		u.remover.removeRole(role)
		return
	}
	for progressed := true; progressed; {
		progressed = false
		for i := len(u.roles()) - 1; i >= 0; i-- {
			progressed = u.undeployRole(&u.roles()[i]) || progressed
		}
		progressed = progressed || u.breakCircle()
	}
	switch {
	case u.anyRole(spec.RoleFailedUndeploying):
		u.to(spec.ServiceFailedUndeploying)
	case !u.everyRole(spec.RoleDone) || u.straysLeft():
	case u.networker.networksLeft():
		u.to(spec.ServiceUndeployingNets)
	default:
		u.to(spec.ServiceDone)
	}
}

// straysLeft reports whether a VM that no role has was asked to end and has not begun
// to. Once the service is gone nobody asks again. One that failed on its way
// would keep the service for ever, and is left to the operator.
func (u undeployer) straysLeft() bool {
	for id := range u.Asked {
		vm, known := u.facts[id]
		if !known || !vm.Ending() && !vm.Failed() {
			return true
		}
	}
	return false
}

// dropIntents gives up the VMs of a role, or of all where it names none, that no call was
// made for. One whose call may have been applied is looked for first: it is created or
// given up by what the worker finds.
func (u undeployer) dropIntents(role string) {
	of := func(i Intent) bool { return role == "" || i.Role == role }
	u.Intents = slices.DeleteFunc(u.Intents, func(i Intent) bool { return of(i) && i.Attempts == 0 })
	for _, intent := range u.Intents {
		if find := (Action{Kind: ActionFindVM, Intent: intent, Role: intent.Role}); of(intent) && !u.isTaken(find) {
			u.retrier.act(find)
		}
	}
}

// undeployRole takes the role on, and reports whether its state changed.
func (u undeployer) undeployRole(role *spec.Role) bool {
	switch role.CurrentState() {
	case spec.RoleDone, spec.RoleFailedUndeploying:
		return false
	case spec.RoleUndeploying:
		return u.endRole(role)
	}
	if !u.mayEnd(role) {
		return false
	}
	u.beginEnd(role)
	return true
}

// breakCircle begins with the last role where every role waits for another.
// Parents that wait for each other cannot be deployed, but other servers took
// them. It reports whether a role changed its state.
func (u undeployer) breakCircle() bool {
	if u.anyRole(spec.RoleUndeploying) || u.anyRole(spec.RoleFailedUndeploying) || u.everyRole(spec.RoleDone) {
		return false
	}
	for i := len(u.roles()) - 1; i >= 0; i-- {
		if role := &u.roles()[i]; role.CurrentState() != spec.RoleDone {
			u.beginEnd(role)
			return true
		}
	}
	return false
}

func (u undeployer) beginEnd(role *spec.Role) {
	role.ScaleWay = nil
	u.roleTo(role, spec.RoleUndeploying, "")
}

// mayEnd: with the strategy straight, a role waits for the roles that have it
// as a parent.
func (u undeployer) mayEnd(role *spec.Role) bool {
	if u.Service.Body.Deployment != spec.DeploymentStraight {
		return true
	}
	return !slices.ContainsFunc(u.dependencies().children[role.Name], func(at int) bool { return u.roles()[at].CurrentState() != spec.RoleDone })
}

// endRole asks the role's VMs to end, and is done when none is left.
func (u undeployer) endRole(role *spec.Role) bool {
	routed := u.routing.endRouter(role)
	if len(role.Nodes) == 0 && u.observer.intended(role) == 0 && !routed {
		u.roleTo(role, spec.RoleDone, "")
		return true
	}
	if routed {
		return false // the VMs end with their router, and only what that leaves is asked to
	}
	if !u.recoverer.unstickRole(role, role.Nodes, true, spec.RoleFailedUndeploying) {
		return true
	}
	for _, node := range role.Nodes {
		vm, known := u.facts[node.DeployID]
		if !known || vm.Ending() || u.recoverer.beingRetried(vm) {
			continue
		}
		if u.failedToEnd(vm) {
			u.deployer.failRole(role, spec.RoleFailedUndeploying, fmt.Sprintf("VM %d does not end: it is in %s", vm.ID, vm.StateText()))
			return true
		}
		u.requester.ask(vm, u.recoverer.endCall(vm, u.shutdownAction(role)), role.Name)
	}
	return false
}

// failedToEnd: the VM was asked to end, and failed on the way.
func (u undeployer) failedToEnd(vm one.VM) bool {
	asked, pending := u.Asked[vm.ID]
	if !pending || asked.helps() || !vm.Failed() || u.recoverer.beingRetried(vm) {
		return false
	}
	return vm.State != asked.State || vm.LCMState != asked.LCMState
}

// shutdownAction is the role's, the service's or the configuration's. OneFlow's
// old names mean what oned now calls terminate.
func (u undeployer) shutdownAction(role *spec.Role) string {
	action := u.settings.ShutdownAction
	if u.Service.Body.ShutdownAction != "" {
		action = u.Service.Body.ShutdownAction
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
