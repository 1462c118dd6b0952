package feeds

import (
	"context"
	"fmt"
	"hash/maphash"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/internal/errs"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/internal/js"
)

// Index holds the newest stored event of each VM, or of each network, of the pipeline's zone, in
// about 100 bytes each. CatchUp reads only new events. It is for one goroutine at a time.
type Index struct {
	feeds   *Feeds
	object  string
	objects map[int]StoredObject
	last    uint64
	made    time.Time
	seed    maphash.Seed
}

// StoredObject identifies an object's newest stored event.
type StoredObject struct {
	// Sequence is the event's in StreamONE.
	Sequence uint64
	Heard    time.Time
	Done     bool
	digest   uint64
}

// Index returns an index of the objects of a kind, vm or net, which is empty before its first CatchUp.
func (f *Feeds) Index(object string) *Index {
	return &Index{feeds: f, object: object, seed: maphash.MakeSeed(), objects: map[int]StoredObject{}}
}

// CatchUp reads the events stored since the last time, or everything if the stream was
// recreated. An event that cannot be parsed counts as missing.
func (x *Index) CatchUp(ctx context.Context) (err error) {
	defer errs.Wrap(&err, "read the last event of each %s", x.object)
	stream, subjects := x.feeds.core.Stream(pipeline.StreamONE), pipeline.KindSubjects(x.feeds.zone, x.object)
	info, err := stream.Led(ctx)
	if err != nil {
		return err
	}
	if info.State.LastSeq < x.last || !info.Created.Equal(x.made) {
		x.Forget()
		x.made = info.Created
	}
	if x.last > 0 {
		return stream.Each(ctx, subjects, x.last, x.add)
	}
	// An object has a last event for each state it was in, of which the one
	// stored last counts. They arrive in order.
	return stream.EachNewest(ctx, subjects, x.add)
}

func (x *Index) add(message js.Message) {
	x.last = message.Sequence
	if event, err := pipeline.DecodeEvent(message.Data); err == nil {
		x.objects[event.ID] = StoredObject{
			Sequence: x.last, Heard: event.Heard, Done: event.State == one.VMDone.String(), digest: x.digest(event),
		}
	}
}

// Forget makes the next CatchUp read everything again.
func (x *Index) Forget() {
	clear(x.objects)
	x.last = 0
}

// Of returns the stored event of an object; false for none.
func (x *Index) Of(id int) (StoredObject, bool) {
	stored, known := x.objects[id]
	return stored, known
}

// Same reports whether the stored event equals another one, except for when and how it was received.
func (x *Index) Same(stored StoredObject, event pipeline.Event) bool {
	return stored.digest == x.digest(event)
}

// All calls visit for each object that has a stored event.
func (x *Index) All(visit func(id int, stored StoredObject)) {
	for id, stored := range x.objects {
		visit(id, stored)
	}
}

// digest covers the content of a stored event: a VM with its owner and READY, or a state.
func (x *Index) digest(event pipeline.Event) uint64 {
	if event.VM != nil {
		vm := *event.VM
		vm.Host = "" // which stored events do not have
		return maphash.Comparable(x.seed, vm)
	}
	return maphash.String(x.seed, event.State)
}

// Event reads the newest stored event of an object as a whole; false if there is none any more.
func (x *Index) Event(ctx context.Context, id int) (event pipeline.Event, has bool, err error) {
	defer errs.Wrap(&err, "read the last event of %s %d", x.object, id)
	stored, known := x.objects[id]
	if !known {
		return event, false, nil
	}
	message, err := x.feeds.core.Stream(pipeline.StreamONE).Get(ctx, stored.Sequence)
	if message == nil || err != nil {
		return event, false, err
	}
	event, err = pipeline.DecodeEvent(message.Data)
	return event, err == nil, err
}

// FoundEvent is an event that a comparison with oned found missing. After is the
// sequence of its object's newest stored event, 0 without one.
type FoundEvent struct {
	Event
	After uint64
}

// PublishFound stores found events, each only if no event of its
// object was stored since After: an older list never overrides a newer event, and of two bridges that find
// the same one stores it. It returns how many it stored.
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

// StoredEvent identifies a stored event.
type StoredEvent struct {
	Sequence uint64
	Hash     string // the one in the message id
	Heard    time.Time
}

// tailSpans are how many messages back a feed's last events are searched for.
// Beyond the last they are too old to be in any bridge's memory.
var tailSpans = []uint64{2_000, 20_000, 100_000}

// Tail returns the last events that were received on the feed and stored before the
// lease, oldest first, most at most. None can be added to them any more.
func (l *Lease) Tail(ctx context.Context, most int) (events []StoredEvent, err error) {
	defer errs.Wrap(&err, "read the last events of feed %s", l.feed)
	end := l.Sequence()
	for _, span := range tailSpans {
		events, err = l.eventsBetween(ctx, end-min(end, span), end)
		if err != nil || len(events) >= most || span >= end {
			break
		}
	}
	return events[max(0, len(events)-most):], err
}

// eventsBetween returns the feed's events behind a sequence and before the lease's.
// The lease is read too: a server that does not have it yet lags behind.
func (l *Lease) eventsBetween(ctx context.Context, after, end uint64) ([]StoredEvent, error) {
	r, err := l.feeds.core.Stream(pipeline.StreamONE).Read(ctx, pipeline.SubjectsONE, after)
	if err != nil {
		return nil, err
	}
	defer r.Stop()
	var events []StoredEvent
	for {
		message, err := r.Next(ctx)
		if err != nil {
			return nil, err
		}
		if message.Sequence >= end {
			return events, nil
		}
		if message.Header.Get(pipeline.HeaderFeed) != l.feed || message.Header.Get(pipeline.HeaderResync) != "" {
			continue
		}
		event, err := pipeline.DecodeEvent(message.Data)
		if err != nil {
			continue
		}
		hash, _, _ := strings.Cut(message.Header.Get(jetstream.MsgIDHeader), "-")
		events = append(events, StoredEvent{Sequence: message.Sequence, Hash: hash, Heard: event.Heard})
	}
}
