package js

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/flowjet/flowjet/internal/natstest"
	"github.com/flowjet/flowjet/internal/poll"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// limited is a context for a test's calls.
func limited(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), poll.Limit)
	t.Cleanup(cancel)
	return ctx
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// open connects a client, with a stream S of the subjects s.> and a bucket B bound to it.
func open(t testing.TB, url string, replicas int, options ...nats.Option) *Client {
	t.Helper()
	ctx := limited(t)
	c, err := Connect(ctx, Config{URL: url, Name: t.Name(), Options: options})
	must(t, err)
	t.Cleanup(c.Close)
	must(t, Retry(ctx, func(ctx context.Context) error {
		_, err := c.js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
			Name: "S", Subjects: []string{"s.>"}, Replicas: replicas, AllowAtomicPublish: true, Duplicates: time.Minute,
		})
		return err
	}))
	must(t, Retry(ctx, func(ctx context.Context) error {
		// Without direct reads, as Flowjet's own buckets: a replica that lags behind answers those.
		_, err := c.js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
			Name: BucketPrefix + "B", Subjects: []string{"$KV.B.>"}, Replicas: replicas, MaxMsgsPerSubject: 1, AllowRollup: true, DenyDelete: true,
		})
		return err
	}))
	must(t, c.Bind(ctx, "S"))
	must(t, c.Bind(ctx, BucketPrefix+"B"))
	return c
}

func single(t testing.TB) *Client {
	t.Helper()
	return open(t, natstest.Server(t), 1)
}

// onOneAndThree runs a test on one server and on three with three replicas.
func onOneAndThree(t *testing.T, test func(t *testing.T, c *Client)) {
	t.Run("one", func(t *testing.T) { test(t, single(t)) })
	t.Run("three", func(t *testing.T) { test(t, open(t, natstest.Cluster(t, 3).URL(), 3)) })
}

// message is one with a message id, its number.
func message(subject string, number int) *nats.Msg {
	message := nats.NewMsg("s." + subject)
	message.Data = []byte(fmt.Sprint(number))
	message.Header.Set(jetstream.MsgIDHeader, subject+"-"+fmt.Sprint(number))
	return message
}

func messages(subject string, from, to int) (all []*nats.Msg) {
	for number := from; number < to; number++ {
		all = append(all, message(subject, number))
	}
	return all
}

// stored is what the stream holds of a subject, in order. A replica that lags behind is
// read again.
func stored(t testing.TB, c *Client, subject string) (found []string) {
	t.Helper()
	ctx := limited(t)
	last, err := c.Stream("S").Last(ctx, "s."+subject)
	must(t, err)
	poll.Until(t, "the last message to be read", func() bool {
		read := uint64(0)
		found = nil
		must(t, c.Stream("S").Each(ctx, "s."+subject, 0, func(message Message) {
			found, read = append(found, string(message.Data)), message.Sequence
		}))
		return last == nil || read == last.Sequence
	})
	return found
}

// inOrder checks that what is stored are the numbers from 0 to count, in order.
func inOrder(t testing.TB, found []string, count int) {
	t.Helper()
	if len(found) != count {
		t.Fatalf("%d messages are stored, want %d", len(found), count)
	}
	for i, text := range found {
		if text != fmt.Sprint(i) {
			t.Fatalf("message %s is stored in place %d", text, i)
		}
	}
}
