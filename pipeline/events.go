package pipeline

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// EventReader reads the bridged events in order. Next is for one goroutine at a
// time; Stop may be called from any.
type EventReader struct{ *reader }

// ReadEvents reads all events behind the sequence after (0 reads all).
func (p *Pipeline) ReadEvents(ctx context.Context, after uint64) (*EventReader, error) {
	r := &EventReader{p.newReader(StreamONE, SubjectsEvents, after)}
	if err := r.open(ctx); err != nil {
		return nil, err
	}
	return r, nil
}

// Next waits for the next event and returns it with its sequence in
// StreamONE. What cannot be understood goes to the dead letters and is
// skipped. It returns ctx's error, or ErrClosed after Stop.
func (r *EventReader) Next(ctx context.Context) (uint64, Event, error) {
	for {
		message, metadata, err := r.next(ctx)
		if err != nil {
			return 0, Event{}, err
		}
		event, err := decodeEvent(message.Data())
		if err == nil {
			event.Trace = traceOf(message.Headers())
			return metadata.Sequence.Stream, event, nil
		}
		if err := r.pipeline.bury(ctx, "events", message, metadata, err); err != nil {
			r.rewind(metadata)
			return 0, Event{}, err
		}
	}
}

func decodeEvent(data []byte) (Event, error) {
	event, err := unmarshalEvent(data)
	if err != nil {
		return Event{}, err
	}
	if event.Version < 1 || event.Version > Version {
		return Event{}, fmt.Errorf("schema version %d is not known here", event.Version)
	}
	return event, nil
}

// LastVMEvents is the newest stored event of each VM of the pipeline's zone.
// An event that cannot be understood counts as missing.
func (p *Pipeline) LastVMEvents(ctx context.Context) (map[int]Event, error) {
	r := p.newReader(StreamONE, fmt.Sprintf("one.%d.vm.>", p.zone), 0)
	r.deliver = jetstream.DeliverLastPerSubjectPolicy
	defer r.Stop()
	// The state is part of the subject: a VM has a last event for each state
	// it was in, of which the one stored last counts. They come in order.
	last := map[int]Event{}
	if err := r.open(ctx); err != nil {
		return nil, err
	}
	for pending := r.pending; pending > 0; {
		message, metadata, err := r.take(ctx)
		if err != nil {
			return nil, fmt.Errorf("read the last event of each VM: %w", err)
		}
		pending = metadata.NumPending
		if event, err := decodeEvent(message.Data()); err == nil {
			last[event.ID] = event
		}
	}
	return last, nil
}
