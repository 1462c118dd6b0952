package js

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// However many messages there are, and however they are sent, they are stored once and in
// their order.
func TestAppendKeepsTheOrder(t *testing.T) {
	onOneAndThree(t, func(t *testing.T, c *Client) {
		ctx := limited(t)
		for name, rules := range map[string]Rules{"plain": {}, "chained": {Burst: Chained}, "renamed": {Burst: Renamed}} {
			for _, size := range []int{0, 1, worthBatching - 1, worthBatching, MaxBurst, MaxBurst + 1, 2 * maxBatch} {
				subject := fmt.Sprint(name, size)
				must(t, c.Stream("S").Append(ctx, messages(subject, 0, size), rules))
				inOrder(t, stored(t, c, subject), size)
				if rules.Burst != Renamed {
					must(t, c.Stream("S").Append(ctx, messages(subject, 0, size), rules))
					inOrder(t, stored(t, c, subject), size)
				}
			}
		}
	})
}

// Of messages some of which are stored already only the others are stored.
func TestAppendStoresWhatIsMissing(t *testing.T) {
	onOneAndThree(t, func(t *testing.T, c *Client) {
		ctx := limited(t)
		for _, size := range []int{4, 100} {
			subject := fmt.Sprint("part", size)
			must(t, c.Stream("S").Append(ctx, messages(subject, 0, size/2), Rules{}))
			must(t, c.Stream("S").Append(ctx, messages(subject, 0, size), Rules{Burst: Chained}))
			inOrder(t, stored(t, c, subject), size)
		}
	})
}

// A fence that does not hold keeps all messages out.
func TestAFenceHoldsForAll(t *testing.T) {
	onOneAndThree(t, func(t *testing.T, c *Client) {
		ctx := limited(t)
		lease, err := c.Publish(ctx, message("lease", 1))
		must(t, err)
		fenced := func(sequence uint64) Rules {
			return Rules{Burst: Chained, Fence: func(message *nats.Msg) { Expect(message, "s.lease", sequence) }}
		}
		total := 0
		for _, size := range []int{1, 5, 100} {
			if err := c.Stream("S").Append(ctx, messages("fenced", total, total+size), fenced(lease-1)); !Conflict(err) {
				t.Errorf("%d messages over a newer lease: %v", size, err)
			}
			inOrder(t, stored(t, c, "fenced"), total)
			must(t, c.Stream("S").Append(ctx, messages("fenced", total, total+size), fenced(lease)))
			total += size
		}
		inOrder(t, stored(t, c, "fenced"), total)
	})
}

// Messages with conditions of their own are refused by themselves: the others are stored,
// and each has its sequence.
func TestAppendEachRefusesSingleMessages(t *testing.T) {
	onOneAndThree(t, func(t *testing.T, c *Client) {
		ctx := limited(t)
		for _, size := range []int{1, 3, MaxBurst, 60} {
			for round := range 3 {
				all := make([]*nats.Msg, size)
				for i := range all {
					all[i] = message(fmt.Sprint("own", size, "-", i), round)
					all[i].Header.Set(jetstream.ExpectedLastSubjSeqHeader, "0")
					if round == 1 && i != 1 {
						last, err := c.Stream("S").Last(ctx, all[i].Subject)
						must(t, err)
						all[i].Header.Set(jetstream.ExpectedLastSubjSeqHeader, fmt.Sprint(last.Sequence))
					}
				}
				for i, result := range c.Stream("S").AppendEach(ctx, all) {
					refused := round == 2 || round == 1 && i == 1
					if Conflict(result.Err) != refused || result.Err != nil && !refused {
						t.Fatalf("%d messages, round %d: number %d was refused with %v", size, round, i, result.Err)
					}
					if refused {
						continue
					}
					if message, err := c.Stream("S").Get(ctx, result.Sequence); err != nil || message.Subject != all[i].Subject || string(message.Data) != fmt.Sprint(round) {
						t.Fatalf("%d messages, round %d: number %d is not stored as %d (%v)", size, round, i, result.Sequence, err)
					}
				}
			}
		}
	})
}

