package work

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/flowjet/flowjet/internal/natstest"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/internal/testlog"
	"github.com/flowjet/flowjet/pipeline"
)

func join(t testing.TB, p clients, worker string) *Membership {
	t.Helper()
	m, err := Join(context.Background(), p.Pipeline, worker)
	must(t, err)
	t.Cleanup(func() { m.Leave(limited(t)) })
	return m
}

// Workers lists the live workers, sorted, this one among them.
func (m *Membership) Workers() []string { return slices.Sorted(maps.Keys(m.workers.Live())) }

// shared reports whether all keys are owned, each by one of the members.
func shared(members ...*Membership) bool {
	owners := map[string]int{}
	for _, m := range members {
		for key := range m.Owned() {
			owners[key]++
		}
	}
	for _, key := range pipeline.Keys() {
		if owners[key] != 1 {
			return false
		}
	}
	return true
}

func TestWorkersShareTheKeys(t *testing.T) {
	url := natstest.Server(t)
	first, second, third := open(t, url), open(t, url), open(t, url)
	a := join(t, first, "a")
	poll.Until(t, "a to own all", func() bool { return shared(a) })
	<-a.Changes()

	b, c := join(t, second, "b"), join(t, third, "c")
	poll.Until(t, "a, b and c to share", func() bool {
		return shared(a, b, c) && len(a.Workers()) == 3 && len(b.Owned()) > 0 && len(c.Owned()) > 0
	})
	<-a.Changes()

	b.Leave(limited(t))
	poll.Until(t, "a and c to share", func() bool { return shared(a, c) })
	if len(b.Owned()) != 0 || len(b.Workers()) != 0 {
		t.Errorf("b owns %v after leaving", b.Owned())
	}

	third.Conn().Close() // As after kill -9: silence.
	poll.Until(t, "a to own all again", func() bool { return shared(a) })
	poll.Until(t, "c, cut off, to own nothing", func() bool { return len(c.Owned()) == 0 })
	poll.Until(t, "a to see itself alone", func() bool { return slices.Equal(a.Workers(), []string{"a"}) })
}

// Who leaves says so in the end, and is not waited for as one that is silent.
func TestOneThatLeavesIsGoneAtOnce(t *testing.T) {
	url := natstest.Server(t)
	watching := open(t, url)
	beats := make(chan *nats.Msg, 100)
	subscription, err := watching.Conn().ChanSubscribe(pipeline.WorkerSubject("b"), beats)
	must(t, err)
	must(t, watching.Conn().Flush())
	join(t, open(t, url), "b").Leave(limited(t))
	a := join(t, watching, "a")
	var last *nats.Msg
	for last == nil || !strings.Contains(string(last.Data), pipeline.WorkerLeaving) {
		select {
		case last = <-beats:
		case <-limited(t).Done():
			t.Fatalf("b has left, and said in the end %v", last)
		}
		a.receive(last)
	}
	if slices.Contains(a.Workers(), "b") {
		t.Error("a still counts b")
	}
	must(t, subscription.Unsubscribe())
}

func TestAWorkerCutOffOwnsNothingUntilItIsBack(t *testing.T) {
	node := natstest.NewNode(t)
	m := join(t, open(t, node.URL()), "a")
	poll.Until(t, "a to own all", func() bool { return shared(m) })
	node.Stop()
	poll.Until(t, "a to own nothing", func() bool { return len(m.Owned()) == 0 })
	node.Start()
	poll.Until(t, "a to own all again", func() bool { return shared(m) })
}

func TestAMembershipOutlivesTheContextOfJoinAndEndsWithThePipeline(t *testing.T) {
	p := single(t)
	ctx, cancel := context.WithCancel(context.Background())
	m, err := Join(ctx, p.Pipeline, "a")
	must(t, err)
	cancel()
	poll.Until(t, "a to own all", func() bool { return shared(m) })
	p.Close()
	m.Leave(limited(t))
	if len(m.Owned()) != 0 {
		t.Error("it still owns keys")
	}
	m.Leave(limited(t))
	if _, err := Join(ctx, p.Pipeline, "a"); err == nil {
		t.Error("joined with a context that has ended")
	}
}

