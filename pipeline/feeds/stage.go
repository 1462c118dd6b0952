package feeds

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go"

	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/internal/js"
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
func (l *Lease) Stage(events []Event) (commit func(context.Context) error) {
	batch, err := l.stage(events)
	return func(ctx context.Context) error {
		if err == nil && l.commit(ctx, batch) == nil {
			return nil
		}
		return l.Publish(ctx, events)
	}
}

// errFew is returned for events that are stored sooner without a batch.
var errFew = errors.New("few events")

// stage sends all but the last message, and has one serve for all.
func (l *Lease) stage(events []Event) (*js.Batch, error) {
	if len(events) <= js.MaxBurst {
		return nil, errFew
	}
	message, feed := new(nats.Msg), []string{l.feed}
	return l.feeds.core.Stage(len(events), func(i int) *nats.Msg {
		events[i].write(message)
		message.Header[pipeline.HeaderFeed] = feed
		if i == 0 {
			js.Expect(message, pipeline.LeaseSubject(l.feed), l.Sequence())
		}
		return message
	})
}

func (l *Lease) commit(ctx context.Context, batch *js.Batch) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.renew(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, js.Attempt)
	defer cancel()
	_, err := batch.Commit(ctx)
	return err
}
