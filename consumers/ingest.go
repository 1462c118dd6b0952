package consumers

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/flowjet/flowjet/consumers/routing"
	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/internal/idle"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/work"
)

// ingester takes up how the VMs and networks are, from events and from what oned says.
type ingester struct {
	*serviceLoop
	heard heard
	// read is when all VMs that matter to the service were asked for last.
	read time.Time
	// strangers are the nodes that oned's leader said are not the service's, when strangersOf owned it.
	strangers   []int
	strangersOf int
	strangersAt time.Time
}

// readForScan is for how long what was read of oned need not be read again because of a scan, at most from one scan to the next:
// a service that nothing else wakes reads at every other scan.
const readForScan = 30 * time.Second

// isOld reports whether oned was asked, since news came, about all VMs that it is about.
func (i *ingester) isOld(news pipeline.Work) bool {
	vms := vmsOfNews(news)
	return len(vms) > 0 && !slices.ContainsFunc(vms, func(vm int) bool { return !i.isNewer(vm) })
}

// isNewer reports whether what is known of a VM is newer than the input.
func (i *ingester) isNewer(vm int) bool {
	seen, known := i.facts[vm]
	return known && i.heard.asked[vm].After(i.came) && !i.mayBeBehind(seen)
}

// mayBeBehind reports whether oned may have shown one of the service's VMs as it was before what was heard of it, and
// nothing newer waits.
func (i *ingester) mayBeBehind(seen one.VM) bool {
	return i.heard.ahead(seen) && i.record.State.Service.Owns(seen) && !i.awaited()[seen.ID]
}

// ingest takes over what the input tells and, where a decision will rest on more, asks oned.
func (i *ingester) ingest(ctx context.Context, input pipeline.Input, fresh bool) error {
	work, state := input.Work, i.record.State
	// A decision may end a VM because it is in trouble: whether it still is, is asked anew.
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
		if !i.loader.read.After(i.came) && !i.loader.isAsSeen() { // else for what was in front of it: new enough
			if err := i.loader.refreshDocument(ctx); err != nil || !i.exists {
				return err
			}
		}
		if work.Command == nil || work.Command.Verb != flow.VerbScale {
			return nil // what is answered does not rest on which VMs failed, are protected or are gone
		}
		return i.refreshFacts(ctx)
	case work.Timer != nil && work.Timer.Name == flow.DeadlineLook && i.worker.config.Hearing() &&
		flow.AwaitsNewVMs(state, i.facts, time.Now(), i.worker.config.Settings):
		return nil // the new VMs have not come up yet, and who hears of it passes it on
	case work.Scan && i.hasJustRead():
		return nil
	}
	if err := i.loader.refreshDocument(ctx); err != nil || !i.exists {
		return err
	}
	return i.refreshFacts(ctx)
}

// hasJustRead reports whether the document and all VMs were read so lately, before the input came, that a scan need not
// have them read again. What is due is decided on what is read then.
func (i *ingester) hasJustRead() bool {
	for _, due := range i.record.State.Deadlines {
		if !due.After(time.Now()) {
			return false
		}
	}
	enough := i.came.Add(-min(readForScan, i.worker.config.ScanInterval))
	return i.read.After(enough) && i.loader.read.After(enough)
}

