package consumers

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/work"
)

// ingester takes up how the VMs and networks are, from events and from what oned says.
type ingester struct {
	*serviceLoop
	// refreshed are the VMs that were looked at while news about them waited, with the
	// sequence up to which that is old, and refreshedAt is when that look began.
	refreshed   map[int]uint64
	refreshedAt time.Time
	heard       heardStates
	// strangers are the nodes that oned's leader said are not the service's, when strangersOf
	// owned it.
	strangers   []int
	strangersOf int
	strangersAt time.Time
}

// ingest takes over what the input tells and, where a decision will rest on
// more, asks oned.
func (i *ingester) ingest(ctx context.Context, input pipeline.Input, fresh bool) error {
	work, state := input.Work, i.record.State
	// A decision may end a VM because it is in trouble: whether it still is, is asked anew.
	heal, set := state.Deadlines[flow.DeadlineHeal]
	healingDue := set && !heal.After(time.Now())
	switch {
	case (work.Event != nil || work.Trouble != nil) && healingDue:
		return i.refreshFacts(ctx)
	case work.Trouble != nil:
		return i.ingestTrouble(ctx, input, fresh)
	case work.Event != nil:
		return i.ingestEvent(ctx, input, fresh)
	case fresh:
		return nil
	case work.Command != nil && work.Command.Verb != flow.VerbRecover && !state.ScalesDown(*work.Command), work.Measures != nil:
		// What is answered does not rest on which VMs failed, or are protected.
		if i.loader.read.After(i.came) || i.loader.isAsSeen() { // for what was in front of it: new enough
			return nil
		}
		return i.loader.refreshDocument(ctx)
	case work.Timer != nil && work.Timer.Name == flow.DeadlineLook && i.worker.config.Hearing() &&
		flow.AwaitsNewVMs(state, i.facts, time.Now(), i.worker.config.Settings):
		// A look would find nothing new: the new VMs have not come up yet, and who hears of it passes it on.
		return nil
	}
	if err := i.loader.refreshDocument(ctx); err != nil || !i.exists {
		return err
	}
	return i.refreshFacts(ctx)
}

// ingestEvent takes over what an event tells. What has just been read from oned
// is newer, unless oned had not written yet what the event tells.
func (i *ingester) ingestEvent(ctx context.Context, input pipeline.Input, fresh bool) error {
	event := input.Work.Event
	if event.Object == work.OwnedNetwork {
		return i.networks.ingest(ctx, input)
	}
	if _, known := i.facts[event.ID]; known && fresh && !i.mayBeAhead(input, i.at) {
		return nil
	}
	switch {
	case event.VM != nil && event.VM.Service == i.service:
		vm := *event.VM
		vm.Host = event.Host
		return i.ingestVM(ctx, vm)
	case event.Ready != nil:
		return i.refresh(ctx, event.ID)
	}
	return nil
}

// ingestTrouble looks at VMs that are said to be in trouble, unless that is known. What
// has just been read from oned is newer, and a VM that is gone stays so.
func (i *ingester) ingestTrouble(ctx context.Context, input pipeline.Input, fresh bool) error {
	fresh = fresh && !i.mayBeAhead(input, i.at)
	var doubtful []int
	for _, told := range input.Work.Trouble {
		before, known := i.facts[told.VM]
		if !known || !fresh && !before.Gone() && !isIn(before, told.State, told.LCMState) {
			doubtful = append(doubtful, told.VM)
		}
	}
	if len(doubtful) == 0 {
		return nil
	}
	return i.refresh(ctx, doubtful...)
}

// ingestVM believes good news, which is cheap to be wrong about. That a VM is gone, bad news, and
// a step back from RUNNING may be late or forged: oned is asked, unless it has told the same, and
// in one call about all VMs whose events wait.
//
// Whose a VM is and what for, only oned tells: of a VM that is not known yet, it is asked once.
func (i *ingester) ingestVM(ctx context.Context, vm one.VM) error {
	before, known := i.facts[vm.ID]
	if !known {
		return i.refresh(ctx, vm.ID)
	}
	if !before.Gone() && !i.record.State.Service.Owns(before) {
		return nil
	}
	vm.Name, vm.Owner, vm.Service, vm.Role, vm.Key = before.Name, before.Owner, before.Service, before.Role, before.Key
	vm.Protected = before.Protected
	stepBack := before.Running() && !vm.Running() && !vm.Ending() || before.Ending() && !vm.Ending()
	if before.Gone() || vm.Troubled() && isIn(before, vm.State, vm.LCMState) {
		return nil
	}
	if vm.Troubled() || vm.Gone() || stepBack {
		return i.refresh(ctx, vm.ID)
	}
	i.facts[vm.ID] = vm
	return nil
}

func isIn(vm one.VM, state one.VMState, lcmState one.LCMState) bool {
	return vm.State == state && vm.LCMState == lcmState
}

// isOldNews reports whether the input is about VMs that have been looked at since: it tells
// nothing, and what was seen has been decided on.
func (i *ingester) isOldNews(input pipeline.Input) bool {
	vms := vmsOfNews(input.Work)
	return len(vms) > 0 && !slices.ContainsFunc(vms, func(vm int) bool { return input.Sequence > i.refreshed[vm] }) &&
		!i.mayBeAhead(input, i.refreshedAt)
}

// mayBeAhead reports whether news may tell what oned had not written yet when it was asked: of a
// VM that was seen in another state. One that has ended stays so, and where newer news waits that counts.
func (i *ingester) mayBeAhead(input pipeline.Input, asked time.Time) bool {
	return asked.Sub(published(input, i.came)) <= opennebula.WriteTime &&
		slices.ContainsFunc(statesTold(input.Work), func(told pipeline.Trouble) bool {
			seen, known := i.facts[told.VM]
			return known && !seen.Gone() && !isIn(seen, told.State, told.LCMState) && !i.awaited()[told.VM].state
		})
}

// heardStates are the states that events told of VMs lately, by the VM's id.
type heardStates map[int]heardState

// heardState is a VM's state, and until when oned may not have written it.
type heardState struct {
	pipeline.Trouble
	until time.Time
	// afterEnd reports whether a VM on its way out may come into the state.
	afterEnd bool
}

// noteTold remembers what the input tells, whatever becomes of it: a look that it leads to, or
// that another leads to, may show less.
func (i *ingester) noteTold(input pipeline.Input) {
	now, until := time.Now(), published(input, i.came).Add(opennebula.WriteTime)
	maps.DeleteFunc(i.heard, func(_ int, heard heardState) bool { return now.After(heard.until) })
	for _, told := range i.told {
		gone := one.VM{State: told.State}.Gone()
		afterEnd := gone || told.LCMState == one.LCMEpilogFailure || i.facts[told.VM].Ending()
		i.heard[told.VM] = heardState{told, until, afterEnd}
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

// published returns when an input was published, by NATS's clock; where that is ahead of
// ours, when the input came.
func published(input pipeline.Input, came time.Time) time.Time {
	if input.Published.After(came) {
		return came
	}
	return input.Published
}
