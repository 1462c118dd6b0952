package consumers

import (
	"context"
	"errors"

	"github.com/flowjet/flowjet/internal/idle"
)

// A service loop works in a slot (the scheduler has the count of them), so that oned and NATS get
// no more at a time than they can do. It gives the slot away wherever it would
// only wait.

// release lets another service loop work, unless this one has done so already.
func (p *slot) release() {
	if p.placed {
		p.placed = false
		p.worker.scheduler.release()
	}
}

// acquire waits for a slot; without one it returns ctx's error.
func (p *slot) acquire(ctx context.Context, as priority) error {
	request, granted := awaited(as)
	p.partition.askAgain(p.serviceLoop, request)
	err := p.worker.scheduler.await(ctx, request, granted)
	p.placed = err == nil
	return err
}

// backOff waits without keeping others from working. In the middle of a call it keeps what
// slot it has, for the reason in whileOthersWork.
func (p *slot) backOff(ctx context.Context, wait *idle.Backoff) {
	if p.calling {
		wait.Wait(ctx)
		return
	}
	p.release()
	wait.Wait(ctx)
	_ = p.acquire(ctx, ordinary)
}

// yield lets others work between two calls where they wait for that: a role of a
// hundred VMs takes as long as oned takes to make them. It fails only when ctx ends.
func (p *slot) yield(ctx context.Context) error {
	if !p.worker.scheduler.crowded() {
		return nil
	}
	p.release()
	return p.acquire(ctx, ordinary)
}

// whileOthersWork waits, in the middle of a turn, until NATS has stored something or
// oned has done what it was asked, and lets another service loop work meanwhile. It goes on
// before those that have not begun. Whom a command waits for keeps its slot, and so
// does who is making a call: who got the slot might wait for the call.
func (p *slot) whileOthersWork(ctx context.Context, wait func() error) error {
	if !p.placed || p.calling || p.partition.isUrgent(p.serviceLoop) {
		return wait()
	}
	waited := p.lend()
	err := func() error {
		defer waited()
		return wait()
	}()
	if p.placed {
		return err
	}
	return errors.Join(err, p.acquire(ctx, returning))
}

// maxOutside bounds how many service loops wait without a slot, for NATS's disk or for a call:
// beyond it whoever waits keeps others from working.
const maxOutside = 512

// lend lets another service loop work, where one waits for that, while this one waits, as for
// NATS's disk: what many service loops store at a time costs as much as what a few do. A service loop
// that tells its history and sets its timers goes on in another turn. What it returns is
// to be called when the wait is over.
func (p *slot) lend() (waited func()) {
	if !p.placed || !p.worker.scheduler.crowded() || !p.worker.outside.TryAcquire(1) {
		return func() {}
	}
	p.release()
	return func() { p.worker.outside.Release(1) }
}
