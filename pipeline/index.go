package pipeline

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/flowjet/flowjet/flow"
)

// Index knows the newest stored event of each VM, or of each network, of the
// pipeline's zone, in about 100 bytes each. Catching up reads only what is new.
// It is for one goroutine at a time.
type Index struct {
	pipeline *Pipeline
	object   string
	objects  map[int]StoredObject
	last     uint64
	made     time.Time
	seed     maphash.Seed
}

// StoredObject is what is known of an object's newest stored event.
type StoredObject struct {
	// Sequence is the event's in StreamONE.
	Sequence uint64
	Heard    time.Time
	Done     bool
	digest   uint64
}

// NewIndex is an index of the objects of a kind, vm or net, that knows nothing
// before its first CatchUp.
func (p *Pipeline) NewIndex(object string) *Index {
	return &Index{pipeline: p, object: object, seed: maphash.MakeSeed(), objects: map[int]StoredObject{}}
}

// CatchUp reads what was stored since the last time. An event that cannot be
// understood counts as missing. Where a consumer is lost on the way, or silent because
// the machine is busy, another one goes on from there.
func (x *Index) CatchUp(ctx context.Context) error {
	if err := x.checkStream(ctx); err != nil {
		return fmt.Errorf("read the last event of each %s: %w", x.object, err)
	}
	for inVain := 0; ; {
		before := x.last
		err := x.readOn(ctx)
		if x.last == before {
			inVain++
		}
		if err == nil || ctx.Err() != nil || inVain == maxInVain {
			return err
		}
	}
}

// maxInVain is how many consumers in all an index tries that bring nothing.
const maxInVain = 3

// readOn reads on behind what was read last, with one consumer.
func (x *Index) readOn(ctx context.Context) error {
	r := x.pipeline.newReader(StreamONE, fmt.Sprintf("one.%d.%s.>", x.pipeline.zone, x.object), x.last)
	if x.last == 0 {
		// An object has a last event for each state it was in, of which the one
		// stored last counts. They come in order.
		r.deliver = jetstream.DeliverLastPerSubjectPolicy
	}
	defer r.Stop()
	if err := r.open(ctx); err != nil {
		return err
	}
	for pending := r.pending; pending > 0; {
		message, metadata, err := r.take(ctx)
		if err != nil {
			return fmt.Errorf("read the last event of each %s: %w", x.object, err)
		}
		pending = metadata.NumPending
		x.last = metadata.Sequence.Stream
		if event, err := decodeEvent(message.Data()); err == nil {
			x.objects[event.ID] = StoredObject{
				Sequence: x.last, Heard: event.Heard, Done: event.State == flow.VMDone.String(), digest: x.digest(event),
			}
		}
	}
	return nil
}

// checkStream forgets everything when the stream was made anew.
func (x *Index) checkStream(ctx context.Context) error {
	return persist(ctx, func(ctx context.Context) error {
		info, err := x.pipeline.streams[StreamONE].Info(ctx)
		if err != nil {
			return err
		}
		if info.State.LastSeq < x.last || !info.Created.Equal(x.made) {
			x.Forget()
			x.made = info.Created
		}
		return nil
	})
}

// Forget has the next CatchUp read everything again.
func (x *Index) Forget() {
	clear(x.objects)
	x.last = 0
}

// Of is what is stored of an object; false for nothing.
func (x *Index) Of(id int) (StoredObject, bool) {
	stored, known := x.objects[id]
	return stored, known
}

// Same reports whether the stored event tells everything that another one does, but
// for when and how it was heard.
func (x *Index) Same(stored StoredObject, event Event) bool { return stored.digest == x.digest(event) }

// All calls visit for each object that has a stored event.
func (x *Index) All(visit func(id int, stored StoredObject)) {
	for id, stored := range x.objects {
		visit(id, stored)
	}
}

// digest is of what a stored event says: a VM with its owner and READY, or a state.
func (x *Index) digest(event Event) uint64 {
	if event.VM != nil {
		vm := *event.VM
		vm.Host = "" // which stored events do not say
		return maphash.Comparable(x.seed, vm)
	}
	return maphash.String(x.seed, event.State)
}

// Event reads the newest stored event of an object as a whole; false when there
// is none any more.
func (x *Index) Event(ctx context.Context, id int) (Event, bool, error) {
	stored, known := x.objects[id]
	if !known {
		return Event{}, false, nil
	}
	var event Event
	err := persist(ctx, func(ctx context.Context) error {
		message, err := x.pipeline.streams[StreamONE].GetMsg(ctx, stored.Sequence)
		if err == nil {
			event, err = decodeEvent(message.Data)
		}
		return err
	})
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return Event{}, false, nil
	case err != nil:
		return Event{}, false, fmt.Errorf("read the last event of %s %d: %w", x.object, id, err)
	}
	return event, true, nil
}

// FoundEvent is an event that a comparison with oned found missing. After is the
// sequence of its object's newest stored event, 0 without one.
type FoundEvent struct {
	FeedEvent
	After uint64
}

// PublishFound stores found events, each only if nothing was stored of its
// object since After: an older list never overrides newer news, and of two who find the
// same one stores it. It returns how many it stored.
func (p *Pipeline) PublishFound(ctx context.Context, found []FoundEvent) (int, error) {
	messages := make([]*nats.Msg, len(found))
	for i, one := range found {
		messages[i] = new(nats.Msg)
		one.write(messages[i])
		expectLast(messages[i], fmt.Sprintf("one.%d.%s.%d.>", p.zone, one.Event.Object, one.Event.ID), one.After)
	}
	stored := 0
	for len(messages) > 0 {
		count := chunk(messages, p.replicated(StreamONE))
		n, err := p.publishFoundChunk(ctx, messages[:count])
		stored += n
		if err != nil {
			return stored, fmt.Errorf("store what a comparison with oned found: %w", err)
		}
		messages = messages[count:]
	}
	return stored, nil
}

func (p *Pipeline) publishFoundChunk(ctx context.Context, messages []*nats.Msg) (stored int, err error) {
	if len(messages) > 1 {
		_, err := p.publishBatch(ctx, messages)
		if err == nil {
			return len(messages), nil
		}
		if code := codeOf(err); code != codeBatchDuplicate && code != codeWrongSequence {
			return 0, err
		}
	}
	for _, message := range messages {
		_, err := p.publish(ctx, alone(message))
		switch {
		case err == nil:
			stored++
		case codeOf(err) != codeWrongSequence:
			return stored, err
		}
	}
	return stored, nil
}