// The messages of a group are stored once and in their order, however many there are in all. Where one is refused none behind it in its group is
// stored, and all of the other groups.
func TestAppendGroupsKeepsTheOrderOfEach(t *testing.T) {
	onOneAndThree(t, func(t *testing.T, c *Client) {
		ctx := limited(t)
		config := c.Stream("S").Config()
		config.MaxMsgsPerSubject, config.Discard, config.DiscardNewPerSubject = 50, jetstream.DiscardNew, true
		must(t, Retry(ctx, func(ctx context.Context) error {
			_, err := c.js.UpdateStream(ctx, config)
			return err
		}))
		for _, size := range []int{1, 2, 3, 50} {
			subject := func(group int) string { return fmt.Sprint(size, "group", group) }
			for range 2 {
				groups := make([][]*nats.Msg, 4)
				for i := range groups {
					groups[i] = messages(subject(i), 0, size)
				}
				groups[2] = append(messages(subject(2), 0, 50), messages(subject(2), 50, 50+size)...)
				for i, result := range c.Stream("S").AppendGroups(ctx, groups) {
					want := Result{Stored: size}
					if i == 2 {
						want.Stored = 50
					}
					if result.Stored != want.Stored || (result.Err != nil) != (i == 2) || i == 2 && !strings.Contains(result.Err.Error(), "maximum") {
						t.Errorf("%d messages: group %d: %+v", size, i, result)
					}
					inOrder(t, stored(t, c, subject(i)), want.Stored)
				}
			}
		}
	})
}

// What NATS would answer by closing the connection is not sent, in whatever way; and what
// does not depend on it is stored.
func TestWhatCannotBePublishedIsNotSent(t *testing.T) {
	c, ctx := single(t), limited(t)
	for name, bad := range map[string]*nats.Msg{
		"a long subject":  nats.NewMsg("s." + strings.Repeat("x", 5000)),
		"a blank":         nats.NewMsg("s.a b"),
		"a line end":      nats.NewMsg("s.a\r\nPUB"),
		"no subject":      nats.NewMsg(""),
		"a large message": {Subject: "s.large", Header: nats.Header{}, Data: make([]byte, int(c.conn.MaxPayload())+1)},
	} {
		bad.Header.Set(jetstream.MsgIDHeader, name)
		if _, err := c.Publish(ctx, bad); !errors.Is(err, ErrUnpublishable) {
			t.Errorf("%s: publish: %v", name, err)
		}
		if _, err := c.Stream("S").Commit(ctx, bad); !errors.Is(err, ErrUnpublishable) {
			t.Errorf("%s: commit: %v", name, err)
		}
		for _, size := range []int{3, 40} {
			subject := fmt.Sprintf("%d%x", size, name)
			all := append(messages(subject, 0, size), bad)
			for i, result := range c.Stream("S").AppendEach(ctx, all) {
				if isBad := i == size; errors.Is(result.Err, ErrUnpublishable) != isBad || result.Err != nil && !isBad {
					t.Errorf("%s: number %d of %d: %v", name, i, size, result.Err)
				}
			}
			inOrder(t, stored(t, c, subject), size)
			for _, order := range []BurstOrder{NoBurst, Chained, Renamed} {
				all := append([]*nats.Msg{bad}, messages(fmt.Sprint(subject, "-", order), 0, size)...)
				if err := c.Stream("S").Append(ctx, all, Rules{Burst: order}); !errors.Is(err, ErrUnpublishable) {
					t.Errorf("%s: append: %v", name, err)
				}
			}
		}
		if _, err := c.Stage(2, func(int) *nats.Msg { return bad }); !errors.Is(err, ErrUnpublishable) {
			t.Errorf("%s: stage: %v", name, err)
		}
	}
	must(t, c.conn.FlushTimeout(Attempt))
	if !c.State().Connected {
		t.Error("the connection is gone")
	}
}

