package inspect

import (
	"context"
	"fmt"
	"time"

	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/internal/js"
)

// RecentEvents is what the last events tell of the feeds.
type RecentEvents struct {
	// Last is when the newest event was stored.
	Last time.Time
	// Count is how many events were read, Resynced how many of them were
	// found by comparing with oned because ZeroMQ had lost them.
	Count, Resynced int
	LastResynced    time.Time
}

// RecentEvents reads the last events, among at most so many messages.
func (i *Inspector) RecentEvents(ctx context.Context, most uint64) (recent RecentEvents, err error) {
	end, err := i.core.End(ctx, pipeline.StreamONE)
	if err != nil {
		return RecentEvents{}, err
	}
	err = i.core.Each(ctx, pipeline.StreamONE, pipeline.SubjectsEvents, end-min(end, most), func(message js.Message) {
		recent.Count++
		recent.Last = message.Time
		if message.Header.Get(pipeline.HeaderResync) != "" {
			recent.Resynced++
			recent.LastResynced = message.Time
		}
	})
	if err != nil {
		return RecentEvents{}, fmt.Errorf("read the last events: %w", err)
	}
	return recent, nil
}
