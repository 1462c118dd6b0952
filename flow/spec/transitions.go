package spec

import "slices"

// serviceTransitions are the only ways from one state of a service to another.
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

// roleTransitions are the only ways from one state of a role to another.
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

// CanBecome reports whether a service may go from one state to the other. From a
// state that only another server knows there is one way: to be undeployed.
func (s ServiceState) CanBecome(next ServiceState) bool {
	ways, known := serviceTransitions[s]
	return slices.Contains(ways, next) || !known && next == ServiceUndeploying
}

// CanBecome reports whether a role may go from one state to the other. From a
// state that only another server knows there is one way: to be undeployed.
func (s RoleState) CanBecome(next RoleState) bool {
	ways, known := roleTransitions[s]
	return slices.Contains(ways, next) || !known && next == RoleUndeploying
}

// Failed reports whether the service waits for somebody to recover it.
func (s ServiceState) Failed() bool {
	switch s {
	case ServiceFailedDeploying, ServiceFailedScaling, ServiceFailedUndeploying,
		ServiceFailedDeployingNets, ServiceFailedUndeployingNets:
		return true
	}
	return false
}

// Watched reports whether the service has to be looked at from time to time even if
// nobody commands anything: it waits, or for something that may be missed.
func (s ServiceState) Watched() bool {
	return s.Waiting() || s == ServiceWarning || s == ServiceHold || s == ServiceFailedDeployingNets
}

// Waiting reports whether the service is on its way to another state by itself, and
// so has to be looked at again even if no event comes.
func (s ServiceState) Waiting() bool {
	switch s {
	case ServicePending, ServiceDeployingNets, ServiceDeploying, ServiceScaling, ServiceCooldown,
		ServiceUndeploying, ServiceUndeployingNets, ServiceDone:
		return true
	}
	return false
}
