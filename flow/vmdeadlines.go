package flow

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// VMDeadlines are for how long a VM that a service waits for may stay in a state which
// it should leave by itself, by what oned does with it; 0 is for any length of time.
type VMDeadlines struct {
	// Ready is for a VM behind a ready gate that does not report READY=YES, default any
	// length.
	Ready time.Duration
	// Prolog is for the copying of images before a start, default 1 hour.
	Prolog time.Duration
	// Boot is for the start, default 10 minutes.
	Boot time.Duration
	// Shutdown is for the end of a guest, default 10 minutes.
	Shutdown time.Duration
	// Epilog is for the copying of images after the end, default 1 hour.
	Epilog time.Duration
	// Other is for all that is done to a VM otherwise, default 2 hours.
	Other time.Duration
	// Network is for a virtual network that is made or deleted, default 10 minutes.
	Network time.Duration
	// LeaderChange is for a VM that was on its way when the zone's leader changed: the
	// drivers' answers are lost with the process. It counts from the change, default 45 s.
	LeaderChange time.Duration
}

// DefaultVMDeadlines are those of a configuration that says nothing.
func DefaultVMDeadlines() VMDeadlines {
	return VMDeadlines{
		Prolog: time.Hour, Boot: 10 * time.Minute, Shutdown: 10 * time.Minute, Epilog: time.Hour, Other: 2 * time.Hour, Network: 10 * time.Minute,
		LeaderChange: 45 * time.Second,
	}
}

// ParseVMDeadlines reads deadlines as a configuration has them, such as boot=10m; those that
// it does not name are the default ones.
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
			return parsed, fmt.Errorf("has %q; it must be a length of time such as %s=10m", one, strings.TrimSpace(name))
		}
		*deadline = length
	}
	return parsed, nil
}

// of is the deadline for a VM's state.
func (d VMDeadlines) of(stage stage) time.Duration {
	switch stage {
	case stagePending: // Deadlines has it
		return 0
	case stageReady:
		return d.Ready
	case stageProlog:
		return d.Prolog
	case stageBoot:
		return d.Boot
	case stageShutdown:
		return d.Shutdown
	case stageEpilog:
		return d.Epilog
	}
	return d.Other
}

// stage is what oned does with a VM in a state that it should leave by itself.
type stage int

const (
	stageNone stage = iota // it stays
	stagePending
	stageReady // it is up, and its role waits for READY=YES
	stageProlog
	stageBoot
	stageShutdown
	stageEpilog
	stageOther
)

// stages are those of the life-cycle states that have one of their own: STATE ACTIVE
// with LCM_STATE LCM_INIT is the beginning of a deployment.
var stages = map[LCMState]stage{
	LCMProlog: stageProlog, 8: stageProlog, 9: stageProlog, 31: stageProlog, 43: stageProlog, 45: stageProlog, 60: stageProlog,
	LCMInit: stageBoot, LCMBoot: stageBoot, LCMBootUnknown: stageBoot, LCMBootPoweroff: stageBoot, LCMBootSuspended: stageBoot, 22: stageBoot, 32: stageBoot, 35: stageBoot,
	LCMShutdown: stageShutdown, LCMCancel: stageShutdown,
	LCMEpilog: stageEpilog, 10: stageEpilog, LCMFailure: stageEpilog, 15: stageEpilog, LCMCleanupDelete: stageEpilog, 30: stageEpilog,
}

func (v VM) stage() stage {
	switch v.State {
	case VMInit, VMPending:
		return stagePending
	case VMCloning:
		return stageProlog
	case VMActive:
	default:
		return stageNone
	}
	if known, is := stages[v.LCMState]; is {
		return known
	}
	if v.Running() || v.Failed() || v.Lost() {
		return stageNone
	}
	return stageOther
}

// mending returns the call of one.vm.recover that gets the VM out of a state in which no
// driver is at work on it; "" where oned has none, and where the guest ends by itself.
// One that boots again is retried where it is: let fail, it would be powered off. All
// others are let fail: that leads to a failure that can be retried, or back to where the
// VM was before it was powered off, saved, changed or backed up.
func (v VM) mending() string {
	switch {
	case v.stage() == stageNone || v.State != VMActive || v.stage() == stageShutdown:
		return ""
	case v.LCMState == LCMInit || v.LCMState == lcmRevert || v.LCMState == lcmRevertSuspended:
		return ""
	case v.LCMState == LCMBootUnknown || v.LCMState == LCMBootPoweroff || v.LCMState == LCMBootSuspended:
		return callRetry
	}
	return callFail
}

// Changing reports whether drivers are at work on a VM that has been up. A leader that comes
// after does not know of that; what it knows by itself is that a guest has shut down.
func (v VM) Changing() bool {
	stage := v.stage()
	return stage != stageNone && stage != stageShutdown && !v.isNew()
}

// isNew reports whether the VM has never been up: another may be made in its place.
func (v VM) isNew() bool {
	switch v.State {
	case VMInit, VMPending, VMCloning:
		return true
	}
	return v.State == VMActive && (v.LCMState == LCMInit || v.LCMState == LCMProlog || v.LCMState == LCMBoot)
}
