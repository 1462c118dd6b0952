package feeds

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/flowjet/flowjet/internal/natstest"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/internal/pipetest"
)

// limitMessages has a stream refuse messages of more bytes; -1 is no limit.
func limitMessages(t *testing.T, p clients, stream string, size int32) {
	t.Helper()
	info, err := p.Client.Stream(stream).Info(limited(t))
	must(t, err)
	info.Config.MaxMsgSize = size
	_, err = p.JetStream().UpdateStream(limited(t), info.Config)
	must(t, err)
}

// refusedHere is longer than limitMessages allows in these tests.
var refusedHere = strings.Repeat("x", 2000)

// An event that is refused in the middle of others holds up those behind it.
func TestAnEventThatIsRefusedInTheMiddle(t *testing.T) {
	p, ctx := single(t), limited(t)
	lease, err := p.acquire(ctx, "fe1", "bridge-a")
	must(t, err)
	limitMessages(t, p, pipeline.StreamONE, 1000)
	events := feedEvents(0, 6)
	vm := *events[2].Event.VM
	vm.Name = refusedHere
	events[2].Event.VM = &vm
	if err := lease.Publish(ctx, events); err == nil {
		t.Fatal("a refused event counts as stored")
	}
	if count := eventCount(t, p); count != 2 {
		t.Fatalf("%d events are stored, of which two stand in front of the refused one", count)
	}
	limitMessages(t, p, pipeline.StreamONE, -1)
	must(t, lease.Publish(ctx, events))
	inOrder(t, stored(t, p, 6))
	if count := eventCount(t, p); count != 6 {
		t.Errorf("%d events are stored", count)
	}
}

// Feeds whose few events come between each other's keep their order, each its own.
func TestFeedsBetweenEachOther(t *testing.T) {
	p, ctx := single(t), limited(t)
	const feeds, rounds, few = 3, 40, 5
	var group sync.WaitGroup
	for feed := range feeds {
		lease, err := p.acquire(ctx, fmt.Sprint("fe", feed), "bridge")
		must(t, err)
		group.Go(func() {
			for round := range rounds {
				var events []Event
				for i := range few {
					event := vmEvent(feed, round*few+i)
					events = append(events, event)
				}
				if err := lease.Publish(ctx, events); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	reader, err := p.ReadEvents(ctx, 0)
	must(t, err)
	defer reader.Stop()
	next := map[int]int{}
	for range feeds * rounds * few {
		_, event, err := reader.Next(ctx)
		must(t, err)
		if event.VM.Service != next[event.ID] {
			t.Fatalf("feed %d has event %d in place %d", event.ID, event.VM.Service, next[event.ID])
		}
		next[event.ID]++
	}
}

// However a connection breaks while a few events are on their way, they are
// stored once and in order.
func TestAConnectionLostBetweenAFewEvents(t *testing.T) {
	server := natstest.Server(t)
	c := pipetest.NewCutter(t, server)
	p, ctx := open(t, c.URL()), limited(t)
	lease, err := p.acquire(ctx, "fe1", "bridge-a")
	must(t, err)
	const rounds, few = 25, 8
	for round := range rounds {
		c.CutSomewhere(2500)
		for {
			if err := lease.Publish(ctx, feedEvents(round*few, (round+1)*few)); err == nil {
				break
			}
			must(t, context.Cause(ctx))
		}
	}
	c.Mend()
	direct := open(t, server)
	inOrder(t, stored(t, direct, rounds*few))
	if count := eventCount(t, direct); count != rounds*few {
		t.Errorf("%d events are stored, not %d", count, rounds*few)
	}
}
