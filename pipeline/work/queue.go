// Package work has the workers' clients of JetStream: the work that wakes services, the records
// of decisions, the owners of VMs and networks, timers, and the workers themselves.
//
// Safety: a record changes only by compare-and-set, so of two writers one fails. Two workers may own one key for a second, which costs work that is
// discarded. Liveness: a worker that is gone, or cut off, loses its keys to the others after 0.8 s.
package work

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/internal/errs"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/deadletters"
	"github.com/flowjet/flowjet/pipeline/internal/js"
)

// Queue is the work that wakes services.
type Queue struct {
	core        *js.Client
	zone        int
	schema      int
	deadLetters *deadletters.Store
}

// NewQueue returns the work of a pipeline.
func NewQueue(p *pipeline.Pipeline) *Queue {
	return &Queue{p.Client, p.Zone(), p.Schema(), deadletters.New(p)}
}

// PublishWork wakes a service and returns the work's sequence in StreamWork.
// The same messageID within two minutes is stored once; an empty one is no id.
func (q *Queue) PublishWork(ctx context.Context, work pipeline.Work, messageID string) (uint64, error) {
	return q.PublishCommand(ctx, work, messageID, "")
}

// PublishCommand is PublishWork for a command whose reply goes to an inbox.
func (q *Queue) PublishCommand(ctx context.Context, work pipeline.Work, messageID, replyTo string) (sequence uint64, err error) {
	defer errs.Wrap(&err, "wake service %d", work.Service)
	message := q.message(work, messageID)
	if replyTo != "" {
		message.Header.Set(pipeline.HeaderReplyTo, replyTo)
	}
	return q.core.Publish(ctx, message)
}

func (q *Queue) message(work pipeline.Work, messageID string) *nats.Msg {
	work.Version = q.schema
	message := nats.NewMsg(pipeline.WorkSubject(work.Service))
	message.Data = pipeline.Encode(&work)
	if messageID != "" {
		message.Header.Set(jetstream.MsgIDHeader, messageID)
	}
	return message
}

// WakeOrder is the order of wake-ups over several calls.
type WakeOrder = js.Order

// NewWakeOrder returns the order of wake-ups that another router may have published already.
func (q *Queue) NewWakeOrder(ctx context.Context) (*WakeOrder, error) {
	return q.core.Stream(pipeline.StreamWork).NewOrder(ctx)
}

// PublishWakes wakes services in the order given and returns when all wake-ups are stored, many at the cost of a few. On an error some of them may be
// stored; the message ids make it harmless to retry all.
//
// A few are pipelined. If the server is lost in the middle, a later one can be stored before an earlier: it is then stored once more, so that the
// last one stored of each service is the last one given. With an order, for a caller that wakes services again and again, and after an error from an
// earlier wake-up on, it is the last one given in all calls.
func (q *Queue) PublishWakes(ctx context.Context, wakes []pipeline.Wake, order *WakeOrder) (err error) {
	defer errs.Wrap(&err, "wake %d services", len(wakes))
	messages := make([]*nats.Msg, len(wakes))
	for i, wake := range wakes {
		messages[i] = q.message(wake.Work, wake.MessageID)
		if wake.Trace != "" {
			messages[i].Header.Set(pipeline.HeaderTrace, wake.Trace)
		}
	}
	return q.core.Stream(pipeline.StreamWork).Append(ctx, messages, js.Rules{Burst: js.Renamed, Order: order})
}

// PartitionReader reads one partition's work in order. Next is for one goroutine at a time; Stop may be called from any.
type PartitionReader struct {
	*js.Reader
	queue *Queue
}

// ReadPartition reads a partition's work behind the sequence after (0 reads all). The reader survives lost servers and connections: each input comes
// once, in order, for as long as the reader lives.
func (q *Queue) ReadPartition(ctx context.Context, partition int, after uint64) (*PartitionReader, error) {
	if partition < 0 || partition >= pipeline.Partitions {
		return nil, fmt.Errorf("read partition %d: there are 0 to %d", partition, pipeline.Partitions-1)
	}
	r, err := q.core.Stream(pipeline.StreamWork).Read(ctx, pipeline.PartitionSubjects(partition), after)
	if err != nil {
		return nil, err
	}
	return &PartitionReader{r, q}, nil
}

// Next waits for the next input. A message that cannot be parsed goes to the dead-letter stream, and its sequence is returned with
// pipeline.ErrUnreadable; a newer Flowjet's message is returned as Work.Newer. It returns ctx's error, or pipeline.ErrClosed after Stop.
func (r *PartitionReader) Next(ctx context.Context) (pipeline.Input, error) {
	message, err := r.Reader.Next(ctx)
	if err != nil {
		return pipeline.Input{}, err
	}
	work, err := pipeline.DecodeWork(message.Data, r.queue.schema)
	if err == nil {
		return pipeline.Input{
			Sequence: message.Sequence, Work: work, ReplyTo: message.Header.Get(pipeline.HeaderReplyTo),
			Published: message.Time, Trace: message.Header.Get(pipeline.HeaderTrace),
		}, nil
	}
	if err := r.queue.deadLetters.Unreadable(ctx, "work", message, err); err != nil {
		r.Rewind(message) // neither returned nor a dead letter: read it again
		return pipeline.Input{}, err
	}
	return pipeline.Input{Sequence: message.Sequence}, pipeline.ErrUnreadable
}

