package flow

import (
	"fmt"
	"slices"
)

// mayScaleBack reports whether a role of a failed service can be given another
// cardinality: what deployed or scaled goes on with that.
func (s scaler) mayScaleBack(role *Role) bool {
	if state := s.state(); state != ServiceFailedDeploying && state != ServiceFailedScaling {
		return false
	}
	switch role.state() {
	case RoleUndeploying, RoleFailedUndeploying, RoleDone:
		return false
	}
	return true
}

// scaleBack gives a role of a failed service the cardinality that it is to go on with. It
// counts from the VMs that there are: what was wanted before has not come.
func (s scaler) scaleBack(role *Role, wanted int) {
	have := len(role.Nodes) + len(s.strangers[role.Name]) + s.trimIntents(role, wanted)
	way, direction := ScaleUp, "up"
	if wanted < have {
		way, direction = ScaleDown, "down"
	}
	text := fmt.Sprintf("Role %s scaling %s from %d to %d nodes", role.Name, direction, have, wanted)
	if wanted == have {
		text = fmt.Sprintf("Role %s goes on with the nodes that it has: %d", role.Name, have)
	}
	s.log("I", text)
	role.Cardinality, role.ScaleWay = wanted, &way
	forgetTrueEvals(role)
	delete(s.PolicyCooldowns, role.Name)
	switch role.state() {
	case RoleScaling, RoleFailedScaling:
	case RoleCooldown:
		s.roleTo(role, RoleRunning, "")
		s.roleTo(role, RoleScaling, "")
	case RoleRunning, RoleWarning:
		s.roleTo(role, RoleScaling, "")
	default: // it is deployed with as many
		if way == ScaleUp {
			role.ScaleWay = nil
		}
	}
}

// trimIntents gives up the VMs of the role that no call was made for, as far as they are
// beyond its cardinality to be. It returns how many there may be already.
func (s scaler) trimIntents(role *Role, wanted int) (doubtful int) {
	for _, intent := range s.Intents {
		if intent.Role == role.Name && intent.Attempts > 0 {
			doubtful++
		}
	}
	room := wanted - len(role.Nodes) - len(s.strangers[role.Name]) - doubtful
	s.Intents = slices.DeleteFunc(s.Intents, func(intent Intent) bool {
		if intent.Role != role.Name || intent.Attempts > 0 {
			return false
		}
		room--
		return room < 0
	})
	return doubtful
}

// reduce ends what a role has beyond its cardinality. It reports whether nothing is left of
// that; the role may have failed at it.
func (s scaler) reduce(role *Role, failed RoleState) bool {
	s.undeployer.dropIntents(role.Name)
	leaving := s.victims(role)
	s.endAtProtected(role, leaving)
	if !s.recoverer.unstickRole(role, leaving, true, failed) {
		return false
	}
	for _, node := range leaving {
		vm, known := s.facts[node.DeployID]
		if !known || vm.Ending() || s.recoverer.beingRetried(vm) {
			continue
		}
		if s.undeployer.failedToEnd(vm) {
			s.deployer.failRole(role, failed, fmt.Sprintf("VM %d does not end: it is in %s", vm.ID, vm.stateText()))
			return false
		}
		before := len(s.actions)
		s.requester.ask(vm, s.recoverer.endCall(vm, s.undeployer.shutdownAction(role)), role.Name)
		for i := range s.actions[before:] {
			s.actions[before+i].Scaling = true
		}
	}
	return len(leaving) == 0 && s.observer.intended(role) == 0
}

// afterRemoval is where a service goes whose role has been removed: on with what the
// others were at.
func (r remover) afterRemoval() ServiceState {
	next := ServiceRunning
	for i := range r.roles() {
		switch r.roles()[i].state() {
		case RolePending, RoleDeploying, RoleHold, RoleFailedDeploying:
			return ServiceDeploying
		case RoleScaling, RoleFailedScaling:
			next = ServiceScaling
		}
	}
	return next
}
