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
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/work"
)

// ingest takes over what the input tells and, where a decision will rest on
// more, asks oned.
func (i *ingester) ingest(ctx context.Context, input pipeline.Input, fresh bool) error {
	work := input.Work
	switch {
	case (work.Event != nil || work.Trouble != nil) && i.healingDue():
		return i.refreshFacts(ctx)
	case work.Trouble != nil:
		return i.ingestTrouble(ctx, input, fresh)
	case work.Event != nil:
		return i.ingestEvent(ctx, input, fresh)
	case fresh:
		return nil
	case work.Command != nil && !i.restsOnVMs(*work.Command), work.Measures != nil:
		if i.loader.read.After(i.came) || i.loader.isAsSeen() { // for what was in front of it: new enough
			return nil
		}
		return i.loader.refreshDocument(ctx)
	case work.Timer != nil && work.Timer.Name == flow.DeadlineLook && i.wouldBeTold():
		return nil
	}
	if err := i.loader.refreshDocument(ctx); err != nil || !i.exists {
		return err
	}
	return i.refreshFacts(ctx)
}

// wouldBeTold reports whether a look would find nothing new: the service's new VMs have not
// come up yet, and who hears of it passes everything on.
func (i *ingester) wouldBeTold() bool {
	return i.worker.config.Hearing() && flow.AwaitsNewVMs(i.record.State, i.facts, time.Now(), i.worker.config.Settings)
}

// restsOnVMs reports whether what a command is answered depends on what oned says of the
// VMs: which of them failed, and which are protected.
func (i *ingester) restsOnVMs(command flow.Command) bool {
	return command.Verb == flow.VerbRecover || i.record.State.ScalesDown(command)
}

// healingDue reports whether a decision may end a VM because it is in trouble: whether
// it still is, is then asked anew.
func (i *ingester) healingDue() bool {
	due, set := i.record.State.Deadlines[flow.DeadlineHeal]
	return set && !due.After(time.Now())
}

