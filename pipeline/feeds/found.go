package feeds

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go"

	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/internal/js"
)

// FoundEvent is an event that a comparison with oned found missing. After is the
// sequence of its object's newest stored event, 0 without one.
type FoundEvent struct {
	Event
	After uint64
}

// PublishFound stores found events, each only if nothing was stored of its
// object since After: an older list never overrides newer news, and of two who find the
// same one stores it. It returns how many it stored.
func (f *Feeds) PublishFound(ctx context.Context, found []FoundEvent) (stored int, err error) {
	messages := make([]*nats.Msg, len(found))
	for i, one := range found {
		messages[i] = new(nats.Msg)
		one.write(messages[i])
		event := one.Event.Event
		js.Expect(messages[i], pipeline.ObjectSubjects(f.zone, event.Object, event.ID), one.After)
	}
	for _, result := range f.core.Stream(pipeline.StreamONE).AppendEach(ctx, messages) {
		switch {
		case result.Err == nil:
			stored++
		case err == nil && !js.Conflict(result.Err):
			err = fmt.Errorf("store the events found by comparing with oned: %w", result.Err)
		}
	}
	return stored, err
}
