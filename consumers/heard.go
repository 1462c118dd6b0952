package consumers

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/internal/idle"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
)

// heardStates are the states that events told of VMs lately, by the VM's id.
type heardStates map[int]heardState

// heardState is a VM's state, and until when oned may not have written it.
type heardState struct {
	pipeline.Trouble
	until time.Time
	// afterEnd reports whether a VM on its way out may come into the state.
	afterEnd bool
}

// note remembers the states that news told which was published at that time, of VMs that are
// known as in facts.
func (h heardStates) note(told []pipeline.Trouble, facts flow.Facts, published time.Time) {
	now := time.Now()
	maps.DeleteFunc(h, func(_ int, heard heardState) bool { return now.After(heard.until) })
	for _, each := range told {
		gone := one.VM{State: each.State}.Gone()
		afterEnd := gone || each.LCMState == one.LCMEpilogFailure || facts[each.VM].Ending()
		h[each.VM] = heardState{each, published.Add(opennebula.WriteTime), afterEnd}
	}
}

// ahead reports whether what was heard of a VM may be newer than how it was seen. One that has
// ended stays so; one on its way out comes back only where its epilog or shutdown fails.
func (h heardStates) ahead(seen one.VM) bool {
	heard, is := h[seen.ID]
	return is && time.Now().Before(heard.until) && !isIn(seen, heard.State, heard.LCMState) &&
		!seen.Gone() && (heard.afterEnd || !seen.Ending())
}

// statesTold are the states of VMs that work tells.
func statesTold(work pipeline.Work) []pipeline.Trouble {
	if event := work.Event; event != nil && event.VM != nil {
		return []pipeline.Trouble{pipeline.TroubleOf(*event.VM)}
	}
	return work.Trouble
}

// noteTold remembers what the input tells, whatever becomes of it: a look that it leads to, or
// that another leads to, may show less.
func (i *ingester) noteTold(input pipeline.Input) {
	i.heard.note(i.told, i.facts, published(input, i.came))
}

// published returns when an input was published, by NATS's clock; where that is ahead of
// ours, when the input came.
func published(input pipeline.Input, came time.Time) time.Time {
	if input.Published.After(came) {
		return came
	}
	return input.Published
}

// awaitWritten repeats a look at VMs as long as it may show one of them as it was before
// what was heard of it, and nothing newer about it waits. For VMs that only say they are the
// service's nobody waits: they are in others' hands.
func (i *ingester) awaitWritten(ctx context.Context, vms []int, facts flow.Facts, look func() error) error {
	for wait := idle.NewBackoff(); ; i.slot.backOff(ctx, wait) {
		if err := look(); err != nil {
			return err
		}
		waiting := i.partition.awaited(i.serviceLoop)
		behind := slices.ContainsFunc(vms, func(id int) bool {
			return i.heard.ahead(facts[id]) && !waiting[id].state && i.record.State.Service.Owns(facts[id])
		})
		if !behind || ctx.Err() != nil {
			return ctx.Err()
		}
	}
}
