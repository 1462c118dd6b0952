package work

import (
	"context"
	"fmt"

	"github.com/flowjet/flowjet/flow/one"
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

// Next waits for the next event and returns it with its sequence in StreamONE. What cannot be
// understood goes to the dead letters, and its sequence is returned with pipeline.ErrUnreadable. It
// returns ctx's error, or pipeline.ErrClosed after Stop.
func (r *EventReader) Next(ctx context.Context) (uint64, pipeline.Event, error) {
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
	return message.Sequence, pipeline.Event{}, pipeline.ErrUnreadable
}

// VMsThat returns the newest stored event of each VM of the pipeline's zone whose state, as
// that says, is one that holds. An event that cannot be understood counts as missing.
func (q *Queue) VMsThat(ctx context.Context, holds func(one.VM) bool) (map[int]pipeline.Event, error) {
	newest := map[int]pipeline.Event{}
	// A VM has a newest event for each state it was in, of which the one stored last
	// counts. They come in order.
	err := q.core.Stream(pipeline.StreamONE).EachNewest(ctx, pipeline.KindSubjects(q.zone, "vm"), func(message js.Message) {
		event, err := pipeline.DecodeEvent(message.Data)
		if err != nil {
			return
		}
		delete(newest, event.ID)
		if event.VM != nil && holds(*event.VM) {
			newest[event.ID] = event
		}
	})
	if err != nil {
		return nil, fmt.Errorf("read the newest event of each VM: %w", err)
	}
	return newest, nil
}

// VMEntered returns the newest stored event of a VM's coming to a state; false for none.
func (q *Queue) VMEntered(ctx context.Context, vm one.VM) (pipeline.Event, bool, error) {
	subject := pipeline.VMSubject(q.zone, vm.ID, vm.State.String(), vm.LCMState.String())
	message, err := q.core.Stream(pipeline.StreamONE).Last(ctx, subject)
	var event pipeline.Event
	if message != nil {
		event, err = pipeline.DecodeEvent(message.Data)
	}
	if err != nil {
		return pipeline.Event{}, false, fmt.Errorf("read when VM %d entered %s/%s: %w", vm.ID, vm.State, vm.LCMState, err)
	}
	return event, message != nil, nil
}
