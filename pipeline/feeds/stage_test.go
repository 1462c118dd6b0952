package feeds

import (
	"context"
	"errors"
	"testing"

	"github.com/flowjet/flowjet/internal/natstest"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/pipeline"
)

// Batches that are staged while the one before them is stored follow it in order.
func TestStagedEventsFollowThoseBefore(t *testing.T) {
	onOneAndThree(t, func(t *testing.T, p clients) {
		ctx := limited(t)
		lease, err := p.acquire(ctx, "fe1", "a")
		must(t, err)
		sizes, next := []int{100, 1, 500, 16, 17, 1000, 1001, 3}, 0
		commit := func(context.Context) error { return nil }
		for _, size := range sizes {
			staged := lease.Stage(feedEvents(next, next+size))
			if count := eventCount(t, p); count > uint64(next) {
				t.Fatalf("%d events are stored, and %d were committed", count, next)
			}
			must(t, commit(ctx))
			commit, next = staged, next+size
		}
		must(t, commit(ctx))
		inOrder(t, stored(t, p, next))
	})
}

// What was staged is published from the beginning where it can be committed no more.
func TestStagedEventsOutliveTheirConnection(t *testing.T) {
	node := natstest.NewNode(t)
	p, ctx := open(t, node.URL()), limited(t)
	lease, err := p.acquire(ctx, "fe1", "a")
	must(t, err)
	commit := lease.Stage(feedEvents(0, 50))
	node.Stop()
	poll.Until(t, "the loss of the connection", func() bool { return !p.State().Connected })
	away := lease.Stage(feedEvents(50, 100))
	node.Start()
	must(t, commit(ctx))
	must(t, away(ctx))
	must(t, commit(ctx)) // as after a lost answer
	inOrder(t, stored(t, p, 100))
	if count := eventCount(t, p); count != 100 {
		t.Errorf("%d events are stored", count)
	}
}

func TestWhatASupersededBridgeHasStagedIsNotStored(t *testing.T) {
	p, ctx := single(t), limited(t)
	old, err := p.acquire(ctx, "fe1", "a")
	must(t, err)
	many, few := old.Stage(feedEvents(0, 50)), old.Stage(feedEvents(0, 2))
	_, err = p.acquire(ctx, "fe1", "b")
	must(t, err)
	for _, commit := range []func(context.Context) error{many, few} {
		if err := commit(ctx); !errors.Is(err, pipeline.ErrSuperseded) {
			t.Errorf("the old holder's commit: %v", err)
		}
	}
	if count := eventCount(t, p); count != 0 {
		t.Errorf("%d events are stored", count)
	}
}
