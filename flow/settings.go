package flow

import (
	"time"

	"github.com/flowjet/flowjet/flow/policy"
)

// Settings are the parts of the configuration that decisions depend on.
type Settings struct {
	// Cooldown is how long a service waits after scaling where the role does
	// not say, default 300 s.
	Cooldown time.Duration
	// ShutdownAction is what a VM is asked when neither its role nor its
	// service says, default terminate.
	ShutdownAction string
	// VMNameTemplate names VMs; it may hold $SERVICE_ID, $SERVICE_NAME,
	// $ROLE_NAME and $VM_NUMBER.
	VMNameTemplate string
	// VRNameTemplate names virtual routers; it may hold what VMNameTemplate may
	// but $VM_NUMBER. Default $ROLE_NAME(service_$SERVICE_ID).
	VRNameTemplate string
	// Look is after how long a waiting service is looked at again with fresh
	// facts, default 30 s. It is also how long a request to a VM may take
	// before it is repeated.
	Look time.Duration
	// AutoscalerInterval is how often elasticity policies are evaluated, default
	// 90 s. Roles below their minimum are filled up after as long.
	AutoscalerInterval time.Duration
	// RetryFor is for how long a call is made again that oned refuses for a reason that
	// may pass, while it answers others; default 2 minutes.
	RetryFor time.Duration
	// Deadlines are those of services that do not say.
	Deadlines policy.Deadlines
	// VMDeadlines are for how long a VM may stay in a state that it should leave by itself.
	VMDeadlines VMDeadlines
}

// The defaults of settings that need not be set.
const (
	defaultAutoscalerInterval = 90 * time.Second
	defaultRetryFor           = 2 * time.Minute
	defaultRouterName         = "$ROLE_NAME(service_$SERVICE_ID)"
)

// DefaultSettings are those of a configuration that says nothing.
func DefaultSettings() Settings {
	return Settings{
		Cooldown:       300 * time.Second,
		ShutdownAction: "terminate",
		VMNameTemplate: "$ROLE_NAME_$VM_NUMBER_(service_$SERVICE_ID)",
		VRNameTemplate: defaultRouterName,
		Look:           30 * time.Second,

		AutoscalerInterval: defaultAutoscalerInterval,
		RetryFor:           defaultRetryFor,
		VMDeadlines:        DefaultVMDeadlines(),
	}
}
