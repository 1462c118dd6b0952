package consumers

import (
	"maps"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
)

// heard compares the states that events report of VMs with oned's answers. oned sends an event before it writes the VM, and answers from
// what is written: within opennebula.WriteTime of an event an answer may be older than the event. Any later answer is newer than all events
// before it (ADR 3).
type heard struct {
	reported map[int]reportedState // what was reported last of each VM
	asked    map[int]time.Time     // when oned was asked about each VM last
}

// reportedState is a VM's state according to an event, and when the event was published.
type reportedState struct {
	pipeline.Trouble
	at time.Time
	// afterEnd is whether a VM on its way out may enter the state.
	afterEnd bool
}

// note remembers the states that an input published at that time reports.
func (h *heard) note(states []pipeline.Trouble, at time.Time, facts flow.Facts) {
	maps.DeleteFunc(h.reported, func(_ int, reported reportedState) bool { return time.Since(reported.at) > opennebula.WriteTime })
	for _, reported := range states {
		gone := one.VM{State: reported.State}.Gone()
		h.reported[reported.VM] = reportedState{reported, at, gone || reported.LCMState == one.LCMEpilogFailure || facts[reported.VM].Ending()}
	}
}

// ahead reports whether the last event about a VM may be newer than oned's answer. A VM that has ended stays so; a VM on its way out comes
// back only if its epilog or shutdown fails.
func (h *heard) ahead(seen one.VM) bool {
	reported, is := h.reported[seen.ID]
	return is && h.asked[seen.ID].Before(reported.at.Add(opennebula.WriteTime)) && !isIn(seen, reported.State, reported.LCMState) &&
		!seen.Gone() && (reported.afterEnd || !seen.Ending())
}

// published returns when an input was published by NATS's clock, if that is not ahead of ours.
func published(input pipeline.Input, came time.Time) time.Time {
	if input.Published.After(came) {
		return came
	}
	return input.Published
}
