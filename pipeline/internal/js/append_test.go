package js

import (
	"errors"
	"fmt"
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
