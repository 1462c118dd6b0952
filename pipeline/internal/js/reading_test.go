package js

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/flowjet/flowjet/internal/natstest"
	"github.com/flowjet/flowjet/internal/poll"
)

// loseConsumers deletes all consumers of the stream, as a server that was restarted has.
func loseConsumers(t testing.TB, c *Client) {
	t.Helper()
	ctx := limited(t)
	names := c.Stream("S").handle.ConsumerNames(ctx)
	for name := range names.Name() {
		must(t, c.js.DeleteConsumer(ctx, "S", name))
	}
	must(t, names.Err())
}

// Whatever becomes of the consumers on the way, each message is visited once and in order.
func TestEachSurvivesLostConsumers(t *testing.T) {
	c, ctx := single(t), limited(t)
	const count = 3 * prefetch
	must(t, c.Stream("S").Append(ctx, messages("a", 0, count), Rules{}))
	var found []string
	must(t, c.Stream("S").Each(ctx, "s.a", 0, func(message Message) {
		if len(found)%prefetch == 10 {
			loseConsumers(t, c)
		}
		found = append(found, string(message.Data))
	}))
	inOrder(t, found, count)
}

// The newest message of each subject is visited, in the order of the stream; a consumer that is
// lost on the way costs repetitions, and no subject its newest.
func TestTheNewestOfEachSubjectIsVisited(t *testing.T) {
	c, ctx := single(t), limited(t)
	const subjects = 2 * prefetch
	for round := range 2 {
		for subject := range subjects {
			_, err := c.js.PublishMsgAsync(message(fmt.Sprint("n", subject), round))
			must(t, err)
		}
	}
	select {
	case <-c.js.PublishAsyncComplete():
	case <-ctx.Done():
		t.Fatal(ctx.Err())
	}
	for _, lose := range []bool{false, true} {
		newest, last, visits := map[string]string{}, uint64(0), 0
		must(t, c.Stream("S").EachNewest(ctx, "s.>", func(message Message) {
			if lose && visits == 0 {
				loseConsumers(t, c)
			}
			if message.Sequence <= last {
				t.Fatalf("%d comes behind %d", message.Sequence, last)
			}
			visits++
			last, newest[message.Subject] = message.Sequence, string(message.Data)
		}))
		if len(newest) != subjects || !lose && visits != subjects {
			t.Errorf("%d of %d subjects in %d visits", len(newest), subjects, visits)
		}
		for subject, data := range newest {
			if data != "1" {
				t.Errorf("the newest of %s is %s", subject, data)
			}
		}
	}
}

// What lies between two sequences is read as a whole, or said not to be known.
func TestWhatLiesBetween(t *testing.T) {
	onOneAndThree(t, func(t *testing.T, c *Client) {
		ctx := limited(t)
		must(t, c.Stream("S").Append(ctx, messages("a", 0, 6), Rules{}))
		_, err := c.Publish(ctx, message("b", 0))
		must(t, err)
		between := func(filter string, after, last uint64, most int) (found []string, whole bool) {
			t.Helper()
			whole, err := c.Stream("S").Between(ctx, filter, after, last, most, func(message Message) { found = append(found, string(message.Data)) })
			must(t, err)
			return found, whole
		}
		if found, whole := between("s.a", 2, 6, 10); !whole || !slices.Equal(found, []string{"2", "3", "4", "5"}) {
			t.Errorf("behind 2: %v, whole %v", found, whole)
		}
		if found, whole := between("s.a", 2, 6, 3); whole || found != nil {
			t.Errorf("of more than three: %v, whole %v", found, whole)
		}
		if found, whole := between("s.a", 6, 6, 3); !whole || found != nil {
			t.Errorf("behind the last: %v, whole %v", found, whole)
		}
		if _, whole := between("s.a", 6, 5, 3); whole {
			t.Error("a stream that has gone back counts as read")
		}
		must(t, c.Stream("S").Purge(ctx, jetstream.WithPurgeSubject("s.a"), jetstream.WithPurgeKeep(2)))
		if found, whole := between("s.a", 2, 7, 10); whole || len(found) != 2 {
			t.Errorf("of a stream that ends too early: %v, whole %v", found, whole)
		}
		if _, err := c.Stream("NONE").Between(ctx, "s.a", 0, 1, 1, func(Message) {}); !errors.Is(err, jetstream.ErrStreamNotFound) {
			t.Errorf("of a stream that is not there: %v", err)
		}
	})
}

