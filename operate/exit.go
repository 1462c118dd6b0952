package operate

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go"

	"github.com/flowjet/flowjet/pipeline"
)

// Exit is the status with which a command ends that has failed: scripts tell by it what
// to do next.
type Exit int

// The statuses. 0 is success.
const (
	// ExitFailed is for everything that has no status of its own.
	ExitFailed Exit = iota + 1
	// ExitUsage is for a wrong command line or configuration.
	ExitUsage
	// ExitNotFound is for a service, command or dead letter that is not there.
	ExitNotFound
	// ExitUnreachable is for NATS, oned or an API that does not answer.
	ExitUnreachable
	// ExitTimeout is for something that has not come within the time given.
	ExitTimeout
	// ExitTrouble is for trouble that was looked for and found.
	ExitTrouble
)

type exitError struct {
	error
	status Exit
}

func (e exitError) Unwrap() error { return e.error }

// Because is err with the status.
func (e Exit) Because(err error) error {
	if err == nil {
		return nil
	}
	return exitError{err, e}
}

// ExitOf returns the status for an error.
func ExitOf(err error) Exit {
	var known exitError
	switch {
	case errors.As(err, &known):
		return known.status
	case errors.Is(err, pipeline.ErrNotFound):
		return ExitNotFound
	case errors.Is(err, nats.ErrNoServers), errors.Is(err, nats.ErrNoResponders):
		return ExitUnreachable
	case errors.Is(err, nats.ErrTimeout), errors.Is(err, context.DeadlineExceeded):
		return ExitTimeout
	}
	return ExitFailed
}
