package js

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go/jetstream"
)

// MaxBurst is up to how many messages are faster one right behind the other than in a
// batch, on a stream of one replica: each is an fsync of 0.25 ms then, and not also a
// way there and back; a batch takes 4 ms with up to 64 messages.
const MaxBurst = 16

// errOvertaken is returned for a message that was stored before the one in front of it: by
// an earlier attempt, in which that one was not.
var errOvertaken = errors.New("a later message was stored first")

// worthABurst reports whether the messages are few, and the stream has one replica: several
// replicas refuse conditions on what is still on its way with 10164. Several callers' messages
// are many sooner: while a batch of theirs is stored, the next one gathers.
func (a *appender) worthABurst(replicated bool) bool {
	few := MaxBurst
	if a.rules.Burst == NoBurst {
		few = worthBatching - 1
	}
	return !replicated && len(a.items) <= few
}

// errNotSent is returned for a message behind one that could not be sent.
var errNotSent = errors.New("an earlier message could not be sent")

// burst sends messages one right behind the other and returns what became of each; if they
// are ordered, it stops at the first that cannot be sent. One without an acknowledgement may
// be stored or not, and may still be on its way, in front of whatever is published next: the
// connection keeps the order, unless it is made anew in between.
func (a *appender) burst(ctx context.Context, items []item, ordered bool) []Result {
	results, acks := make([]Result, len(items)), make([]jetstream.PubAckFuture, len(items))
	failed := false
	for i, one := range items {
		if failed && ordered {
			results[i].Err = errNotSent
			continue
		}
		acks[i], results[i].Err = a.publishAsync(one)
		failed = failed || results[i].Err != nil
	}
	anew := false
	for i, ack := range acks {
		if ack == nil {
			continue
		}
		select {
		case answer := <-ack.Ok():
			results[i].Sequence = answer.Sequence
			if answer.Duplicate && anew && ordered {
				results[i].Err = errOvertaken
			}
			anew = !answer.Duplicate
		case results[i].Err = <-ack.Err():
		case <-ctx.Done():
			results[i].Err = ctx.Err()
		}
	}
	return results
}

func (a *appender) publishAsync(one item) (jetstream.PubAckFuture, error) {
	if err := a.Publishable(one.Msg); err != nil {
		return nil, err
	}
	if err := a.connected(); err != nil {
		return nil, err
	}
	return a.js.PublishMsgAsync(one.Msg, jetstream.WithRetryAttempts(0))
}

// storedInOrder is how many messages of a burst, from the first on, are stored.
func storedInOrder(results []Result) int {
	for i, result := range results {
		if result.Err != nil {
			return i
		}
	}
	return len(results)
}
