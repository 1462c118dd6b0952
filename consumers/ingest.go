package consumers

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/flowjet/flowjet/consumers/routing"
	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/idle"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/work"
)

// ingester updates the facts about VMs and networks, from events and from oned's answers.
type ingester struct {
	*serviceLoop
	heard heard
	// read is when all VMs of the service were last fetched.
	read time.Time
	// strangers are the nodes that according to oned's leader are not the service's, when strangersOf owned it.
	strangers   []int
	strangersOf int
	strangersAt time.Time
}

// readForScan limits how old fetched data may be so that a scan does not fetch it again, at most from one scan to the next: a service that
// nothing else wakes fetches at every other scan.
const readForScan = 30 * time.Second

// isOld reports whether oned was asked, since news came, about all its VMs.
func (i *ingester) isOld(news pipeline.Work) bool {
	vms := vmsOfNews(news)
	return len(vms) > 0 && !slices.ContainsFunc(vms, func(vm int) bool { return !i.isNewer(vm) })
}

// isNewer reports whether the facts about a VM are newer than the input.
func (i *ingester) isNewer(vm int) bool {
	seen, known := i.facts[vm]
	return known && i.heard.asked[vm].After(i.came) && !i.mayBeBehind(seen)
}

// mayBeBehind reports whether oned's answer about one of the service's VMs may be older than its last event, and nothing newer waits.
func (i *ingester) mayBeBehind(seen one.VM) bool {
	return i.heard.ahead(seen) && i.record.State.Service.Owns(seen) && !i.awaited()[seen.ID]
}

// ingest applies the input to the facts and, if a decision needs more, asks oned.
func (i *ingester) ingest(ctx context.Context, input pipeline.Input, fresh bool) error {
	work, state := input.Work, i.record.State
	// A decision may end a VM because it is in trouble: oned is asked whether it still is.
	heal, set := state.Deadlines[flow.DeadlineHeal]
	healingDue := set && !heal.After(time.Now())
	switch {
	case (work.Event != nil || work.Trouble != nil) && healingDue:
		return i.refreshFacts(ctx)
	case work.Trouble != nil:
		return i.ingestTrouble(ctx, work.Trouble)
	case work.Event != nil:
		return i.ingestEvent(ctx, input)
	case fresh:
		return nil
	case work.Command != nil && work.Command.Verb != flow.VerbRecover, work.Measures != nil:
		seen := i.loader.seen // by the API just now, for the command
		unchanged := seen != nil && seen.Owner == state.Service.Owner && !i.loader.predates(seen.Digest) &&
			(seen.Digest == i.record.Saved || i.loader.isOurs(seen.Digest))
		if !i.loader.read.After(i.came) && !unchanged { // else read for an earlier input: new enough
			if err := i.loader.refreshDocument(ctx); err != nil || !i.exists {
				return err
			}
		}
		if work.Command == nil || work.Command.Verb != flow.VerbScale {
			return nil // the answer does not depend on which VMs failed, are protected or are gone
		}
		return i.refreshFacts(ctx)
	case work.Timer != nil && work.Timer.Name == flow.DeadlineCheck && i.worker.config.Hearing() &&
		flow.AwaitsNewVMs(state, i.facts, time.Now(), i.worker.config.Settings):
		return nil // the new VMs have not come up yet, and the bridge will report it
	case work.Scan && i.hasJustRead():
		return nil
	}
	if err := i.loader.refreshDocument(ctx); err != nil || !i.exists {
		return err
	}
	return i.refreshFacts(ctx)
}

// hasJustRead reports whether the document and all VMs were fetched so recently, before the input came, that a scan need not fetch them
// again. If anything is due it is decided on fresh data.
func (i *ingester) hasJustRead() bool {
	for _, due := range i.record.State.Deadlines {
		if !due.After(time.Now()) {
			return false
		}
	}
	enough := i.came.Add(-min(readForScan, i.worker.config.ScanInterval))
	return i.read.After(enough) && i.loader.read.After(enough)
}

