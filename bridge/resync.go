package bridge

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/internal/idle"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/feeds"
)

// cloud is the part of oned that a resync uses.
type cloud interface {
	VMs(ctx context.Context, filter, start, end, state int) ([]one.VM, error)
	VM(ctx context.Context, id int) (one.VM, error)
	Networks(ctx context.Context, filter int) ([]opennebula.Network, error)
	Network(ctx context.Context, id int) (opennebula.Network, error)
}

// comparison compares oned's VMs and networks with the stored events. Its memory is the
// indexes, about 100 bytes an object, one page of VMs and the list of networks.
type comparison struct {
	*resyncer
	kinds []kind

	began time.Time
	// listed are the objects that oned has listed, unsure those that it may have listed as they were before their newest event.
	listed map[int]bool
	unsure []int
	// differences wait to be stored, at most a page of them; stored counts.
	differences []feeds.FoundEvent
	stored      int
	// overtaken reports whether an event of an object that differs was on its way, or was stored first.
	overtaken bool
}

func (r *resyncer) newComparison() *comparison {
	c := &comparison{resyncer: r}
	for _, k := range []kind{r.vms(), r.networks()} {
		some := func(name string) bool { return name == k.object || strings.HasPrefix(name, k.object+"/") }
		if slices.ContainsFunc(r.filter, some) {
			k.index = r.store.index(k.object)
			c.kinds = append(c.kinds, k)
		}
	}
	return c
}

// run compares once and publishes the differences. Everything received before is stored first, then the
// list is fetched, and then the stored state, so that all events received meanwhile prove to be newer.
func (c *comparison) run(ctx context.Context) error {
	c.stored = 0
	for _, k := range c.kinds {
		if err := c.compare(ctx, k); err != nil {
			return err
		}
	}
	if c.stored > 0 {
		c.log.Info("oned differs from the stored events; the differences are published", "objects", c.stored)
	}
	return nil
}

func (c *comparison) compare(ctx context.Context, k kind) error {
	if err := c.awaitDecoded(ctx); err != nil {
		return err
	}
	for _, f := range c.all() {
		if err := f.buffer.allStored(ctx); err != nil {
			return err
		}
	}
	c.began, c.listed, c.unsure, c.differences, c.overtaken = time.Now().UTC(), map[int]bool{}, nil, nil, false
	defer func() { c.listed = nil }()
	if err := k.list(ctx, func(page []pipeline.Event) error { return c.page(ctx, k, page) }); err != nil {
		return fmt.Errorf("compare oned's objects of kind %s with the stored events: %w", k.object, err)
	}
	if err := c.recheck(ctx, k); err != nil {
		return err
	}
	if err := c.flush(ctx); err != nil {
		return err
	}
	if c.overtaken {
		k.index.Forget()
	}
	return nil
}

// awaitDecoded waits until all messages received so far are decoded.
func (c *comparison) awaitDecoded(ctx context.Context) error {
	for _, f := range c.all() {
		_, heard, _ := f.listener.silence()
		if err := f.buffer.waitUntil(ctx, func() bool { return f.buffer.decoded >= heard }); err != nil {
			return err
		}
	}
	return nil
}

// page compares a page of objects. VMs of no service count only when they have
// been stored before. An event stored after the beginning is newer than the list.
func (c *comparison) page(ctx context.Context, k kind, page []pipeline.Event) error {
	if err := c.awaitDecoded(ctx); err != nil {
		return err
	}
	if err := k.index.CatchUp(ctx); err != nil {
		return err
	}
	for _, event := range page {
		c.listed[event.ID] = true
		stored, known := k.index.Of(event.ID)
		switch {
		case known && !stored.Heard.Before(c.began):
		case known && !k.index.Same(stored, event) && stored.Heard.After(c.began.Add(-opennebula.WriteTime)):
			c.unsure = append(c.unsure, event.ID)
		case known && !k.index.Same(stored, event), !known && (event.VM == nil || event.VM.Service >= 0):
			if err := c.differs(ctx, event, stored.Sequence); err != nil {
				return err
			}
		}
	}
	return c.flush(ctx)
}

// recheck fetches the objects that the list leaves in doubt. Those that are stored and not listed
// should be DONE, but absence alone is no proof: the server user may lack the right to see them. Those
// that may have been listed as they were before their newest stored event are fetched once oned has written
// that; an event that arrived meanwhile is newer than the list.
func (c *comparison) recheck(ctx context.Context, k kind) error {
	if err := k.index.CatchUp(ctx); err != nil {
		return err
	}
	var missing []int
	k.index.All(func(id int, stored feeds.StoredObject) {
		if !c.listed[id] && !stored.Done && stored.Heard.Before(c.began) {
			missing = append(missing, id)
		}
	})
	slices.Sort(missing)
	if err := c.fetch(ctx, k, missing); err != nil || len(c.unsure) == 0 {
		return err
	}
	if err := idle.For(ctx, time.Until(c.began.Add(opennebula.WriteTime))); err != nil {
		return err
	}
	if err := c.awaitDecoded(ctx); err != nil {
		return err
	}
	if err := k.index.CatchUp(ctx); err != nil {
		return err
	}
	newer := func(id int) bool { stored, _ := k.index.Of(id); return !stored.Heard.Before(c.began) }
	return c.fetch(ctx, k, slices.DeleteFunc(c.unsure, newer))
}

