package pipeline

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/flowjet/flowjet/internal/natstest"
)

// limitMessages has a stream refuse messages of more bytes; -1 is no limit.
func limitMessages(t *testing.T, p *Pipeline, stream string, size int32) {
	t.Helper()
	info, err := p.streams[stream].Info(limited(t))
	must(t, err)
	info.Config.MaxMsgSize = size
	_, err = p.js.UpdateStream(limited(t), info.Config)
	must(t, err)
}

// refusedHere is longer than limitMessages allows in these tests.
var refusedHere = strings.Repeat("x", 2000)

func wakesOf(service int, reasons ...string) []Wake {
	wakes := make([]Wake, len(reasons))
	for i, reason := range reasons {
		wakes[i] = Wake{Work: Work{Service: service, Reason: reason}, MessageID: fmt.Sprintf("%d-%d-%d", service, i, len(reason))}
	}
	return wakes
}

// reasons are those of a service's wake-ups, in the order in which they are stored.
func reasons(t *testing.T, p *Pipeline, service int) []string {
	t.Helper()
	r := p.newReader(StreamWork, PartitionSubjects(Partition(service)), 0)
	defer r.Stop()
	var found []string
	must(t, r.drain(limited(t), func(message jetstream.Msg, _ *jetstream.MsgMetadata) {
		work, err := p.decodeWork(message.Data())
		must(t, err)
		if work.Service == service {
			found = append(found, work.Reason)
		}
	}))
	return found
}

// A wake-up that is refused in the middle of others fails them all; and once it is
// taken, those behind it are stored behind it, though they were stored before.
func TestAWakeThatIsRefusedInTheMiddle(t *testing.T) {
	p := single(t)
	limitMessages(t, p, StreamWork, 1000)
	wakes := wakesOf(42, "first", refusedHere, "third", "fourth")
	if err := p.PublishWakes(limited(t), wakes); err == nil {
		t.Fatal("a refused wake-up counts as stored")
	}
	limitMessages(t, p, StreamWork, -1)
	must(t, p.PublishWakes(limited(t), wakes))
	found := reasons(t, p, 42)
	if len(found) < 4 || found[0] != "first" {
		t.Fatalf("stored are %.20q", found)
	}
	for i, want := range []string{refusedHere, "third", "fourth"} {
		if got := found[len(found)-3+i]; got != want {
			t.Errorf("the last three stored are %.20q", found[len(found)-3:])
			break
		}
	}
	before := len(found)
	must(t, p.PublishWakes(limited(t), wakes[:1]))
	if now := len(reasons(t, p, 42)); now != before {
		t.Errorf("a wake-up with a known id was stored again: %d, %d", before, now)
	}
}

// An event that is refused in the middle of others holds up those behind it.
func TestAnEventThatIsRefusedInTheMiddle(t *testing.T) {
	p, ctx := single(t), limited(t)
	lease, err := p.AcquireFeed(ctx, "fe1", "bridge-a")
	must(t, err)
	limitMessages(t, p, StreamONE, 1000)
	events := feedEvents(0, 6)
	vm := *events[2].Event.VM
	vm.Name = refusedHere
	events[2].Event.VM = &vm
	if err := lease.Publish(ctx, events); err == nil {
		t.Fatal("a refused event counts as stored")
	}
	if count := eventCount(t, p); count != 2 {
		t.Fatalf("%d events are stored, of which two stand in front of the refused one", count)
	}
	limitMessages(t, p, StreamONE, -1)
	must(t, lease.Publish(ctx, events))
	inOrder(t, stored(t, p, 6))
	if count := eventCount(t, p); count != 6 {
		t.Errorf("%d events are stored", count)
	}
}