func TestTwoWorkersOfOneNameAreReported(t *testing.T) {
	url := natstest.Server(t)
	var log testlog.Log
	a := join(t, open(t, url, func(c *pipeline.Config) { c.Logger = log.Logger() }), "twin")
	join(t, open(t, url), "twin")
	log.Await(t, "another worker has the same id")
	poll.Until(t, "one worker of the name to be counted", func() bool { return slices.Equal(a.Workers(), []string{"twin"}) })
}

// A heartbeat that nobody of ours sent does no harm.
func TestNonsenseIsNoWorker(t *testing.T) {
	p := single(t)
	m := join(t, p, "a")
	for _, nonsense := range []string{"", "{", `{"worker":""}`, `[]`} {
		must(t, p.Conn().Publish(pipeline.WorkerSubject("b"), []byte(nonsense)))
	}
	must(t, p.Conn().Flush())
	poll.Until(t, "a to own all", func() bool { return shared(m) })
}

// TestSharesAreEvenAndMoveLittle: no worker has more than its part of the
// partitions, and when one goes, hardly more than its own part moves.
func TestSharesAreEvenAndMoveLittle(t *testing.T) {
	moved, rounds, most := 0, 200, map[int]int{1: 16, 2: 8, 3: 6, 4: 4, 5: 4, 6: 3, 7: 3}
	for round := range rounds {
		var workers []string
		var before map[string]string
		for count := 1; count <= len(most); count++ {
			workers = append(workers, fmt.Sprintf("worker-%d-%d", round, count))
			now := rendezvous(workers)
			if len(now) != len(pipeline.Keys()) {
				t.Fatalf("of %d workers, %d keys have an owner", count, len(now))
			}
			partitions := map[string]int{}
			for key, owner := range now {
				if strings.HasPrefix(key, pipeline.PartitionKeyPrefix) {
					partitions[owner]++
				}
				if before != nil && owner != before[key] {
					moved++
				}
			}
			for worker, has := range partitions {
				if has > most[count] {
					t.Fatalf("%s has %d partitions, of %d workers", worker, has, count)
				}
			}
			before = now
		}
	}
	// What has to move is the newcomer's part of 18 keys: 9, 6, 4.5, ...
	least := 18.0 * (1.0/2 + 1.0/3 + 1.0/4 + 1.0/5 + 1.0/6 + 1.0/7)
	if perRound := float64(moved) / float64(rounds); perRound > 1.5*least {
		t.Errorf("%.1f keys move where %.1f have to", perRound, least)
	}
	if len(rendezvous(nil)) > 0 {
		t.Error("nobody owns something")
	}
}

// TestABlindWorkerOwnsNothingWhileAnotherSees: it can reach NATS and not oned.
func TestABlindWorkerOwnsNothingWhileAnotherSees(t *testing.T) {
	url := natstest.Server(t)
	a, b := join(t, open(t, url), "a"), join(t, open(t, url), "b")
	poll.Until(t, "a and b to share", func() bool { return shared(a, b) && len(b.Owned()) > 0 })
	a.SetTrouble(true, "")
	poll.Until(t, "b to own all", func() bool { return shared(b) && len(a.Owned()) == 0 })
	b.SetTrouble(true, "")
	poll.Until(t, "the two blind ones to share", func() bool { return shared(a, b) && len(a.Owned()) > 0 })
	b.SetTrouble(false, "")
	a.SetTrouble(false, "")
	poll.Until(t, "a and b to share again", func() bool { return shared(a, b) && len(a.Owned()) > 0 })
	poll.Until(t, "a to see both", func() bool { return len(a.Workers()) == 2 })
	a.Leave(limited(t))
	a.SetTrouble(true, "")
	poll.Until(t, "b to own all that a left", func() bool { return shared(b) })
}
