package bridge

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
)

// cloud is the part of oned that a resync asks.
type cloud interface {
	VMs(ctx context.Context, filter, start, end, state int) ([]flow.VM, error)
	VM(ctx context.Context, id int) (flow.VM, error)
}

const (
	firstResyncPause   = 500 * time.Millisecond
	longestResyncPause = 30 * time.Second
)

// resyncs compares, when asked to and from time to time, until ctx ends.
func (b *Bridge) resyncs(ctx context.Context, q *queue) {
	if b.cloud == nil {
		return
	}
	timer := time.NewTimer(b.config.Resync.Every)
	defer timer.Stop()
	for {
		next := b.config.Resync.Every
		select {
		case <-ctx.Done():
			return
		case <-b.asked:
			next = b.config.Resync.Settle
		case <-timer.C:
		}
		if b.resyncUntilDone(ctx, q) != nil {
			return
		}
		timer.Reset(next*9/10 + rand.N(next/5+1))
	}
}

// resyncUntilDone tries a comparison until it succeeds or ctx ends.
func (b *Bridge) resyncUntilDone(ctx context.Context, q *queue) error {
	pause := firstResyncPause
	for {
		err := b.resync(ctx, q)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		b.compared(err)
		if err == nil {
			return nil
		}
		if err := sleep(ctx, pause/2+rand.N(pause/2)); err != nil {
			return err
		}
		pause = min(2*pause, longestResyncPause)
	}
}

// resync lists oned's VMs and publishes in what they differ from what is
// stored. The list is asked for first and the stored events after it, so that
// whatever was heard meanwhile, by any bridge, is seen to be newer.
func (b *Bridge) resync(ctx context.Context, q *queue) error {
	if err := q.beginResync(ctx); err != nil {
		return err
	}
	defer q.endResync()
	began := time.Now().UTC()
	listed, err := listVMs(ctx, b.cloud, b.config.Resync.PageSize)
	if err != nil {
		return fmt.Errorf("list VMs to compare them with the stored events: %w", err)
	}
	stored, err := b.store.LastVMEvents(ctx)
	if err != nil {
		return err
	}
	found, missing := differences(listed, stored, began)
	gone, err := b.lookUp(ctx, missing)
	if err != nil {
		return err
	}
	return b.publishFound(ctx, q, append(found, gone...), stored, began)
}

// differences are the VMs that are in another state than stored, and the ids
// of stored ones that are not in the list. VMs of no service count only when
// they have been stored before. Stored news from after the listing's
// beginning is newer than the list.
func differences(listed []flow.VM, stored map[int]pipeline.Event, began time.Time) (found []flow.VM, missing []int) {
	present := map[int]bool{}
	for _, vm := range listed {
		present[vm.ID] = true
		last, known := stored[vm.ID]
		switch {
		case known && !last.Heard.Before(began):
		case known && !same(vm, last), !known && vm.Service >= 0:
			found = append(found, vm)
		}
	}
	for id, last := range stored {
		if !present[id] && last.Heard.Before(began) && last.State != flow.VMDone.String() {
			missing = append(missing, id)
		}
	}
	slices.Sort(missing)
	return found, missing
}

// same says that an event tells everything that is known of a VM now.
func same(vm flow.VM, last pipeline.Event) bool {
	return last.State == vm.State.String() && last.LCMState == vm.LCMState.String() && last.VM != nil && *last.VM == vm
}

// lookUp asks for VMs that are not in the list of those that are not DONE. They
// should be DONE, but absence alone is no proof: the server user may be kept
// from seeing them.
func (b *Bridge) lookUp(ctx context.Context, missing []int) (found []flow.VM, err error) {
	for _, id := range missing {
		vm, err := b.cloud.VM(ctx, id)
		switch {
		case err == nil:
			found = append(found, vm)
		case opennebula.IsCode(err, opennebula.CodeNoExists):
			found = append(found, flow.VM{ID: id, State: flow.VMDone, Service: -1})
		case opennebula.IsCode(err, opennebula.CodeAuthorization):
			b.log.Warn("the server user may not see a VM that is in the stored events", "vm", id, "error", err)
		default:
			return nil, fmt.Errorf("look up VM %d, which is no longer listed: %w", id, err)
		}
	}
	return found, nil
}

