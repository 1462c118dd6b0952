// Package deadletters keeps the messages that could not be parsed or handled, with the
// reason, so that an operator can read them and send them again.
package deadletters

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/flowjet/flowjet/internal/errs"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/internal/js"
)

const (
	// maxData is how many bytes of a message are kept.
	maxData   = 256 << 10
	maxReason = 1 << 10
)

// ErrNoOrigin is returned for a dead letter that has no origin, or
// that does not hold the whole message.
var ErrNoOrigin = errors.New("it cannot be sent again: it does not have the original message")

// Store keeps the dead letters.
type Store struct{ core *js.Client }

// New returns the dead letters of a pipeline.
func New(p *pipeline.Pipeline) *Store { return &Store{p.Client} }

// DeadLetter stores a dead letter. One with an origin can be sent there again. Data beyond 256 KiB is cut off.
func (s *Store) DeadLetter(ctx context.Context, dead pipeline.DeadLetter) (err error) {
	defer errs.Wrap(&err, "store a dead letter of %s", dead.Where)
	_, err = s.core.Publish(ctx, messageOf(dead))
	return err
}

// DeadLetterAll is DeadLetter for several at once. After an error some of them may be stored.
func (s *Store) DeadLetterAll(ctx context.Context, all []pipeline.DeadLetter) error {
	messages := make([]*nats.Msg, len(all))
	for i, dead := range all {
		messages[i] = messageOf(dead)
	}
	for i, result := range s.core.Stream(pipeline.StreamDead).AppendEach(ctx, messages) {
		if result.Err != nil {
			return fmt.Errorf("store a dead letter of %s: %w", all[i].Where, result.Err)
		}
	}
	return nil
}

// messageOf returns the message of a dead letter. Its id tells it apart from an equal one, and a message that is sent again is stored once.
func messageOf(dead pipeline.DeadLetter) *nats.Msg {
	message := nats.NewMsg(pipeline.DeadSubject(dead.Where))
	message.Header.Set(jetstream.MsgIDHeader, nuid.Next())
	keepHeaders(message, dead)
	message.Data = dead.Data[:min(len(dead.Data), maxData)]
	reason := strings.ToValidUTF8(dead.Reason[:min(len(dead.Reason), maxReason)], "")
	message.Header.Set(pipeline.HeaderReason, strings.Join(strings.Fields(reason), " ")) // one line
	if dead.Origin != "" && len(dead.Data) < maxData {
		message.Header.Set(pipeline.HeaderOrigin, dead.Origin)
	}
	return message
}

// Unreadable makes a dead letter of a stored message that cannot be parsed. It waits for a
// missing server as long as ctx allows.
func (s *Store) Unreadable(ctx context.Context, where string, message js.Message, why error) error {
	reason := fmt.Sprintf("message %d on %s cannot be read: %v", message.Sequence, message.Subject, why)
	s.core.Log().Warn("a message was dead-lettered", "where", where, "subject", message.Subject,
		"sequence", message.Sequence, "reason", why)
	origin := message.Subject
	if strings.HasPrefix(origin, "flow.work.") { // StreamWork has put the partition into it
		origin = "flow.work." + origin[strings.LastIndexByte(origin, '.')+1:]
	}
	for {
		err := s.DeadLetter(ctx, pipeline.DeadLetter{Where: where, Reason: reason, Data: message.Data, Origin: origin})
		switch {
		case err == nil || ctx.Err() != nil || s.core.Conn().IsClosed():
			return err
		case !js.Transient(err):
			// The stream can never store it; the log has its reason.
			s.core.Log().Error("a dead letter is lost", "error", err)
			return nil
		}
	}
}

// DeadLetters returns the last dead letters, at most so many, oldest first.
func (s *Store) DeadLetters(ctx context.Context, most int) (found []pipeline.DeadLetter, err error) {
	return s.last(ctx, pipeline.SubjectsDead, most)
}

