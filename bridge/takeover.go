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

// placeBehind is where in what was heard the events begin that are not stored. Equal events (READY,
// mostly: bodies of VM events hold times) are told apart by what was stored before them, and where
// even that is equal by when they were heard. When the newest stored event is not among those heard,
// the newest that is counts; without any, all that was heard is new. Of what an earlier version
// stored only the time is known. exact means that nothing of that had to be assumed.
func placeBehind(heard []entry, stored []feeds.StoredEvent) (place int, exact bool) {
	if last := len(stored) - 1; last >= 0 && stored[last].Hash == "" {
		place := slices.IndexFunc(heard, func(e entry) bool { return e.heard.After(stored[last].Heard) })
		if place < 0 {
			place = len(heard)
		}
		return place, false
	}
	places := map[string][]int{}
	for i, e := range heard {
		if !e.isDeadLetter() {
			places[e.hash] = append(places[e.hash], i)
		}
	}
	least := earliest(heard, places, stored)
	for last := len(stored) - 1; last >= 0; last-- {
		candidates := places[stored[last].Hash]
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

// sameMoment is how far apart two bridges may have heard an event for that to tell it from an equal one.
const sameMoment = time.Second

// earliest is for each stored event the place before which it cannot have been heard: behind those
// that were stored before it and are not to be mistaken. An equal event before that is another one.
func earliest(heard []entry, places map[string][]int, stored []feeds.StoredEvent) []int {
	times := map[string]int{}
	for _, event := range stored {
		times[event.Hash]++
	}
	least, reached := make([]int, len(stored)), 0
	for i, event := range stored {
		least[i] = reached
		at := places[event.Hash]
		if len(at) == 1 && times[event.Hash] == 1 && heard[at[0]].heard.Sub(event.Heard).Abs() < sameMoment {
			reached = max(reached, at[0])
		}
	}
	return least
}

// closer reports whether the stored event is rather the one heard at a than at b.
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

// commonRun is how many events at the end of both are the same. They fit when that is all there is
// of one of them: what was heard begins somewhere, and so does what was read of the stream.
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
