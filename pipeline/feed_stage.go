package pipeline

import (
	"context"

	"github.com/nats-io/nats.go"
)

// Stage begins to store events that are to follow those of a Publish, or of the
// commit of an earlier Stage, which may still be going on: they are sent while
// the batch before is being written to the disk. Nothing is stored before commit
// is called, and nothing happens if it never is. One batch should be staged at a
// time. Few events, or more than a batch takes, are left to commit.
//
// Commit is Publish of these events, and what that says of errors holds here
// too. Where the batch cannot be committed, because the connection was lost or the
// lease was written anew meanwhile, it publishes the events from the beginning.
func (l *FeedLease) Stage(events []FeedEvent) (commit func(context.Context) error) {
	messages, id, staged := l.stage(events)
	return func(ctx context.Context) error {
		if staged && l.commit(ctx, messages, id) == nil {
			return nil
		}
		return l.Publish(ctx, events)
	}
}

func (l *FeedLease) stage(events []FeedEvent) (messages []*nats.Msg, id string, staged bool) {
	if len(events) <= maxPipelined || !l.pipeline.conn.IsConnected() {
		return nil, "", false
	}
	messages = l.messages(events)
	if chunk(messages, l.pipeline.replicated(StreamONE)) < len(messages) {
		return nil, "", false
	}
	expectLast(messages[0], LeaseSubject(l.feed), l.Sequence())
	id, err := l.pipeline.stageBatch(messages)
	return messages, id, err == nil
}

func (l *FeedLease) commit(ctx context.Context, messages []*nats.Msg, id string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.renew(ctx); err != nil {
		return err
	}
	return once(ctx, attempt, func(ctx context.Context) error { return l.pipeline.commitBatch(ctx, messages, id) })
}
