package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nuid"

	"github.com/flowjet/flowjet/internal/idle"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/feeds"
)

// feed is the events of one publisher. Every bridge receives it; one publishes it.
type feed struct {
	*Bridge
	name     string
	log      *slog.Logger
	listener *listener
	queue    *queue
	buffer   *replayBuffer
	// epoch distinguishes this process's numbers from another's.
	epoch string
	// requestResync is called when events may be missing in the stream.
	requestResync func(cause string)
	// holding reports whether this bridge publishes the feed.
	holding atomic.Bool
	// stop ends hearing it; what was heard is still stored. retired is set before if the zone no longer has its server.
	stop    context.CancelFunc
	retired atomic.Bool

	// unparsed logs dead letters.
	unparsed *unparsedLog

	mu     sync.Mutex
	status FeedStatus // as counted by the feed and its listener
	meter  meter
}

// standbyKeeps is how long a bridge on standby keeps events.
const standbyKeeps = 30 * time.Second

// rawBytes bounds the messages that are not decoded yet, besides the part that the buffer can spare.
const rawBytes = 16 << 20

func newFeed(b *Bridge, endpoint string) (*feed, error) {
	address, isTCP := strings.CutPrefix(endpoint, "tcp://")
	host, port, err := net.SplitHostPort(address)
	if !isTCP || err != nil || host == "" || port == "" {
		return nil, fmt.Errorf("hook endpoint %q is not of the form tcp://host:2101", endpoint)
	}
	c := &b.config
	var room *spill
	if c.SpillDir != "" {
		room = &spill{folder: c.SpillDir, limit: maxSpill}
	}
	f := &feed{
		Bridge: b, name: feedName(c.Zone, endpoint), epoch: nuid.Next(), requestResync: b.resyncer.request,
		buffer: newReplayBuffer(c.MaxQueueBytes, standbyKeeps, room),
	}
	f.log = b.log.With("feed", f.name)
	f.unparsed = &unparsedLog{log: f.log}
	f.queue = newQueue(rawBytes, f.buffer.spare)
	f.listener = &listener{feed: f, endpoint: endpoint, address: address, decoder: newDecoder(c.Zone, b.filter, endpoint)}
	return f, nil
}

// run receives until hearing ends, and publishes whenever it holds the feed until
// publishing ends or everything received is stored.
func (f *feed) run(hearing, publishing context.Context) {
	heardAll, all := context.WithCancel(publishing)
	defer all()
	var producing, holding sync.WaitGroup
	producing.Go(func() { f.listener.run(hearing, f.queue) })
	producing.Go(func() {
		decodeQueue(hearing, f.queue, newDecoder(f.config.Zone, f.filter, f.listener.endpoint), f.pass)
	})
	holding.Go(func() { f.hold(hearing, heardAll, publishing) })
	producing.Wait()
	all()
	holding.Wait()
	f.unparsed.end()
	f.buffer.standBy()
}

// pass adds to the buffer the entries made of so many messages.
func (f *feed) pass(entries []entry, messages int) {
	if lost, err := f.buffer.add(entries, messages); lost {
		f.log.Error("the buffer for hook events is full: events are dropped until JetStream has stored the buffered ones; a comparison with oned then replaces them",
			"error", err, "hint", "is JetStream slow or unreachable?")
	}
}

