package pipeline

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

// LastTransition is the number of the service's transition that was told last,
// 0 for none: what a crash left untold comes after it.
func (p *Pipeline) LastTransition(ctx context.Context, service int) (uint64, error) {
	r := p.newReader(StreamFlow, fmt.Sprintf("flow.event.%d.>", service), 0)
	r.deliver = jetstream.DeliverLastPolicy
	defer r.Stop()
	if err := r.open(ctx); err != nil {
		return 0, err
	}
	if r.pending == 0 {
		return 0, nil
	}
	message, _, err := r.take(ctx)
	if err != nil {
		return 0, fmt.Errorf("read the last transition of service %d: %w", service, err)
	}
	_, number, _ := strings.Cut(message.Headers().Get(jetstream.MsgIDHeader), "-")
	last, err := strconv.ParseUint(number, 10, 64)
	if err != nil {
		return 0, nil // not one of ours: everything is told again
	}
	return last, nil
}
