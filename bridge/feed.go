package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/nats-io/nuid"

	"github.com/flowjet/flowjet/internal/idle"
	"github.com/flowjet/flowjet/pipeline"
)

// feed is what one publisher says. Every bridge hears it; one publishes it.
type feed struct {
	name     string
	config   *Config
	store    store
	log      *slog.Logger
	metrics  *metrics
	listener *listener
	queue    *queue
	buffer   *replayBuffer
	// epoch tells this process's numbers from another's.
	epoch      string
	translator *translator
	// requestResync is called when events may be missing in what is stored.
	requestResync func(cause string)

	// holding reports whether this bridge publishes the feed.
	holding atomic.Bool

	mu    sync.Mutex
	state feedState
}

// rawBytes bounds the messages that are heard and not yet decoded, besides what the buffer can spare.
const rawBytes = 16 << 20

func newFeed(b *Bridge, endpoint string) (*feed, error) {
	address, isTCP := strings.CutPrefix(endpoint, "tcp://")
	host, port, err := net.SplitHostPort(address)
	if !isTCP || err != nil || host == "" || port == "" {
		return nil, fmt.Errorf("hook endpoint %q is not of the form tcp://host:2101", endpoint)
	}
	c := &b.config
	name := feedName(c.Zone, endpoint)
	log := b.log.With("feed", name)
	var room *spill
	if c.SpillDir != "" && c.MaxSpillBytes > 0 {
		room = &spill{folder: c.SpillDir, limit: c.MaxSpillBytes}
	}
	buffer := newReplayBuffer(c.MaxQueueBytes, c.Keep, room)
	translator := &translator{zone: c.Zone, filter: b.filter, endpoint: endpoint}
	f := &feed{
		name: name, config: c, store: b.store, log: log, metrics: b.metrics, epoch: nuid.Next(), requestResync: b.resyncer.request,
		queue:      newQueue(rawBytes, buffer.spare),
		buffer:     buffer,
		translator: translator,
	}
	f.listener = &listener{
		endpoint: endpoint, address: address, topics: c.topics(), decoder: translator.decoder(), log: log, requestResync: b.resyncer.request, metrics: b.metrics,
	}
	return f, nil
}

// run hears until hearing ends, and publishes whenever it holds the feed until
// publishing ends or all that was heard is stored.
func (f *feed) run(hearing, publishing context.Context) {
	heardAll, all := context.WithCancel(publishing)
	defer all()
	var producing, holding sync.WaitGroup
	producing.Go(func() { f.listener.run(hearing, f.queue) })
	producing.Go(func() { decodeQueue(hearing, f.queue, f.translator, f.pass) })
	holding.Go(func() { f.hold(hearing, heardAll, publishing) })
	producing.Wait()
	all()
	holding.Wait()
	f.buffer.standBy()
}

// pass takes over what became of so many messages.
func (f *feed) pass(entries []entry, messages int) {
	if lost, err := f.buffer.add(entries, messages); lost {
		f.log.Error("the buffer for hook events is full: events are dropped until JetStream has stored the buffered ones; a comparison with oned then replaces them",
			"error", err, "hint", "is JetStream slow or unreachable?")
	}
}

// hold publishes the feed whenever it is this bridge's turn. heardAll ends when nothing more will be heard.
func (f *feed) hold(hearing, heardAll, publishing context.Context) {
	watch, err := f.store.watch(f.name)
	for err != nil {
		f.storing(err)
		if idle.For(hearing, longestPause) != nil {
			return
		}
		watch, err = f.store.watch(f.name)
	}
	defer watch.Close()
	for hearing.Err() == nil {
		l, err := f.acquire(hearing, watch)
		if err != nil {
			return // hearing has ended
		}
		err = f.serve(heardAll, publishing, watch, l)
		f.holding.Store(false)
		f.buffer.standBy()
		if errors.Is(err, pipeline.ErrSuperseded) {
			f.log.Warn("another bridge now publishes this feed; this bridge is on standby", "holder", f.config.Holder)
		}
	}
}

// serve goes on where the stream ends and publishes for as long as the lease
// lasts. A bridge that stops lets another take the feed at once.
func (f *feed) serve(heardAll, publishing context.Context, watch watch, l lease) error {
	ctx, cancel := context.WithCancelCause(publishing)
	defer cancel(nil)
	var heartbeats sync.WaitGroup
	heartbeats.Go(func() { f.sendHeartbeats(ctx, watch, l, cancel) })
	defer heartbeats.Wait()
	defer cancel(nil)
	err := f.resume(ctx, l)
	if err == nil {
		// In this order: who does not hold a feed leaves comparing to the holder.
		f.holding.Store(true)
		f.requestResync("the feed was acquired")
		err = f.publish(ctx, heardAll, l)
	}
	if err != nil {
		if reason := context.Cause(ctx); reason != nil && !errors.Is(err, pipeline.ErrSuperseded) {
			return reason
		}
		return err
	}
	cancel(nil)
	heartbeats.Wait()
	if err := l.Release(publishing); err != nil {
		f.log.Debug("the lease of the feed was not released; another bridge takes over when it expires", "error", err)
	} else if err := l.Beat(true); err != nil {
		f.log.Debug("the other bridges could not be told that this bridge stops", "error", err)
	}
	return nil
}

// resume finds the place behind the last stored event in what was heard.
func (f *feed) resume(ctx context.Context, l lease) error {
	pause := firstPause
	for {
		tail, err := l.Tail(ctx, tailLength)
		if err == nil {
			exact := f.buffer.hold(tail)
			f.log.Info("this bridge now publishes the feed", "holder", f.config.Holder, "without_a_gap", exact)
			return nil
		}
		if ctx.Err() != nil {
			return err
		}
		f.storing(err)
		if err := idle.For(ctx, pause); err != nil {
			return err
		}
		pause = min(2*pause, longestPause)
	}
}

// setRole notes what the endpoint's oned is in its zone.
func (f *feed) setRole(role string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.state.role = role
}