// A batch that was staged is stored as a whole when it is committed, and not before.
func TestAStagedBatchIsStoredByItsCommit(t *testing.T) {
	c, ctx := single(t), limited(t)
	all := messages("staged", 0, 50)
	batch, err := c.Stage(len(all), func(i int) *nats.Msg { return all[i] })
	must(t, err)
	must(t, c.conn.Flush())
	inOrder(t, stored(t, c, "staged"), 0)
	last, err := batch.Commit(ctx)
	must(t, err)
	if last != 50 {
		t.Errorf("the last is number %d", last)
	}
	inOrder(t, stored(t, c, "staged"), 50)
	if _, err := c.Stage(maxBatch+1, func(int) *nats.Msg { return all[0] }); err == nil {
		t.Error("a batch of more messages than the server takes was staged")
	}
	if _, err := batchOutcome([]byte(`{"stream":"S","seq":7}`)); err == nil || !strings.Contains(err.Error(), "2.12") {
		t.Errorf("a server without batches: %v", err)
	}
	if _, err := batchOutcome([]byte(`{`)); err == nil {
		t.Error("nonsense is taken for an answer")
	}
}

// However the calls are cut in which a sender gives its messages once more, after one in the middle was refused:
// those that were stored in front of it are stored behind it, once it is taken. Until then nothing is stored twice.
func TestOrderOverSeveralCalls(t *testing.T) {
	c, ctx := single(t), limited(t)
	limit := func(size int32) {
		config := c.Stream("S").Config()
		config.MaxMsgSize = size
		must(t, Retry(ctx, func(ctx context.Context) error {
			_, err := c.js.UpdateStream(ctx, config)
			return err
		}))
	}
	cuts := [][]int{{5}, {1, 4}, {2, 3}, {3, 2}, {4, 1}, {3, 1, 1}, {1, 1, 1, 1, 1}, {3, 20}, {4, 20}}
	for n, cut := range cuts {
		subject, total := fmt.Sprint("cut", n), 0
		for _, count := range cut {
			total += count
		}
		all := func() []*nats.Msg {
			all := messages(subject, 0, total)
			all[2].Data = append(all[2].Data, bytes.Repeat([]byte(" "), 3000)...)
			return all
		}
		rules := Rules{Burst: Renamed, Order: &Order{}}
		limit(2000)
		var before []string
		for range 3 {
			if err := c.Stream("S").Append(ctx, all()[:5], rules); err == nil {
				t.Fatal("a message that is too large counts as stored")
			}
			now := stored(t, c, subject)
			if before != nil && !slices.Equal(now, before) {
				t.Errorf("cut %v: stored are %q, and before the last attempt %q", cut, now, before)
			}
			before = now
		}
		limit(-1)
		left := all()
		for _, count := range cut {
			must(t, c.Stream("S").Append(ctx, left[:count], rules))
			left = left[count:]
		}
		endsInOrder(t, fmt.Sprint("cut ", cut), stored(t, c, subject), total)
	}
}

// A sender of which nothing is known, as after the end of its process, has all stored again: one before it may have
// ended while it stored messages once more, in front of which the later ones are.
func TestANewSenderKeepsTheOrder(t *testing.T) {
	onOneAndThree(t, func(t *testing.T, c *Client) {
		ctx := limited(t)
		for _, count := range []int{1, 5, 40} {
			subject := fmt.Sprint("new", count)
			must(t, c.Stream("S").Append(ctx, messages(subject, 0, 60), Rules{Burst: Renamed}))
			again := message(subject, 1)
			rename(again)
			_, err := c.Publish(ctx, again)
			must(t, err)
			order, err := c.Stream("S").NewOrder(ctx)
			must(t, err)
			for left := messages(subject, 0, 60); len(left) > 0; left = left[min(count, len(left)):] {
				must(t, c.Stream("S").Append(ctx, left[:min(count, len(left))], Rules{Burst: Renamed, Order: order}))
			}
			endsInOrder(t, fmt.Sprintf("%d at a time", count), stored(t, c, subject), 60)
		}
	})
}

// endsInOrder checks that of each number from 0 to count the last one that is stored stands in its order.
func endsInOrder(t testing.TB, what string, found []string, count int) {
	t.Helper()
	last, place := -1, map[string]int{}
	for i, text := range found {
		place[strings.TrimSpace(text)] = i
	}
	for number := range count {
		at, is := place[fmt.Sprint(number)]
		if !is || at < last {
			t.Errorf("%s: message %d does not stand behind the one before it: %.9q", what, number, found)
			return
		}
		last = at
	}
}
