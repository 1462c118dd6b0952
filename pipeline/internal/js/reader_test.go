package js

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/flowjet/flowjet/internal/natstest"
	"github.com/flowjet/flowjet/internal/poll"
)

// TestEachReadsAllThoughTheConsumerIsLost on the way, from a sequence on and by subject.
func TestEachReadsAllThoughTheConsumerIsLost(t *testing.T) {
	const count = 3 * prefetch
	c, ctx := single(t), limited(t)
	all := messages("subject", 0, count)
	for number := range count {
		all = append(all, message("elsewhere."+string(rune('a'+number%20)), number))
	}
	must(t, c.Stream("S").Append(ctx, all, Rules{}))
	for _, newest := range []bool{false, true} {
		r := c.Stream("S").newReader("s.subject", 0)
		r.newest = newest
		var found []string
		must(t, r.drain(ctx, func(message Message) {
			if found = append(found, string(message.Data)); len(found) == count/2 {
				must(t, c.js.DeleteConsumer(ctx, "S", r.consumer))
			}
		}))
		want := count
		if newest {
			found, want = nil, 0 // the newest of one subject is one
		}
		inOrder(t, found, want)
	}
	newest := map[string]string{}
	must(t, c.Stream("S").EachNewest(ctx, "s.elsewhere.*", func(message Message) { newest[message.Subject] = string(message.Data) }))
	if len(newest) != 20 || newest["s.elsewhere.a"] != "380" {
		t.Errorf("the newest are %v", newest)
	}
}

func TestEachReadsOnlyWhatIsThere(t *testing.T) {
	c, ctx := single(t), limited(t)
	must(t, c.Stream("S").Append(ctx, messages("a", 0, 10), Rules{}))
	for after, want := range map[uint64]int{0: 10, 7: 3, 10: 0, 99: 0} {
		read := 0
		must(t, c.Stream("S").Each(ctx, "s.a", after, func(message Message) {
			if read++; message.Sequence <= after || time.Since(message.Time) > time.Minute {
				t.Errorf("read %+v behind %d", message, after)
			}
		}))
		count, first, err := c.Stream("S").Backlog(ctx, "s.a", after)
		must(t, err)
		if read != want || count != uint64(want) || first.Time.IsZero() != (want == 0) {
			t.Errorf("behind %d there are %d, %d since %v", after, read, count, first.Time)
		}
	}
	if err := c.Stream("NONE").Each(ctx, "", 0, func(Message) {}); err == nil {
		t.Error("a stream that is not there was read")
	}
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if err := c.Stream("S").Each(gone, "s.a", 0, func(Message) {}); !errors.Is(err, context.Canceled) {
		t.Errorf("with a context that has ended: %v", err)
	}
}

// Consumers that vanish all the time cost a reader nothing but time.
func TestAReaderReplacesLostConsumers(t *testing.T) {
	c, ctx := single(t), limited(t)
	r, err := c.Stream("S").Read(ctx, "s.>", 0)
	must(t, err)
	for number := range 5 {
		_, err := c.Publish(ctx, message("a", number))
		must(t, err)
		read, err := r.Next(ctx)
		must(t, err)
		if read.Sequence != uint64(number+1) {
			t.Fatalf("read %d, want %d", read.Sequence, number+1)
		}
		if number == 2 {
			r.Rewind(read)
			again, err := r.Next(ctx)
			if must(t, err); again.Sequence != read.Sequence {
				t.Errorf("after rewinding %d came", again.Sequence)
			}
		}
		must(t, c.js.DeleteConsumer(ctx, "S", r.consumer))
	}
	r.Stop()
	if _, err := r.Next(ctx); !errors.Is(err, ErrClosed) {
		t.Errorf("after Stop: %v", err)
	}
	poll.Until(t, "the server to have no consumer", func() bool {
		info, err := c.Stream("S").Info(ctx)
		return err == nil && info.State.Consumers == 0
	})
}

func TestAReaderSurvivesARestart(t *testing.T) {
	node := natstest.NewNode(t)
	c, ctx := open(t, node.URL(), 1), limited(t)
	r, err := c.Stream("S").Read(ctx, "s.>", 0)
	must(t, err)
	defer r.Stop()
	for number := range 3 {
		_, err := c.Publish(ctx, message("a", number))
		must(t, err)
		if read, err := r.Next(ctx); err != nil || read.Sequence != uint64(number+1) {
			t.Fatalf("read %d (%v)", read.Sequence, err)
		}
		node.Stop()
		node.Start()
	}
}
