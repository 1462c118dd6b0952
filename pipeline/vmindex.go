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

// VMIndex knows the newest stored event of each VM of the pipeline's zone, in
// about 100 bytes a VM. Catching up reads only what is new. It is for one
// goroutine at a time.
type VMIndex struct {
	pipeline *Pipeline
	vms      map[int]StoredVM
	last     uint64
	made     time.Time
	seed     maphash.Seed
}

// StoredVM is what is known of a VM's newest stored event.
type StoredVM struct {
	// Sequence is the event's in StreamONE.
	Sequence uint64
	Heard    time.Time
	Done     bool
	digest   uint64
}

// NewVMIndex is an index that knows nothing before its first CatchUp.
func (p *Pipeline) NewVMIndex() *VMIndex {
	return &VMIndex{pipeline: p, seed: maphash.MakeSeed(), vms: map[int]StoredVM{}}
}

// CatchUp reads what was stored since the last time. An event that cannot be
// understood counts as missing.
func (x *VMIndex) CatchUp(ctx context.Context) error {
	if err := x.checkStream(ctx); err != nil {
		return fmt.Errorf("read the last event of each VM: %w", err)
	}
	r := x.pipeline.newReader(StreamONE, fmt.Sprintf("one.%d.vm.>", x.pipeline.zone), x.last)
	if x.last == 0 {
		// A VM has a last event for each state it was in, of which the one
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
			return fmt.Errorf("read the last event of each VM: %w", err)
		}
		pending = metadata.NumPending
		x.last = metadata.Sequence.Stream
		if event, err := decodeEvent(message.Data()); err == nil && event.VM != nil {
			x.vms[event.ID] = StoredVM{
				Sequence: x.last, Heard: event.Heard, Done: event.State == flow.VMDone.String(), digest: x.digest(*event.VM),
			}
		}
	}
	return nil
}

// checkStream forgets everything when the stream was made anew.
func (x *VMIndex) checkStream(ctx context.Context) error {
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
func (x *VMIndex) Forget() {
	clear(x.vms)
	x.last = 0
}

// Of is what is stored of a VM; false for nothing.
func (x *VMIndex) Of(vm int) (StoredVM, bool) {
	stored, known := x.vms[vm]
	return stored, known
}

// Same says that the stored event tells everything that is known of a VM now.
func (x *VMIndex) Same(stored StoredVM, vm flow.VM) bool { return stored.digest == x.digest(vm) }

// All calls visit for each VM that has a stored event.
func (x *VMIndex) All(visit func(vm int, stored StoredVM)) {
	for id, stored := range x.vms {
		visit(id, stored)
	}
}

func (x *VMIndex) digest(vm flow.VM) uint64 { return maphash.Comparable(x.seed, vm) }

// Event reads the newest stored event of a VM as a whole; false when there is
// none any more.
func (x *VMIndex) Event(ctx context.Context, vm int) (Event, bool, error) {
	stored, known := x.vms[vm]
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
		return Event{}, false, fmt.Errorf("read the last event of VM %d: %w", vm, err)
	}
	return event, true, nil
}

// FoundVM is an event that a comparison with oned found missing. After is the
// sequence of the VM's newest stored event, 0 without one.
type FoundVM struct {
	FeedEvent
	After uint64
}

// PublishFound stores found events, each only if nothing was stored of its VM
// since After: an older list never overrides newer news, and of two who find the
// same one stores it. It returns how many it stored.
func (p *Pipeline) PublishFound(ctx context.Context, found []FoundVM) (int, error) {
	messages := make([]*nats.Msg, len(found))
	for i, one := range found {
		messages[i] = one.message()
		expectLast(messages[i], fmt.Sprintf("one.%d.vm.%d.>", p.zone, one.Event.ID), one.After)
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
		err := p.publishBatch(ctx, messages)
		if err == nil {
			return len(messages), nil
		}
		if code := codeOf(err); code != codeBatchDuplicate && code != codeWrongSequence {
			return 0, err
		}
	}
	for _, message := range messages {
		_, err := p.publish(ctx, message)
		switch {
		case err == nil:
			stored++
		case codeOf(err) != codeWrongSequence:
			return stored, err
		}
	}
	return stored, nil
}
