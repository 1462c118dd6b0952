package js

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// Publish stores one message and returns its sequence.
func (c *Client) Publish(ctx context.Context, message *nats.Msg) (uint64, error) {
	carryTrace(ctx, message)
	if err := c.Publishable(message); err != nil {
		return 0, err
	}
	var sequence uint64
	err := Retry(ctx, func(ctx context.Context) error {
		if err := c.connected(); err != nil {
			return err
		}
		ack, err := c.js.PublishMsg(ctx, message)
		if err != nil {
			return err
		}
		sequence = ack.Sequence
		return nil
	})
	return sequence, err
}

// maxSubject bounds a subject in bytes. NATS closes for good a connection that sends a
// control line of more than 4,096 bytes, in which a subject and an inbox stand.
const maxSubject = 1 << 10

// ErrUnpublishable is returned for a message that NATS will never take, because of its
// subject or its size: trying again is of no use.
var ErrUnpublishable = errors.New("NATS cannot store this message")

// Publishable returns an error that wraps ErrUnpublishable for a message that the
// server refuses whenever it is sent, or whose sending ends the connection.
func (c *Client) Publishable(message *nats.Msg) error {
	if err := CheckSubject(message.Subject); err != nil {
		return err
	}
	if size, most := message.Size()-len(message.Subject)-len(message.Reply), int(c.conn.MaxPayload()); most > 0 && size > most {
		return fmt.Errorf("%w: a message of %d bytes on %s is more than the server's max_payload of %d: %w",
			ErrUnpublishable, size, message.Subject, most, nats.ErrMaxPayload)
	}
	return nil
}

// CheckSubject returns an error that wraps ErrUnpublishable for what is no subject, or one that is too long.
func CheckSubject(subject string) error {
	switch {
	case len(subject) > maxSubject:
		return fmt.Errorf("%w: its subject has %d bytes, at most %d are possible", ErrUnpublishable, len(subject), maxSubject)
	case subject == "", strings.ContainsFunc(subject, func(r rune) bool { return r <= ' ' || r == 0x7f }), !utf8.ValidString(subject):
		return fmt.Errorf("%w: %q is not a subject", ErrUnpublishable, subject)
	}
	return nil
}

// HeaderTrace is where a message carries its trace, by the name that the W3C gave it.
const HeaderTrace = "traceparent"

// InjectTrace notes the context's trace on a message.
func InjectTrace(ctx context.Context, message *nats.Msg) {
	carried := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(ctx, carried)
	for name, value := range carried {
		message.Header.Set(name, value)
	}
}

// carryTrace is InjectTrace for a message that belongs to no trace yet.
func carryTrace(ctx context.Context, message *nats.Msg) {
	if message.Header == nil || !trace.SpanContextFromContext(ctx).IsValid() {
		return
	}
	own := propagation.TraceContext{}.Extract(context.Background(), propagation.MapCarrier{HeaderTrace: message.Header.Get(HeaderTrace)})
	if !trace.SpanContextFromContext(own).IsValid() {
		InjectTrace(ctx, message)
	}
}
