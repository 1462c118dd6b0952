package pipeline

import (
	"errors"

	"github.com/flowjet/flowjet/pipeline/internal/js"
)

var (
	// ErrConflict is returned when somebody else wrote first: load again and decide again.
	ErrConflict = errors.New("changed by another writer")
	// ErrNotFound is returned when there is no such thing.
	ErrNotFound = errors.New("not found")
	// ErrNoReply is returned when no worker answered in time; the command stays queued.
	ErrNoReply = errors.New("no worker answered in time, the command stays queued")
	// ErrSuperseded is returned when another bridge has taken the feed over.
	ErrSuperseded = errors.New("another bridge has taken over the feed")
	// ErrNotProvisioned is returned when a stream is missing and it is not ours to make.
	ErrNotProvisioned = errors.New("it does not exist; an operator must create it: `flowjet nats provision`")
	// ErrNewer is returned when a newer Flowjet wrote it: it is left as it is, for a
	// worker of that version.
	ErrNewer = errors.New("it was written by a newer Flowjet: only a worker of that version can process it")
	// ErrFull is returned when there is no room for more that waits for the same receiver.
	ErrFull = errors.New("too many deliveries are pending for the receiver")
	// ErrOtherZone is returned where the data is another zone's: what it holds would be taken for
	// this zone's services and VMs, whose ids are the same numbers.
	ErrOtherZone = errors.New("the data belongs to another zone")
	// ErrUnpublishable is returned for a message that NATS will never take, because of
	// its subject or its size: trying again is of no use.
	ErrUnpublishable = js.ErrUnpublishable
	// ErrUnreadable is returned for a message that is in the dead letters because it
	// cannot be understood: there is nothing else to be done for it.
	ErrUnreadable = errors.New("the message cannot be read and is a dead letter")
	// ErrClosed is returned when the reader was stopped or the pipeline closed.
	ErrClosed = js.ErrClosed
)
