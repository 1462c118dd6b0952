package pipeline

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// maxPipelined is up to how many messages are faster one right behind the other
// than in a batch, on a stream of one replica: each is an fsync of 0.25 ms then,
// and not also a way there and back; a batch takes 4 ms with up to 64 messages.
const maxPipelined = 16

// errOvertaken is returned when a message was stored before the one in front of it: by an
// earlier attempt, in which that one was not.
var errOvertaken = errors.New("a later message was stored before")

// worthPipelining reports whether the messages are few, and the stream has one replica:
// several replicas refuse conditions on what is still on its way with 10164.
func worthPipelining(messages []*nats.Msg, replicated bool) bool {
	return !replicated && len(messages) <= maxPipelined
}

// pipelined sends messages one right behind the other and returns how many of
// them, from the first on, are acknowledged: all, or as many as were before the one
// that failed with the error. Of those behind it any may be stored or not, and may
// still be on its way, in front of whatever is published next: the connection
// keeps the order, unless it is made anew in between.
func (p *Pipeline) pipelined(ctx context.Context, messages []*nats.Msg) (stored int, err error) {
	acks := make([]jetstream.PubAckFuture, 0, len(messages))
	for _, message := range messages {
		if err = p.publishable(message); err != nil {
			break
		}
		ack, failed := p.js.PublishMsgAsync(message, jetstream.WithRetryAttempts(0))
		if failed != nil {
			err = failed
			break
		}
		acks = append(acks, ack)
	}
	anew := false
	for _, ack := range acks {
		select {
		case answer := <-ack.Ok():
			if answer.Duplicate && anew {
				return stored, errOvertaken
			}
			anew = !answer.Duplicate
			stored++
		case failed := <-ack.Err():
			return stored, failed
		case <-ctx.Done():
			return stored, ctx.Err()
		}
	}
	return stored, err
}
