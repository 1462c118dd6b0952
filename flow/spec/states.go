package spec

import (
	"maps"
	"slices"

	"github.com/flowjet/flowjet/flow/one"
)

// ServiceState is the number in a service document's "state". The numbers are OneFlow's, so that OneFlow can read what Flowjet writes.
type ServiceState int

// The states of a service.
const (
	ServicePending ServiceState = iota
	ServiceDeploying
	ServiceRunning
	ServiceUndeploying
	ServiceWarning
	ServiceDone
	ServiceFailedUndeploying
	ServiceFailedDeploying
	ServiceScaling
	ServiceFailedScaling
	ServiceCooldown
	ServiceDeployingNets
	ServiceUndeployingNets
	ServiceFailedDeployingNets
	ServiceFailedUndeployingNets
	ServiceHold
)

var serviceStateNames = [...]string{
	"PENDING", "DEPLOYING", "RUNNING", "UNDEPLOYING", "WARNING", "DONE", "FAILED_UNDEPLOYING",
	"FAILED_DEPLOYING", "SCALING", "FAILED_SCALING", "COOLDOWN", "DEPLOYING_NETS", "UNDEPLOYING_NETS",
	"FAILED_DEPLOYING_NETS", "FAILED_UNDEPLOYING_NETS", "HOLD",
}

// String returns the state's name as OneFlow's clients show it.
func (s ServiceState) String() string { return one.NameOf(int(s), serviceStateNames[:]) }

// ServiceStates lists every state of a service, in the order of their numbers.
func ServiceStates() []ServiceState { return slices.Sorted(maps.Keys(serviceTransitions)) }

// ServiceStateNames lists the names of every state of a service, in the order of their numbers.
func ServiceStateNames() []string { return slices.Clone(serviceStateNames[:]) }

// RoleState is the number in a role's "state". Up to 10 the numbers mean the same as a service's.
type RoleState int

// The states of a role.
const (
	RolePending RoleState = iota
	RoleDeploying
	RoleRunning
	RoleUndeploying
	RoleWarning
	RoleDone
	RoleFailedUndeploying
	RoleFailedDeploying
	RoleScaling
	RoleFailedScaling
	RoleCooldown
	RoleHold
)

var roleStateNames = [...]string{
	"PENDING", "DEPLOYING", "RUNNING", "UNDEPLOYING", "WARNING", "DONE", "FAILED_UNDEPLOYING",
	"FAILED_DEPLOYING", "SCALING", "FAILED_SCALING", "COOLDOWN", "HOLD",
}

// String returns the state's name as OneFlow's clients show it.
func (s RoleState) String() string { return one.NameOf(int(s), roleStateNames[:]) }

// RoleStates lists every state of a role, in the order of their numbers.
func RoleStates() []RoleState { return slices.Sorted(maps.Keys(roleTransitions)) }

// serviceTransitions are the only transitions between the states of a service.
var serviceTransitions = map[ServiceState][]ServiceState{
	ServicePending:               {ServiceDeployingNets, ServiceUndeploying},
	ServiceDeployingNets:         {ServiceDeploying, ServiceHold, ServiceFailedDeployingNets, ServiceUndeploying},
	ServiceDeploying:             {ServiceRunning, ServiceFailedDeploying, ServiceHold, ServiceUndeploying},
	ServiceHold:                  {ServiceDeploying, ServiceFailedDeploying, ServiceUndeploying},
	ServiceRunning:               {ServiceWarning, ServiceScaling, ServiceDeploying, ServiceUndeploying},
	ServiceWarning:               {ServiceRunning, ServiceScaling, ServiceDeploying, ServiceUndeploying},
	ServiceScaling:               {ServiceCooldown, ServiceFailedScaling, ServiceUndeploying},
	ServiceCooldown:              {ServiceRunning, ServiceUndeploying},
	ServiceUndeploying:           {ServiceUndeployingNets, ServiceDone, ServiceFailedUndeploying, ServiceRunning, ServiceDeploying, ServiceScaling},
	ServiceUndeployingNets:       {ServiceDone, ServiceFailedUndeployingNets},
	ServiceFailedDeployingNets:   {ServiceDeployingNets, ServiceUndeploying},
	ServiceFailedDeploying:       {ServiceDeploying, ServiceUndeploying},
	ServiceFailedScaling:         {ServiceScaling, ServiceUndeploying},
	ServiceFailedUndeploying:     {ServiceUndeploying},
	ServiceFailedUndeployingNets: {ServiceUndeployingNets, ServiceUndeploying},
	ServiceDone:                  {},
}

// roleTransitions are the only transitions between the states of a role.
var roleTransitions = map[RoleState][]RoleState{
	RolePending:           {RoleDeploying, RoleHold, RoleUndeploying},
	RoleHold:              {RoleDeploying, RoleFailedDeploying, RoleUndeploying},
	RoleDeploying:         {RoleRunning, RoleFailedDeploying, RoleUndeploying},
	RoleRunning:           {RoleWarning, RoleScaling, RoleUndeploying},
	RoleWarning:           {RoleRunning, RoleScaling, RoleUndeploying},
	RoleScaling:           {RoleCooldown, RoleFailedScaling, RoleUndeploying},
	RoleCooldown:          {RoleRunning, RoleUndeploying},
	RoleUndeploying:       {RoleDone, RoleFailedUndeploying},
	RoleFailedDeploying:   {RoleDeploying, RoleHold, RoleUndeploying},
	RoleFailedScaling:     {RoleScaling, RoleUndeploying},
	RoleFailedUndeploying: {RoleUndeploying},
	RoleDone:              {},
}

// CanBecome reports whether a service may go from one state to the other. A state that only another server knows has one way out: to be
// undeployed.
func (s ServiceState) CanBecome(next ServiceState) bool {
	ways, known := serviceTransitions[s]
	return slices.Contains(ways, next) || !known && next == ServiceUndeploying
}

// CanBecome reports whether a role may go from one state to the other. A state that only another server knows has one way out: to be
// undeployed.
func (s RoleState) CanBecome(next RoleState) bool {
	ways, known := roleTransitions[s]
	return slices.Contains(ways, next) || !known && next == RoleUndeploying
}

// Failed reports whether the service waits for a user to recover it.
func (s ServiceState) Failed() bool {
	return s == ServiceFailedDeploying || s == ServiceFailedScaling || s == ServiceFailedUndeploying ||
		s == ServiceFailedDeployingNets || s == ServiceFailedUndeployingNets
}

// Watched reports whether the service has to be checked from time to time even without commands: it waits, or for something that may be
// missed.
func (s ServiceState) Watched() bool {
	return s.Waiting() || s == ServiceWarning || s == ServiceHold || s == ServiceFailedDeployingNets
}

// Waiting reports whether the service is on its way to another state by itself, and so has to be checked again even if no event comes.
func (s ServiceState) Waiting() bool {
	isKnown := s >= 0 && int(s) < len(serviceStateNames)
	return isKnown && !s.Failed() && s != ServiceRunning && s != ServiceWarning && s != ServiceHold
}
