package js

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/flowjet/flowjet/internal/poll"
)

// together has all callers wait before anything is stored, and returns each one's error.
func together(t testing.TB, c *Client, callers ...func() error) []error {
	t.Helper()
	g := c.Stream("S").group
	poll.Until(t, "the group to be idle", func() bool {
		g.mutex.Lock()
		defer g.mutex.Unlock()
		idle := !g.running
		g.running = true
		return idle
	})
	errs := make([]error, len(callers))
	var wait sync.WaitGroup
	for i, call := range callers {
		wait.Go(func() { errs[i] = call() })
		poll.Until(t, "the caller to wait", func() bool {
			g.mutex.Lock()
			defer g.mutex.Unlock()
			return len(g.waiting) == i+1
		})
	}
	g.wait.Go(g.run)
	wait.Wait()
	return errs
}

// What many commit at a time is stored once, each caller's in order.
func TestManyCommitAtATime(t *testing.T) {
	onOneAndThree(t, func(t *testing.T, c *Client) {
		ctx := limited(t)
		for _, callers := range []int{2, 30} {
			for _, from := range []int{0, 1, 0} { // again, as after a lost answer
				var all []func() error
				for caller := range callers {
					all = append(all, func() error {
						_, err := c.Stream("S").Commit(ctx, messages(fmt.Sprint(callers, "-", caller), from, 3)...)
						return err
					})
				}
				must(t, errors.Join(together(t, c, all...)...))
			}
			for caller := range callers {
				inOrder(t, stored(t, c, fmt.Sprint(callers, "-", caller)), 3)
			}
		}
	})
}

// A message that cannot be stored is its own caller's trouble; what stands behind it in the
// same call is not stored.
func TestABadMessageIsNotTheTroubleOfOthers(t *testing.T) {
	c, ctx := single(t), limited(t)
	for _, callers := range []int{4, 2 * worthBatching} {
		var all []func() error
		for caller := range callers {
			own := messages(fmt.Sprint(callers, "-", caller), 0, 3)
			if caller == 3 {
				own[1].Data = []byte(strings.Repeat("x", int(c.conn.MaxPayload()))) // with the rest, more than the server takes
			}
			all = append(all, func() error { _, err := c.Stream("S").Commit(ctx, own...); return err })
		}
		for caller, err := range together(t, c, all...) {
			want := 3
			if caller == 3 {
				want = 1
			}
			if errors.Is(err, nats.ErrMaxPayload) != (caller == 3) || err != nil && caller != 3 {
				t.Errorf("caller %d got %v", caller, err)
			}
			inOrder(t, stored(t, c, fmt.Sprint(callers, "-", caller)), want)
		}
	}
}

// Each of those who write under a condition at a time gets its own sequence or refusal.
func TestCompareAndSetInAGroup(t *testing.T) {
	c, ctx := single(t), limited(t)
	for _, callers := range []int{5, 3 * worthBatching} {
		last := make([]uint64, callers)
		for round := range 4 {
			var all []func() error
			for caller := range callers {
				all = append(all, func() error {
					own := nats.NewMsg(fmt.Sprintf("s.cas%d.%d", callers, caller))
					expected := last[caller]
					if round == 2 && caller == 1 {
						expected += 1000
					}
					own.Header.Set(jetstream.ExpectedLastSubjSeqHeader, fmt.Sprint(expected))
					sequence, err := c.Stream("S").Commit(ctx, own)
					if err == nil {
						last[caller] = sequence
					}
					return err
				})
			}
			for caller, err := range together(t, c, all...) {
				if refused := round == 2 && caller == 1; Conflict(err) != refused || err != nil && !refused {
					t.Errorf("round %d: caller %d of %d got %v", round, caller, callers, err)
				}
			}
		}
		for caller, want := range last {
			found, err := c.Stream("S").Last(ctx, fmt.Sprintf("s.cas%d.%d", callers, caller))
			if must(t, err); found.Sequence != want {
				t.Errorf("caller %d of %d has stored %d, and was told %d", caller, callers, found.Sequence, want)
			}
		}
	}
}

func TestWhatNobodyWaitsForIsNotStored(t *testing.T) {
	c, ctx := single(t), limited(t)
	gone, leave := context.WithCancel(ctx)
	errs := together(t, c,
		func() error { _, err := c.Stream("S").Commit(gone, message("gone", 0)); return err },
		func() error { leave(); _, err := c.Stream("S").Commit(ctx, message("there", 0)); return err },
	)
	if !errors.Is(errs[0], context.Canceled) || errs[1] != nil {
		t.Errorf("they got %v", errs)
	}
	inOrder(t, stored(t, c, "gone"), 0)
	inOrder(t, stored(t, c, "there"), 1)
	if sequence, err := c.Stream("S").Commit(ctx); sequence != 0 || err != nil {
		t.Errorf("nothing was stored as %d (%v)", sequence, err)
	}
	if _, err := c.Stream("S").Commit(gone, message("gone", 1)); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that has ended: %v", err)
	}
}

func TestWhatHasWaitedTooLongIsGivenBack(t *testing.T) {
	c := single(t)
	old := &request{entry: entry{messages: messages("old", 0, 1)}, since: time.Now().Add(-2 * staleAfter), done: make(chan struct{})}
	c.Stream("S").group.add(old)
	if <-old.done; !errors.Is(old.result.Err, errStale) {
		t.Errorf("it got %v", old.result.Err)
	}
	inOrder(t, stored(t, c, "old"), 0)
}

func TestNothingIsCommittedAfterTheClose(t *testing.T) {
	c := single(t)
	must(t, c.Stream("S").Append(limited(t), messages("before", 0, 1), Rules{}))
	c.Close()
	c.Close()
	if _, err := c.Stream("S").Commit(limited(t), message("after", 0)); !errors.Is(err, ErrClosed) {
		t.Errorf("it got %v", err)
	}
}

// A group takes no more at a time than one batch holds.
func TestAGroupIsNoLargerThanABatch(t *testing.T) {
	var sizes []int
	g := &group{running: true, store: func(entries []*entry) {
		size := 0
		for _, one := range entries {
			size += len(one.messages)
		}
		sizes = append(sizes, size)
	}}
	for range 5 {
		g.add(&request{entry: entry{messages: messages("a", 0, 400)}, since: time.Now(), done: make(chan struct{})})
	}
	g.run()
	if !slices.Equal(sizes, []int{800, 800, 400}) {
		t.Errorf("it stored %v messages at a time", sizes)
	}
}
