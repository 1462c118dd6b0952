package bridge

import (
	"context"
	"time"

	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/deadletters"
	"github.com/flowjet/flowjet/pipeline/feeds"
)

// store is the part of the pipeline that the bridge needs.
type store interface {
	watch(feed string) (watch, error)
	LastLease(ctx context.Context, feed string) (pipeline.Lease, uint64, error)
	take(ctx context.Context, feed, holder string, expected uint64) (lease, error)
	index(object string) index
	LoadCursor(ctx context.Context, name string) (uint64, error)
	SaveCursor(ctx context.Context, name string, cursor uint64) error
	PublishFound(ctx context.Context, found []feeds.FoundEvent) (int, error)
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
	Publish(ctx context.Context, events []feeds.Event) error
	Stage(events []feeds.Event) (commit func(context.Context) error)
	Tail(ctx context.Context, most int) ([]feeds.StoredEvent, error)
	Beat(leaving bool) error
	Release(ctx context.Context) error
	Sequence() uint64
	Token() string
}

// index is what is stored of each VM, or of each network.
type index interface {
	CatchUp(ctx context.Context) error
	Forget()
	Of(id int) (feeds.StoredObject, bool)
	Same(stored feeds.StoredObject, event pipeline.Event) bool
	All(visit func(id int, stored feeds.StoredObject))
	Event(ctx context.Context, id int) (pipeline.Event, bool, error)
}

// pipelineStore is the store that is used outside of tests.
type pipelineStore struct {
	*pipeline.Pipeline // cursors
	*feeds.Feeds
	deadLetters *deadletters.Letters
}

func newStore(p *pipeline.Pipeline) pipelineStore {
	return pipelineStore{p, feeds.New(p), deadletters.New(p)}
}

func (p pipelineStore) watch(feed string) (watch, error) { return p.Watch(feed) }

func (p pipelineStore) take(ctx context.Context, feed, holder string, expected uint64) (lease, error) {
	return p.Take(ctx, feed, holder, expected)
}

func (p pipelineStore) index(object string) index { return p.Index(object) }

// DeadLetter keeps what the bridge cannot store or understand.
func (p pipelineStore) DeadLetter(ctx context.Context, where, reason string, data []byte) error {
	return p.deadLetters.DeadLetter(ctx, pipeline.DeadLetter{Where: where, Reason: reason, Data: data})
}