// Feeds whose few events come between each other's keep their order, each its own.
func TestFeedsBetweenEachOther(t *testing.T) {
	p, ctx := single(t), limited(t)
	const feeds, rounds, few = 3, 40, 5
	var group sync.WaitGroup
	for feed := range feeds {
		lease, err := p.AcquireFeed(ctx, fmt.Sprint("fe", feed), "bridge")
		must(t, err)
		group.Go(func() {
			for round := range rounds {
				var events []FeedEvent
				for i := range few {
					event := vmEvent(feed, round*few+i)
					events = append(events, event)
				}
				if err := lease.Publish(ctx, events); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	reader, err := p.ReadEvents(ctx, 0)
	must(t, err)
	defer reader.Stop()
	next := map[int]int{}
	for range feeds * rounds * few {
		_, event, err := reader.Next(ctx)
		must(t, err)
		if event.VM.Service != next[event.ID] {
			t.Fatalf("feed %d has event %d in place %d", event.ID, event.VM.Service, next[event.ID])
		}
		next[event.ID]++
	}
}

// cutter forwards connections to a server, and cuts them where it is told to.
type cutter struct {
	listener net.Listener
	server   string
	// left is how many bytes still pass to the server; below 0 all do.
	left atomic.Int64
	// answers reports whether what the server says before the cut is passed on.
	answers atomic.Bool
	wait    sync.WaitGroup
}

func newCutter(t *testing.T, server string) *cutter {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	c := &cutter{listener: listener, server: strings.TrimPrefix(server, "nats://")}
	c.left.Store(-1)
	c.answers.Store(true)
	c.wait.Go(c.run)
	t.Cleanup(func() { listener.Close(); c.wait.Wait() })
	return c
}

func (c *cutter) run() {
	for {
		client, err := c.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", c.server)
		if err != nil {
			client.Close()
			continue
		}
		c.wait.Go(func() {
			defer client.Close()
			defer server.Close()
			_, _ = io.Copy(answersOf{c, client}, server)
		})
		c.wait.Go(func() {
			defer client.Close()
			defer server.Close()
			c.forward(client, server)
		})
	}
}

// forward passes on what a client says, to the byte at which it is cut off.
func (c *cutter) forward(client, server net.Conn) {
	data := make([]byte, 4096)
	for {
		count, err := client.Read(data)
		if err != nil {
			return
		}
		left := c.left.Load()
		pass := count
		if left >= 0 {
			pass = int(min(left, int64(count)))
			c.left.Add(-int64(pass))
		}
		if _, err := server.Write(data[:pass]); err != nil {
			return
		}
		if pass < count {
			c.left.Store(-1)
			c.answers.Store(true)
			return
		}
	}
}

// answersOf writes to a client what the server says, or nothing.
type answersOf struct {
	*cutter
	client net.Conn
}

func (a answersOf) Write(data []byte) (int, error) {
	if !a.answers.Load() {
		return len(data), nil
	}
	return a.client.Write(data)
}

// cutSomewhere cuts the connection within the next so many bytes, and half of the
// times keeps back the acknowledgements of what passed.
func (c *cutter) cutSomewhere(within int64) {
	c.answers.Store(rand.N(2) == 0)
	c.left.Store(rand.N(within))
}

// However a connection breaks while a few events are on their way, they are
// stored once and in order.
func TestAConnectionLostBetweenAFewEvents(t *testing.T) {
	server := natstest.Server(t)
	c := newCutter(t, server)
	p, ctx := open(t, "nats://"+c.listener.Addr().String()), limited(t)
	lease, err := p.AcquireFeed(ctx, "fe1", "bridge-a")
	must(t, err)
	const rounds, few = 25, 8
	for round := range rounds {
		c.cutSomewhere(2500)
		for {
			if err := lease.Publish(ctx, feedEvents(round*few, (round+1)*few)); err == nil {
				break
			}
			must(t, context.Cause(ctx))
		}
	}
	c.left.Store(-1)
	c.answers.Store(true)
	direct := open(t, server)
	inOrder(t, stored(t, direct, rounds*few))
	if count := eventCount(t, direct); count != rounds*few {
		t.Errorf("%d events are stored, not %d", count, rounds*few)
	}
}

// However a connection breaks while a few wake-ups are on their way, each is stored
// behind those in front of it.
func TestAConnectionLostBetweenAFewWakes(t *testing.T) {
	server := natstest.Server(t)
	c := newCutter(t, server)
	p, ctx := open(t, "nats://"+c.listener.Addr().String()), limited(t)
	const rounds = 25
	for round := range rounds {
		c.cutSomewhere(800)
		for {
			if err := p.PublishWakes(ctx, wakesOf(round, "1", "22", "333", "4444", "55555", "666666")); err == nil {
				break
			}
			must(t, context.Cause(ctx))
		}
	}
	c.left.Store(-1)
	c.answers.Store(true)
	direct := open(t, server)
	for service := range rounds {
		found := reasons(t, direct, service)
		if found[len(found)-1] != "666666" || !holdsInOrder(found, "1", "22", "333", "4444", "55555", "666666") {
			t.Errorf("service %d was woken by %q", service, found)
		}
	}
}

// holdsInOrder reports whether the wanted are among the found in that order.
func holdsInOrder(found []string, wanted ...string) bool {
	for _, one := range found {
		if len(wanted) > 0 && one == wanted[0] {
			wanted = wanted[1:]
		}
	}
	return len(wanted) == 0
}
