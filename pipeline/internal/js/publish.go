package js

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/flowjet/flowjet/internal/idle"
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
// control line of more than 4,096 bytes, which has a subject and an inbox.
const maxSubject = 1 << 10

// ErrUnpublishable is returned for a message that NATS will never accept, because of its
// subject or its size: a retry is useless.
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

// CheckSubject returns an error that wraps ErrUnpublishable for an invalid subject, or one that is too long.
func CheckSubject(subject string) error {
	switch {
	case len(subject) > maxSubject:
		return fmt.Errorf("%w: its subject has %d bytes, at most %d are possible", ErrUnpublishable, len(subject), maxSubject)
	case subject == "", strings.ContainsFunc(subject, func(r rune) bool { return r <= ' ' || r == 0x7f || r == utf8.RuneError }):
		return fmt.Errorf("%w: %q is not a subject", ErrUnpublishable, subject)
	}
	return nil
}

// HeaderTrace is the header of a message's trace, by the W3C's name.
const HeaderTrace = "traceparent"

// InjectTrace sets the context's trace on a message.
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

// ErrClosed is returned when the reader was stopped or the client closed.
var ErrClosed = errors.New("closed")

// ErrUnsettled is returned while another process is making the same stream.
var ErrUnsettled = errors.New("another process is creating it")

var errLeaderless = errors.New("it has no leader: most of its servers cannot be reached")

// JetStream's error codes for which nats.go has no names.
const (
	codeNotAvailable     jetstream.ErrorCode = 10008
	codeNotLeader        jetstream.ErrorCode = 10009
	codeConsumerClosed   jetstream.ErrorCode = 10012
	codeBatchIncomplete  jetstream.ErrorCode = 10176
	codeBatchesInflight  jetstream.ErrorCode = 10210
	codeDuplicateInAir   jetstream.ErrorCode = 10158
	codeSequenceNotReady jetstream.ErrorCode = 10163
	codeNoStorage        jetstream.ErrorCode = 10047
	codeNoResources      jetstream.ErrorCode = 10023
	codeNoPeers          jetstream.ErrorCode = 10005
	codeWrongSequence                        = jetstream.JSErrCodeStreamWrongLastSequence
	codeSequenceInFlight                     = jetstream.JSErrCodeStreamWrongLastSequenceConstant
)

// Attempt is how long one request waits for its answer.
const Attempt = 3 * time.Second

const (
	// patience is how long a call retries by itself a condition that passes: a
	// leader's election, a reconnect. The server's own election after a kill takes 5 to 8 seconds.
	patience = 15 * time.Second
	// firstAttempt is how long the first request waits for its answer; later ones wait for Attempt.
	// A leader that steps down never answers its unfinished requests: found on three servers.
	firstAttempt = 600 * time.Millisecond
	firstBackoff = 5 * time.Millisecond
	maxBackoff   = 500 * time.Millisecond
)

// Code returns the JetStream error code in err, 0 without one.
func Code(err error) jetstream.ErrorCode {
	var refused jetstream.JetStreamError
	if errors.As(err, &refused) && refused.APIError() != nil {
		return refused.APIError().ErrorCode
	}
	return 0
}

// Conflict reports whether a condition on a message or a key did not hold: there was another
// write in between. On one replica, and for stored messages on several, JetStream
// returns 10071, which is final. On several replicas it returns 10164 while another write is
// on its way: that is retried, and is a conflict if the patience ends with it.
func Conflict(err error) bool {
	code := Code(err)
	return code == codeWrongSequence || code == codeSequenceInFlight || errors.Is(err, jetstream.ErrKeyExists)
}

// NoRoom reports whether there is too little space for a stream's bytes: on this server, or
// in a cluster on too few.
func NoRoom(err error) bool {
	switch Code(err) {
	case codeNoStorage, codeNoResources:
		return true
	case codeNoPeers:
		return strings.Contains(err.Error(), "insufficient storage")
	}
	return false
}

// Explain adds the remedy to an error that a person has to fix.
func Explain(err error) error {
	switch {
	case errors.Is(err, jetstream.ErrJetStreamNotEnabled), errors.Is(err, jetstream.ErrJetStreamNotEnabledForAccount):
		return fmt.Errorf("%w; enable JetStream on the server and for the account", err)
	case NoRoom(err):
		return fmt.Errorf("%w; give JetStream more disk space", err)
	case Code(err) == codeNoPeers:
		return fmt.Errorf("%w; fewer servers are running than replicas are configured", err)
	}
	return err
}

// Transient reports whether the same request may succeed a little later. The
// request may still have been carried out: only its answer was lost.
func Transient(err error) bool {
	switch Code(err) {
	case codeSequenceInFlight, codeSequenceNotReady, codeNotAvailable, codeNotLeader,
		codeBatchIncomplete, codeBatchesInflight, codeDuplicateInAir, codeConsumerClosed:
		// 10164: on a replicated stream another write to the subject is on
		// its way. Which one wins is known a moment later.
		return true
	case codeNoPeers:
		// Of servers that start together one is last; but no wait makes a disk larger.
		return !NoRoom(err)
	case 0:
	default:
		return false
	}
	return slices.ContainsFunc([]error{
		nats.ErrNoResponders, nats.ErrTimeout, nats.ErrDisconnected, nats.ErrReconnectBufExceeded,
		nats.ErrConnectionReconnecting, nats.ErrStaleConnection, jetstream.ErrNoStreamResponse, jetstream.ErrAsyncPublishTimeout, context.DeadlineExceeded,
		ErrUnsettled, errLeaderless,
	}, func(passing error) bool { return errors.Is(err, passing) })
}

// Retry calls try until it succeeds, fails for good, or ctx or the patience
// ends. Each call gets a context of its own that ends after one attempt's time.
func Retry(ctx context.Context, try func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	wait, limit := idle.Between(firstBackoff, maxBackoff), firstAttempt
	for {
		attempt, cancel := context.WithTimeout(ctx, limit)
		err := try(attempt)
		cancel()
		if err == nil || !Transient(err) || ctx.Err() != nil {
			return err
		}
		if idle.For(ctx, wait.Next()) != nil {
			return err
		}
		limit = Attempt
	}
}
