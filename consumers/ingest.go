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

// ingester applies an input to what is known of the service, and asks oned where a decision needs more.
type ingester struct {
	*serviceData
	vms      *vmFetcher
	networks *networks
	loader   *loader
}

// readForScan limits how old fetched data may be so that a scan does not fetch it again, at most from one scan to the next: a service that
// nothing else wakes fetches at every other scan.
const readForScan = 30 * time.Second

// ingest applies the input to the facts and, if a decision needs more, asks oned.
func (i *ingester) ingest(ctx context.Context, input pipeline.Input, fresh bool) error {
	work, state := input.Work, i.record.State
	// A decision may end a VM because it is in trouble: oned is asked whether it still is.
	heal, set := state.Deadlines[flow.DeadlineHeal]
	healingDue := set && !heal.After(time.Now())
	switch {
	case (work.Event != nil || work.Trouble != nil) && healingDue:
		return i.vms.refreshFacts(ctx)
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
		return i.vms.refreshFacts(ctx)
	case work.Timer != nil && work.Timer.Name == flow.DeadlineCheck && i.worker.config.Hearing() &&
		flow.AwaitsNewVMs(state, i.facts, time.Now(), i.worker.config.Settings):
		return nil // the new VMs have not come up yet, and the bridge will report it
	case work.Scan && i.hasJustRead():
		return nil
	}
	if err := i.loader.refreshDocument(ctx); err != nil || !i.exists {
		return err
	}
	return i.vms.refreshFacts(ctx)
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
	return i.vms.read.After(enough) && i.loader.read.After(enough)
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
		err := i.vms.refresh(ctx, event.ID)
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
		return i.vms.refresh(ctx, vm.ID)
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
		if !known || !i.vms.isNewer(reported.VM) && !before.Gone() && pipeline.TroubleOf(before) != reported {
			doubtful = append(doubtful, reported.VM)
		}
	}
	if len(doubtful) == 0 {
		return nil
	}
	return i.vms.refresh(ctx, doubtful...)
}

// vmFetcher fetches the service's VMs from oned, and judges whether an answer is newer than the events.
type vmFetcher struct {
	*serviceData
	slot     *slot
	networks *networks
	heard    heard
	// read is when all VMs of the service were last fetched.
	read time.Time
	// strangers are the nodes that according to oned's leader are not the service's, when strangersOf owned it.
	strangers   []int
	strangersOf int
	strangersAt time.Time
	searched    search // the last search for VMs that an earlier call may have made
}

// isOld reports whether oned was asked, since news came, about all its VMs.
func (v *vmFetcher) isOld(news pipeline.Work) bool {
	vms := vmsOfNews(news)
	return len(vms) > 0 && !slices.ContainsFunc(vms, func(vm int) bool { return !v.isNewer(vm) })
}

// isNewer reports whether the facts about a VM are newer than the input.
func (v *vmFetcher) isNewer(vm int) bool {
	seen, known := v.facts[vm]
	return known && v.heard.asked[vm].After(v.came) && !v.mayBeBehind(seen)
}

// mayBeBehind reports whether oned's answer about one of the service's VMs may be older than its last event, and nothing newer waits.
func (v *vmFetcher) mayBeBehind(seen one.VM) bool {
	return v.heard.ahead(seen) && v.record.State.Service.Owns(seen) && !v.slot.awaited()[seen.ID]
}

