package feeds

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/flowjet/flowjet/pipeline"
)

// StoredEvent identifies a stored event.
type StoredEvent struct {
	Sequence uint64
	// Hash is the one in the message id; empty if a version that had another hash stored the event.
	Hash  string
	Heard time.Time
}

// tailWindows are how many messages back a feed's last events are looked for.
// Beyond the last they are too old to be in anybody's memory.
var tailWindows = []uint64{2_000, 20_000, 100_000}

// Tail is the last events that were heard on the feed and stored before the
// lease, oldest first, most at most. Nothing can be added to them any more.
func (l *Lease) Tail(ctx context.Context, most int) ([]StoredEvent, error) {
	end := l.Sequence()
	var events []StoredEvent
	for _, window := range tailWindows {
		var err error
		if events, err = l.eventsBetween(ctx, end-min(end, window), end); err != nil {
			return nil, fmt.Errorf("read the last events of feed %s: %w", l.feed, err)
		}
		if len(events) >= most || window >= end {
			break
		}
	}
	return events[max(0, len(events)-most):], nil
}

// eventsBetween are the feed's events behind a sequence and before the lease's.
// The lease is read too: a server that does not have it yet lags behind.
func (l *Lease) eventsBetween(ctx context.Context, after, end uint64) ([]StoredEvent, error) {
	r, err := l.feeds.core.Stream(pipeline.StreamONE).Read(ctx, pipeline.SubjectsONE, after)
	if err != nil {
		return nil, err
	}
	defer r.Stop()
	var events []StoredEvent
	for {
		message, err := r.Next(ctx)
		if err != nil {
			return nil, err
		}
		if message.Sequence >= end {
			return events, nil
		}
		if message.Header.Get(pipeline.HeaderFeed) != l.feed || message.Header.Get(pipeline.HeaderResync) != "" {
			continue
		}
		event, err := pipeline.DecodeEvent(message.Data)
		if err != nil {
			continue
		}
		hash, _, _ := strings.Cut(message.Header.Get(jetstream.MsgIDHeader), "-")
		if message.Header.Get(pipeline.HeaderEarlierHash) != "" {
			hash = ""
		}
		events = append(events, StoredEvent{Sequence: message.Sequence, Hash: hash, Heard: event.Heard})
	}
}
