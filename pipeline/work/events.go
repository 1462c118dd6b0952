package work

import (
	"context"

	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/deadletters"
	"github.com/flowjet/flowjet/pipeline/internal/js"
)

// EventReader reads OpenNebula's events in order. Next is for one goroutine at a
// time; Stop may be called from any.
type EventReader struct {
	*js.Reader
	letters *deadletters.Letters
}

// ReadEvents reads all events behind the sequence after (0 reads all).
func (q *Queue) ReadEvents(ctx context.Context, after uint64) (*EventReader, error) {
	r, err := q.core.Stream(pipeline.StreamONE).Read(ctx, pipeline.SubjectsEvents, after)
	if err != nil {
		return nil, err
	}
	return &EventReader{r, q.letters}, nil
}

// EndOfEvents is the sequence of the last event that was stored.
func (q *Queue) EndOfEvents(ctx context.Context) (uint64, error) {
	return q.core.Stream(pipeline.StreamONE).End(ctx)
}

// Next waits for the next event and returns it with its sequence in
// StreamONE. What cannot be understood goes to the dead letters and is
// skipped. It returns ctx's error, or pipeline.ErrClosed after Stop.
func (r *EventReader) Next(ctx context.Context) (uint64, pipeline.Event, error) {
	for {
		message, err := r.Reader.Next(ctx)
		if err != nil {
			return 0, pipeline.Event{}, err
		}
		event, err := pipeline.DecodeEvent(message.Data)
		if err == nil {
			event.Trace = message.Header.Get(pipeline.HeaderTrace)
			return message.Sequence, event, nil
		}
		if err := r.letters.Unreadable(ctx, "events", message, err); err != nil {
			r.Rewind(message)
			return 0, pipeline.Event{}, err
		}
	}
}
