package pipeline

import (
	"context"

	"github.com/nats-io/nats.go"
)

// Stage begins to store events that are to follow those of a Publish, or of the
// commit of an earlier Stage, which may still be going on: they are sent while
// the batch before is being written to the disk. Nothing is stored before commit
// is called, and nothing happens if it never is. One batch should be staged at a
// time; the caller bounds its bytes. Few events, or more than a batch takes, are left
// to commit.
//
// Commit is Publish of these events, and what that says of errors holds here
// too. Where the batch cannot be committed, because the connection was lost or the
// lease was written anew meanwhile, it publishes the events from the beginning.
func (l *FeedLease) Stage(events []FeedEvent) (commit func(context.Context) error) {
	last, id, staged := l.stage(events)
	return func(ctx context.Context) error {
		if staged && l.commit(ctx, last, id, len(events)) == nil {
			return nil
		}
		return l.Publish(ctx, events)
	}
}

// stage sends all but the last message, and has one serve for all.
func (l *FeedLease) stage(events []FeedEvent) (last *nats.Msg, id string, staged bool) {
	if len(events) <= maxPipelined || len(events) > maxBatch || !l.pipeline.conn.IsConnected() {
		return nil, "", false
	}
	message, feed := new(nats.Msg), []string{l.feed}
	last, id, err := l.pipeline.stageBatch(len(events), func(i int) *nats.Msg {
		events[i].write(message)
		message.Header[HeaderFeed] = feed
		if i == 0 {
			expectLast(message, LeaseSubject(l.feed), l.Sequence())
		}
		return message
	})
	return last, id, err == nil
}

func (l *FeedLease) commit(ctx context.Context, last *nats.Msg, id string, count int) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.renew(ctx); err != nil {
		return err
	}
	return once(ctx, attempt, func(ctx context.Context) error {
		_, err := l.pipeline.commitBatch(ctx, last, id, count)
		return err
	})
}
