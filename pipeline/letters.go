package pipeline

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Letter is one dead letter.
type Letter struct {
	// Sequence is its number in StreamDead, Where who gave it up.
	Sequence uint64    `json:"sequence"`
	Where    string    `json:"where"`
	Reason   string    `json:"reason"`
	Time     time.Time `json:"time"`
	// Origin is the subject that it was on, empty where that is not known: then
	// it cannot be sent again.
	Origin string `json:"origin,omitempty"`
	Data   []byte `json:"-"`
	// Header are the message's own headers.
	Header nats.Header `json:"-"`
}

// Service is the service that the letter is about, -1 where it does not say.
func (l Letter) Service() int {
	service := decodeService(l.Data)
	if service < 0 && strings.HasPrefix(l.Origin, "flow.work.") {
		if _, err := fmt.Sscanf(l.Origin, "flow.work.%d", &service); err != nil {
			return -1
		}
	}
	return service
}

// letterPrefix is that of the dead letters' subjects.
const letterPrefix = "flow.dlq."

func readLetter(subject string, header nats.Header, data []byte, sequence uint64, at time.Time) Letter {
	return Letter{
		Sequence: sequence, Where: strings.TrimPrefix(subject, letterPrefix), Reason: header.Get(HeaderReason), Time: at.UTC(),
		Origin: header.Get(HeaderOrigin), Data: data, Header: header,
	}
}

// DeadLetter keeps what where could not handle, with the reason. Data beyond
// 256 KiB is cut off.
func (p *Pipeline) DeadLetter(ctx context.Context, where, reason string, data []byte) error {
	return p.Bury(ctx, Letter{Where: where, Reason: reason, Data: data})
}

// Bury keeps a dead letter. One with an origin can be sent there again. Data
// beyond 256 KiB is cut off.
func (p *Pipeline) Bury(ctx context.Context, letter Letter) error {
	message := nats.NewMsg(DeadSubject(letter.Where))
	for name, values := range letter.Header {
		if keepsHeader(name) {
			message.Header[name] = values
		}
	}
	message.Data = letter.Data[:min(len(letter.Data), maxDeadBytes)]
	message.Header.Set(HeaderReason, oneLine(letter.Reason))
	if letter.Origin != "" && len(letter.Data) < maxDeadBytes {
		message.Header.Set(HeaderOrigin, letter.Origin)
	}
	if _, err := p.publish(ctx, message); err != nil {
		return fmt.Errorf("keep a dead letter of %s: %w", letter.Where, err)
	}
	return nil
}

// DeadLetters are the last dead letters, at most so many, oldest first.
func (p *Pipeline) DeadLetters(ctx context.Context, most int) ([]Letter, error) {
	r := p.newReader(StreamDead, SubjectsDead, 0)
	defer r.Stop()
	letters := []Letter{}
	err := r.drain(ctx, func(message jetstream.Msg, metadata *jetstream.MsgMetadata) {
		letter := readLetter(message.Subject(), message.Headers(), message.Data(), metadata.Sequence.Stream, metadata.Timestamp)
		letters = append(letters, letter)
		if len(letters) > 2*most {
			letters = append(letters[:0], letters[len(letters)-most:]...)
		}
	})
	if err != nil {
		return nil, fmt.Errorf("read the dead letters: %w", err)
	}
	return letters[max(0, len(letters)-most):], nil
}

// DeadLetterAt is the dead letter of a number; ErrNotFound if there is none.
func (p *Pipeline) DeadLetterAt(ctx context.Context, sequence uint64) (Letter, error) {
	var message *jetstream.RawStreamMsg
	err := persist(ctx, func(ctx context.Context) (err error) {
		message, err = p.streams[StreamDead].GetMsg(ctx, sequence)
		return err
	})
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return Letter{}, fmt.Errorf("dead letter %d: %w", sequence, ErrNotFound)
	}
	if err != nil {
		return Letter{}, fmt.Errorf("read dead letter %d: %w", sequence, err)
	}
	return readLetter(message.Subject, message.Header, message.Data, sequence, message.Time), nil
}

// ErrNoOrigin is returned when a dead letter does not say where it came from, or that
// what is kept of it is not the message itself.
var ErrNoOrigin = errors.New("it cannot be sent again: it does not hold the message as it was")

// RetryLetter publishes a dead letter's message again where it came from and
// then drops the letter. A crash in between leaves both: what a message asks for
// is harmless to repeat.
func (p *Pipeline) RetryLetter(ctx context.Context, letter Letter) error {
	if letter.Origin == "" {
		return fmt.Errorf("dead letter %d: %w", letter.Sequence, ErrNoOrigin)
	}
	message := nats.NewMsg(letter.Origin)
	message.Data = letter.Data
	for name, values := range letter.Header {
		if keepsHeader(name) {
			message.Header[name] = values
		}
	}
	message.Header.Set(jetstream.MsgIDHeader, fmt.Sprintf("retry-%d", letter.Sequence))
	if _, err := p.publish(ctx, message); err != nil {
		return fmt.Errorf("send dead letter %d again on %s: %w", letter.Sequence, letter.Origin, err)
	}
	return p.DropLetter(ctx, letter.Sequence)
}

// keepsHeader reports whether a header belongs to the message, not to the letter.
func keepsHeader(name string) bool {
	return strings.HasPrefix(name, "Flowjet-") && name != HeaderReason && name != HeaderOrigin && name != HeaderReplyTo
}

// DropLetter deletes a dead letter. One that is gone is no error.
func (p *Pipeline) DropLetter(ctx context.Context, sequence uint64) error {
	err := persist(ctx, func(ctx context.Context) error { return p.streams[StreamDead].DeleteMsg(ctx, sequence) })
	if err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) && !errors.Is(err, jetstream.ErrMsgDeleteUnsuccessful) {
		return fmt.Errorf("drop dead letter %d: %w", sequence, err)
	}
	return nil
}
