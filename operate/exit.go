package operate

import (
	"context"
	"errors"

	"github.com/nats-io/nats.go"

	"github.com/flowjet/flowjet/internal/terminal"
	"github.com/flowjet/flowjet/pipeline"
)

// ExitOf returns the status for an error.
func ExitOf(err error) terminal.Exit {
	status, known := terminal.ExitOf(err)
	switch {
	case known:
		return status
	case errors.Is(err, pipeline.ErrNotFound):
		return terminal.ExitNotFound
	case errors.Is(err, nats.ErrNoServers), errors.Is(err, nats.ErrNoResponders):
		return terminal.ExitUnreachable
	case errors.Is(err, nats.ErrTimeout), errors.Is(err, context.DeadlineExceeded):
		return terminal.ExitTimeout
	}
	return terminal.ExitFailed
}
