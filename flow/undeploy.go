package flow

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/flowjet/flowjet/flow/spec"
)

// undeploy ends the roles, children first with the strategy straight.
func (u undeployer) undeploy() {
	u.dropIntents("")
	if role := u.removing(); role != nil {
		u.removeRole(role)
		return
	}
	for progressed := true; progressed; {
		progressed = false
		for i := len(u.Service.Body.Roles) - 1; i >= 0; i-- {
			role := &u.Service.Body.Roles[i]
			before := role.CurrentState()
			u.undeployRole(role)
			progressed = progressed || role.CurrentState() != before
		}
		if progressed || u.anyRole(spec.RoleUndeploying, spec.RoleFailedUndeploying) || u.everyRole(spec.RoleDone) {
			continue
		}
		// Every role waits for another, which other servers accepted: the last one begins.
		for i := len(u.Service.Body.Roles) - 1; !progressed; i-- {
			if role := &u.Service.Body.Roles[i]; role.CurrentState() != spec.RoleDone {
				u.beginEnd(role)
				progressed = true
			}
		}
	}
	switch {
	case u.anyRole(spec.RoleFailedUndeploying):
		u.to(spec.ServiceFailedUndeploying)
	case !u.everyRole(spec.RoleDone) || u.orphansLeft():
	case u.networker.networksLeft():
		u.to(spec.ServiceUndeployingNets)
	default:
		u.to(spec.ServiceDone)
	}
}

// removing returns the role that is to be removed while the others run on, nil if the whole service ends.
func (u undeployer) removing() *spec.Role {
	if u.Removing == "" {
		return nil
	}
	return u.Service.Role(u.Removing)
}

func (u undeployer) ending() bool {
	state := u.Service.State()
	return (state == spec.ServiceUndeploying || state == spec.ServiceFailedUndeploying) && u.removing() == nil
}

// removeRole follows the end of the role that is to be removed; the others run on. Roles with it as a parent no longer wait for it, and the
// service continues what they were at.
func (u undeployer) removeRole(role *spec.Role) {
	if role.CurrentState() == spec.RoleUndeploying {
		u.endRole(role)
	}
	if role.CurrentState() == spec.RoleFailedUndeploying {
		u.to(spec.ServiceFailedUndeploying)
	}
	if role.CurrentState() != spec.RoleDone {
		return
	}
	name := u.Removing
	u.Removing = ""
	delete(u.Heals, name)
	delete(u.Ordinals, name)
	delete(u.Refilled, name)
	u.Service.Body.Roles = slices.DeleteFunc(u.Service.Body.Roles, func(r spec.Role) bool { return r.Name == name })
	for other := range u.Service.Body.EachRole() {
		other.Parents = slices.DeleteFunc(slices.Clone(other.Parents), func(parent string) bool { return parent == name })
	}
	switch {
	case u.anyRole(spec.RolePending, spec.RoleDeploying, spec.RoleHold, spec.RoleFailedDeploying):
		u.to(spec.ServiceDeploying)
	case u.anyRole(spec.RoleScaling, spec.RoleFailedScaling):
		u.to(spec.ServiceScaling)
	default:
		u.to(spec.ServiceRunning)
	}
}

// orphansLeft reports whether a VM without a role was asked to end and has not begun to: once the service is gone nothing asks again. A VM
// that failed on its way would keep the service for ever, and is left to the operator.
func (u undeployer) orphansLeft() bool {
	for id := range u.Asked {
		vm, known := u.facts[id]
		if !known || !vm.Ending() && !vm.Failed() {
			return true
		}
	}
	return false
}

// dropIntents gives up the planned VMs of a role, or of all roles for an empty name, for which no call was made. If a call may have been
// applied, the VM is looked up first: it is adopted or given up by the result.
func (u undeployer) dropIntents(role string) {
	of := func(i Intent) bool { return role == "" || i.Role == role }
	u.Intents = slices.DeleteFunc(u.Intents, func(i Intent) bool { return of(i) && i.Attempts == 0 })
	for _, intent := range u.Intents {
		if of(intent) {
			u.requester.act(Action{Kind: ActionFindVM, Intent: intent, Role: intent.Role})
		}
	}
}

// undeployRole begins or continues the role's end. With the strategy straight it waits for the roles that have it as a parent.
func (u undeployer) undeployRole(role *spec.Role) {
	isLeft := func(at int) bool { return u.Service.Body.Roles[at].CurrentState() != spec.RoleDone }
	switch role.CurrentState() {
	case spec.RoleDone, spec.RoleFailedUndeploying:
	case spec.RoleUndeploying:
		u.endRole(role)
	default:
		if u.Service.Body.Deployment != spec.DeploymentStraight || !slices.ContainsFunc(u.dependencies().children[role.Name], isLeft) {
			u.beginEnd(role)
		}
	}
}

func (u undeployer) beginEnd(role *spec.Role) {
	role.ScaleWay = nil
	u.roleTo(role, spec.RoleUndeploying, "")
}

// endRole asks the role's VMs to end, and is done when none is left.
func (u undeployer) endRole(role *spec.Role) {
	switch {
	case u.routing.endRouter(role): // the VMs end with their router; only those left are asked to
	case len(role.Nodes) == 0 && u.inventory.intended(role) == 0:
		u.roleTo(role, spec.RoleDone, "")
	case u.tracker.unstickRole(role, role.Nodes, true):
		u.endVMs(role, role.Nodes)
	}
}

// endVMs asks VMs of a role to end. It reports whether the role has failed, because a VM failed on its way to the end, or because oned refused
// to end one and the others have been asked.
func (u undeployer) endVMs(role *spec.Role, nodes []spec.Node) bool {
	denied := ""
	for _, node := range nodes {
		vm, known := u.facts[node.DeployID]
		if !known || vm.Ending() || u.Stays[vm.ID].Failing {
			continue
		}
		asked := u.Asked[vm.ID]
		if asked.Denied != "" && !asked.moved(vm) {
			denied = cmp.Or(denied, fmt.Sprintf("VM %d does not end: %s", vm.ID, asked.Denied))
			continue
		}
		if u.AskedToEnd(vm.ID) && vm.Failed() && asked.moved(vm) {
			u.failRole(role, fmt.Sprintf("VM %d does not end: it is in %s", vm.ID, vm.StateText()))
			return true
		}
		u.requester.ask(vm, u.tracker.endCall(vm, u.shutdownAction(role)), role.Name)
	}
	if denied == "" || len(u.actions) > 0 {
		return false
	}
	u.failRole(role, denied)
	return true
}

// shutdownAction returns the role's action, the service's or the configuration's. OneFlow's old names mean terminate.
func (u undeployer) shutdownAction(role *spec.Role) string {
	switch action := cmp.Or(role.ShutdownAction, u.Service.Body.ShutdownAction, u.settings.ShutdownAction); action {
	case "shutdown-hard":
		return "terminate-hard"
	case "shutdown", "":
		return "terminate"
	default:
		return action
	}
}
