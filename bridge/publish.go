package bridge

import (
	"context"
	"errors"

	"github.com/flowjet/flowjet/internal/idle"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/feeds"
)

// deadLetterSource is the name under which dead letters are kept.
const deadLetterSource = "bridge"

const (
	maxBatch      = 1000
	maxBatchBytes = 4 << 20
)

// worthPreparing is from how many events on a batch is stored by a goroutine of its
// own: a few are stored sooner than that has begun.
const worthPreparing = 16

// batch is some entries of the buffer on their way into the stream.
type batch struct {
	entries     []entry
	deadLetters []entry
	events      int
	// store stores the events.
	store func(context.Context) error
}

// newBatch begins to store entries, of which the first has a number.
func (f *feed) newBatch(l lease, entries []entry, number uint64) *batch {
	b := &batch{entries: entries}
	events := make([]feeds.Event, 0, len(entries))
	for i, e := range entries {
		if e.isDeadLetter() {
			b.deadLetters = append(b.deadLetters, e)
			continue
		}
		events = append(events, e.message(f.epoch, number+uint64(i)))
	}
	b.events = len(events)
	commit := l.Stage(events)
	b.store = func(ctx context.Context) error { return f.storeAll(ctx, l, events, commit) }
	return b
}

// publish stores what is in the buffer until ctx ends, another bridge takes the
// feed over, or heardAll has ended and nothing is left (nil). While one batch is
// being stored the next is sent.
func (f *feed) publish(ctx, heardAll context.Context, l lease) error {
	waiting, end := context.WithCancel(heardAll)
	defer end()
	defer context.AfterFunc(ctx, end)()
	var next *batch
	for {
		current := next
		if current == nil {
			entries, number, err := f.buffer.take(waiting, maxBatch, maxBatchBytes)
			if err != nil {
				if entries, number = f.buffer.takeNow(0, maxBatch, maxBatchBytes); len(entries) == 0 {
					return ctx.Err()
				}
			}
			current = f.newBatch(l, entries, number)
		}
		var err error
		if next, err = f.storeAndPrepare(ctx, l, current); err != nil {
			return err
		}
		f.deadLetterAll(ctx, current.deadLetters)
		f.published(current.entries, current.events)
	}
}

// storeAndPrepare stores a batch. Where it is one that takes a while, the next is sent
// ahead meanwhile, if it is there.
func (f *feed) storeAndPrepare(ctx context.Context, l lease, current *batch) (next *batch, err error) {
	if current.events < worthPreparing {
		return nil, current.store(ctx)
	}
	stored := make(chan error, 1)
	go func() { stored <- current.store(ctx) }()
	return f.prepare(l, len(current.entries), stored)
}

// prepare waits for a batch to be stored. When a whole further batch has been
// heard before that, it is sent ahead.
func (f *feed) prepare(l lease, behind int, stored <-chan error) (next *batch, err error) {
	for {
		if f.buffer.waitingBehind(behind) >= maxBatch {
			entries, number := f.buffer.takeNow(behind, maxBatch, maxBatchBytes)
			next = f.newBatch(l, entries, number)
			return next, <-stored
		}
		select {
		case err := <-stored:
			return nil, err
		case <-f.buffer.ready:
		}
	}
}

// storeAll tries until all events are stored. Only a lost feed or the end of
// ctx make it give up: everything else passes, and order must be kept.
func (f *feed) storeAll(ctx context.Context, l lease, events []feeds.Event, commit func(context.Context) error) error {
	pause := firstPause
	for len(events) > 0 {
		err := commit(ctx)
		if err == nil {
			f.storing(nil)
			return nil
		}
		if errors.Is(err, pipeline.ErrSuperseded) || ctx.Err() != nil {
			return err
		}
		f.storing(err)
		if idle.For(ctx, pause) != nil {
			return err
		}
		pause = min(2*pause, longestPause)
		commit = func(ctx context.Context) error { return l.Publish(ctx, events) }
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
		f.log.Warn("JetStream does not accept events; they are buffered in order", "error", err)
	case err == nil && before != "":
		f.log.Info("JetStream accepts events again")
		// What two feeds told of one VM meanwhile may be stored in either order.
		f.requestResync("JetStream was unreachable")
	}
}

func (f *feed) published(entries []entry, events int) {
	relieved, err := f.buffer.stored(len(entries))
	if err != nil {
		f.log.Error("hook events in the spill file were lost, comparing with oned", "error", err)
	}
	if relieved {
		f.requestResync("events were dropped")
	}
	for _, e := range entries {
		if !e.isDeadLetter() {
			f.metrics.events.WithLabelValues(e.object).Inc()
		}
	}
	newest := entries[len(entries)-1].heard
	f.metrics.lastEvent.Set(float64(newest.UnixMicro()) / 1e6)
	f.metrics.queueBytes.Set(float64(f.buffer.state().bytes))
	f.mu.Lock()
	defer f.mu.Unlock()
	f.state.published += uint64(events)
	f.state.lastPublished = newest
}

// deadLetterAll keeps what could not be understood. Losing dead letters is logged and
// holds nothing up.
func (f *feed) deadLetterAll(ctx context.Context, deadLetters []entry) {
	f.metrics.deadLetters.Add(float64(len(deadLetters)))
	f.mu.Lock()
	f.state.deadLetters += uint64(len(deadLetters))
	f.mu.Unlock()
	for i, letter := range deadLetters {
		f.log.Warn("a hook event could not be parsed; see the dead letters",
			"reason", letter.subject, "subject", pipeline.DeadSubject(deadLetterSource))
		if err := f.store.DeadLetter(ctx, deadLetterSource, letter.subject, letter.data); err != nil {
			f.log.Error("dead letters could not be stored", "letters", len(deadLetters)-i, "error", err)
			return
		}
	}
}
