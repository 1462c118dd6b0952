package feeds

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/pipeline"
)

func foundVM(vm, number int, after uint64) FoundEvent {
	event := vmEvent(vm, number)
	event.Event.Resync = true
	event.MessageID = fmt.Sprintf("found-%d-%d", vm, after)
	return FoundEvent{Event: event, After: after}
}

func TestTheIndexKnowsTheNewestEventOfEachVM(t *testing.T) {
	p, ctx := single(t), limited(t)
	lease, err := p.acquire(ctx, "fe1", "a")
	must(t, err)
	index := p.Index("vm")
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
			if index.Same(stored, pipeline.Event{VM: &one.VM{ID: vm}}) {
				t.Errorf("VM %d is the same as any", vm)
			}
		})
		if count != 7 {
			t.Errorf("%d VMs", count)
		}
	}
	must(t, p.JetStream().DeleteStream(ctx, pipeline.StreamONE))
	open(t, p.State().Server) // makes it anew
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
	lease, err := p.acquire(ctx, "fe1", "a")
	must(t, err)
	const events = 20_000
	for first := 0; first < events; first += 1000 {
		var some []Event
		for vm := first; vm < first+1000; vm++ {
			some = append(some, vmEvent(vm, vm))
		}
		must(t, lease.Publish(ctx, some))
	}
	stream, err := p.JetStream().Stream(ctx, pipeline.StreamONE)
	must(t, err)
	deleted := make(chan struct{})
	go func() {
		defer close(deleted)
		deleteFirstReader(ctx, stream)
	}()
	index := p.Index("vm")
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
	onOneAndThree(t, func(t *testing.T, p clients) {
		ctx := limited(t)
		lease, err := p.acquire(ctx, "fe1", "a")
		must(t, err)
		must(t, lease.Publish(ctx, feedEvents(0, 7)))
		index := p.Index("vm")
		poll.Until(t, "the replica that is read to have the events", func() bool {
			must(t, index.CatchUp(ctx))
			_, known := index.Of(6)
			return known
		})
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
		poll.Until(t, "the replica that is read to have what was found", func() bool {
			must(t, index.CatchUp(ctx))
			_, known := index.Of(29)
			return known
		})
		newer, _, err := index.Event(ctx, 0)
		must(t, err)
		missing, _, err := index.Event(ctx, 3)
		must(t, err)
		if newer.VM.Service != 7 || missing.VM.Service != 103 || !missing.Resync || eventCount(t, p) != 37 {
			t.Errorf("last are %+v and %+v of %d; %d again", newer.VM, missing.VM, eventCount(t, p), again)
		}
	})
}

// An index of networks knows their states, and nothing of VMs with the same ids.
func TestTheIndexOfNetworks(t *testing.T) {
	p, ctx := single(t), limited(t)
	lease, err := p.acquire(ctx, "fe1", "a")
	must(t, err)
	events := feedEvents(0, 7)
	for i, state := range []string{"LOCK_CREATE", "READY"} {
		events = append(events, Event{
			Subject: pipeline.ObjectSubject(0, "net", 3, state), MessageID: fmt.Sprint("net-", i),
			Event: pipeline.Event{Object: "net", ID: 3, State: state},
		})
	}
	must(t, lease.Publish(ctx, events))
	index := p.Index("net")
	must(t, index.CatchUp(ctx))
	index.All(func(id int, stored StoredObject) {
		if id != 3 || stored.Done || !index.Same(stored, pipeline.Event{State: "READY"}) || index.Same(stored, pipeline.Event{State: "ERROR"}) {
			t.Errorf("network %d: %+v", id, stored)
		}
	})
	if _, known := index.Of(3); !known {
		t.Error("the network is not known")
	}
}
