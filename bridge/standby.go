package bridge

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/flowjet/flowjet/internal/idle"
	"github.com/flowjet/flowjet/pipeline"
)

// heartbeatsPerStandby is how many times within Config.Standby a holder announces itself.
const heartbeatsPerStandby = 5

// watchUntilDone listens for the feed's holder; nil when ctx ends first.
func (f *feed) watchUntilDone(ctx context.Context) watch {
	for {
		w, err := f.store.watch(f.name)
		if err == nil {
			return w
		}
		f.storing(err)
		if idle.For(ctx, longestPause) != nil {
			return nil
		}
	}
}

// acquire stands by until the feed is this bridge's: nobody had it, or the one
// who had it gave it up or fell silent. Of several that take it at once
// JetStream lets one. An error is ctx's.
func (f *feed) acquire(ctx context.Context, watch watch) (lease, error) {
	// Not all bridges find the silence in the same instant.
	patience := f.config.Standby + rand.N(f.config.Standby/heartbeatsPerStandby+1)
	interval := max(f.config.Standby/heartbeatsPerStandby, time.Millisecond)
	silent := true // at first, the lease itself is asked
	for {
		if silent {
			l, err := f.tryAcquire(ctx, watch.Silence() > patience)
			if l != nil {
				f.storing(nil)
				return l, nil
			}
			f.storing(err)
		}
		if err := waitFor(ctx, watch.Changed(), interval); err != nil {
			return nil, err
		}
		silent = watch.Silence() > patience || watch.Last().Leaving
	}
}

// tryAcquire takes the feed if nobody has it, or whoever has it is dead. nil
// without an error means that somebody has.
func (f *feed) tryAcquire(ctx context.Context, dead bool) (lease, error) {
	last, sequence, err := f.store.LastLease(ctx, f.name)
	if err != nil || sequence > 0 && !last.Released && !dead {
		return nil, err
	}
	l, err := f.store.take(ctx, f.name, f.config.Holder, sequence)
	switch {
	case errors.Is(err, pipeline.ErrConflict):
		return nil, nil
	case err != nil:
		return nil, err
	}
	return l, nil
}

func waitFor(ctx context.Context, changed <-chan struct{}, wait time.Duration) error {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-changed:
	case <-timer.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// confirmLease is how often a holder looks whether the feed still is its own.
const confirmLease = 5 * time.Second

// sendHeartbeats announces that the holder lives, until ctx ends or there is a newer holder:
// that one has been let in by JetStream, and this one is over. One that was not heard, because it
// ended at once, is found in the stream: in a feed without events this one would announce
// itself for ever and keep all others from taking over.
func (f *feed) sendHeartbeats(ctx context.Context, watch watch, l lease, over context.CancelCauseFunc) {
	interval := max(f.config.Standby/heartbeatsPerStandby, time.Millisecond)
	for confirmed := time.Now(); ; {
		if err := l.Beat(false); err != nil {
			f.log.Debug("the heartbeat to the other bridges could not be sent", "error", err)
		}
		if err := waitFor(ctx, watch.Changed(), interval); err != nil {
			return
		}
		if last := watch.Last(); last.Token != l.Token() && last.Lease > l.Sequence() {
			over(pipeline.ErrSuperseded)
			return
		}
		if time.Since(confirmed) < confirmLease {
			continue
		}
		confirmed = time.Now()
		if f.isReplaced(ctx, l) {
			over(pipeline.ErrSuperseded)
			return
		}
	}
}

// isReplaced reports whether the stream has a lease that is newer than the holder's. While
// JetStream does not answer, as in an election, it does not wait for long: the holder has to be
// heard.
func (f *feed) isReplaced(ctx context.Context, l lease) bool {
	ctx, cancel := context.WithTimeout(ctx, f.config.Standby/2)
	defer cancel()
	last, sequence, err := f.store.LastLease(ctx, f.name)
	return err == nil && last.Token != l.Token() && sequence > l.Sequence()
}

// release lets another bridge take the feed at once.
func (f *feed) release(ctx context.Context, l lease) {
	if err := l.Release(ctx); err != nil {
		f.log.Debug("the lease of the feed was not released; another bridge takes over when it expires", "error", err)
		return
	}
	if err := l.Beat(true); err != nil {
		f.log.Debug("the other bridges could not be told that this bridge stops", "error", err)
	}
}
