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
)

// refresh asks oned about VMs, and in the same calls about the other VMs of which
// events wait: where one host's VMs fail, one look at a service sees them all.
func (i *ingester) refresh(ctx context.Context, vms ...int) error {
	at, waiting := time.Now(), i.awaited()
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
			return i.fetchSpan(ctx, i.worker.oned.Server().Confirmed(), span, i.facts)
		})
		if err != nil {
			return err
		}
	}
	i.noteRefresh(at, waiting)
	return nil
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

// refreshFacts asks oned for all VMs that matter to the service. Where the answer would
// end or shrink something, the leader is asked to confirm it.
func (i *ingester) refreshFacts(ctx context.Context) error {
	ids, facts, err := i.doubtfulVMs(ctx)
	if err != nil {
		return err
	}
	for _, span := range opennebula.Spans(ids) {
		err := i.awaitWritten(ctx, span, facts, func() error {
			session, confirmed := i.worker.oned.Server(), needsConfirming(span, i.facts)
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
	newest, err := i.worker.database.newest(ctx)
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
				vm.Seen.Since = routing.EnteredAt(event, i.record.State.Leader.Since)
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

// awaitWritten repeats a look at VMs as long as it may show one of the service's as it was before
// what was heard of it, and nothing newer about it waits.
func (i *ingester) awaitWritten(ctx context.Context, vms []int, facts flow.Facts, look func() error) error {
	for wait := idle.NewBackoff(); ; i.slot.backOff(ctx, wait) {
		if err := look(); err != nil {
			return err
		}
		waiting := i.awaited()
		behind := slices.ContainsFunc(vms, func(id int) bool {
			return i.heard.ahead(facts[id]) && !waiting[id].state && i.record.State.Service.Owns(facts[id])
		})
		if !behind || ctx.Err() != nil {
			return ctx.Err()
		}
	}
}
