package bridge

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
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

// compareRegularly compares, when asked to and from time to time, until ctx ends.
// A bridge on standby leaves that to the one that publishes.
func (b *Bridge) compareRegularly(ctx context.Context) {
	timer := time.NewTimer(b.config.Resync.Every)
	defer timer.Stop()
	r := &resync{bridge: b, index: b.store.index()}
	for {
		next := b.config.Resync.Every
		var wanted bool
		select {
		case <-ctx.Done():
			return
		case <-b.asked:
			next, wanted = b.config.Resync.Settle, b.holdsAny()
		case <-timer.C:
			wanted = b.holdsFirst()
		}
		if wanted && b.compareUntilDone(ctx, r) != nil {
			return
		}
		timer.Reset(next*9/10 + rand.N(next/5+1))
	}
}

// compareUntilDone tries a comparison until it succeeds, ctx ends or this bridge
// publishes no more.
func (b *Bridge) compareUntilDone(ctx context.Context, r *resync) error {
	pause := firstResyncPause
	for b.holdsAny() {
		err := r.run(ctx)
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
	return nil
}

// resync compares oned's VMs with what is stored. Its memory is the index, about
// 100 bytes a VM, and one page of VMs.
type resync struct {
	bridge *Bridge
	index  index

	began time.Time
	// seen are the VMs that oned has listed.
	seen map[int]bool
	// found waits to be stored, at most a page of it; stored counts.
	found  []pipeline.FoundVM
	stored int
	// overtaken says that news of a VM was on its way when it was found to
	// differ, or was stored before it.
	overtaken bool
}

// run compares once and publishes the differences. Everything heard before is
// stored first; the list is asked for next, and what is stored after it, so that
// whatever was heard meanwhile, by any bridge, is seen to be newer.
func (r *resync) run(ctx context.Context) error {
	b := r.bridge
	if err := r.understand(ctx); err != nil {
		return err
	}
	for _, f := range b.feeds {
		if err := f.window.allStored(ctx); err != nil {
			return err
		}
	}
	r.began, r.seen, r.found, r.stored, r.overtaken = time.Now().UTC(), map[int]bool{}, nil, 0, false
	defer func() { r.seen = nil }()
	err := pages(ctx, b.cloud, b.config.Resync.PageSize, func(vms []flow.VM) error { return r.page(ctx, vms) })
	if err != nil {
		return fmt.Errorf("compare oned's VMs with the stored events: %w", err)
	}
	if err := r.lookUp(ctx); err != nil {
		return err
	}
	if err := r.flush(ctx); err != nil {
		return err
	}
	if r.stored > 0 {
		b.log.Info("oned's VMs differ from the stored events; the differences are published", "vms", r.stored)
	}
	if r.overtaken {
		r.index.Forget()
	}
	return nil
}

// understand waits until it is known what was heard so far.
func (r *resync) understand(ctx context.Context) error {
	for _, f := range r.bridge.feeds {
		_, heard, _ := f.listener.silence()
		if err := f.window.allUnderstood(ctx, heard); err != nil {
			return err
		}
	}
	return nil
}

// page compares a page of VMs. Those of no service count only when they have been
// stored before. Stored news from after the beginning is newer than the list.
func (r *resync) page(ctx context.Context, vms []flow.VM) error {
	if err := r.understand(ctx); err != nil {
		return err
	}
	if err := r.index.CatchUp(ctx); err != nil {
		return err
	}
	for _, vm := range vms {
		r.seen[vm.ID] = true
		stored, known := r.index.Of(vm.ID)
		switch {
		case known && !stored.Heard.Before(r.began):
		case known && !r.index.Same(stored, vm), !known && vm.Service >= 0:
			if err := r.differs(ctx, vm, stored.Sequence, ""); err != nil {
				return err
			}
		}
	}
	return r.flush(ctx)
}

// lookUp asks for VMs that are stored and not in the list of those that are not
// DONE. They should be DONE, but absence alone is no proof: the server user may
// be kept from seeing them.
func (r *resync) lookUp(ctx context.Context) error {
	if err := r.index.CatchUp(ctx); err != nil {
		return err
	}
	var missing []int
	r.index.All(func(vm int, stored pipeline.StoredVM) {
		if !r.seen[vm] && !stored.Done && stored.Heard.Before(r.began) {
			missing = append(missing, vm)
		}
	})
	slices.Sort(missing)
	for _, id := range missing {
		if err := r.lookUpOne(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

func (r *resync) lookUpOne(ctx context.Context, id int) error {
	b := r.bridge
	stored, _ := r.index.Of(id)
	asked := time.Now()
	vm, err := b.cloud.VM(ctx, id)
	switch {
	case err == nil && r.index.Same(stored, vm):
		return nil
	case err == nil:
		err = r.differs(ctx, vm, stored.Sequence, "")
	case opennebula.IsCode(err, opennebula.CodeNoExists):
		err = r.gone(ctx, id, stored)
	case opennebula.IsCode(err, opennebula.CodeAuthorization):
		b.log.Warn("the server user may not see a VM that is in the stored events", "vm", id, "error", err)
		return nil
	default:
		return fmt.Errorf("look up VM %d, which is no longer listed: %w", id, err)
	}
	if err != nil {
		return err
	}
	return sleep(ctx, throttle(time.Since(asked)))
}

// gone keeps of a VM that is gone without a trace what was known of it.
func (r *resync) gone(ctx context.Context, id int, stored pipeline.StoredVM) error {
	vm := flow.VM{ID: id, Service: -1}
	last, known, err := r.index.Event(ctx, id)
	if err != nil {
		return err
	}
	if known && last.VM != nil {
		vm = *last.VM
	}
	vm.State, vm.LCMState = flow.VMDone, 0
	return r.differs(ctx, vm, stored.Sequence, last.Host)
}

// differs notes a difference, marked as found and not heard, unless news of the
// VM is on its way: that comes first, and the next comparison sees.
func (r *resync) differs(ctx context.Context, vm flow.VM, after uint64, host string) error {
	b := r.bridge
	if !b.filter.passesState(objectVM, vm.State.String(), vm.LCMState.String()) {
		return nil
	}
	for _, f := range b.feeds {
		if f.window.awaits(vm.ID) {
			r.overtaken = true
			b.askLater()
			return nil
		}
	}
	event := pipeline.Event{
		Version: pipeline.Version, Zone: b.config.Zone, Object: "vm", ID: vm.ID, State: vm.State.String(), LCMState: vm.LCMState.String(),
		VM: &vm, Host: host, Resync: true, Heard: time.Now().UTC(),
	}
	hash := hashOf([][]byte{[]byte("resync"), pipeline.Encode(event)})
	id := "resync-" + strconv.Itoa(b.config.Zone) + "-" + strconv.Itoa(vm.ID) + "-" + strconv.FormatUint(after, 10)
	r.found = append(r.found, pipeline.FoundVM{
		FeedEvent: pipeline.FeedEvent{Subject: subject(event), MessageID: id, Hash: hash, Event: event}, After: after,
	})
	if len(r.found) >= b.config.Resync.PageSize {
		return r.flush(ctx)
	}
	return nil
}

// flush stores what was found.
func (r *resync) flush(ctx context.Context) error {
	if len(r.found) == 0 {
		return nil
	}
	b := r.bridge
	stored, err := b.store.PublishFound(ctx, r.found)
	r.overtaken = r.overtaken || stored < len(r.found)
	r.stored += stored
	r.found = r.found[:0]
	b.metrics.resyncDifferences.Add(float64(stored))
	b.mu.Lock()
	b.resyncs.differences += uint64(stored)
	b.mu.Unlock()
	return err
}

// askLater has another comparison made when the present one has settled.
func (b *Bridge) askLater() {
	time.AfterFunc(b.config.Resync.Settle, func() {
		if b.hearing.Err() == nil {
			b.ask("news was on its way")
		}
	})
}

// compared notes a comparison's outcome, and logs when that changes.
func (b *Bridge) compared(err error) {
	b.mu.Lock()
	before := b.resyncs.failed
	b.resyncs.failed = ""
	if err != nil {
		b.resyncs.failed = err.Error()
	} else {
		b.resyncs.last = time.Now()
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
