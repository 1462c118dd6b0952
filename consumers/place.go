package consumers

import (
	"context"
	"errors"
)

// A lane works in a place (turns has the count of them), so that oned and NATS get
// no more at a time than they can do. It gives the place away wherever it would
// only wait.

// leavePlace lets another lane work, unless this one has done so already.
func (l *lane) leavePlace() {
	if l.placed {
		l.placed = false
		l.worker.turns.leave()
	}
}

// takePlace waits for a place; without one it returns ctx's error.
func (l *lane) takePlace(ctx context.Context, as rank) error {
	request, granted := awaited(as)
	l.partition.askAgain(l, request)
	err := l.worker.turns.await(ctx, request, granted)
	l.placed = err == nil
	return err
}

// standAside waits without keeping others from working.
func (l *lane) standAside(ctx context.Context, wait *backoff) {
	l.leavePlace()
	wait.wait(ctx)
	_ = l.takePlace(ctx, ordinary)
}

// giveWay lets others work between two calls where they wait for that: a role of a
// hundred VMs takes as long as oned takes to make them. It fails only when ctx ends.
func (l *lane) giveWay(ctx context.Context) error {
	if !l.worker.turns.crowded() {
		return nil
	}
	l.leavePlace()
	return l.takePlace(ctx, ordinary)
}

// whileOthersWork waits, in the middle of a turn, until NATS has stored something or
// oned has done what it was asked, and lets another lane work meanwhile. It goes on
// before those that have not begun. Whom a command waits for keeps its place, and so
// does who is making a call.
func (l *lane) whileOthersWork(ctx context.Context, wait func() error) error {
	turns, outside := l.worker.turns, l.worker.outside
	if !l.placed || l.calling || l.partition.isUrgent(l) || !turns.crowded() || !outside.TryAcquire(1) {
		return wait()
	}
	l.leavePlace()
	err := func() error {
		defer outside.Release(1)
		return wait()
	}()
	return errors.Join(err, l.takePlace(ctx, returning))
}

// maxOutside bounds how many lanes wait without a place, for NATS's disk or for a call:
// beyond it whoever waits keeps others from working.
const maxOutside = 512

// makeRoom lets another lane work while this one tells what happened and sets its
// timers: that is a wait for NATS's disk, and what many lanes tell at a time is
// stored at the cost of a few. The lane goes on in another turn. What it returns is
// to be called when all is told.
func (l *lane) makeRoom() (told func()) {
	if !l.placed || !l.worker.turns.crowded() || !l.worker.outside.TryAcquire(1) {
		return func() {}
	}
	l.leavePlace()
	return func() { l.worker.outside.Release(1) }
}
