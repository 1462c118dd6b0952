package bridge

import (
	"context"
	"errors"

	"github.com/flowjet/flowjet/pipeline"
)

// deadLetterSource is the name under which dead letters are kept.
const deadLetterSource = "bridge"

const (
	maxBatch      = 1000
	maxBatchBytes = 4 << 20
)

// publish stores what is in the window until ctx ends, another bridge takes the
// feed over, or heardAll has ended and nothing is left (nil).
func (f *feed) publish(ctx, heardAll context.Context, l lease) error {
	for {
		entries, number, err := f.window.take(heardAll, maxBatch, maxBatchBytes)
		if err != nil {
			if entries, number = f.window.takeNow(maxBatch, maxBatchBytes); len(entries) == 0 {
				return ctx.Err()
			}
		}
		events := make([]pipeline.FeedEvent, 0, len(entries))
		var letters []entry
		for i, e := range entries {
			if e.isLetter() {
				letters = append(letters, e)
				continue
			}
			events = append(events, e.message(f.epoch, number+uint64(i)))
		}
		if err := f.publishAll(ctx, l, events); err != nil {
			return err
		}
		f.bury(ctx, letters)
		f.published(entries, len(events))
	}
}

// publishAll tries until all events are stored. Only a lost feed or the end of
// ctx make it give up: everything else passes, and order must be kept.
func (f *feed) publishAll(ctx context.Context, l lease, events []pipeline.FeedEvent) error {
	pause := firstPause
	for len(events) > 0 {
		err := l.Publish(ctx, events)
		if err == nil {
			f.storing(nil)
			return nil
		}
		if errors.Is(err, pipeline.ErrSuperseded) || ctx.Err() != nil {
			return err
		}
		f.storing(err)
		if sleep(ctx, pause) != nil {
			return err
		}
		pause = min(2*pause, longestPause)
	}
	return nil
}

// storing notes whether JetStream takes events, and logs when that changes.
func (f *feed) storing(err error) {
	f.mu.Lock()
	before := f.state.storeError
	f.state.storeError = ""
	if err != nil {
		f.state.storeError = err.Error()
	}
	f.mu.Unlock()
	switch {
	case err != nil && before == "":
		f.log.Warn("JetStream does not take events; they wait, in order", "error", err)
	case err == nil && before != "":
		f.log.Info("JetStream takes events again")
		// What two feeds told of one VM meanwhile may be stored in either order.
		f.lost("JetStream was away")
	}
}

func (f *feed) published(entries []entry, events int) {
	relieved, err := f.window.stored(len(entries))
	if err != nil {
		f.log.Error("hook events that were put aside are lost, and are looked up", "error", err)
	}
	if relieved {
		f.lost("events were dropped")
	}
	for _, e := range entries {
		if !e.isLetter() {
			f.metrics.events.WithLabelValues(e.object).Inc()
		}
	}
	newest := entries[len(entries)-1].heard
	f.metrics.lastEvent.Set(float64(newest.UnixMicro()) / 1e6)
	f.metrics.queueBytes.Set(float64(f.window.state().bytes))
	f.mu.Lock()
	defer f.mu.Unlock()
	f.state.published += uint64(events)
	f.state.lastPublished = newest
}

// bury keeps what could not be understood. Losing dead letters is logged and
// holds nothing up.
func (f *feed) bury(ctx context.Context, letters []entry) {
	f.metrics.deadLetters.Add(float64(len(letters)))
	f.mu.Lock()
	f.state.deadLetters += uint64(len(letters))
	f.mu.Unlock()
	for i, letter := range letters {
		f.log.Warn("a hook event cannot be understood; see the dead letters",
			"reason", letter.subject, "subject", pipeline.DeadSubject(deadLetterSource))
		if err := f.store.DeadLetter(ctx, deadLetterSource, letter.subject, letter.data); err != nil {
			f.log.Error("dead letters could not be kept", "letters", len(letters)-i, "error", err)
			return
		}
	}
}
