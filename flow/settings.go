package flow

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/flowjet/flowjet/flow/policy"
)

// Settings are the parts of the configuration on which decisions depend.
type Settings struct {
	// Cooldown is how long a service waits after scaling unless the role says otherwise.
	Cooldown time.Duration
	// ShutdownAction is the action that ends a VM if neither its role nor its service sets one.
	ShutdownAction string
	// VMNameTemplate names VMs; it may contain $SERVICE_ID, $SERVICE_NAME, $ROLE_NAME and $VM_NUMBER.
	VMNameTemplate string
	// VRNameTemplate names virtual routers; it may contain the same variables except $VM_NUMBER.
	VRNameTemplate string
	// CheckInterval is how long a waiting service may go without a check with fresh facts, and how long a request to a VM may take before it is
	// repeated.
	CheckInterval time.Duration
	// AutoscalerInterval is how often elasticity policies are evaluated. Roles below their minimum are filled up after the same time.
	AutoscalerInterval time.Duration
	// RetryFor is how long a call is retried that oned refuses for a reason that may pass, while it answers other calls.
	RetryFor time.Duration
	// ServerUser is the user of oned as which OneFlow continues deployments, serveradmin.
	ServerUser string
	// Deadlines are the defaults for services.
	Deadlines policy.Deadlines
	// VMDeadlines limit how long a VM may stay in a state that it should leave by itself.
	VMDeadlines VMDeadlines
}

// The defaults of settings that may be left empty.
const (
	defaultAutoscalerInterval = 90 * time.Second
	defaultRetryFor           = 2 * time.Minute
	defaultRouterName         = "$ROLE_NAME(service_$SERVICE_ID)"
)

// DefaultSettings returns the settings of an empty configuration.
func DefaultSettings() Settings {
	return Settings{
		Cooldown: 300 * time.Second, ShutdownAction: "terminate",
		VMNameTemplate: "$ROLE_NAME_$VM_NUMBER_(service_$SERVICE_ID)", VRNameTemplate: defaultRouterName,
		CheckInterval: 30 * time.Second, AutoscalerInterval: defaultAutoscalerInterval, RetryFor: defaultRetryFor, VMDeadlines: DefaultVMDeadlines(),
	}
}

// VMDeadlines limit how long a VM that a service waits for may stay in a state which it should leave by itself, by what oned does with it;
// 0 means no limit.
type VMDeadlines struct {
	Ready    time.Duration // behind a ready gate, until READY=YES
	Prolog   time.Duration // the copying of images before a start
	Boot     time.Duration // the start
	Shutdown time.Duration // the end of a guest
	Epilog   time.Duration // the copying of images after the end
	Other    time.Duration // everything else that is done to a VM
	Network  time.Duration // the making or deleting of a virtual network
	// LeaderChange is for a VM that was on its way when the zone's leader changed: the drivers'
	// answers are lost with the process. It counts from the change.
	LeaderChange time.Duration
}

// DefaultVMDeadlines returns the deadlines of an empty configuration.
func DefaultVMDeadlines() VMDeadlines {
	return VMDeadlines{
		Prolog: time.Hour, Boot: 10 * time.Minute, Shutdown: 10 * time.Minute, Epilog: time.Hour, Other: 2 * time.Hour, Network: 10 * time.Minute,
		LeaderChange: 45 * time.Second,
	}
}

// ParseVMDeadlines parses the deadlines of a configuration, such as boot=10m; those that it does not name are the defaults.
func ParseVMDeadlines(list []string) (VMDeadlines, error) {
	parsed := DefaultVMDeadlines()
	known := map[string]*time.Duration{
		"ready": &parsed.Ready, "prolog": &parsed.Prolog, "boot": &parsed.Boot, "shutdown": &parsed.Shutdown, "epilog": &parsed.Epilog,
		"leader-change": &parsed.LeaderChange,
	}
	for _, one := range list {
		name, text, _ := strings.Cut(one, "=")
		deadline, is := known[strings.TrimSpace(name)]
		if !is {
			return parsed, fmt.Errorf("has %q; it can have %s", strings.TrimSpace(name), strings.Join(slices.Sorted(maps.Keys(known)), ", "))
		}
		length, err := time.ParseDuration(strings.TrimSpace(text))
		if err != nil || length < 0 {
			return parsed, fmt.Errorf("has %q; it must be a duration such as %s=10m", one, strings.TrimSpace(name))
		}
		*deadline = length
	}
	return parsed, nil
}
