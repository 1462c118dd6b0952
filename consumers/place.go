package consumers

import (
	"context"
	"errors"
)

// A lane works in a place (turns has the count of them), so that oned and NATS get
// no more at a time than they can do. It gives the place away wherever it would
// only wait.

// leavePlace lets another lane work, unless this one has done so already.
func (p *slot) leavePlace() {
	if p.placed {
		p.placed = false
		p.worker.turns.leave()
	}
}

// takePlace waits for a place; without one it returns ctx's error.
func (p *slot) takePlace(ctx context.Context, as rank) error {
	request, granted := awaited(as)
	p.partition.askAgain(p.lane, request)
	err := p.worker.turns.await(ctx, request, granted)
	p.placed = err == nil
	return err
}

// standAside waits without keeping others from working.
func (p *slot) standAside(ctx context.Context, wait *backoff) {
	p.leavePlace()
	wait.wait(ctx)
	_ = p.takePlace(ctx, ordinary)
}

// giveWay lets others work between two calls where they wait for that: a role of a
// hundred VMs takes as long as oned takes to make them. It fails only when ctx ends.
func (p *slot) giveWay(ctx context.Context) error {
	if !p.worker.turns.crowded() {
		return nil
	}
	p.leavePlace()
	return p.takePlace(ctx, ordinary)
}

// whileOthersWork waits, in the middle of a turn, until NATS has stored something or
// oned has done what it was asked, and lets another lane work meanwhile. It goes on
// before those that have not begun. Whom a command waits for keeps its place, and so
// does who is making a call.
func (p *slot) whileOthersWork(ctx context.Context, wait func() error) error {
	if !p.placed || p.calling || p.partition.isUrgent(p.lane) {
		return wait()
	}
	waited := p.makeRoom()
	err := func() error {
		defer waited()
		return wait()
	}()
	if p.placed {
		return err
	}
	return errors.Join(err, p.takePlace(ctx, returning))
}

// maxOutside bounds how many lanes wait without a place, for NATS's disk or for a call:
// beyond it whoever waits keeps others from working.
const maxOutside = 512

// makeRoom lets another lane work, where one waits for that, while this one waits, as for
// NATS's disk: what many lanes store at a time costs as much as what a few do. A lane
// that tells its history and sets its timers goes on in another turn. What it returns is
// to be called when the wait is over.
func (p *slot) makeRoom() (waited func()) {
	if !p.placed || !p.worker.turns.crowded() || !p.worker.outside.TryAcquire(1) {
		return func() {}
	}
	p.leavePlace()
	return func() { p.worker.outside.Release(1) }
}