// DeadLettersOfService returns those of a service among the last dead letters of each part, at most so many of a part, oldest first.
// So the deliveries to webhooks, which users can make any number of, do not hide what else could not be processed.
func (s *Store) DeadLettersOfService(ctx context.Context, service, most int) (found []pipeline.DeadLetter, err error) {
	info, err := s.core.Stream(pipeline.StreamDead).Info(ctx, jetstream.WithSubjectFilter(pipeline.SubjectsDead))
	if err != nil {
		return nil, fmt.Errorf("count the dead letters: %w", err)
	}
	for subject := range info.State.Subjects {
		last, err := s.last(ctx, subject, most)
		if err != nil {
			return nil, err
		}
		found = append(found, slices.DeleteFunc(last, func(dead pipeline.DeadLetter) bool { return dead.Service() != service })...)
	}
	slices.SortFunc(found, func(a, b pipeline.DeadLetter) int { return cmp.Compare(a.Sequence, b.Sequence) })
	return found, nil
}

// last returns the last dead letters on a subject. It reads backwards in growing steps, since the stream can be large and lack numbers.
func (s *Store) last(ctx context.Context, subject string, most int) (found []pipeline.DeadLetter, err error) {
	defer errs.Wrap(&err, "read the dead letters")
	stream := s.core.Stream(pipeline.StreamDead)
	end, err := stream.End(ctx)
	if err != nil {
		return nil, err
	}
	for step := uint64(most); ; step *= 4 { //nolint:gosec // a positive bound
		found = []pipeline.DeadLetter{}
		after := end - min(end, step)
		err := stream.Each(ctx, subject, after, func(message js.Message) { found = append(found, pipeline.ReadDeadLetter(message)) })
		if err != nil || after == 0 || len(found) >= most {
			return found[max(0, len(found)-most):], err
		}
	}
}

// DeadLetterAt returns the dead letter of a number; pipeline.ErrNotFound if there is none.
func (s *Store) DeadLetterAt(ctx context.Context, sequence uint64) (pipeline.DeadLetter, error) {
	message, err := s.core.Stream(pipeline.StreamDead).Get(ctx, sequence)
	switch {
	case err != nil:
		return pipeline.DeadLetter{}, fmt.Errorf("read dead letter %d: %w", sequence, err)
	case message == nil:
		return pipeline.DeadLetter{}, fmt.Errorf("dead letter %d: %w", sequence, pipeline.ErrNotFound)
	}
	return pipeline.ReadDeadLetter(*message), nil
}

// Retry publishes a dead letter's message again on its origin and then drops the dead letter.
// A crash in between leaves both, which is harmless: messages may be repeated.
func (s *Store) Retry(ctx context.Context, dead pipeline.DeadLetter) error {
	if dead.Origin == "" {
		return fmt.Errorf("dead letter %d: %w", dead.Sequence, ErrNoOrigin)
	}
	message := nats.NewMsg(dead.Origin)
	message.Data = dead.Data
	keepHeaders(message, dead)
	message.Header.Set(jetstream.MsgIDHeader, fmt.Sprintf("retry-%d", dead.Sequence))
	if _, err := s.core.Publish(ctx, message); err != nil {
		return fmt.Errorf("republish dead letter %d on %s: %w", dead.Sequence, dead.Origin, err)
	}
	return s.Drop(ctx, dead)
}

func keepHeaders(message *nats.Msg, dead pipeline.DeadLetter) {
	for name, values := range dead.Header {
		if pipeline.KeepsHeader(name) {
			message.Header[name] = values
		}
	}
}

// Drop deletes a dead letter. A missing one is no error.
func (s *Store) Drop(ctx context.Context, dead pipeline.DeadLetter) (err error) {
	defer errs.Wrap(&err, "drop dead letter %d", dead.Sequence)
	return s.core.Stream(pipeline.StreamDead).Delete(ctx, dead.Sequence)
}
