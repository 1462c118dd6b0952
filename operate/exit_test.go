package operate

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/flowjet/flowjet/internal/terminal"
	"github.com/flowjet/flowjet/pipeline"
)

func TestExitStatusTellsWhatWentWrong(t *testing.T) {
	for want, errs := range map[terminal.Exit][]error{
		terminal.ExitFailed:   {errors.New("else")},
		terminal.ExitUsage:    {oneOf("state", []string{"bar"}, "bar", "foo"), fmt.Errorf("wrapped: %w", terminal.ExitUsage.Because(errors.New("x")))},
		terminal.ExitNotFound: {fmt.Errorf("service 9: %w", pipeline.ErrNotFound), unknownService(9, pipeline.ErrNotFound)},
		terminal.ExitUnreachable: {fmt.Errorf("connect: %w", nats.ErrNoServers), fmt.Errorf("ask: %w", nats.ErrNoResponders),
			fmt.Errorf("load: %w", &jetstream.APIError{Code: 503, ErrorCode: 10008}), fmt.Errorf("read: %w", &nats.APIError{Code: 503, ErrorCode: 10008})},
		terminal.ExitTimeout: {context.DeadlineExceeded},
	} {
		for _, err := range errs {
			if got := ExitOf(err); got != want {
				t.Errorf("%v ends with %d, want %d", err, got, want)
			}
		}
	}
	if oneOf("state", nil, "") != nil || terminal.ExitUsage.Because(nil) != nil {
		t.Error("what is right is refused")
	}
}
