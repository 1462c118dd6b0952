package pipeline

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/flowjet/flowjet/internal/idle"
)

var (
	// ErrConflict is returned when somebody else wrote first: load again and decide again.
	ErrConflict = errors.New("changed by another writer in between")
	// ErrNotFound is returned when there is no such thing.
	ErrNotFound = errors.New("not found")
	// ErrNoReply is returned when no worker answered in time; the command stays queued.
	ErrNoReply = errors.New("no worker answered in time, the command stays queued")
	// ErrSuperseded is returned when another bridge has taken the feed over.
	ErrSuperseded = errors.New("another bridge has taken the feed over")
	// ErrNotProvisioned is returned when a stream is missing and it is not ours to make.
	ErrNotProvisioned = errors.New("it is missing, and an operator has to make it: `flowjet nats provision`")
	// ErrNewer is returned when a newer Flowjet wrote it: it is left as it is, for a
	// worker of that version.
	ErrNewer = errors.New("a newer Flowjet wrote it: it waits for a worker of that version")
	// ErrUnpublishable is returned for a message that NATS will never take, because of
	// its subject or its size: trying again is of no use.
	ErrUnpublishable = errors.New("NATS can never take this message")
	// ErrClosed is returned when the reader was stopped or the pipeline closed.
	ErrClosed = errors.New("closed")
)

// errUnsettled is returned while another process is making the same thing just now.
var errUnsettled = errors.New("another process is making it and has not finished")

// JetStream's error codes that nats.go has no names for.
const (
	codeNotAvailable     jetstream.ErrorCode = 10008
	codeNotLeader        jetstream.ErrorCode = 10009
	codeBatchIncomplete  jetstream.ErrorCode = 10176
	codeBatchDuplicate   jetstream.ErrorCode = 10201
	codeBatchesInflight  jetstream.ErrorCode = 10210
	codeDuplicateInAir   jetstream.ErrorCode = 10158
	codeSequenceNotReady jetstream.ErrorCode = 10163
	codeNoStorage        jetstream.ErrorCode = 10047
	codeNoResources      jetstream.ErrorCode = 10023
	codeNoPeers          jetstream.ErrorCode = 10005
	codeWrongSequence                        = jetstream.JSErrCodeStreamWrongLastSequence
	codeSequenceInFlight                     = jetstream.JSErrCodeStreamWrongLastSequenceConstant
)

const (
	// patience is how long a call goes on trying by itself when nothing but
	// time is missing: a leader's election, a reconnect. The server's own
	// election after a kill takes 5 to 8 seconds.
	patience = 15 * time.Second
	// firstAttempt is how long the first request waits for its answer, and
	// attempt how long later ones do. A leader that steps down answers nothing to
	// what it had not finished: found on three servers.
	firstAttempt = 600 * time.Millisecond
	attempt      = 3 * time.Second
	firstBackoff = 5 * time.Millisecond
	maxBackoff   = 500 * time.Millisecond
)

// codeOf is the JetStream error code in err, 0 without one.
func codeOf(err error) jetstream.ErrorCode {
	var refused jetstream.JetStreamError
	if errors.As(err, &refused) && refused.APIError() != nil {
		return refused.APIError().ErrorCode
	}
	return 0
}

// transient reports whether the same request may succeed a little later. The
// request may have been carried out all the same: only its answer was lost.
func transient(err error) bool {
	switch codeOf(err) {
	case codeSequenceInFlight, codeSequenceNotReady, codeNotAvailable, codeNotLeader,
		codeBatchIncomplete, codeBatchesInflight, codeDuplicateInAir:
		// 10164: on a replicated stream another write to the subject is on
		// its way. Who wins is known a moment later.
		return true
	case codeNoPeers:
		// Of servers that start together one comes last; but no wait makes a disk larger.
		return !noRoom(err)
	case 0:
	default:
		return false
	}
	for _, passing := range []error{
		nats.ErrNoResponders, nats.ErrTimeout, nats.ErrDisconnected, nats.ErrReconnectBufExceeded,
		nats.ErrConnectionReconnecting, nats.ErrStaleConnection, jetstream.ErrNoStreamResponse, context.DeadlineExceeded,
		errUnsettled,
	} {
		if errors.Is(err, passing) {
			return true
		}
	}
	return false
}

// persist calls try until it succeeds, fails for good, or ctx or the patience
// ends. Each call gets a context of its own that ends after one attempt's time.
func persist(ctx context.Context, try func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	wait, limit := firstBackoff, firstAttempt
	for {
		err := once(ctx, limit, try)
		if err == nil || !transient(err) || ctx.Err() != nil {
			return err
		}
		if idle.For(ctx, wait) != nil {
			return err
		}
		wait, limit = min(2*wait, maxBackoff), attempt
	}
}

func once(ctx context.Context, limit time.Duration, try func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return try(ctx)
}
