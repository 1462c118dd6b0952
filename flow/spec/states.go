package spec

import (
	"slices"

	"github.com/flowjet/flowjet/flow/internal/names"
)

// ServiceState is the number that stands in a service document's "state".
// The numbers are OneFlow's, so that OneFlow can read what Flowjet writes.
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

// String is the state's name as OneFlow's clients show it.
func (s ServiceState) String() string { return names.Of(int(s), serviceStateNames[:]) }

// ServiceStates lists every state of a service, in the order of their numbers.
func ServiceStates() []ServiceState { return names.All[ServiceState](serviceStateNames[:]) }

// ServiceStateNames lists the names of every state of a service, in the order of their numbers.
func ServiceStateNames() []string { return slices.Clone(serviceStateNames[:]) }

// RoleState is the number that stands in a role's "state". Up to 10 the
// numbers mean the same as a service's.
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

// String is the state's name as OneFlow's clients show it.
func (s RoleState) String() string { return names.Of(int(s), roleStateNames[:]) }

// RoleStates lists every state of a role, in the order of their numbers.
func RoleStates() []RoleState { return names.All[RoleState](roleStateNames[:]) }
