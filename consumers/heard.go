package consumers

import (
	"maps"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
)

// heard holds what events told of VMs against what oned answered. oned sends an event before it writes the VM, and answers
// from what is written: whatever it is asked within opennebula.WriteTime of an event it may answer as it was before. Any
// other answer is newer than what had been heard when it was asked (ADR 3).
type heard struct {
	told  map[int]toldState // what was told last of each VM
	asked map[int]time.Time // when oned was asked about each VM last
}

// toldState is the state that an event told of a VM, and when it was published.
type toldState struct {
	pipeline.Trouble
	at time.Time
	// afterEnd reports whether a VM on its way out may come into the state.
	afterEnd bool
}

// note remembers the states that an input tells, which was published then.
func (h *heard) note(states []pipeline.Trouble, at time.Time, facts flow.Facts) {
	maps.DeleteFunc(h.told, func(_ int, told toldState) bool { return time.Since(told.at) > opennebula.WriteTime })
	for _, told := range states {
		gone := one.VM{State: told.State}.Gone()
		h.told[told.VM] = toldState{told, at, gone || told.LCMState == one.LCMEpilogFailure || facts[told.VM].Ending()}
	}
}

// ahead reports whether what was told of a VM may be newer than how oned showed it. One that has
// ended stays so; one on its way out comes back only where its epilog or shutdown fails.
func (h *heard) ahead(seen one.VM) bool {
	told, is := h.told[seen.ID]
	return is && h.asked[seen.ID].Before(told.at.Add(opennebula.WriteTime)) && !isIn(seen, told.State, told.LCMState) &&
		!seen.Gone() && (told.afterEnd || !seen.Ending())
}

// published returns when an input was published by NATS's clock, if that is not ahead of ours.
func published(input pipeline.Input, came time.Time) time.Time {
	if input.Published.After(came) {
		return came
	}
	return input.Published
}