// refresh fetches VMs, and in the same calls the other VMs with waiting events: if one host's VMs fail, one handling of a service gets them
// all.
func (v *vmFetcher) refresh(ctx context.Context, vms ...int) error {
	for other := range v.slot.awaited() {
		if _, known := v.facts[other]; known {
			vms = append(vms, other)
		}
	}
	slices.Sort(vms)
	for _, span := range opennebula.Spans(slices.Compact(vms)) {
		err := v.awaitWritten(ctx, span, v.facts, func() error {
			return v.fetch(ctx, v.worker.oned.Server().Confirmed(), span, v.facts)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// refreshFacts fetches all VMs of the service. If the answer would end or shrink something, the leader is asked to confirm it.
func (v *vmFetcher) refreshFacts(ctx context.Context) error {
	began := time.Now()
	ids, facts, err := v.doubtfulVMs(ctx)
	if err != nil {
		return err
	}
	for _, span := range opennebula.Spans(ids) {
		err := v.awaitWritten(ctx, span, facts, func() error {
			session, confirmed := v.worker.oned.Server(), v.worker.oned.Confirm()
			err := v.fetch(ctx, session, span, facts)
			if err == nil && (needsConfirming(span, v.facts) || needsConfirming(span, facts)) && !confirmed(ctx) {
				err = v.fetch(ctx, session.Confirmed(), span, facts)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	v.facts = facts
	maps.DeleteFunc(v.heard.asked, func(vm int, _ time.Time) bool { _, known := facts[vm]; return !known })
	if err := v.inspect(ctx); err != nil {
		return err
	}
	v.read = began
	return v.networks.refresh(ctx)
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
func (v *vmFetcher) doubtfulVMs(ctx context.Context) ([]int, flow.Facts, error) {
	wanted, facts := map[int]bool{}, flow.Facts{}
	for _, id := range append(spec.VMIDs(v.record.State.Service.Body.Roles...), v.record.State.Dropped...) {
		wanted[id] = true
	}
	for id := range v.record.State.Asked {
		wanted[id] = true
	}
	if v.strangersOf == v.record.State.Service.Owner.UID && time.Since(v.strangersAt) <= strangersFor {
		for _, id := range v.strangers {
			if vm, known := v.facts[id]; known && wanted[id] {
				facts[id] = vm
				delete(wanted, id)
			}
		}
	}
	ids := slices.Sorted(maps.Keys(wanted))
	if len(opennebula.Spans(ids)) <= scattered {
		return ids, facts, nil
	}
	newest, err := opennebula.NewestVM(ctx, v.worker.oned.Server().Confirmed())
	if err != nil {
		return nil, nil, fmt.Errorf("read the VMs of service %d: %w", v.service, err)
	}
	there, _ := slices.BinarySearch(ids, newest+1)
	for _, id := range ids[there:] {
		facts[id] = one.VM{ID: id, State: one.VMDone, Service: v.service}
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
func (v *vmFetcher) inspect(ctx context.Context) error {
	for _, wanted := range flow.Inspections(v.record.State, v.facts, time.Now(), v.worker.config.Settings) {
		session := v.worker.oned.Server()
		if wanted.Overdue {
			session = session.Confirmed()
		}
		tree, err := session.VMTree(ctx, wanted.VM)
		if err != nil && opennebula.Temporary(err) {
			return fmt.Errorf("read VM %d of service %d in full: %w", wanted.VM, v.service, err)
		}
		vm := v.facts[wanted.VM]
		if vm.Inspection = one.Inspect(vm, tree); err != nil {
			vm.Inspection = &one.Inspection{} // unreadable: it is judged by what is known
		}
		if vm.Inspection != nil && vm.Inspection.Since.IsZero() {
			event, stored, err := v.worker.pipe.VMEntered(ctx, vm)
			if err != nil {
				return err
			}
			if stored {
				seen := time.Time{}
				if stay := v.record.State.Stays[wanted.VM]; stay.State == vm.State && stay.LCMState == vm.LCMState {
					seen = stay.Since
				}
				vm.Inspection.Since = routing.EnteredAt(event, v.record.State.Leader.Since, seen)
			}
		}
		v.facts[wanted.VM] = vm
	}
	return nil
}

// confirmStrangers asks the zone's leader about the nodes that seem not to be the service's: the service or its VMs may just have been
// given to another owner.
func (v *vmFetcher) confirmStrangers(ctx context.Context) error {
	strangers := v.record.State.Strangers(v.facts)
	owner := v.record.State.Service.Owner.UID
	if len(strangers) == 0 || owner == v.strangersOf && slices.Equal(strangers, v.strangers) {
		return nil
	}
	if err := v.fetch(ctx, v.worker.oned.Server().Confirmed(), strangers, v.facts); err != nil {
		return err
	}
	v.strangers, v.strangersOf, v.strangersAt = v.record.State.Strangers(v.facts), owner, time.Now()
	for _, id := range v.strangers {
		v.worker.config.Logger.Warn("a node of the service is not a VM of the service: it belongs to another or lacks the service's id; it is left unchanged",
			"service", v.service, "vm", id, "owner", v.facts[id].Owner.UName, "hint", cmp.Or(flow.GivenAway(v.record.State.Service, v.facts[id]),
				"its owner and its SERVICE_ID are in `onevm show`; a VM that OneFlow made for serveradmin is given to the service's owner by `flowjet migrate --yes`"))
	}
	return nil
}

// fetch fetches VMs of ascending ids into the facts.
func (v *vmFetcher) fetch(ctx context.Context, session *opennebula.Session, vms []int, facts flow.Facts) error {
	began := time.Now()
	fetched, err := session.FetchVMs(ctx, v.record.State.Service, vms)
	if err != nil {
		return err
	}
	for _, id := range vms {
		v.heard.asked[id] = began
	}
	maps.Copy(facts, fetched)
	return nil
}

// awaitWritten repeats a fetch of VMs as long as a result may be older than the last event, and nothing newer waits.
func (v *vmFetcher) awaitWritten(ctx context.Context, vms []int, facts flow.Facts, fetch func() error) error {
	for wait := idle.NewBackoff(); ; v.slot.backOff(ctx, wait) {
		if err := fetch(); err != nil {
			return err
		}
		behind := slices.ContainsFunc(vms, func(id int) bool { return v.mayBeBehind(facts[id]) })
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

// find looks up the VM of an intent among those created since the intent, by the users whose VMs can be the service's: others may have
// forged theirs. oned numbers VMs in the order in which it makes them, so VMs of an earlier search are not read again.
func (v *vmFetcher) find(ctx context.Context, intent flow.Intent) (bool, error) {
	look := search{at: time.Now(), floor: v.floor(intent.Key), keys: map[string]bool{}}
	if look.next = look.floor; v.searched.covers(look.floor) {
		look.floor, look.next, look.keys = v.searched.floor, v.searched.next, v.searched.keys
	}
	service := v.record.State.Service
	owners := []int{service.Owner.UID}
	if service.Former != nil {
		owners = append(owners, service.Former.UID)
	}
	var vms []one.VM
	for _, owner := range owners {
		theirs, err := v.worker.oned.Server().Confirmed().VMs(ctx, owner, look.next, -1, opennebula.StateAny)
		if err != nil {
			return false, fmt.Errorf("look for the VM %s of service %d: %w", intent.Name, v.service, err)
		}
		vms = append(vms, theirs...)
	}
	for _, vm := range vms {
		look.next = max(look.next, vm.ID+1)
		if vm.Service == v.service && vm.Key != "" {
			v.facts[vm.ID] = vm
			look.keys[vm.Key] = true
		}
	}
	v.searched = look
	return look.keys[intent.Key], nil
}

// search is the result of a search for the VMs of a service's intents: of all from floor up to before next.
type search struct {
	at          time.Time
	floor, next int
	keys        map[string]bool // the keys found
}

// covers reports whether all VMs from the floor on are part of the search so far.
func (s search) covers(floor int) bool { return s.keys != nil && s.floor <= floor }

// trustSearch is how long a search counts for all intents of a service that has been taken over: each on its own would read the same VMs
// again and again.
const trustSearch = 500 * time.Millisecond

// floor returns the VM id from which on an intent's VM is looked up; the plan that made the intent did not know it.
func (v *vmFetcher) floor(key string) int {
	for _, intent := range v.record.State.Intents {
		if intent.Key == key {
			return intent.Floor
		}
	}
	return 0
}