// hold publishes the feed whenever this bridge has its lease. heardAll ends when nothing more will be received.
func (f *feed) hold(hearing, heardAll, publishing context.Context) {
	var watch watch
	err := f.retry(hearing, func() (err error) {
		watch, err = f.store.watch(f.name)
		return err
	})
	if err != nil {
		return // hearing has ended
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

// serve continues at the stream's end and publishes for as long as the lease
// lasts. A bridge that stops releases the feed to another at once.
func (f *feed) serve(heardAll, publishing context.Context, watch watch, l lease) error {
	ctx, cancel := context.WithCancelCause(publishing)
	defer cancel(nil)
	var heartbeats sync.WaitGroup
	heartbeats.Go(func() { f.sendHeartbeats(ctx, watch, l, cancel) })
	defer heartbeats.Wait()
	defer cancel(nil)
	err := f.resume(ctx, l)
	if err == nil {
		// In this order: a bridge that does not hold a feed leaves comparing to the holder.
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
	release := l.Release
	if f.retired.Load() {
		release = l.Retire
	}
	if err := release(publishing); err != nil {
		f.log.Debug("the lease of the feed was not released; another bridge takes over when it expires", "error", err)
	} else if err := l.Beat(true, true); err != nil {
		f.log.Debug("the other bridges could not be told that this bridge stops", "error", err)
	}
	return nil
}

// resume finds the position behind the last stored event in the buffer.
func (f *feed) resume(ctx context.Context, l lease) error {
	return f.retry(ctx, func() error {
		tail, err := l.Tail(ctx, tailLength)
		if err == nil {
			exact := f.buffer.hold(tail)
			f.log.Info("this bridge now publishes the feed", "holder", f.config.Holder, "without_a_gap", exact)
		}
		return err
	})
}

// retry repeats an operation while JetStream fails, until ctx ends or another bridge has the feed.
func (f *feed) retry(ctx context.Context, try func() error) error {
	for wait := idle.Between(firstPause, longestPause); ; wait.Wait(ctx) {
		err := try()
		if err == nil || errors.Is(err, pipeline.ErrSuperseded) || ctx.Err() != nil {
			return err
		}
		f.storing(err)
	}
}

// setRole sets the role of the endpoint's oned in its zone.
func (f *feed) setRole(role string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.status.Role = role
}

const deadLetterSource = "bridge"

const (
	maxBatch      = 1000
	maxBatchBytes = 4 << 20
)

// worthPreparing is the size from which a batch gets a goroutine: smaller ones are stored before that has started.
const worthPreparing = 16

// batch is some entries of the buffer on their way into the stream.
type batch struct {
	entries     []entry
	deadLetters []entry
	events      []feeds.Event
	// commit stores the events, which have been sent ahead.
	commit func(context.Context) error
}

// newBatch begins to store entries, of which the first has a number. A message id consists of the
// hash, which identifies the event, and the number, which identifies the occurrence: storing it again
// changes nothing, and a repeated event is stored.
func (f *feed) newBatch(l lease, entries []entry, number uint64) *batch {
	b := &batch{entries: entries, events: make([]feeds.Event, 0, len(entries))}
	for i, e := range entries {
		if e.isDeadLetter() {
			b.deadLetters = append(b.deadLetters, e)
			continue
		}
		var space [80]byte
		id := append(append(append(append(space[:0], e.hash...), '-'), f.epoch...), '-')
		id = strconv.AppendUint(id, number+uint64(i), 10)
		b.events = append(b.events, feeds.Event{Subject: e.subject, MessageID: string(id), Data: e.data})
	}
	b.commit = l.Stage(b.events)
	return b
}

// publish stores the buffer's entries until ctx ends, another bridge takes the feed over, or
// heardAll has ended and nothing is left (nil). While one batch is being stored the next is sent.
func (f *feed) publish(ctx, heardAll context.Context, l lease) error {
	waiting, end := context.WithCancel(heardAll)
	defer end()
	defer context.AfterFunc(ctx, end)()
	var next *batch
	for {
		current := next
		if current == nil {
			entries, number := f.buffer.read(waiting)
			if len(entries) == 0 {
				return ctx.Err()
			}
			current = f.newBatch(l, entries, number)
		}
		var err error
		if next, err = f.storeAndPrepare(ctx, l, current); err != nil {
			return err
		}
		f.published(ctx, current)
	}
}

// storeAndPrepare stores a batch. If a whole further batch is ready before that is done, it is sent ahead.
func (f *feed) storeAndPrepare(ctx context.Context, l lease, current *batch) (next *batch, err error) {
	if len(current.events) < worthPreparing {
		return nil, f.storeAll(ctx, l, current)
	}
	stored, behind := make(chan error, 1), len(current.entries)
	go func() { stored <- f.storeAll(ctx, l, current) }()
	for {
		if entries, number := f.buffer.readNow(behind, maxBatch); len(entries) > 0 {
			next = f.newBatch(l, entries, number)
			return next, <-stored
		}
		select {
		case err := <-stored:
			return nil, err
		case <-f.buffer.ready:
		}
	}
}

// storeAll tries until all events are stored, the feed is lost or ctx ends: the rest passes, and order is kept.
func (f *feed) storeAll(ctx context.Context, l lease, b *batch) error {
	if len(b.events) == 0 {
		return nil
	}
	commit := b.commit
	err := f.retry(ctx, func() error {
		err := commit(ctx)
		commit = func(ctx context.Context) error { return l.Publish(ctx, b.events) }
		return err
	})
	if err == nil {
		f.storing(nil)
	}
	return err
}

// storing sets whether JetStream stores events, and logs when that changes.
func (f *feed) storing(err error) {
	f.mu.Lock()
	before := f.status.StoreError
	f.status.StoreError = ""
	if err != nil {
		f.status.StoreError = err.Error()
	}
	f.mu.Unlock()
	switch {
	case err != nil && before == "":
		f.log.Warn("JetStream does not accept events; they are buffered in order", "error", err)
	case err == nil && before != "":
		f.log.Info("JetStream accepts events again")
		// Events of two feeds about one VM may meanwhile be stored in either order.
		f.requestResync("JetStream was unreachable")
	}
}

// published releases a batch that is stored. Losing dead letters is logged and holds nothing up.
func (f *feed) published(ctx context.Context, b *batch) {
	f.metrics.deadLetters.Add(float64(len(b.deadLetters)))
	f.mu.Lock()
	f.status.DeadLetters += uint64(len(b.deadLetters))
	f.mu.Unlock()
	for i, dead := range b.deadLetters {
		f.unparsed.note(dead.subject)
		err := f.store.DeadLetter(ctx, pipeline.DeadLetter{Where: deadLetterSource, Reason: dead.subject, Data: dead.data})
		if err != nil {
			f.log.Error("dead letters could not be stored", "letters", len(b.deadLetters)-i, "error", err)
			break
		}
	}
	relieved, left, err := f.buffer.stored(len(b.entries))
	if err != nil {
		f.log.Error("hook events in the spill file were lost, comparing with oned", "error", err)
	}
	if relieved {
		f.requestResync("events were dropped")
	}
	for _, e := range b.entries {
		if !e.isDeadLetter() {
			f.metrics.events.WithLabelValues(e.object).Inc()
		}
	}
	newest := b.entries[len(b.entries)-1].heard
	f.metrics.lastEvent.Set(float64(newest.UnixMicro()) / 1e6)
	f.metrics.queueBytes.Set(float64(left))
	f.mu.Lock()
	defer f.mu.Unlock()
	f.status.Published += uint64(len(b.events))
}
