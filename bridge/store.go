package bridge

import (
	"context"
	"time"

	"github.com/flowjet/flowjet/pipeline"
)

// store is the part of the pipeline that the bridge needs.
type store interface {
	watch(feed string) (watch, error)
	LastLease(ctx context.Context, feed string) (pipeline.Lease, uint64, error)
	take(ctx context.Context, feed, holder string, expected uint64) (lease, error)
	index(object string) index
	LoadCursor(ctx context.Context, name string) (uint64, error)
	SaveCursor(ctx context.Context, name string, cursor uint64) error
	PublishFound(ctx context.Context, found []pipeline.FoundEvent) (int, error)
	DeadLetter(ctx context.Context, where, reason string, data []byte) error
}

// watch hears who publishes a feed.
type watch interface {
	Changed() <-chan struct{}
	Last() pipeline.FeedBeat
	Silence() time.Duration
	Close()
}

// lease is the right to publish a feed.
type lease interface {
	Publish(ctx context.Context, events []pipeline.FeedEvent) error
	Stage(events []pipeline.FeedEvent) (commit func(context.Context) error)
	Tail(ctx context.Context, most int) ([]pipeline.StoredEvent, error)
	Beat(leaving bool) error
	Release(ctx context.Context) error
	Sequence() uint64
	Token() string
}

// index is what is stored of each VM, or of each network.
type index interface {
	CatchUp(ctx context.Context) error
	Forget()
	Of(id int) (pipeline.StoredObject, bool)
	Same(stored pipeline.StoredObject, event pipeline.Event) bool
	All(visit func(id int, stored pipeline.StoredObject))
	Event(ctx context.Context, id int) (pipeline.Event, bool, error)
}

// pipelineStore is the store that is used outside of tests.
type pipelineStore struct{ *pipeline.Pipeline }

func (p pipelineStore) watch(feed string) (watch, error) { return p.WatchFeed(feed) }

func (p pipelineStore) take(ctx context.Context, feed, holder string, expected uint64) (lease, error) {
	return p.TakeFeed(ctx, feed, holder, expected)
}

func (p pipelineStore) index(object string) index { return p.NewIndex(object) }
