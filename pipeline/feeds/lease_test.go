package feeds

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/internal/natstest"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/pipeline"
)

func vmEvent(vm, number int) Event {
	event := pipeline.Event{
		Object: "vm", ID: vm, State: "ACTIVE", LCMState: fmt.Sprintf("S%d", number%3), Heard: time.Now().UTC(),
		VM: &one.VM{ID: vm, Service: number},
	}
	return Event{
		Subject: pipeline.VMSubject(0, vm, event.State, event.LCMState), MessageID: fmt.Sprintf("%d-%d", vm, number),
		Event: event,
	}
}

func feedEvents(from, to int) []Event {
	events := make([]Event, 0, to-from)
	for i := from; i < to; i++ {
		events = append(events, vmEvent(i%7, i))
	}
	return events
}

// stored reads so many events and returns their numbers, in order.
func stored(t testing.TB, p clients, count int) []int {
	t.Helper()
	ctx := limited(t)
	reader, err := p.ReadEvents(ctx, 0)
	must(t, err)
	defer reader.Stop()
	numbers := make([]int, count)
	for i := range numbers {
		_, event, err := reader.Next(ctx)
		must(t, err)
		numbers[i] = event.VM.Service
	}
	return numbers
}

func inOrder(t testing.TB, numbers []int) {
	t.Helper()
	for i, number := range numbers {
		if number != i {
			t.Fatalf("event %d is stored in place %d: %v", number, i, numbers)
		}
	}
}

func eventCount(t testing.TB, p clients) uint64 {
	t.Helper()
	info, err := p.Client.Stream(pipeline.StreamONE).Info(limited(t), jetstream.WithSubjectFilter("one.*.*.>"))
	must(t, err)
	var count uint64
	for _, messages := range info.State.Subjects {
		count += messages
	}
	return count
}

// A feed is expected from its first lease on, also when it is released, until it ends with its server.
func TestExpectedFeeds(t *testing.T) {
	onOneAndThree(t, func(t *testing.T, p clients) {
		ctx := limited(t)
		expected := func(want ...string) {
			t.Helper()
			poll.Until(t, fmt.Sprintf("the feeds %v to be expected", want), func() bool {
				names, err := p.Expected(ctx)
				must(t, err)
				slices.Sort(names)
				return slices.Equal(names, want)
			})
		}
		expected()
		one, err := p.acquire(ctx, "fe1", "bridge-a")
		must(t, err)
		other, err := p.acquire(ctx, "fe2", "bridge-a")
		must(t, err)
		expected("fe1", "fe2")
		must(t, one.Release(ctx))
		expected("fe1", "fe2")
		must(t, other.Retire(ctx))
		expected("fe1")
	})
}

func TestAFeedIsStoredInOrderAndOnce(t *testing.T) {
	onOneAndThree(t, func(t *testing.T, p clients) {
		ctx := limited(t)
		lease, err := p.acquire(ctx, "fe1", "bridge-a")
		must(t, err)
		must(t, lease.Publish(ctx, nil))
		must(t, lease.Publish(ctx, feedEvents(0, 1)))
		must(t, lease.Publish(ctx, feedEvents(1, 5)))
		must(t, lease.Publish(ctx, feedEvents(5, 200)))
		must(t, lease.Publish(ctx, feedEvents(150, 1400))) // 50 of them again
		must(t, lease.Publish(ctx, feedEvents(1390, 1400)))
		inOrder(t, stored(t, p, 1400))
		if count := eventCount(t, p); count != 1400 {
			t.Errorf("%d events are stored", count)
		}
	})
}

func TestASupersededBridgeStoresNothing(t *testing.T) {
	onOneAndThree(t, func(t *testing.T, p clients) {
		ctx := limited(t)
		old, err := p.acquire(ctx, "fe1", "bridge-a")
		must(t, err)
		must(t, old.Publish(ctx, feedEvents(0, 10)))
		other, err := p.acquire(ctx, "fe2", "bridge-c")
		must(t, err)
		lease, err := p.acquire(ctx, "fe1", "bridge-b")
		must(t, err)
		for _, events := range [][]Event{feedEvents(10, 11), feedEvents(10, 20), feedEvents(10, 100)} {
			if err := old.Publish(ctx, events); !errors.Is(err, pipeline.ErrSuperseded) {
				t.Fatalf("the old holder published: %v", err)
			}
		}
		if count := eventCount(t, p); count != 10 {
			t.Fatalf("%d events are stored", count)
		}
		must(t, lease.Publish(ctx, feedEvents(10, 100)))
		must(t, other.Publish(ctx, feedEvents(100, 110)))
		inOrder(t, stored(t, p, 110))
	})
}

