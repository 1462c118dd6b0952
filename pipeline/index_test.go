package pipeline

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/flowjet/flowjet/flow"
)

func foundVM(vm, number int, after uint64) FoundEvent {
	event := vmEvent(vm, number)
	event.Event.Resync = true
	event.MessageID = fmt.Sprintf("found-%d-%d", vm, after)
	return FoundEvent{FeedEvent: event, After: after}
}

func TestTheIndexKnowsTheNewestEventOfEachVM(t *testing.T) {
	p, ctx := single(t), limited(t)
	lease, err := p.AcquireFeed(ctx, "fe1", "a")
	must(t, err)
	index := p.NewIndex("vm")
	must(t, index.CatchUp(ctx))
	for _, upTo := range []int{300, 600} {
		must(t, lease.Publish(ctx, feedEvents(upTo-300, upTo)))
		must(t, index.CatchUp(ctx))
		count := 0
		index.All(func(vm int, stored StoredObject) {
			count++
			event, found, err := index.Event(ctx, vm)
			if err != nil || !found || event.VM.Service < upTo-7 || !index.Same(stored, event) || !event.Heard.Equal(stored.Heard) {
				t.Errorf("VM %d has %+v (%+v, %v)", vm, stored, event.VM, err)
			}
			if index.Same(stored, Event{VM: &flow.VM{ID: vm}}) {
				t.Errorf("VM %d is the same as any", vm)
			}
		})
		if count != 7 {
			t.Errorf("%d VMs", count)
		}
	}
	must(t, p.js.DeleteStream(ctx, StreamONE))
	must(t, p.provision(ctx, 1))
	must(t, index.CatchUp(ctx))
	if _, known := index.Of(1); known {
		t.Error("a lost stream's events are remembered")
	}
	if _, found, err := index.Event(ctx, 1); found || err != nil {
		t.Errorf("an event of a lost stream: %v", err)
	}
}

// A comparison of 100,000 VMs does not begin anew because a consumer was lost.
func TestTheIndexGoesOnWhereItsConsumerWasLost(t *testing.T) {
	p, ctx := single(t), limited(t)
	lease, err := p.AcquireFeed(ctx, "fe1", "a")
	must(t, err)
	const events = 20_000
	for first := 0; first < events; first += 1000 {
		var some []FeedEvent
		for vm := first; vm < first+1000; vm++ {
			some = append(some, vmEvent(vm, vm))
		}
		must(t, lease.Publish(ctx, some))
	}
	stream, err := p.js.Stream(ctx, StreamONE)
	must(t, err)
	deleted := make(chan struct{})
	go func() {
		defer close(deleted)
		deleteFirstReader(ctx, stream)
	}()
	index := p.NewIndex("vm")
	for deletedNow := false; !deletedNow; {
		index.Forget()
		must(t, index.CatchUp(ctx))
		select {
		case <-deleted:
			deletedNow = true
		default:
		}
	}
	known := 0
	index.All(func(int, StoredObject) { known++ })
	if known != events {
		t.Errorf("%d of %d VMs are known", known, events)
	}
}

// deleteFirstReader deletes the first consumer of a reader that it finds.
func deleteFirstReader(ctx context.Context, stream jetstream.Stream) {
	for ctx.Err() == nil {
		for name := range stream.ConsumerNames(ctx).Name() {
			if strings.HasPrefix(name, "flowjet-") && stream.DeleteConsumer(ctx, name) == nil {
				return
			}
		}
	}
}

func TestFoundEventsNeverOverrideNewerOnes(t *testing.T) {
	onOneAndThree(t, func(t *testing.T, p *Pipeline) {
		ctx := limited(t)
		lease, err := p.AcquireFeed(ctx, "fe1", "a")
		must(t, err)
		must(t, lease.Publish(ctx, feedEvents(0, 7)))
		index := p.NewIndex("vm")
		must(t, index.CatchUp(ctx))
		must(t, lease.Publish(ctx, feedEvents(7, 8))) // newer news of VM 0
		var found []FoundEvent
		for vm := range 30 {
			stored, _ := index.Of(vm)
			found = append(found, foundVM(vm, 100+vm, stored.Sequence))
		}
		stored, err := p.PublishFound(ctx, found)
		must(t, err)
		if stored != 29 {
			t.Errorf("%d of 29 were stored", stored)
		}
		again, err := p.PublishFound(ctx, found[1:3])
		must(t, err)
		last, err := p.LastVMEvents(ctx)
		must(t, err)
		if last[0].VM.Service != 7 || last[3].VM.Service != 103 || !last[3].Resync || eventCount(t, p) != 37 {
			t.Errorf("last are %+v and %+v of %d; %d again", last[0].VM, last[3].VM, eventCount(t, p), again)
		}
	})
}

// An index of networks knows their states, and nothing of VMs with the same ids.
func TestTheIndexOfNetworks(t *testing.T) {
	p, ctx := single(t), limited(t)
	lease, err := p.AcquireFeed(ctx, "fe1", "a")
	must(t, err)
	events := feedEvents(0, 7)
	for i, state := range []string{"LOCK_CREATE", "READY"} {
		events = append(events, FeedEvent{
			Subject: ObjectSubject(0, "net", 3, state), MessageID: fmt.Sprint("net-", i),
			Event: Event{Object: "net", ID: 3, State: state},
		})
	}
	must(t, lease.Publish(ctx, events))
	index := p.NewIndex("net")
	must(t, index.CatchUp(ctx))
	index.All(func(id int, stored StoredObject) {
		if id != 3 || stored.Done || !index.Same(stored, Event{State: "READY"}) || index.Same(stored, Event{State: "ERROR"}) {
			t.Errorf("network %d: %+v", id, stored)
		}
	})
	if _, known := index.Of(3); !known {
		t.Error("the network is not known")
	}
}