// publishFound queues the differences, marked as found and not heard.
func (b *Bridge) publishFound(ctx context.Context, q *queue, found []flow.VM, stored map[int]pipeline.Event, began time.Time) error {
	slices.SortFunc(found, func(a, b flow.VM) int { return a.ID - b.ID })
	count := 0
	for _, vm := range found {
		event := b.foundEvent(vm, stored[vm.ID])
		pushed, err := q.pushFound(ctx, event, began)
		if err != nil {
			return err
		}
		if pushed {
			count++
		}
	}
	b.metrics.resyncDifferences.Add(float64(count))
	b.mu.Lock()
	b.state.differences += uint64(count)
	b.mu.Unlock()
	if count > 0 {
		b.log.Info("oned's VMs differ from the stored events; the differences are published", "vms", count)
	}
	return nil
}

// foundEvent keeps of a VM that is gone without a trace what was known of it.
func (b *Bridge) foundEvent(vm flow.VM, last pipeline.Event) pipeline.Event {
	if vm.Gone() && vm.Name == "" && last.VM != nil {
		known := *last.VM
		known.State, known.LCMState = vm.State, vm.LCMState
		vm = known
	}
	return pipeline.Event{
		Version: pipeline.Version, Zone: b.config.Zone, Object: "vm", ID: vm.ID, State: vm.State.String(), LCMState: vm.LCMState.String(),
		VM: &vm, Host: last.Host, Resync: true, Heard: time.Now().UTC(),
	}
}

// compared notes a comparison's outcome, and logs when that changes.
func (b *Bridge) compared(err error) {
	b.mu.Lock()
	before := b.state.resyncError
	b.state.resyncError = ""
	if err != nil {
		b.state.resyncError = err.Error()
	} else {
		b.state.lastResync = time.Now()
	}
	b.mu.Unlock()
	if err == nil {
		b.metrics.resyncs.WithLabelValues("done").Inc()
		if before != "" {
			b.log.Info("oned's VMs could be compared with the stored events again")
		}
		return
	}
	b.metrics.resyncs.WithLabelValues("failed").Inc()
	if before == "" {
		b.log.Warn("cannot compare oned's VMs with the stored events, trying again until it works", "error", err)
	}
}

// lastID is the largest id that oned can give.
const lastID = 1<<31 - 1

// listVMs lists all VMs that are not DONE, in ranges of ids. Behind a range
// without VMs it asks for all the rest at once, which mostly is nothing; only
// when that is too large does it go on in ranges, of growing size, to the next
// VM.
func listVMs(ctx context.Context, oned cloud, page int) ([]flow.VM, error) {
	var all []flow.VM
	width, askRest := page, true
	for start := 0; start <= lastID; {
		end := min(start+width-1, lastID)
		vms, err := oned.VMs(ctx, opennebula.FilterAll, start, end, opennebula.StateNotDone)
		switch {
		case errors.Is(err, opennebula.ErrTooLarge) && width > 1:
			width /= 2
			continue
		case err != nil:
			return nil, err
		}
		all = append(all, vms...)
		start = end + 1
		if len(vms) > 0 {
			width, askRest = page, true
			continue
		}
		width *= 2
		if !askRest {
			continue
		}
		rest, err := oned.VMs(ctx, opennebula.FilterAll, start, -1, opennebula.StateNotDone)
		if err == nil {
			return append(all, rest...), nil
		}
		if !errors.Is(err, opennebula.ErrTooLarge) {
			return nil, err
		}
		askRest = false
	}
	return all, nil
}
