package flow

import (
	"github.com/flowjet/flowjet/flow/spec"
)

// WayOut is a command by which a service leaves its state.
type WayOut struct {
	Verb Verb
	// Delete is recover's.
	Delete bool
	// Role and Cardinality are set where a service's own ways are told, and the way is for
	// one of its roles: scaling it to the VMs that there are, or removing it.
	Role        string
	Cardinality int
	// Keeps reports whether the VMs that run stay, but for those of a role that is removed.
	Keeps bool
}

var (
	byRecover   = WayOut{Verb: VerbRecover, Keeps: true}
	byDelete    = WayOut{Verb: VerbRecover, Delete: true}
	byUndeploy  = WayOut{Verb: VerbUndeploy}
	byScale     = WayOut{Verb: VerbScale, Keeps: true}
	byAddRole   = WayOut{Verb: VerbAddRole, Keeps: true}
	byRemoving  = WayOut{Verb: VerbRemoveRole, Keeps: true}
	byReleasing = WayOut{Verb: VerbRelease, Keeps: true}
)

// waysOut are the commands that lead out of a state, those that keep most first. What
// the state is left for without a command, its transitions tell.
var waysOut = map[spec.ServiceState][]WayOut{
	spec.ServicePending:               {byRecover, byDelete},
	spec.ServiceDeployingNets:         {byRecover, byDelete},
	spec.ServiceDeploying:             {byRecover, byDelete},
	spec.ServiceHold:                  {byReleasing, byUndeploy, byDelete},
	spec.ServiceRunning:               {byScale, byAddRole, byRemoving, byUndeploy, byDelete},
	spec.ServiceWarning:               {byRecover, byScale, byRemoving, byUndeploy, byDelete},
	spec.ServiceScaling:               {byRecover, byDelete},
	spec.ServiceCooldown:              {byRecover, byDelete},
	spec.ServiceUndeploying:           {byRecover, byUndeploy, byDelete},
	spec.ServiceUndeployingNets:       {byRecover, byUndeploy, byDelete},
	spec.ServiceFailedDeploying:       {byRecover, byScale, byRemoving, byUndeploy, byDelete},
	spec.ServiceFailedScaling:         {byRecover, byScale, byRemoving, byUndeploy, byDelete},
	spec.ServiceFailedUndeploying:     {byRecover, byUndeploy, byDelete},
	spec.ServiceFailedDeployingNets:   {byRecover, byUndeploy, byDelete},
	spec.ServiceFailedUndeployingNets: {byRecover, byUndeploy, byDelete},
	spec.ServiceDone:                  {},
}

// WaysOut are the commands that lead this service out of its state. In a state of failure
// each role that failed has ways of its own: to be scaled to the VMs that it has, and that
// have come and are not in trouble as far as the facts tell, and to be removed.
func (s State) WaysOut(facts Facts) []WayOut {
	state := s.Service.State()
	var ways []WayOut
	for _, way := range waysOut[state] {
		if !state.Failed() || way.Verb != VerbScale && way.Verb != VerbRemoveRole {
			ways = append(ways, way)
			continue
		}
		for role := range s.Service.Body.EachRole() {
			if role.CurrentState() != spec.RoleFailedDeploying && role.CurrentState() != spec.RoleFailedScaling {
				continue
			}
			if way.Verb == VerbRemoveRole || !role.IsRouter() {
				ways = append(ways, WayOut{Verb: way.Verb, Role: role.Name, Cardinality: sound(role, facts), Keeps: true})
			}
		}
	}
	return ways
}

// sound counts the role's VMs that have come and are not in trouble.
func sound(role *spec.Role, facts Facts) int {
	count := 0
	for _, node := range role.Nodes {
		if vm, known := facts[node.DeployID]; !known || !vm.Troubled() && !vm.Gone() && !vm.IsNew() {
			count++
		}
	}
	return count
}
