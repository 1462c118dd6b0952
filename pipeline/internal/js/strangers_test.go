package js

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/flowjet/flowjet/internal/natstest"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/internal/testlog"
)

// What NATS refuses a connection without an answer stands in the log, with its subject: the caller sees only that nothing comes.
func TestRefusalsOfNATSAreLogged(t *testing.T) {
	node := natstest.NewNode(t, func(o *server.Options) {
		o.Users = []*server.User{{Username: "flowjet", Password: "geheim", Permissions: &server.Permissions{
			Publish: &server.SubjectPermission{Deny: []string{"no.publish"}}, Subscribe: &server.SubjectPermission{Deny: []string{"no.listen"}},
		}}}
	})
	var log testlog.Log
	c, err := Connect(limited(t), Config{URL: node.URL(), Logger: log.Logger(), Options: []nats.Option{nats.UserInfo("flowjet", "geheim")}, InboxPrefix: "_INBOX.own"})
	must(t, err)
	defer c.Close()
	must(t, c.Announce("no.publish", nil))
	log.Await(t, "no.publish")
	subscription, err := c.Conn().SubscribeSync("no.listen")
	must(t, err)
	log.Await(t, "no.listen")
	if log.Count("NATS reports an error") < 2 || log.Count("geheim") > 0 {
		t.Errorf("logged is %s", &log)
	}
	if _, err := subscription.NextMsg(0); err == nil {
		t.Error("something was heard")
	}
	if inbox := c.Conn().NewInbox(); inbox[:len("_INBOX.own.")] != "_INBOX.own." {
		t.Errorf("an inbox is %s", inbox)
	}
	if c.State().Server != node.URL() || c.Server() != node.URL() {
		t.Errorf("connected to %s", c.State().Server)
	}
}

// Of many who create a key at once one does, and of many who count up by compare-and-set each counts once.
func TestManyWriteOneKey(t *testing.T) {
	onOneAndThree(t, func(t *testing.T, c *Client) {
		b, ctx := c.Bucket("B"), limited(t)
		const writers, times = 8, 5
		var created atomic.Int64
		var group errgroup.Group
		for range writers {
			group.Go(func() error {
				switch _, err := b.Create(ctx, "count", []byte("0")); {
				case err == nil:
					created.Add(1)
				case !Conflict(err):
					return err
				}
				for done := 0; done < times; {
					value, revision, err := b.Get(ctx, "count")
					if err != nil {
						return err
					}
					count, err := strconv.Atoi(string(value))
					if err != nil {
						return err
					}
					switch _, err := b.Update(ctx, "count", fmt.Append(nil, count+1), revision); {
					case err == nil:
						done++
					case !Conflict(err):
						return err
					}
				}
				return nil
			})
		}
		must(t, group.Wait())
		if value, _, err := b.Get(ctx, "count"); string(value) != fmt.Sprint(writers*times) || created.Load() != 1 || err != nil {
			t.Errorf("%d have created it, and it counts %s (%v)", created.Load(), value, err)
		}
	})
}

// A reading that is under way when the server goes comes to its end when it is back, with everything once and in order.
func TestEachSurvivesARestart(t *testing.T) {
	node := natstest.NewNode(t)
	c, ctx := open(t, node.URL(), 1), limited(t)
	const count = 3 * prefetch
	must(t, c.Stream("S").Append(ctx, messages("a", 0, count), Rules{}))
	var found []string
	must(t, c.Stream("S").Each(ctx, "s.a", 0, func(message Message) {
		if len(found) == prefetch/2 {
			node.Stop()
			poll.Until(t, "the loss of the server", func() bool { return !c.State().Connected })
			node.Start()
		}
		found = append(found, string(message.Data))
	}))
	inOrder(t, found, count)
}

