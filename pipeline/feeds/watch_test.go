package feeds

import (
	"errors"
	"fmt"
	"testing"

	"github.com/flowjet/flowjet/internal/natstest"
	"github.com/flowjet/flowjet/pipeline"

	"github.com/flowjet/flowjet/internal/poll"
)

func TestAFeedIsTakenByOneOfTwo(t *testing.T) {
	onOneAndThree(t, func(t *testing.T, p clients) {
		ctx := limited(t)
		if _, sequence, err := p.LastLease(ctx, "fe1"); err != nil || sequence != 0 {
			t.Fatalf("a lease nobody took: %d, %v", sequence, err)
		}
		first, err := p.Acquire(ctx, "fe1", "a", 0)
		must(t, err)
		if _, err := p.Acquire(ctx, "fe1", "b", 0); !errors.Is(err, pipeline.ErrConflict) {
			t.Fatalf("taken twice: %v", err)
		}
		must(t, first.Release(ctx))
		last, sequence, err := p.LastLease(ctx, "fe1")
		must(t, err)
		if !last.Released || last.Holder != "a" {
			t.Errorf("the lease is %+v", last)
		}
		second, err := p.Acquire(ctx, "fe1", "b", sequence)
		must(t, err)
		if err := first.Publish(ctx, feedEvents(0, 1)); !errors.Is(err, pipeline.ErrSuperseded) {
			t.Errorf("published after the release: %v", err)
		}
		must(t, second.Publish(ctx, feedEvents(0, 3)))
	})
}

func TestBeatsAreHeardAndSilenceIsCounted(t *testing.T) {
	node := natstest.NewNode(t)
	p, ctx := open(t, node.URL()), limited(t)
	watch, err := p.Watch("fe1")
	must(t, err)
	defer watch.Close()
	if watch.Last().Token != "" {
		t.Error("somebody was heard already")
	}
	lease, err := p.acquire(ctx, "fe1", "a")
	must(t, err)
	before := watch.Silence()
	must(t, lease.Beat(false, true))
	<-watch.Changed()
	if last := watch.Last(); last.Holder != "a" || last.Token != lease.Token() || last.Lease != lease.Sequence() {
		t.Errorf("heard %+v", last)
	}
	if before <= 0 {
		t.Error("silence is not counted")
	}
	must(t, lease.Beat(true, true))
	<-watch.Changed()
	node.Stop()
	poll.Until(t, "the loss of the server", func() bool { return !p.State().Connected })
	if silence := watch.Silence(); silence != 0 {
		t.Errorf("without a server the holder counts as silent for %v", silence)
	}
	node.Start()
}

func TestTheTailOfAFeed(t *testing.T) {
	onOneAndThree(t, func(t *testing.T, p clients) {
		ctx := limited(t)
		old, err := p.acquire(ctx, "fe1", "a")
		must(t, err)
		other, err := p.acquire(ctx, "fe2", "b")
		must(t, err)
		events := feedEvents(0, 5)
		for i := range events {
			events[i].MessageID = fmt.Sprintf("%c-x-%d", 'a'+i, i)
		}
		must(t, old.Publish(ctx, events))
		must(t, other.Publish(ctx, feedEvents(100, 2300))) // more than the first window
		lease, err := p.acquire(ctx, "fe1", "c")
		must(t, err)
		tail, err := lease.Tail(ctx, 4)
		must(t, err)
		if len(tail) != 4 || tail[0].Hash != "b" || tail[3].Hash != "e" || tail[3].Sequence >= lease.Sequence() {
			t.Errorf("the tail is %+v", tail)
		}
		none, err := p.acquire(ctx, "fe3", "c")
		must(t, err)
		if tail, err := none.Tail(ctx, 3); err != nil || len(tail) != 0 {
			t.Errorf("the tail of a new feed is %+v, %v", tail, err)
		}
	})
}
