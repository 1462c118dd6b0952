package bridge

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/flowjet/flowjet/pipeline"
)

// heartbeatsPerStandby is how many times within Config.Standby a holder announces itself.
const heartbeatsPerStandby = 5

// acquire stands by until the feed is this bridge's: nobody had it, or its holder gave it up or fell
// silent. Of several that take it at once JetStream lets one. An error is ctx's.
func (f *feed) acquire(ctx context.Context, watch watch) (lease, error) {
	// Not all bridges find the silence in the same instant.
	patience := f.config.Standby + rand.N(f.config.Standby/heartbeatsPerStandby+1)
	interval := max(f.config.Standby/heartbeatsPerStandby, time.Millisecond)
	silent := true // at first, the lease itself is asked
	for {
		if silent {
			dead := watch.Silence() > patience
			last, sequence, err := f.store.LastLease(ctx, f.name)
			if err == nil && (sequence == 0 || last.Released || dead) {
				var l lease
				if l, err = f.store.take(ctx, f.name, f.config.Holder, sequence); err == nil {
					f.storing(nil)
					return l, nil
				}
			}
			if errors.Is(err, pipeline.ErrConflict) {
				err = nil // another bridge has it
			}
			f.storing(err)
		}
		if err := waitFor(ctx, watch.Changed(), interval); err != nil {
			return nil, err
		}
		silent = watch.Silence() > patience || watch.Last().Leaving
	}
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

// sendHeartbeats announces that the holder lives, until ctx ends or there is a newer holder, which
// JetStream has let in. One that was not heard, because it ended at once, is found in the stream: in
// a feed without events this one would announce itself for ever and keep all others from taking over.
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
		// While JetStream does not answer, as in an election, the holder still has to be heard.
		asking, cancel := context.WithTimeout(ctx, f.config.Standby/2)
		last, sequence, err := f.store.LastLease(asking, f.name)
		cancel()
		if err == nil && last.Token != l.Token() && sequence > l.Sequence() {
			over(pipeline.ErrSuperseded)
			return
		}
	}
}
