package bridge

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/feeds"
)

// resumePosition returns the position in heard at which the events begin that are not stored. Equal events
// (READY, mostly: bodies of VM events hold times) are told apart by the events stored before them, and if
// those are equal too, by the time at which they were received. If heard lacks the newest stored event, the newest one
// that it has counts; without any, all of heard is new. exact means that nothing had to be assumed.
func resumePosition(heard []entry, stored []feeds.StoredEvent) (position int, exact bool) {
	positions := map[string][]int{}
	for i, e := range heard {
		if !e.isDeadLetter() {
			positions[e.hash] = append(positions[e.hash], i)
		}
	}
	least := earliest(heard, positions, stored)
	for last := len(stored) - 1; last >= 0; last-- {
		candidates := positions[stored[last].Hash]
		first, _ := slices.BinarySearch(candidates, least[last])
		if candidates = candidates[first:]; len(candidates) == 0 {
			continue
		}
		best := candidates[0]
		for _, candidate := range candidates[1:] {
			if closer(heard, stored, last, candidate, best) {
				best = candidate
			}
		}
		return best + 1, last == len(stored)-1
	}
	return 0, len(stored) == 0
}

// sameMoment is the difference in time within which two bridges receive the same event.
const sameMoment = time.Second

// earliest returns for each stored event the lowest position that it can have: behind the unmistakable
// events that were stored before it. An equal event before that is another one.
func earliest(heard []entry, positions map[string][]int, stored []feeds.StoredEvent) []int {
	times := map[string]int{}
	for _, event := range stored {
		times[event.Hash]++
	}
	least, reached := make([]int, len(stored)), 0
	for i, event := range stored {
		least[i] = reached
		at := positions[event.Hash]
		if len(at) == 1 && times[event.Hash] == 1 && heard[at[0]].heard.Sub(event.Heard).Abs() < sameMoment {
			reached = max(reached, at[0])
		}
	}
	return least
}

// closer reports whether the stored event is rather the one at a than the one at b.
func closer(heard []entry, stored []feeds.StoredEvent, last, a, b int) bool {
	runA, fitsA := commonRun(heard[:a+1], stored[:last+1])
	runB, fitsB := commonRun(heard[:b+1], stored[:last+1])
	switch {
	case fitsA != fitsB:
		return fitsA
	case !fitsA && runA != runB:
		return runA > runB
	}
	return heard[a].heard.Sub(stored[last].Heard).Abs() < heard[b].heard.Sub(stored[last].Heard).Abs()
}

// commonRun returns how many events at the end of both are the same. They fit if that is all there is
// of one of them: both are cut off at some beginning.
func commonRun(heard []entry, stored []feeds.StoredEvent) (run int, fits bool) {
	for i := len(heard) - 1; i >= 0 && run < len(stored); i-- {
		if heard[i].isDeadLetter() {
			continue
		}
		if heard[i].hash != stored[len(stored)-1-run].Hash {
			return run, false
		}
		run++
	}
	return run, true
}

// heartbeatsPerStandby is how many times within Config.Standby a holder announces itself.
const heartbeatsPerStandby = 5

// acquire stands by until this bridge has the feed's lease: nobody had it, or its holder released it or fell
// silent. If several bridges try at once, JetStream lets one succeed. An error is ctx's.
func (f *feed) acquire(ctx context.Context, watch watch) (lease, error) {
	// Not all bridges detect the silence at the same instant.
	patience := f.config.Standby + rand.N(f.config.Standby/heartbeatsPerStandby+1)
	interval := max(f.config.Standby/heartbeatsPerStandby, time.Millisecond)
	silent := true // at first, the lease itself is checked
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
			if ctx.Err() != nil { // the call's error is that this bridge stops
				return nil, ctx.Err()
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

// confirmLease is how often a holder checks that it still has the lease.
const confirmLease = 5 * time.Second

// sendHeartbeats sends heartbeats until ctx ends or JetStream has let a newer holder in. A holder that ended
// before its first heartbeat is found in the stream: in a feed without events this one would otherwise
// send heartbeats for ever and keep all others from taking over.
func (f *feed) sendHeartbeats(ctx context.Context, watch watch, l lease, over context.CancelCauseFunc) {
	interval := max(f.config.Standby/heartbeatsPerStandby, time.Millisecond)
	for confirmed := time.Now(); ; {
		_, _, connected := f.listener.silence()
		if err := l.Beat(false, connected); err != nil {
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
		// While JetStream does not answer, as in an election, heartbeats still have to be sent.
		asking, cancel := context.WithTimeout(ctx, f.config.Standby/2)
		last, sequence, err := f.store.LastLease(asking, f.name)
		cancel()
		if err == nil && last.Token != l.Token() && sequence > l.Sequence() {
			over(pipeline.ErrSuperseded)
			return
		}
	}
}