// ingestEvent applies an event. Good news is believed, for a mistake in it is cheap. The end of a VM, bad news, and a step back from
// RUNNING may be late or forged: oned is asked, unless its last answer was the same, and in one call about all VMs with waiting events. A
// VM's owner and purpose are only read from oned.
func (i *ingester) ingestEvent(ctx context.Context, input pipeline.Input) error {
	event := input.Work.Event
	if event.Object == work.OwnedNetwork {
		return i.networks.ingest(ctx, input)
	}
	before, known := i.facts[event.ID]
	ofService := event.VM != nil && event.VM.Service == i.service
	switch {
	case !ofService && !known && event.Ready == nil:
		return nil
	case !ofService, !known:
		err := i.refresh(ctx, event.ID)
		if fresh := ofService && (event.VM.IsNew() || event.VM.State == one.VMHold); err == nil && fresh &&
			flow.CreatedByServer(i.record.State, i.facts[event.ID], i.worker.config.Settings) {
			err = i.loader.followOthers(ctx, "", []int{event.ID}) // it is noted in the document later
		}
		return err
	case flow.CreatedByOther(i.record.State, before, i.worker.config.Settings): // it may have been added to the document by now
		return i.loader.refreshDocument(ctx)
	}
	vm := *event.VM
	if before.Gone() || !i.record.State.Service.Owns(before) || vm.Troubled() && pipeline.TroubleOf(before) == pipeline.TroubleOf(vm) {
		return nil
	}
	stepBack := before.Running() && !vm.Running() && !vm.Ending() || before.Ending() && !vm.Ending()
	if vm.Troubled() || vm.Gone() || stepBack {
		return i.refresh(ctx, vm.ID)
	}
	vm.Name, vm.Owner, vm.Service, vm.Role, vm.Key = before.Name, before.Owner, before.Service, before.Role, before.Key
	vm.Protected, vm.Host = before.Protected, event.Host
	i.facts[vm.ID] = vm
	return nil
}

// ingestTrouble fetches VMs that are reported to be in trouble, unless that is known. A VM that is gone stays so.
func (i *ingester) ingestTrouble(ctx context.Context, trouble []pipeline.Trouble) error {
	var doubtful []int
	for _, reported := range trouble {
		before, known := i.facts[reported.VM]
		if !known || !i.isNewer(reported.VM) && !before.Gone() && pipeline.TroubleOf(before) != reported {
			doubtful = append(doubtful, reported.VM)
		}
	}
	if len(doubtful) == 0 {
		return nil
	}
	return i.refresh(ctx, doubtful...)
}