// ingestEvent takes over what an event tells. Good news is believed, which is cheap to be wrong about. That a VM is gone, bad news,
// and a step back from RUNNING may be late or forged: oned is asked, unless it has told the same, and
// in one call about all VMs whose events wait. Whose a VM is and what for, only oned tells.
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
		return i.refresh(ctx, event.ID)
	}
	vm := *event.VM
	if before.Gone() || !i.record.State.Service.Owns(before) || vm.Troubled() && isIn(before, vm.State, vm.LCMState) {
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

// ingestTrouble looks at VMs that are said to be in trouble, unless that is known. A VM that is gone stays so.
func (i *ingester) ingestTrouble(ctx context.Context, trouble []pipeline.Trouble) error {
	var doubtful []int
	for _, told := range trouble {
		before, known := i.facts[told.VM]
		if !known || !i.isNewer(told.VM) && !before.Gone() && !isIn(before, told.State, told.LCMState) {
			doubtful = append(doubtful, told.VM)
		}
	}
	if len(doubtful) == 0 {
		return nil
	}
	return i.refresh(ctx, doubtful...)
}

func isIn(vm one.VM, state one.VMState, lcmState one.LCMState) bool {
	return vm.State == state && vm.LCMState == lcmState
}

// refresh asks oned about VMs, and in the same calls about the other VMs of which
// events wait: where one host's VMs fail, one look at a service sees them all.
func (i *ingester) refresh(ctx context.Context, vms ...int) error {
	for other := range i.awaited() {
		if _, known := i.facts[other]; known {
			vms = append(vms, other)
		}
	}
	slices.Sort(vms)
	for _, span := range opennebula.Spans(slices.Compact(vms)) {
		err := i.awaitWritten(ctx, span, i.facts, func() error {
			return i.fetchSpan(ctx, i.worker.oned.Server().Confirmed(), span, i.facts)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// refreshFacts asks oned for all VMs that matter to the service. Where the answer would
// end or shrink something, the leader is asked to confirm it.
func (i *ingester) refreshFacts(ctx context.Context) error {
	began := time.Now()
	ids, facts, err := i.doubtfulVMs(ctx)
	if err != nil {
		return err
	}
	for _, span := range opennebula.Spans(ids) {
		err := i.awaitWritten(ctx, span, facts, func() error {
			session, confirmed := i.worker.oned.Server(), i.worker.oned.Confirm()
			err := i.fetchSpan(ctx, session, span, facts)
			if err == nil && (needsConfirming(span, i.facts) || needsConfirming(span, facts)) && !confirmed(ctx) {
				err = i.fetchSpan(ctx, session.Confirmed(), span, facts)
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
	// scattered is how many calls for a service's VMs are worth one that tells which of them
	// there can be: ids of any size can be written into a document.
	scattered = 64
	// strangersFor is for how long a stranger's VM is taken for one before oned is asked again: there
	// can be thousands of them in a document, and they matter only if they are given back.
	strangersFor = 10 * time.Minute
)

// doubtfulVMs are the nodes and the VMs that something was asked of, as far as oned has to be asked
// about them, ascending, and what is known of the others: strangers, and what no VM can be.
func (i *ingester) doubtfulVMs(ctx context.Context) ([]int, flow.Facts, error) {
	wanted, facts := map[int]bool{}, flow.Facts{}
	for _, role := range i.record.State.Service.Body.Roles {
		for _, node := range role.Nodes {
			wanted[node.DeployID] = true
		}
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

// needsConfirming reports whether one of the VMs, as seen, would end or shrink
// something, or put a role into trouble: that only the zone's leader is believed.
func needsConfirming(span []int, facts flow.Facts) bool {
	return slices.ContainsFunc(span, func(id int) bool { return facts[id].Troubled() || facts[id].Gone() })
}

// inspect reads the whole of VMs that do not move, as far as something depends on it.
// What is done about one that is overdue is decided on what the zone's leader says.
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
		if vm.Seen = one.Inspect(vm, tree); err != nil {
			vm.Seen = &one.Inspection{} // it cannot be read, and is judged by what is known
		}
		if vm.Seen != nil && vm.Seen.Since.IsZero() {
			event, stored, err := i.worker.pipe.VMEntered(ctx, vm)
			if err != nil {
				return err
			}
			if stored {
				seen := time.Time{}
				if stay := i.record.State.Stays[wanted.VM]; stay.State == vm.State && stay.LCMState == vm.LCMState {
					seen = stay.Since
				}
				vm.Seen.Since = routing.EnteredAt(event, i.record.State.Leader.Since, seen)
			}
		}
		i.facts[wanted.VM] = vm
	}
	return nil
}

// confirmStrangers asks the zone's leader about the nodes that are not the service's by what is
// known: the service or its VMs may just have been given to another owner.
func (i *ingester) confirmStrangers(ctx context.Context) error {
	strangers := i.record.State.Strangers(i.facts)
	owner := i.record.State.Service.Owner.UID
	if len(strangers) == 0 || owner == i.strangersOf && slices.Equal(strangers, i.strangers) {
		return nil
	}
	for _, span := range opennebula.Spans(strangers) {
		if err := i.fetchSpan(ctx, i.worker.oned.Server().Confirmed(), span, i.facts); err != nil {
			return err
		}
	}
	i.strangers, i.strangersOf, i.strangersAt = i.record.State.Strangers(i.facts), owner, time.Now()
	for _, id := range i.strangers {
		i.worker.config.Logger.Warn("a node of the service is not a VM of the service: it belongs to another or lacks the service's id; it is left unchanged",
			"service", i.service, "vm", id, "owner", i.facts[id].Owner.UName)
	}
	return nil
}

// fetchSpan asks oned about VMs whose ids are close together. One that oned does not have is gone.
func (i *ingester) fetchSpan(ctx context.Context, session *opennebula.Session, span []int, facts flow.Facts) error {
	if len(span) == 1 {
		_, err := i.fetchVM(ctx, session, span[0], facts)
		return err
	}
	began := time.Now()
	vms, err := session.VMsAt(ctx, span, opennebula.StateAny)
	if err != nil {
		return fmt.Errorf("read VMs %d to %d of service %d: %w", span[0], span[len(span)-1], i.service, err)
	}
	for _, id := range span {
		i.heard.asked[id] = began
		facts[id] = one.VM{ID: id, State: one.VMDone, Service: i.service}
	}
	for _, vm := range vms {
		if _, wanted := slices.BinarySearch(span, vm.ID); wanted || vm.Service == i.service {
			facts[vm.ID] = vm
		}
	}
	return nil
}

func (i *ingester) fetchVM(ctx context.Context, session *opennebula.Session, id int, facts flow.Facts) (one.VM, error) {
	began := time.Now()
	vm, err := session.VM(ctx, id)
	if opennebula.IsCode(err, opennebula.CodeNoExists) {
		vm, err = one.VM{ID: id, State: one.VMDone, Service: i.service}, nil
	}
	if err != nil {
		return one.VM{}, fmt.Errorf("read VM %d of service %d: %w", id, i.service, err)
	}
	i.heard.asked[id], facts[id] = began, vm
	return vm, nil
}

// awaitWritten repeats a look at VMs as long as it may show one as it was before what was heard, and nothing newer waits.
func (i *ingester) awaitWritten(ctx context.Context, vms []int, facts flow.Facts, look func() error) error {
	for wait := idle.NewBackoff(); ; i.slot.backOff(ctx, wait) {
		if err := look(); err != nil {
			return err
		}
		behind := slices.ContainsFunc(vms, func(id int) bool { return i.mayBeBehind(facts[id]) })
		if !behind || ctx.Err() != nil {
			return ctx.Err()
		}
	}
}
