package js

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/flowjet/flowjet/internal/natstest"
	"github.com/flowjet/flowjet/internal/poll"
)

func TestABucketIsWrittenByCompareAndSet(t *testing.T) {
	onOneAndThree(t, func(t *testing.T, c *Client) {
		b, ctx := c.Bucket("B"), limited(t)
		if value, revision, err := b.Get(ctx, "a"); value != nil || revision != 0 || err != nil {
			t.Fatalf("a key that is not there: %q, %d, %v", value, revision, err)
		}
		first, err := b.Create(ctx, "a", []byte("1"))
		must(t, err)
		if _, err := b.Create(ctx, "a", []byte("2")); !Conflict(err) {
			t.Errorf("created twice: %v", err)
		}
		second, err := b.Update(ctx, "a", []byte("2"), first)
		must(t, err)
		if _, err := b.Update(ctx, "a", []byte("3"), first); !Conflict(err) {
			t.Errorf("an old revision: %v", err)
		}
		if value, revision, err := b.Get(ctx, "a"); string(value) != "2" || revision != second || err != nil {
			t.Errorf("read %q, %d, %v", value, revision, err)
		}
		must(t, b.Put(ctx, "a", []byte("4")))
		must(t, b.Purge(ctx, "a"))
		must(t, b.Purge(ctx, "never"))
		if _, revision, err := b.Get(ctx, "a"); revision != 0 || err != nil {
			t.Errorf("a purged key has revision %d, %v", revision, err)
		}
		if _, err := b.Create(ctx, "a", []byte("5")); err != nil {
			t.Errorf("a purged key cannot be created: %v", err)
		}
		if _, _, err := b.Get(ctx, "no key"); !errors.Is(err, jetstream.ErrInvalidKey) {
			t.Errorf("no key: %v", err)
		}
	})
}

func TestEachKeyIsVisited(t *testing.T) {
	c, ctx := single(t), limited(t)
	b := c.Bucket("B")
	must(t, b.Each(ctx, func(key string, _ []byte) { t.Errorf("an empty bucket has %s", key) }))
	for i := range 20 {
		must(t, b.Put(ctx, fmt.Sprint("k", i), []byte(fmt.Sprint(i))))
	}
	must(t, b.Purge(ctx, "k3"))
	found := map[string]string{}
	must(t, b.Each(ctx, func(key string, value []byte) { found[key] = string(value) }))
	if len(found) != 19 || found["k7"] != "7" {
		t.Errorf("found %v", found)
	}
	gone, cancel := context.WithCancel(ctx)
	cancel()
	if err := b.Each(gone, func(string, []byte) {}); err == nil {
		t.Error("read with a context that has ended")
	}
}

func TestAValueIsAwaited(t *testing.T) {
	c, ctx := single(t), limited(t)
	b := c.Bucket("B")
	must(t, b.Put(ctx, "a", []byte("queued")))
	seen, awaited := make(chan string, 10), make(chan error, 1)
	go func() {
		awaited <- b.Await(ctx, "a", func(value []byte) bool { seen <- string(value); return string(value) != "done" })
	}()
	if first := <-seen; first != "queued" {
		t.Errorf("first came %q", first)
	}
	must(t, b.Put(ctx, "b", []byte("done")))
	must(t, b.Put(ctx, "a", []byte("done")))
	must(t, <-awaited)
	short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	if err := b.Await(short, "never", func([]byte) bool { return false }); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("what never came: %v", err)
	}
}

func TestWhatIsNotBoundFails(t *testing.T) {
	c, ctx := single(t), limited(t)
	b := c.Bucket("NONE")
	_, _, err := b.Get(ctx, "a")
	for _, err := range []error{err, b.Put(ctx, "a", nil), b.Each(ctx, nil), b.Await(ctx, "a", nil)} {
		if !errors.Is(err, jetstream.ErrBucketNotFound) {
			t.Errorf("a bucket that is not bound: %v", err)
		}
	}
	_, err = c.Stream("NONE").Info(ctx)
	_, endErr := c.Stream("NONE").End(ctx)
	for _, err := range []error{err, endErr, c.Bind(ctx, "NONE"), c.Stream("NONE").Delete(ctx, 1), c.Stream("NONE").Purge(ctx)} {
		if !errors.Is(err, jetstream.ErrStreamNotFound) {
			t.Errorf("a stream that is not bound: %v", err)
		}
	}
	if c.Stream("NONE").Bound() || !c.Stream("S").Bound() || c.Stream("NONE").Replicated() || c.Stream("S").Replicated() {
		t.Error("what is bound is not known")
	}
}

// Nothing is kept for the next connection: its writer has been told that it failed.
func TestNothingIsWrittenWithoutAConnection(t *testing.T) {
	node := natstest.NewNode(t)
	c := open(t, node.URL(), 1)
	node.Stop()
	poll.Until(t, "the loss of the connection", func() bool { return !c.State().Connected })
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	_, published := c.Publish(ctx, message("late", 0))
	_, created := c.Bucket("B").Create(ctx, "late", nil)
	_, staged := c.Stage(2, nil)
	burst := c.Stream("S").Append(ctx, messages("late", 0, 3), Rules{Burst: Chained})
	for _, err := range []error{published, created, staged, burst, c.Announce("late", nil), c.Bucket("B").Put(ctx, "late", nil)} {
		if err == nil || !Transient(err) {
			t.Errorf("without a connection: %v", err)
		}
	}
	node.Start()
	inOrder(t, stored(t, c, "late"), 0)
	if _, revision, err := c.Bucket("B").Get(limited(t), "late"); revision != 0 || err != nil {
		t.Errorf("the key has revision %d (%v)", revision, err)
	}
}

// silent is a bucket whose watch tells of some keys and then of nothing more.
type silent struct {
	jetstream.KeyValue
	updates chan jetstream.KeyValueEntry
}

func (s silent) Watch(context.Context, string, ...jetstream.WatchOpt) (jetstream.KeyWatcher, error) {
	return s, nil
}
func (s silent) Updates() <-chan jetstream.KeyValueEntry { return s.updates }
func (s silent) Stop() error                             { return nil }
func (s silent) Error() <-chan error                     { return nil }

type keyEntry struct{ jetstream.KeyValueEntry }

func (keyEntry) Key() string   { return "key" }
func (keyEntry) Value() []byte { return nil }

// TestABucketOfWhichNothingMoreComesIsGivenUp, however long it came before.
func TestABucketOfWhichNothingMoreComesIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := silent{updates: make(chan jetstream.KeyValueEntry)}
		const slow = 5
		go func() {
			for range slow {
				time.Sleep(stalledAfter / 2)
				s.updates <- keyEntry{}
			}
		}()
		began, visited := time.Now(), 0
		err := (&Bucket{kv: s}).Each(t.Context(), func(string, []byte) { visited++ })
		if took := time.Since(began); !errors.Is(err, errStalled) || visited != slow || took != slow*stalledAfter/2+stalledAfter {
			t.Errorf("after %s and %d keys it ends with %v", took, visited, err)
		}
	})
}