// ingestEvent takes over what an event tells. What has just been read from oned
// is newer, unless oned had not written yet what the event tells.
func (i *ingester) ingestEvent(ctx context.Context, input pipeline.Input, fresh bool) error {
	event := input.Work.Event
	if event.Object == work.OwnedNetwork {
		return i.networks.ingestNetwork(ctx, input)
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

// loadAhead loads the service. What it finds is newer than the events that wait.
func (i *ingester) loadAhead(ctx context.Context) error {
	if i.loaded {
		return nil
	}
	at, waiting := time.Now(), i.partition.awaited(i.serviceLoop)
	if err := i.loader.load(ctx); err != nil {
		return err
	}
	i.noteRefresh(at, waiting)
	return nil
}

// refresh asks oned about VMs, and in the same calls about the other VMs of which
// events wait: where one host's VMs fail, one look at a service sees them all.
func (i *ingester) refresh(ctx context.Context, vms ...int) error {
	at, waiting := time.Now(), i.partition.awaited(i.serviceLoop)
	wanted := map[int]bool{}
	for _, vm := range vms {
		wanted[vm] = true
	}
	for other := range waiting {
		if _, known := i.facts[other]; known {
			wanted[other] = true
		}
	}
	for _, span := range opennebula.Spans(slices.Sorted(maps.Keys(wanted))) {
		err := i.awaitWritten(ctx, span, i.facts, func() error {
			return i.fetchSpan(ctx, i.actor.server().Confirmed(), span, i.facts)
		})
		if err != nil {
			return err
		}
	}
	i.noteRefresh(at, waiting)
	return nil
}

// differs reports whether a VM was seen in another state than is told of it. One that has
// ended stays so, and where newer news waits that counts.
func (i *ingester) differs(told pipeline.Trouble) bool {
	seen, known := i.facts[told.VM]
	return known && !seen.Gone() && !isIn(seen, told.State, told.LCMState) && !i.partition.awaited(i.serviceLoop)[told.VM].state
}

// noteRefresh remembers which of the VMs about which news waits are known, and from when.
func (i *ingester) noteRefresh(at time.Time, waiting map[int]waitingNews) {
	i.refreshedAt, i.refreshed = at, map[int]uint64{}
	for vm, news := range waiting {
		if _, known := i.facts[vm]; known {
			i.refreshed[vm] = news.last
		}
	}
}

// isOldNews reports whether the input is about VMs that have been looked at since: it tells
// nothing, and what was seen has been decided on.
func (i *ingester) isOldNews(input pipeline.Input) bool {
	vms := vmsOfNews(input.Work)
	return len(vms) > 0 && !slices.ContainsFunc(vms, func(vm int) bool { return input.Sequence > i.refreshed[vm] }) &&
		!i.mayBeAhead(input, i.refreshedAt)
}

// mayBeAhead reports whether news may tell what oned had not written yet when it was asked.
func (i *ingester) mayBeAhead(input pipeline.Input, asked time.Time) bool {
	return asked.Sub(published(input, i.came)) <= opennebula.WriteTime && slices.ContainsFunc(statesTold(input.Work), i.differs)
}

// fetchSpan asks oned about VMs whose ids are close together and notes what it
// says. One that oned does not have is gone.
func (i *ingester) fetchSpan(ctx context.Context, session *opennebula.Session, span []int, facts flow.Facts) error {
	if len(span) == 1 {
		_, err := i.fetchVM(ctx, session, span[0], facts)
		return err
	}
	vms, err := session.VMsAt(ctx, span, opennebula.StateAny)
	if err != nil {
		return fmt.Errorf("read VMs %d to %d of service %d: %w", span[0], span[len(span)-1], i.service, err)
	}
	for _, id := range span {
		facts[id] = one.VM{ID: id, State: one.VMDone, Service: i.service}
	}
	for _, vm := range vms {
		if _, wanted := slices.BinarySearch(span, vm.ID); wanted || vm.Service == i.service {
			facts[vm.ID] = vm
		}
	}
	return nil
}

// needsConfirming reports whether one of the VMs, as seen, would end or shrink
// something, or put a role into trouble: that only the zone's leader is believed.
func needsConfirming(span []int, facts flow.Facts) bool {
	return slices.ContainsFunc(span, func(id int) bool { return facts[id].Troubled() || facts[id].Gone() })
}

// ingestVM believes good news, which is cheap to be wrong about. That a VM is gone, bad
// news, and a step back from RUNNING may be an old event that comes late, or somebody's
// invention: oned is asked, unless it has told the same, and in one call about all VMs
// whose events wait.
//
// Whose a VM is and what for, only oned is asked: of a VM that is not known yet, once. One
// that turns out to be somebody else's is passed over from then on.
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

// fetchVM asks oned for one VM and notes it. A VM that oned does not have is gone.
func (i *ingester) fetchVM(ctx context.Context, session *opennebula.Session, id int, facts flow.Facts) (one.VM, error) {
	vm, err := session.VM(ctx, id)
	if opennebula.IsCode(err, opennebula.CodeNoExists) {
		vm, err = one.VM{ID: id, State: one.VMDone, Service: i.service}, nil
	}
	if err != nil {
		return one.VM{}, fmt.Errorf("read VM %d of service %d: %w", id, i.service, err)
	}
	facts[id] = vm
	return vm, nil
}

// refreshFacts asks oned for all VMs that matter to the service. Where the answer would
// end or shrink something, the leader is asked to confirm it.
func (i *ingester) refreshFacts(ctx context.Context) error {
	ids, facts, err := i.doubtfulVMs(ctx)
	if err != nil {
		return err
	}
	for _, span := range opennebula.Spans(ids) {
		err := i.awaitWritten(ctx, span, facts, func() error {
			session, confirmed := i.actor.server(), needsConfirming(span, i.facts)
			if confirmed { // it did before
				session = session.Confirmed()
			}
			err := i.fetchSpan(ctx, session, span, facts)
			if err == nil && !confirmed && needsConfirming(span, facts) {
				err = i.fetchSpan(ctx, session.Confirmed(), span, facts)
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	i.facts = facts
	if err := i.inspect(ctx); err != nil {
		return err
	}
	return i.networks.refreshNetworks(ctx)
}

// scattered is how many calls for a service's VMs are worth one that tells which of them
// there can be: ids of any size can be written into a document.
const scattered = 64

// doubtfulVMs are the VMs that matter to the service and that oned has to be asked about,
// ascending, and what is known of the others: strangers, and what no VM can be.
func (i *ingester) doubtfulVMs(ctx context.Context) ([]int, flow.Facts, error) {
	ids, facts := i.relevantVMs(), flow.Facts{}
	known := i.knownStrangers()
	ids = slices.DeleteFunc(ids, func(id int) bool {
		vm, isKnown := known[id]
		if isKnown {
			facts[id] = vm
		}
		return isKnown
	})
	if len(opennebula.Spans(ids)) <= scattered {
		return ids, facts, nil
	}
	newest, err := i.worker.database.newest(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("read the VMs of service %d: %w", i.service, err)
	}
	ids = slices.DeleteFunc(ids, func(id int) bool {
		if id > newest {
			facts[id] = one.VM{ID: id, State: one.VMDone, Service: i.service}
		}
		return id > newest
	})
	return ids, facts, nil
}

// inspect reads the whole of VMs that do not move, as far as something depends on it.
// What is done about one that is overdue is decided on what the zone's leader says.
func (i *ingester) inspect(ctx context.Context) error {
	for _, wanted := range flow.Inspections(i.record.State, i.facts, time.Now(), i.worker.config.Settings) {
		session := i.actor.server()
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
				vm.Seen.Since = routing.EnteredAt(event, i.record.State.Leader.Since)
			}
		}
		i.facts[wanted.VM] = vm
	}
	return nil
}

// relevantVMs are the nodes, and the VMs that something was asked of, ascending.
func (i *ingester) relevantVMs() []int {
	ids := map[int]bool{}
	for _, role := range i.record.State.Service.Body.Roles {
		for _, node := range role.Nodes {
			ids[node.DeployID] = true
		}
	}
	for id := range i.record.State.Asked {
		ids[id] = true
	}
	return slices.Sorted(maps.Keys(ids))
}
