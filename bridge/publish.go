package bridge

import (
	"context"
	"errors"
	"time"

	"github.com/flowjet/flowjet/pipeline"
)

// store is the part of the pipeline that the bridge needs.
type store interface {
	acquire(ctx context.Context, feed, holder string) (lease, error)
	LastVMEvents(ctx context.Context) (map[int]pipeline.Event, error)
	DeadLetter(ctx context.Context, where, reason string, data []byte) error
}

// lease is the right to publish a feed.
type lease interface {
	Publish(ctx context.Context, events []pipeline.FeedEvent) error
}

type pipelineStore struct{ *pipeline.Pipeline }

func (p pipelineStore) acquire(ctx context.Context, feed, holder string) (lease, error) {
	return p.AcquireFeed(ctx, feed, holder)
}

// deadLetterSource is the name under which dead letters are kept.
const deadLetterSource = "bridge"

const (
	maxBatch      = 512
	maxBatchBytes = 8 << 20
)

// publish stores what is in the queue until the queue is finished and empty
// (nil), ctx ends, or another bridge takes the feed over.
func (b *Bridge) publish(ctx context.Context, q *queue, l lease) error {
	for {
		items, err := q.take(ctx, maxBatch, maxBatchBytes)
		if err != nil || len(items) == 0 {
			return err
		}
		events, letters := b.translateAll(items)
		if err := b.publishAll(ctx, l, events); err != nil {
			return err
		}
		b.published(events)
		b.bury(ctx, letters)
		q.done(items)
		_, bytes := q.length()
		b.metrics.queueBytes.Set(float64(bytes))
	}
}

func (b *Bridge) translateAll(items []item) (events []pipeline.FeedEvent, letters []*deadLetter) {
	for _, i := range items {
		if i.passed != nil {
			continue
		}
		event, letter := b.translator.translate(i)
		if event != nil {
			events = append(events, *event)
		}
		if letter != nil {
			letters = append(letters, letter)
		}
	}
	return events, letters
}

// publishAll tries until all events are stored. Only a lost feed or the end of
// ctx make it give up: everything else passes, and order must be kept.
func (b *Bridge) publishAll(ctx context.Context, l lease, events []pipeline.FeedEvent) error {
	pause := firstPause
	for len(events) > 0 {
		err := l.Publish(ctx, events)
		if err == nil {
			break
		}
		if errors.Is(err, pipeline.ErrSuperseded) || ctx.Err() != nil {
			return err
		}
		b.storing(err)
		if sleep(ctx, pause) != nil {
			return err
		}
		pause = min(2*pause, longestPause)
	}
	b.storing(nil)
	return nil
}

// storing notes whether JetStream takes events, and logs when that changes.
func (b *Bridge) storing(err error) {
	b.mu.Lock()
	before := b.state.storeError
	b.state.storeError = ""
	if err != nil {
		b.state.storeError = err.Error()
	}
	b.mu.Unlock()
	switch {
	case err != nil && before == "":
		b.log.Warn("JetStream does not take events; they wait in memory, in order", "error", err)
	case err == nil && before != "":
		b.log.Info("JetStream takes events again")
	}
}

func (b *Bridge) published(events []pipeline.FeedEvent) {
	if len(events) == 0 {
		return
	}
	var newest time.Time
	for _, event := range events {
		b.metrics.events.WithLabelValues(event.Event.Object).Inc()
		newest = event.Event.Heard
	}
	b.metrics.lastEvent.Set(float64(newest.UnixMicro()) / 1e6)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.state.published += uint64(len(events))
	b.state.lastPublished = newest
}

// bury keeps what could not be understood. Losing dead letters is logged and
// holds nothing up.
func (b *Bridge) bury(ctx context.Context, letters []*deadLetter) {
	b.metrics.deadLetters.Add(float64(len(letters)))
	b.mu.Lock()
	b.state.deadLetters += uint64(len(letters))
	b.mu.Unlock()
	for i, letter := range letters {
		b.log.Warn("a hook event cannot be understood; see the dead letters",
			"reason", letter.reason, "subject", pipeline.DeadSubject(deadLetterSource))
		if err := b.store.DeadLetter(ctx, deadLetterSource, letter.reason, letter.encode()); err != nil {
			b.log.Error("dead letters could not be kept", "letters", len(letters)-i, "error", err)
			return
		}
	}
}