// What an operator deletes or purges in the middle of a stream is passed over.
func TestGapsArePassedOver(t *testing.T) {
	onOneAndThree(t, func(t *testing.T, c *Client) {
		ctx := limited(t)
		s := c.Stream("S")
		must(t, s.Append(ctx, messages("a", 0, 10), Rules{}))
		for _, sequence := range []uint64{1, 4, 5, 10} {
			must(t, s.Delete(ctx, sequence))
		}
		want := []string{"1", "2", "5", "6", "7", "8"}
		if found := stored(t, c, "a"); !slices.Equal(found, want) {
			t.Errorf("Each visits %v, want %v", found, want)
		}
		r, err := s.Read(ctx, "s.a", 3)
		must(t, err)
		defer r.Stop()
		for _, want := range want[2:] {
			message, err := r.Next(ctx)
			if must(t, err); string(message.Data) != want {
				t.Errorf("a reader behind 3 reads %s, want %s", message.Data, want)
			}
		}
		if count, first, err := s.Backlog(ctx, "s.a", 3); count != 4 || string(first.Data) != "5" || err != nil {
			t.Errorf("behind 3 wait %d from %s (%v)", count, first.Data, err)
		}
		if end, err := s.End(ctx); end != 10 || err != nil {
			t.Errorf("the stream ends at %d (%v)", end, err)
		}
		if missing, err := s.Get(ctx, 4); missing != nil || err != nil {
			t.Errorf("message 4 is %+v (%v)", missing, err)
		}
		must(t, s.Purge(ctx))
		_, err = c.Publish(ctx, message("a", 10))
		must(t, err)
		if message, err := r.Next(ctx); err != nil || string(message.Data) != "10" {
			t.Errorf("after a purge comes %s (%v)", message.Data, err)
		}
	})
}

// A key with what subjects take for structure is refused and does not reach another's value; one that is deleted counts as none.
func TestKeysOfStrangers(t *testing.T) {
	c, ctx := single(t), limited(t)
	b := c.Bucket("B")
	must(t, b.Put(ctx, "a.b", []byte("1")))
	for _, key := range []string{"", "a b", "*", "a.>", "a.*", ".a", "a.", "ä\x00"} {
		_, _, get := b.Get(ctx, key)
		_, create := b.Create(ctx, key, nil)
		_, update := b.Update(ctx, key, nil, 1)
		for _, err := range []error{get, create, update, b.Put(ctx, key, nil), b.Purge(ctx, key)} {
			if !errors.Is(err, jetstream.ErrInvalidKey) {
				t.Errorf("the key %q: %v", key, err)
			}
		}
	}
	if value, _, err := b.Get(ctx, "a.b"); string(value) != "1" || err != nil {
		t.Errorf("the key beside has %q (%v)", value, err)
	}
	must(t, b.kv.Delete(ctx, "a.b"))
	if value, revision, written, err := b.GetDated(ctx, "a.b"); value != nil || revision != 0 || !written.IsZero() || err != nil {
		t.Errorf("a deleted key has %q, %d of %s (%v)", value, revision, written, err)
	}
	must(t, b.Each(ctx, func(key string, _ []byte) { t.Errorf("a deleted key is visited: %s", key) }))
}

// Calls end with their context at once, also those that would be tried again for as long as the server is away.
func TestCallsEndWithTheirContext(t *testing.T) {
	c := single(t)
	gone, cancel := context.WithCancel(limited(t))
	cancel()
	s, b := c.Stream("S"), c.Bucket("B")
	_, info := s.Info(gone)
	_, get := s.Get(gone, 1)
	_, last := s.Last(gone, "s.a")
	_, _, lastOf := s.LastOf(gone, "s.a")
	_, _, backlog := s.Backlog(gone, "s.a", 0)
	_, publish := c.Publish(gone, message("late", 0))
	_, commit := s.Commit(gone, message("late", 1))
	_, create := b.Create(gone, "late", nil)
	for what, err := range map[string]error{
		"info": info, "get": get, "last": last, "last of": lastOf, "backlog": backlog, "publish": publish, "commit": commit, "create": create,
		"append": s.Append(gone, messages("late", 2, 4), Rules{}), "each": s.Each(gone, "s.a", 0, func(Message) {}), "delete": s.Delete(gone, 1), "purge": s.Purge(gone),
		"put": b.Put(gone, "late", nil), "await": b.Await(gone, "late", func([]byte) bool { return true }),
	} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", what, err)
		}
	}
	inOrder(t, stored(t, c, "late"), 0)
}