func TestTheBacklogOfAReader(t *testing.T) {
	onOneAndThree(t, func(t *testing.T, c *Client) {
		ctx := limited(t)
		if count, first, err := c.Stream("S").Backlog(ctx, "s.a", 0); count != 0 || first.Subject != "" || err != nil {
			t.Errorf("of an empty stream: %d, %+v, %v", count, first, err)
		}
		must(t, c.Stream("S").Append(ctx, messages("a", 0, 5), Rules{}))
		_, err := c.Publish(ctx, message("b", 7))
		must(t, err)
		poll.Until(t, "the replica that is read to have all", func() bool {
			count, _, err := c.Stream("S").Backlog(ctx, "s.>", 0)
			return err == nil && count == 6
		})
		for after, want := range map[uint64]string{0: "5 0", 3: "2 3", 5: "0 ", 6: "0 "} {
			count, first, err := c.Stream("S").Backlog(ctx, "s.a", after)
			must(t, err)
			if got := fmt.Sprint(count, " ", string(first.Data)); got != want {
				t.Errorf("behind %d: %q, want %q", after, got, want)
			}
			if count > 0 && (first.Sequence != after+1 || time.Since(first.Time) > time.Hour) {
				t.Errorf("behind %d the first is %d of %v", after, first.Sequence, first.Time)
			}
		}
		if _, _, err := c.Stream("NONE").Backlog(ctx, "s.a", 0); !errors.Is(err, jetstream.ErrStreamNotFound) {
			t.Errorf("of a stream that is not there: %v", err)
		}
	})
}

// A reader that waits ends with its context, its Stop, or its client.
func TestAReaderThatWaitsEnds(t *testing.T) {
	c, ctx := single(t), limited(t)
	read := func(ctx context.Context) (*Reader, chan error) {
		r, err := c.Stream("S").Read(limited(t), "s.a", 0)
		must(t, err)
		t.Cleanup(r.Stop)
		ended := make(chan error, 1)
		go func() {
			_, err := r.Next(ctx)
			ended <- err
		}()
		return r, ended
	}
	leaving, leave := context.WithCancel(ctx)
	_, ended := read(leaving)
	leave()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("with its context it ends with %v", err)
	}
	r, ended := read(ctx)
	r.Stop()
	if err := <-ended; !errors.Is(err, ErrClosed) {
		t.Errorf("after Stop it ends with %v", err)
	}
	_, ended = read(ctx)
	c.Close()
	if err := <-ended; !errors.Is(err, ErrClosed) {
		t.Errorf("after its client's Close it ends with %v", err)
	}
}

// A client that cannot connect names the last reason, and no password.
func TestNoConnectionIsMade(t *testing.T) {
	node := natstest.NewNode(t)
	node.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	url := "nats://anna:secret@" + node.URL()[len("nats://"):]
	_, err := Connect(ctx, Config{URL: url})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("it ends with %v", err)
	}
	for text, want := range map[string]bool{"secret": false, "anna": false, node.URL(): true, "start the server": true} {
		if strings.Contains(err.Error(), text) != want {
			t.Errorf("the error is %q", err)
		}
	}
	if _, err := Connect(ctx, Config{URL: "nats://anna:secret@ no"}); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("an address that is none: %v", err)
	}
	for urls, want := range map[string]string{
		"nats://a:4222": "nats://a:4222", "nats://u:p@a:1, nats://t@b:2": "nats://a:1,nats://b:2", "": "",
	} {
		if got := redact(urls); got != want {
			t.Errorf("%q without credentials is %q, want %q", urls, got, want)
		}
	}
}
