package pipeline

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
)

const (
	// maxDeadBytes is how much of a message the dead-letter stream keeps.
	maxDeadBytes = 256 << 10
	maxReason    = 1 << 10
)

// PublishWork wakes a service and returns the work's sequence in StreamWork.
// The same messageID within two minutes is stored once; an empty one is no id.
func (p *Pipeline) PublishWork(ctx context.Context, work Work, messageID string) (uint64, error) {
	return p.publishWork(ctx, work, messageID, "")
}

func (p *Pipeline) publishWork(ctx context.Context, work Work, messageID, replyTo string) (uint64, error) {
	message := p.workMessage(work, messageID)
	if replyTo != "" {
		message.Header.Set(HeaderReplyTo, replyTo)
	}
	sequence, err := p.publish(ctx, message)
	if err != nil {
		return 0, fmt.Errorf("wake service %d: %w", work.Service, err)
	}
	return sequence, nil
}

func (p *Pipeline) workMessage(work Work, messageID string) *nats.Msg {
	work.Version = p.schema
	message := nats.NewMsg(WorkSubject(work.Service))
	message.Data = encodeWork(work)
	if messageID != "" {
		message.Header.Set(jetstream.MsgIDHeader, messageID)
	}
	return message
}

// Wake is work with its message id, and the trace that it belongs to.
type Wake struct {
	Work      Work
	MessageID string
	Trace     string
}

// PublishWakes wakes services in the order given and returns when all wake-ups
// are stored, many at the cost of a few. On an error some of them may be stored;
// the message ids make it harmless to try all again.
//
// Few go out one right behind the other. Where the server is lost in the middle,
// a later one can be stored before an earlier: it is then stored once more, so that
// the last one stored of each service is the last one given.
func (p *Pipeline) PublishWakes(ctx context.Context, wakes []Wake) error {
	messages := make([]*nats.Msg, len(wakes))
	for i, wake := range wakes {
		messages[i] = p.workMessage(wake.Work, wake.MessageID)
		if wake.Trace != "" {
			messages[i].Header.Set(HeaderTrace, wake.Trace)
		}
	}
	if err := p.publishWakes(ctx, messages, p.replicated(StreamWork)); err != nil {
		return fmt.Errorf("wake %d services: %w", len(wakes), err)
	}
	return nil
}

func (p *Pipeline) publishWakes(ctx context.Context, messages []*nats.Msg, replicated bool) error {
	many := func(chunk []*nats.Msg) error { return p.publishChunk(ctx, chunk) }
	few := func(rest []*nats.Msg) error { return p.pipelineWakes(ctx, rest) }
	return inChunks(messages, replicated, many, few)
}

// pipelineWakes publishes what is left one by one when something went wrong.
func (p *Pipeline) pipelineWakes(ctx context.Context, messages []*nats.Msg) error {
	if len(messages) == 1 {
		_, err := p.publish(ctx, messages[0])
		return err
	}
	stored, err := p.pipelined(ctx, messages)
	if err == nil {
		return nil
	}
	for _, message := range messages[stored:] {
		// Any of them may be stored, in front of one that is not.
		message.Header.Set(jetstream.MsgIDHeader, message.Header.Get(jetstream.MsgIDHeader)+"-"+nuid.Next())
		if _, err := p.publish(ctx, message); err != nil {
			return err
		}
	}
	return nil
}

// PublishTransitions tells what happened to a service, in order. The first
// transition has the number first; numbers are counted per service and make
// the message ids, so telling the same again within ten minutes stores nothing.
func (p *Pipeline) PublishTransitions(ctx context.Context, transitions []Transition, first uint64) error {
	messages := make([]*nats.Msg, len(transitions))
	for i, transition := range transitions {
		transition.Version = Version
		message := nats.NewMsg(TransitionSubject(transition))
		message.Data = Encode(transition)
		message.Header.Set(jetstream.MsgIDHeader, fmt.Sprintf("%d-%d", transition.Service, first+uint64(i)))
		if len(transition.Webhooks) > 0 {
			message.Header.Set(HeaderWebhooks, string(Encode(transition.Webhooks)))
		}
		messages[i] = message
	}
	if _, err := p.history.store(ctx, messages...); err != nil {
		return fmt.Errorf("tell what happened to service %d: %w", transitions[0].Service, err)
	}
	return nil
}

// TransitionSubject is where a transition is told.
func TransitionSubject(transition Transition) string {
	switch transition.Kind {
	case "role":
		return RoleEventSubject(transition.Service, transition.Role, transition.New)
	case "vm":
		if transition.VM != nil {
			return VMEventSubject(transition.Service, *transition.VM, transition.New)
		}
	case "network":
		return NetworkEventSubject(transition.Service, transition.Network, transition.New)
	case "router":
		return RouterEventSubject(transition.Service, transition.Role, transition.New)
	}
	return ServiceEventSubject(transition.Service, transition.New)
}

// oneLine makes a text fit for a header.
func oneLine(text string) string {
	text = strings.ToValidUTF8(text[:min(len(text), maxReason)], "")
	return strings.Join(strings.Fields(text), " ")
}

// publish stores one message and returns its sequence.
func (p *Pipeline) publish(ctx context.Context, message *nats.Msg) (uint64, error) {
	carryTrace(ctx, message)
	if err := p.publishable(message); err != nil {
		return 0, err
	}
	var sequence uint64
	err := persist(ctx, func(ctx context.Context) error {
		if err := p.connected(); err != nil {
			return err
		}
		ack, err := p.js.PublishMsg(ctx, message)
		if err != nil {
			return err
		}
		sequence = ack.Sequence
		return nil
	})
	return sequence, err
}

// connected is to be asked before something is sent that must not be stored later:
// without a connection nats.go keeps it, and sends it after the next connect, when whoever
// wanted it may have been told long ago that it failed. The error is a transient one.
func (p *Pipeline) connected() error {
	if !p.conn.IsConnected() {
		return nats.ErrDisconnected
	}
	return nil
}

// publishOrdered stores the messages in their order and returns when all are
// stored. Every message has a message id. On an error a first part of them may be stored.
func (p *Pipeline) publishOrdered(ctx context.Context, messages []*nats.Msg, replicated bool) error {
	many := func(chunk []*nats.Msg) error { return p.publishChunk(ctx, chunk) }
	return inChunks(messages, replicated, many, nil)
}

func (p *Pipeline) publishChunk(ctx context.Context, messages []*nats.Msg) error {
	if err := p.allPublishable(messages); err != nil {
		return err
	}
	if len(messages) > 1 {
		_, err := p.publishBatch(ctx, messages)
		if err == nil || codeOf(err) != codeBatchDuplicate {
			return err
		}
		// A batch with one message that is stored already is refused as a
		// whole. One by one the server drops those it has.
	}
	for _, message := range messages {
		if _, err := p.publish(ctx, alone(message)); err != nil {
			return err
		}
	}
	return nil
}

func isConflict(err error) bool {
	return codeOf(err) == codeWrongSequence || errors.Is(err, jetstream.ErrKeyExists)
}