// refresh fetches VMs, and in the same calls the other VMs with waiting events: if one host's VMs fail, one handling of a service gets them
// all.
func (i *ingester) refresh(ctx context.Context, vms ...int) error {
	for other := range i.awaited() {
		if _, known := i.facts[other]; known {
			vms = append(vms, other)
		}
	}
	slices.Sort(vms)
	for _, span := range opennebula.Spans(slices.Compact(vms)) {
		err := i.awaitWritten(ctx, span, i.facts, func() error {
			return i.fetch(ctx, i.worker.oned.Server().Confirmed(), span, i.facts)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// refreshFacts fetches all VMs of the service. If the answer would end or shrink something, the leader is asked to confirm it.
func (i *ingester) refreshFacts(ctx context.Context) error {
	began := time.Now()
	ids, facts, err := i.doubtfulVMs(ctx)
	if err != nil {
		return err
	}
	for _, span := range opennebula.Spans(ids) {
		err := i.awaitWritten(ctx, span, facts, func() error {
			session, confirmed := i.worker.oned.Server(), i.worker.oned.Confirm()
			err := i.fetch(ctx, session, span, facts)
			if err == nil && (needsConfirming(span, i.facts) || needsConfirming(span, facts)) && !confirmed(ctx) {
				err = i.fetch(ctx, session.Confirmed(), span, facts)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	i.facts = facts
	maps.DeleteFunc(i.heard.asked, func(vm int, _ time.Time) bool { _, known := facts[vm]; return !known })
	if err := i.inspect(ctx); err != nil {
		return err
	}
	i.read = began
	return i.networks.refresh(ctx)
}

const (
	// scattered is how many calls for a service's VMs are worth one for the newest id: ids of any size can be written into a document.
	scattered = 64
	// strangersFor is how long a stranger's VM counts as one before oned is asked again: there can be thousands of them in a document, and
	// they matter only if they are given back.
	strangersFor = 10 * time.Minute
)

// doubtfulVMs returns the nodes and the VMs with requests that have to be fetched, ascending, and the facts about the others: strangers,
// and ids that do not exist yet.
func (i *ingester) doubtfulVMs(ctx context.Context) ([]int, flow.Facts, error) {
	wanted, facts := map[int]bool{}, flow.Facts{}
	for _, id := range append(spec.VMIDs(i.record.State.Service.Body.Roles...), i.record.State.Dropped...) {
		wanted[id] = true
	}
	for id := range i.record.State.Asked {
		wanted[id] = true
	}
	if i.strangersOf == i.record.State.Service.Owner.UID && time.Since(i.strangersAt) <= strangersFor {
		for _, id := range i.strangers {
			if vm, known := i.facts[id]; known && wanted[id] {
				facts[id] = vm
				delete(wanted, id)
			}
		}
	}
	ids := slices.Sorted(maps.Keys(wanted))
	if len(opennebula.Spans(ids)) <= scattered {
		return ids, facts, nil
	}
	newest, err := opennebula.NewestVM(ctx, i.worker.oned.Server().Confirmed())
	if err != nil {
		return nil, nil, fmt.Errorf("read the VMs of service %d: %w", i.service, err)
	}
	there, _ := slices.BinarySearch(ids, newest+1)
	for _, id := range ids[there:] {
		facts[id] = one.VM{ID: id, State: one.VMDone, Service: i.service}
	}
	return ids[:there], facts, nil
}

// needsConfirming reports whether one of the VMs, as fetched, would end or shrink something, or put a role into trouble: only the zone's
// leader is believed then.
func needsConfirming(span []int, facts flow.Facts) bool {
	return slices.ContainsFunc(span, func(id int) bool { return facts[id].Troubled() || facts[id].Gone() })
}

// inspect reads the whole XML of VMs that do not move, as far as a decision depends on it. For an overdue VM only the zone's leader is
// believed.
func (i *ingester) inspect(ctx context.Context) error {
	for _, wanted := range flow.Inspections(i.record.State, i.facts, time.Now(), i.worker.config.Settings) {
		session := i.worker.oned.Server()
		if wanted.Overdue {
			session = session.Confirmed()
		}
		tree, err := session.VMTree(ctx, wanted.VM)
		if err != nil && opennebula.Temporary(err) {
			return fmt.Errorf("read VM %d of service %d in full: %w", wanted.VM, i.service, err)
		}
		vm := i.facts[wanted.VM]
		if vm.Inspection = one.Inspect(vm, tree); err != nil {
			vm.Inspection = &one.Inspection{} // unreadable: it is judged by what is known
		}
		if vm.Inspection != nil && vm.Inspection.Since.IsZero() {
			event, stored, err := i.worker.pipe.VMEntered(ctx, vm)
			if err != nil {
				return err
			}
			if stored {
				seen := time.Time{}
				if stay := i.record.State.Stays[wanted.VM]; stay.State == vm.State && stay.LCMState == vm.LCMState {
					seen = stay.Since
				}
				vm.Inspection.Since = routing.EnteredAt(event, i.record.State.Leader.Since, seen)
			}
		}
		i.facts[wanted.VM] = vm
	}
	return nil
}

// confirmStrangers asks the zone's leader about the nodes that seem not to be the service's: the service or its VMs may just have been
// given to another owner.
func (i *ingester) confirmStrangers(ctx context.Context) error {
	strangers := i.record.State.Strangers(i.facts)
	owner := i.record.State.Service.Owner.UID
	if len(strangers) == 0 || owner == i.strangersOf && slices.Equal(strangers, i.strangers) {
		return nil
	}
	if err := i.fetch(ctx, i.worker.oned.Server().Confirmed(), strangers, i.facts); err != nil {
		return err
	}
	i.strangers, i.strangersOf, i.strangersAt = i.record.State.Strangers(i.facts), owner, time.Now()
	for _, id := range i.strangers {
		i.worker.config.Logger.Warn("a node of the service is not a VM of the service: it belongs to another or lacks the service's id; it is left unchanged",
			"service", i.service, "vm", id, "owner", i.facts[id].Owner.UName, "hint", cmp.Or(flow.GivenAway(i.record.State.Service, i.facts[id]),
				"its owner and its SERVICE_ID are in `onevm show`; a VM that OneFlow made for serveradmin is given to the service's owner by `flowjet migrate --yes`"))
	}
	return nil
}

// fetch fetches VMs of ascending ids into the facts.
func (i *ingester) fetch(ctx context.Context, session *opennebula.Session, vms []int, facts flow.Facts) error {
	began := time.Now()
	fetched, err := session.FetchVMs(ctx, i.record.State.Service, vms)
	if err != nil {
		return err
	}
	for _, id := range vms {
		i.heard.asked[id] = began
	}
	maps.Copy(facts, fetched)
	return nil
}

// awaitWritten repeats a fetch of VMs as long as a result may be older than the last event, and nothing newer waits.
func (i *ingester) awaitWritten(ctx context.Context, vms []int, facts flow.Facts, fetch func() error) error {
	for wait := idle.NewBackoff(); ; i.slot.backOff(ctx, wait) {
		if err := fetch(); err != nil {
			return err
		}
		behind := slices.ContainsFunc(vms, func(id int) bool { return i.mayBeBehind(facts[id]) })
		if !behind || ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

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
	return is && h.asked[seen.ID].Before(reported.at.Add(opennebula.WriteTime)) && pipeline.TroubleOf(seen) != reported.Trouble &&
		!seen.Gone() && (reported.afterEnd || !seen.Ending())
}

// published returns when an input was published by NATS's clock, if that is not ahead of ours.
func published(input pipeline.Input, came time.Time) time.Time {
	if input.Published.After(came) {
		return came
	}
	return input.Published
}
