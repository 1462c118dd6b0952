package bridge

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/internal/idle"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/feeds"
)

// cloud is the part of oned that a resync asks.
type cloud interface {
	VMs(ctx context.Context, filter, start, end, state int) ([]flow.VM, error)
	VM(ctx context.Context, id int) (flow.VM, error)
	Networks(ctx context.Context, filter int) ([]opennebula.Network, error)
	Network(ctx context.Context, id int) (opennebula.Network, error)
}

// resync compares oned's VMs and networks with what is stored. Its memory is the
// indexes, about 100 bytes an object, one page of VMs and the list of networks.
type resync struct {
	bridge *Bridge
	kinds  []kind

	began time.Time
	// seen are the objects of the present kind that oned has listed.
	seen map[int]bool
	// found waits to be stored, at most a page of it; stored counts.
	found  []feeds.FoundEvent
	stored int
	// overtaken reports whether news of an object was on its way when it was found to
	// differ, or was stored before it.
	overtaken bool
}

func (b *Bridge) newResync() *resync {
	r := &resync{bridge: b}
	for _, k := range b.kinds() {
		if slices.Contains(b.filter.objects, k.object) {
			k.index = b.store.index(k.object)
			r.kinds = append(r.kinds, k)
		}
	}
	return r
}

// run compares once and publishes the differences. Everything heard before is
// stored first; the list is asked for next, and what is stored after it, so that
// whatever was heard meanwhile, by any bridge, is seen to be newer.
func (r *resync) run(ctx context.Context) error {
	b := r.bridge
	r.stored = 0
	for _, k := range r.kinds {
		if err := r.compare(ctx, k); err != nil {
			return err
		}
	}
	if r.stored > 0 {
		b.log.Info("oned differs from the stored events; the differences are published", "objects", r.stored)
	}
	return nil
}

// compare compares the objects of one kind.
func (r *resync) compare(ctx context.Context, k kind) error {
	if err := r.understand(ctx); err != nil {
		return err
	}
	for _, f := range r.bridge.feeds {
		if err := f.window.allStored(ctx); err != nil {
			return err
		}
	}
	r.began, r.seen, r.found, r.overtaken = time.Now().UTC(), map[int]bool{}, nil, false
	defer func() { r.seen = nil }()
	if err := k.list(ctx, func(page []pipeline.Event) error { return r.page(ctx, k, page) }); err != nil {
		return fmt.Errorf("compare oned's objects of kind %s with the stored events: %w", k.object, err)
	}
	if err := r.lookUp(ctx, k); err != nil {
		return err
	}
	if err := r.flush(ctx); err != nil {
		return err
	}
	if r.overtaken {
		k.index.Forget()
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

// page compares a page of objects. VMs of no service count only when they have
// been stored before. Stored news from after the beginning is newer than the list.
func (r *resync) page(ctx context.Context, k kind, page []pipeline.Event) error {
	if err := r.understand(ctx); err != nil {
		return err
	}
	if err := k.index.CatchUp(ctx); err != nil {
		return err
	}
	for _, event := range page {
		r.seen[event.ID] = true
		stored, known := k.index.Of(event.ID)
		switch {
		case known && !stored.Heard.Before(r.began):
		case known && !k.index.Same(stored, event), !known && (event.VM == nil || event.VM.Service >= 0):
			if err := r.differs(ctx, event, stored.Sequence); err != nil {
				return err
			}
		}
	}
	return r.flush(ctx)
}

// lookUp asks for objects that are stored and not in the list of those that are
// not DONE. They should be DONE, but absence alone is no proof: the server user
// may be kept from seeing them.
func (r *resync) lookUp(ctx context.Context, k kind) error {
	if err := k.index.CatchUp(ctx); err != nil {
		return err
	}
	var missing []int
	k.index.All(func(id int, stored feeds.StoredObject) {
		if !r.seen[id] && !stored.Done && stored.Heard.Before(r.began) {
			missing = append(missing, id)
		}
	})
	slices.Sort(missing)
	for _, id := range missing {
		if err := r.lookUpOne(ctx, k, id); err != nil {
			return err
		}
	}
	return nil
}

func (r *resync) lookUpOne(ctx context.Context, k kind, id int) error {
	stored, _ := k.index.Of(id)
	asked := time.Now()
	event, err := k.one(ctx, id)
	switch {
	case err == nil && k.index.Same(stored, event):
		return nil
	case err == nil:
		err = r.differs(ctx, event, stored.Sequence)
	case opennebula.IsCode(err, opennebula.CodeNoExists):
		err = r.gone(ctx, k, id, stored)
	case opennebula.IsCode(err, opennebula.CodeAuthorization):
		r.bridge.log.Warn("the server user may not see an object that is in the stored events", "object", k.object, "id", id, "error", err)
		return nil
	default:
		return fmt.Errorf("look up %s %d, which is no longer listed: %w", k.object, id, err)
	}
	if err != nil {
		return err
	}
	return idle.For(ctx, throttle(time.Since(asked)))
}

// gone keeps of an object that is gone without a trace what was known of it.
func (r *resync) gone(ctx context.Context, k kind, id int, stored feeds.StoredObject) error {
	last, _, err := k.index.Event(ctx, id)
	if err != nil {
		return err
	}
	return r.differs(ctx, k.gone(id, last), stored.Sequence)
}

// differs notes a difference, marked as found and not heard, unless news of the
// object is on its way: that comes first, and the next comparison sees.
func (r *resync) differs(ctx context.Context, event pipeline.Event, after uint64) error {
	b := r.bridge
	if !b.filter.passesState(event.Object, event.State, event.LCMState) {
		return nil
	}
	for _, f := range b.feeds {
		if f.window.awaits(objectID{event.Object, event.ID}) {
			r.overtaken = true
			b.askLater()
			return nil
		}
	}
	event.Version, event.Zone, event.Resync, event.Heard = pipeline.Version, b.config.Zone, true, time.Now().UTC()
	id := fmt.Sprintf("resync-%d-%s-%d-%d", b.config.Zone, event.Object, event.ID, after)
	r.found = append(r.found, feeds.FoundEvent{
		Event: feeds.Event{Subject: subject(event), MessageID: id, Event: event}, After: after,
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
