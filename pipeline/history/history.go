// Package history publishes and reads the services' transitions.
package history

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/flowjet/flowjet/internal/errs"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/internal/js"
)

// History publishes and reads transitions.
type History struct{ core *js.Client }

// New returns the history in a pipeline.
func New(p *pipeline.Pipeline) *History { return &History{p.Client} }

// PublishTransitions publishes transitions of a service, in order. The first
// transition has the number first; numbers are counted per service and make
// the message ids, so publishing the same again within ten minutes stores nothing.
func (h *History) PublishTransitions(ctx context.Context, transitions []pipeline.Transition, first uint64) error {
	messages := make([]*nats.Msg, len(transitions))
	for i, transition := range transitions {
		messages[i] = pipeline.TransitionMessage(transition, first+uint64(i))
	}
	if _, err := h.core.Stream(pipeline.StreamFlow).Commit(ctx, messages...); err != nil {
		return fmt.Errorf("publish the transitions of service %d: %w", transitions[0].Service, err)
	}
	return nil
}

// Check returns an error that wraps pipeline.ErrUnpublishable for a transition that NATS never accepts.
func (h *History) Check(transition pipeline.Transition) error {
	return h.core.Publishable(pipeline.TransitionMessage(transition, math.MaxUint64))
}

// LastTransition returns the number of the service's transition that was published last,
// 0 for none: those that a crash left unpublished come after it. It asks the stream's
// leader, because another replica may lag behind.
func (h *History) LastTransition(ctx context.Context, service int) (last uint64, err error) {
	defer errs.Wrap(&err, "read the last transition of service %d", service)
	_, header, err := h.core.Stream(pipeline.StreamFlow).LastOf(ctx, pipeline.TransitionSubjects(service))
	_, number, _ := strings.Cut(header.Get(jetstream.MsgIDHeader), "-")
	if last, numberErr := strconv.ParseUint(number, 10, 64); numberErr == nil {
		return last, err
	}
	return 0, err // none, or not one of ours: everything is published again
}

// LastTransitionSequence returns the sequence of the last transition, 0 if there is
// none yet: reading behind it reads only new ones.
func (h *History) LastTransitionSequence(ctx context.Context) (uint64, error) {
	return h.core.Stream(pipeline.StreamFlow).End(ctx)
}

// Reader reads transitions, in order. Next is for one
// goroutine at a time; Stop may be called from any.
type Reader struct{ *js.Reader }

// ReadTransitions reads the transitions behind the sequence after (0 for
// all that are kept), of one service or, with a negative id, of all.
func (h *History) ReadTransitions(ctx context.Context, service int, after uint64) (*Reader, error) {
	r, err := h.core.Stream(pipeline.StreamFlow).Read(ctx, pipeline.TransitionSubjects(service), after)
	if err != nil {
		return nil, err
	}
	return &Reader{r}, nil
}

// Next waits for the next transition and returns it with its sequence in StreamFlow. Messages that cannot be
// parsed are skipped. It returns ctx's error, or pipeline.ErrClosed after Stop.
func (r *Reader) Next(ctx context.Context) (uint64, pipeline.Transition, error) {
	for {
		message, err := r.Reader.Next(ctx)
		if err != nil {
			return 0, pipeline.Transition{}, err
		}
		if transition, err := pipeline.ReadTransition(message); err == nil {
			return message.Sequence, transition, nil
		}
	}
}
