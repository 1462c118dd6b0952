package flow

import (
	"fmt"
	"slices"

	"github.com/flowjet/flowjet/flow/policy"
	"github.com/flowjet/flowjet/flow/spec"
)

// mayScaleBack reports whether a role of a failed service can be given another
// cardinality: what deployed or scaled goes on with that.
func (s scaler) mayScaleBack(role *spec.Role) bool {
	if state := s.state(); state != spec.ServiceFailedDeploying && state != spec.ServiceFailedScaling {
		return false
	}
	switch role.CurrentState() {
	case spec.RoleUndeploying, spec.RoleFailedUndeploying, spec.RoleDone:
		return false
	}
	return true
}

// scaleBack gives a role of a failed service the cardinality that it is to go on with. It
// counts from the VMs that there are: what was wanted before has not come.
func (s scaler) scaleBack(role *spec.Role, wanted int) {
	have := len(role.Nodes) + len(s.strangers[role.Name]) + s.trimIntents(role, wanted)
	way, direction := spec.ScaleUp, "up"
	if wanted < have {
		way, direction = spec.ScaleDown, "down"
	}
	text := fmt.Sprintf("Role %s scaling %s from %d to %d nodes", role.Name, direction, have, wanted)
	if wanted == have {
		text = fmt.Sprintf("Role %s continues with %s", role.Name, plural(have, "node"))
	}
	s.log("I", text)
	role.Cardinality, role.ScaleWay = wanted, &way
	policy.ForgetTrueEvals(role)
	delete(s.PolicyCooldowns, role.Name)
	switch role.CurrentState() {
	case spec.RoleScaling, spec.RoleFailedScaling:
	case spec.RoleCooldown:
		s.roleTo(role, spec.RoleRunning, "")
		s.roleTo(role, spec.RoleScaling, "")
	case spec.RoleRunning, spec.RoleWarning:
		s.roleTo(role, spec.RoleScaling, "")
	default: // it is deployed with as many
		if way == spec.ScaleUp {
			role.ScaleWay = nil
		}
	}
}

// trimIntents gives up the VMs of the role that no call was made for, as far as they are
// beyond its cardinality to be. It returns how many there may be already.
func (s scaler) trimIntents(role *spec.Role, wanted int) (doubtful int) {
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
func (s scaler) reduce(role *spec.Role, failed spec.RoleState) bool {
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
			s.deployer.failRole(role, failed, fmt.Sprintf("VM %d does not end: it is in %s", vm.ID, vm.StateText()))
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
func (r remover) afterRemoval() spec.ServiceState {
	next := spec.ServiceRunning
	for role := range r.eachRole() {
		switch role.CurrentState() {
		case spec.RolePending, spec.RoleDeploying, spec.RoleHold, spec.RoleFailedDeploying:
			return spec.ServiceDeploying
		case spec.RoleScaling, spec.RoleFailedScaling:
			next = spec.ServiceScaling
		}
	}
	return next
}