// fetch fetches objects one by one, at most half of the time.
func (c *comparison) fetch(ctx context.Context, k kind, ids []int) error {
	for _, id := range ids {
		stored, _ := k.index.Of(id)
		asked := time.Now()
		event, err := k.one(ctx, id)
		switch {
		case err == nil && k.index.Same(stored, event):
			continue
		case opennebula.IsCode(err, opennebula.CodeNoExists):
			// The known state of an object that is gone without a trace is kept.
			if event, _, err = k.index.Event(ctx, id); err == nil {
				event = k.gone(id, event)
			}
		case opennebula.IsCode(err, opennebula.CodeAuthorization):
			c.log.Warn("the server user may not see an object that is in the stored events", "object", k.object, "id", id, "error", err)
			continue
		case err != nil:
			err = fmt.Errorf("read %s %d, which is not listed or differs from the stored events: %w", k.object, id, err)
		}
		if err != nil {
			return err
		}
		if err := c.differs(ctx, event, stored.Sequence); err != nil {
			return err
		}
		if err := idle.For(ctx, min(time.Since(asked), longestThrottle)); err != nil {
			return err
		}
	}
	return nil
}

// differs adds a difference, unless an event of the object is on its way: the next comparison sees that.
func (c *comparison) differs(ctx context.Context, event pipeline.Event, after uint64) error {
	if !c.filter.passesState(event.Object, event.State, event.LCMState) {
		return nil
	}
	for _, f := range c.all() {
		if f.buffer.awaits(objectID{event.Object, event.ID}) {
			c.overtaken = true
			time.AfterFunc(c.config.ResyncSettle, func() {
				if ctx.Err() == nil {
					c.request("events were pending")
				}
			})
			return nil
		}
	}
	event.Version, event.Zone, event.Resync, event.Heard = pipeline.Version, c.config.Zone, true, time.Now().UTC()
	id := fmt.Sprintf("resync-%d-%s-%d-%d", c.config.Zone, event.Object, event.ID, after)
	c.differences = append(c.differences, feeds.FoundEvent{
		Event: feeds.Event{Subject: subject(event), MessageID: id, Event: event}, After: after,
	})
	if len(c.differences) >= pageSize {
		return c.flush(ctx)
	}
	return nil
}

// flush stores the differences.
func (c *comparison) flush(ctx context.Context) error {
	if len(c.differences) == 0 {
		return nil
	}
	stored, err := c.store.PublishFound(ctx, c.differences)
	c.overtaken = c.overtaken || stored < len(c.differences)
	c.stored += stored
	c.differences = c.differences[:0]
	c.metrics.resyncDifferences.Add(float64(stored))
	return err
}

const (
	firstResyncPause   = 500 * time.Millisecond
	longestResyncPause = 30 * time.Second
)

// resyncer runs one comparison at a time. A bridge on standby leaves that to the holder.
type resyncer struct {
	*Bridge
	// requests has room for one.
	requests chan struct{}

	mu     sync.Mutex
	last   time.Time // when a comparison succeeded
	failed string    // why the latest failed
}

// request requests a comparison soon.
func (r *resyncer) request(cause string) {
	r.log.Debug("a comparison with oned was requested", "cause", cause)
	signal(r.requests)
}

// run compares, on request and periodically, until ctx ends.
func (r *resyncer) run(ctx context.Context) {
	timer := time.NewTimer(r.config.ResyncEvery)
	defer timer.Stop()
	comparison := r.newComparison()
	for {
		next := r.config.ResyncEvery
		var wanted bool
		select {
		case <-ctx.Done():
			return
		case <-r.requests:
			next, wanted = r.config.ResyncSettle, r.holdsAny()
		case <-timer.C:
			// The bridge that publishes the first feed by name makes the periodic comparison for all.
			wanted = slices.MinFunc(r.all(), func(a, b *feed) int { return strings.Compare(a.name, b.name) }).holding.Load()
		}
		if wanted {
			r.compareUntilDone(ctx, comparison)
		}
		timer.Reset(next*9/10 + rand.N(next/5+1))
	}
}

// compareUntilDone retries a comparison until it succeeds, ctx ends or this bridge publishes no more.
func (r *resyncer) compareUntilDone(ctx context.Context, c *comparison) {
	for wait := idle.Between(firstResyncPause, longestResyncPause); r.holdsAny(); wait.Wait(ctx) {
		err := c.run(ctx)
		if ctx.Err() != nil {
			return
		}
		r.mu.Lock()
		before := r.failed
		if r.failed = ""; err != nil {
			r.failed = err.Error()
		} else {
			r.last = time.Now()
		}
		r.mu.Unlock()
		switch {
		case err != nil && before == "":
			r.log.Warn("cannot compare oned with the stored events, retrying", "error", err)
		case err == nil && before != "":
			r.log.Info("oned was compared with the stored events again")
		}
		if err == nil {
			r.metrics.resyncs.WithLabelValues("done").Inc()
			return
		}
		r.metrics.resyncs.WithLabelValues("failed").Inc()
	}
}

// holdsAny reports whether this bridge publishes a feed.
func (r *resyncer) holdsAny() bool {
	return slices.ContainsFunc(r.all(), func(f *feed) bool { return f.holding.Load() })
}
