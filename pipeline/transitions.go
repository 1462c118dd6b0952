package pipeline

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// TransitionReader reads what happened to services, in order. Next is for one
// goroutine at a time; Stop may be called from any.
type TransitionReader struct{ *reader }

// ReadTransitions reads what happened behind the sequence after (0 for
// everything that is kept), to one service or, with a negative id, to all.
func (p *Pipeline) ReadTransitions(ctx context.Context, service int, after uint64) (*TransitionReader, error) {
	filter := SubjectsFlow
	if service >= 0 {
		filter = fmt.Sprintf("flow.event.%d.>", service)
	}
	r := &TransitionReader{p.newReader(StreamFlow, filter, after)}
	if err := r.open(ctx); err != nil {
		return nil, err
	}
	return r, nil
}

// LastTransitionSequence is the sequence of what happened last, 0 if nothing
// has yet: reading behind it reads only what is new.
func (p *Pipeline) LastTransitionSequence(ctx context.Context) (uint64, error) {
	var last uint64
	err := persist(ctx, func(ctx context.Context) error {
		stream, err := p.js.Stream(ctx, StreamFlow)
		if err != nil {
			return err
		}
		info, err := stream.Info(ctx)
		if err == nil {
			last = info.State.LastSeq
		}
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("find the end of stream %s: %w", StreamFlow, err)
	}
	return last, nil
}

// Next waits for the next transition and returns it with its sequence in
// StreamFlow. What cannot be understood is skipped. It returns ctx's error, or
// ErrClosed after Stop.
func (r *TransitionReader) Next(ctx context.Context) (uint64, Transition, error) {
	for {
		message, metadata, err := r.next(ctx)
		if err != nil {
			return 0, Transition{}, err
		}
		if transition, ok := decodeTransition(message); ok {
			return metadata.Sequence.Stream, transition, nil
		}
	}
}

func decodeTransition(message jetstream.Msg) (Transition, bool) {
	var transition Transition
	err := json.Unmarshal(message.Data(), &transition)
	transition.MessageID = message.Headers().Get(jetstream.MsgIDHeader)
	if named := message.Headers().Get(HeaderWebhooks); named != "" && err == nil {
		err = json.Unmarshal([]byte(named), &transition.Webhooks)
	}
	return transition, err == nil && transition.Version >= 1 && transition.Version <= Version
}