// EventReader reads OpenNebula's events in order. Next is for one goroutine at a time; Stop may be called from any.
type EventReader struct {
	*js.Reader
	queue *Queue
	// last is that of the event read last, with the number of the reader's opening at that time.
	last   pipeline.EventMark
	opened int
}

// ReadEvents reads all events behind the sequence after (0 reads all).
func (q *Queue) ReadEvents(ctx context.Context, after uint64) (*EventReader, error) {
	r, err := q.core.Stream(pipeline.StreamONE).Read(ctx, pipeline.SubjectsEvents, after)
	if err != nil {
		return nil, err
	}
	return &EventReader{Reader: r, queue: q}, nil
}

// EndOfEvents returns the sequence of the last event that was stored.
func (q *Queue) EndOfEvents(ctx context.Context) (uint64, error) {
	return q.core.Stream(pipeline.StreamONE).End(ctx)
}

// Next waits for the next event and returns it with its sequence in StreamONE. A message that cannot be
// parsed goes to the dead letters, and its sequence is returned with pipeline.ErrUnreadable. It
// returns ctx's error, pipeline.ErrClosed after Stop, or pipeline.ErrRewritten: then messages in front of the next one were never returned.
func (r *EventReader) Next(ctx context.Context) (uint64, pipeline.Event, error) {
	message, err := r.Reader.Next(ctx)
	if err == nil {
		err = r.checkLast(ctx, message)
	}
	if err != nil {
		return 0, pipeline.Event{}, err
	}
	event, err := pipeline.DecodeEvent(message.Data)
	if err == nil {
		event.Trace = message.Header.Get(pipeline.HeaderTrace)
		return message.Sequence, event, nil
	}
	if err := r.queue.deadLetters.Unreadable(ctx, "events", message, err); err != nil {
		r.Rewind(message)
		return 0, pipeline.Event{}, err
	}
	return message.Sequence, pipeline.Event{}, pipeline.ErrUnreadable
}

// checkLast checks, at the first message after the reader was reopened, whether the last one read is still in the stream: nothing else
// shows that a stream has lost its end and has grown as long again since. If the check fails, the next message repeats it.
func (r *EventReader) checkLast(ctx context.Context, next js.Message) error {
	if r.opened != r.Openings() {
		rewritten, err := r.queue.EventsRewritten(ctx, r.last)
		switch {
		case err != nil:
			return nil //nolint:nilerr // the next message asks again
		case rewritten:
			return pipeline.ErrRewritten
		}
	}
	r.last, r.opened = pipeline.EventMark{Sequence: next.Sequence, Stored: next.Time}, r.Openings()
	return nil
}

// Mark is that of the event read last.
func (r *EventReader) Mark() pipeline.EventMark { return r.last }

// EventsRewritten reports whether there is another event where the mark's was: the stream has lost its end since, and has grown as long again.
func (q *Queue) EventsRewritten(ctx context.Context, mark pipeline.EventMark) (rewritten bool, err error) {
	defer errs.Wrap(&err, "look for the event %d", mark.Sequence)
	if mark.Sequence == 0 {
		return false, nil
	}
	held, err := q.core.Stream(pipeline.StreamONE).Get(ctx, mark.Sequence)
	return held != nil && !held.Time.Equal(mark.Stored), err // a missing one has expired
}

// VMsThat returns the newest stored event of each VM of the pipeline's zone whose state, by
// that event, satisfies holds. An event that cannot be parsed counts as missing.
func (q *Queue) VMsThat(ctx context.Context, holds func(one.VM) bool) (newest map[int]pipeline.Event, err error) {
	defer errs.Wrap(&err, "read the newest event of each VM")
	newest = map[int]pipeline.Event{}
	// A VM has a newest event for each state it was in, of which the one stored last counts. They arrive in order.
	return newest, q.core.Stream(pipeline.StreamONE).EachNewest(ctx, pipeline.KindSubjects(q.zone, "vm"), func(message js.Message) {
		event, err := pipeline.DecodeEvent(message.Data)
		if err != nil {
			return
		}
		delete(newest, event.ID)
		if event.VM != nil && holds(*event.VM) {
			newest[event.ID] = event
		}
	})
}

// VMEntered returns the newest stored event of a VM's entering a state; false for none.
func (q *Queue) VMEntered(ctx context.Context, vm one.VM) (event pipeline.Event, entered bool, err error) {
	defer errs.Wrap(&err, "read when VM %d entered %s/%s", vm.ID, vm.State, vm.LCMState)
	message, err := q.core.Stream(pipeline.StreamONE).Last(ctx, pipeline.VMSubject(q.zone, vm.ID, vm.State.String(), vm.LCMState.String()))
	if message == nil || err != nil {
		return event, false, err
	}
	event, err = pipeline.DecodeEvent(message.Data)
	return event, err == nil, err
}
