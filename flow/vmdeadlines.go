package flow

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/flowjet/flowjet/flow/one"
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
			return parsed, fmt.Errorf("has %q; it must be a duration such as %s=10m", one, strings.TrimSpace(name))
		}
		*deadline = length
	}
	return parsed, nil
}

// of is the deadline for a VM's state.
func (d VMDeadlines) of(stage one.Stage) time.Duration {
	switch stage {
	case one.StagePending: // Deadlines has it
		return 0
	case one.StageReady:
		return d.Ready
	case one.StageProlog:
		return d.Prolog
	case one.StageBoot:
		return d.Boot
	case one.StageShutdown:
		return d.Shutdown
	case one.StageEpilog:
		return d.Epilog
	}
	return d.Other
}