func TestALeaseThatTheStreamForgotIsTakenAgain(t *testing.T) {
	p, ctx := single(t), limited(t)
	lease, err := p.acquire(ctx, "fe1", "bridge-a")
	must(t, err)
	must(t, p.Client.Stream(pipeline.StreamONE).Purge(ctx, jetstream.WithPurgeSubject(pipeline.LeaseSubject("fe1"))))
	must(t, lease.Publish(ctx, feedEvents(0, 3)))

	lease.renewed = time.Now().Add(-2 * renewLease)
	before := lease.Sequence()
	must(t, lease.Publish(ctx, feedEvents(3, 6)))
	if lease.Sequence() == before {
		t.Error("the lease was not renewed")
	}
	inOrder(t, stored(t, p, 6))

	lease.renewed = time.Now().Add(-2 * renewLease)
	_, err = p.acquire(ctx, "fe1", "bridge-b")
	must(t, err)
	if err := lease.Publish(ctx, feedEvents(6, 7)); !errors.Is(err, pipeline.ErrSuperseded) {
		t.Errorf("renewed over another's lease: %v", err)
	}
}

// A renewal whose acknowledgement was lost is the bridge's own: it goes on, and no event is lost or doubled.
func TestARenewalThatWasNotAcknowledged(t *testing.T) {
	onOneAndThree(t, func(t *testing.T, p clients) {
		ctx := limited(t)
		lease, err := p.acquire(ctx, "fe1", "bridge-a")
		must(t, err)
		must(t, lease.Publish(ctx, feedEvents(0, 3)))
		before := lease.Sequence()
		must(t, lease.write(ctx, before))
		renewed := lease.Sequence()
		lease.wrote(before) // as if no answer had come
		lease.renewed = time.Now().Add(-2 * renewLease)
		must(t, lease.Publish(ctx, feedEvents(3, 60)))
		if lease.Sequence() != renewed {
			t.Errorf("the lease has sequence %d, and is stored under %d", lease.Sequence(), renewed)
		}
		inOrder(t, stored(t, p, 60))
	})
}

func TestPublishWaitsForARestartOfTheServer(t *testing.T) {
	node := natstest.NewNode(t)
	p, ctx := open(t, node.URL()), limited(t)
	lease, err := p.acquire(ctx, "fe1", "bridge-a")
	must(t, err)
	must(t, lease.Publish(ctx, feedEvents(0, 3)))
	node.Stop()
	published := make(chan error, 1)
	go func() { published <- lease.Publish(ctx, feedEvents(3, 60)) }()
	node.Start()
	must(t, <-published)
	inOrder(t, stored(t, p, 60))
}

func TestAFeedKeepsItsOrderWhileTheClustersLeadersGo(t *testing.T) {
	nodes := natstest.Cluster(t, 3)
	p, ctx := open(t, nodes.URL(), replicas(3)), limited(t)
	lease, err := p.acquire(ctx, "fe1", "bridge-a")
	must(t, err)
	const count = 300
	for i := 0; i < count; i += 3 {
		if i == 99 {
			leader := nodes.Leader(pipeline.StreamONE)
			leader.Stop()
		}
		must(t, lease.Publish(ctx, feedEvents(i, i+3)))
	}
	inOrder(t, stored(t, p, count))
}

func TestPublishEndsWithItsContext(t *testing.T) {
	node := natstest.NewNode(t)
	p := open(t, node.URL())
	lease, err := p.acquire(limited(t), "fe1", "bridge-a")
	must(t, err)
	node.Stop()
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := lease.Publish(ctx, feedEvents(0, 2)); err == nil || errors.Is(err, pipeline.ErrSuperseded) {
		t.Fatalf("got %v", err)
	}
}

func TestVMsInAState(t *testing.T) {
	p, ctx := single(t), limited(t)
	lease, err := p.acquire(ctx, "fe1", "bridge-a")
	must(t, err)
	changes := func(vm, number int, state one.VMState, lcm one.LCMState) Event {
		event := vmEvent(vm, number)
		event.Event.State, event.Event.LCMState = state.String(), lcm.String()
		event.Event.VM.State, event.Event.VM.LCMState = state, lcm
		event.Subject = pipeline.VMSubject(0, vm, event.Event.State, event.Event.LCMState)
		return event
	}
	must(t, lease.Publish(ctx, []Event{
		changes(1, 0, one.VMActive, one.LCMShutdownPoweroff), changes(2, 1, one.VMActive, one.LCMShutdownPoweroff),
		changes(1, 2, one.VMPoweroff, one.LCMInit), changes(3, 3, one.VMActive, one.LCMRunning),
	}))
	found, err := p.VMsThat(ctx, one.VM.Changing)
	must(t, err)
	if event, has := found[2]; len(found) != 1 || !has || event.VM.Service != 1 {
		t.Errorf("at work on: %+v", found)
	}
	event, known, err := p.VMEntered(ctx, one.VM{ID: 1, State: one.VMActive, LCMState: one.LCMShutdownPoweroff})
	must(t, err)
	if !known || event.VM.Service != 0 {
		t.Errorf("VM 1 began to be powered off with %+v, %v", event, known)
	}
	if _, known, err := p.VMEntered(ctx, one.VM{ID: 9, State: one.VMActive}); known || err != nil {
		t.Errorf("a VM that was never heard of: %v, %v", known, err)
	}
}
