// Package feeds stores the events that bridges receive from oned: a feed is one oned's hook events, in their order.
//
// Safety: a feed is published only by the holder of its newest lease. Liveness: a holder
// that is silent can be replaced at once.
package feeds

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/flowjet/flowjet/internal/errs"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/internal/js"
)

// renewLease is the age at which a lease is written again: the stream drops
// it with everything else after 72 h, or sooner when it is full.
const renewLease = time.Hour

// Event is one event of a feed, ready to be stored.
type Event struct {
	Subject string
	// MessageID is "<hash of the hook event>-<process>-<occurrence number>".
	MessageID string
	Event     pipeline.Event
	// Data is Event as pipeline.Encode writes it; if nil it is encoded when it is stored.
	Data []byte
}

// Lease is the right to publish a feed's events. It ends when another bridge
// takes the feed; the server then refuses the former holder's events.
type Lease struct {
	feeds  *Feeds
	feed   string
	holder string
	token  string

	mu       sync.Mutex
	sequence uint64
	renewed  time.Time
	released bool
	retired  bool
	// shown is sequence for callers that must not wait for a Publish.
	shown atomic.Uint64
}

// Feeds are the feeds of hook events of a zone.
type Feeds struct {
	core *js.Client
	zone int
}

// New returns the feeds of a pipeline.
func New(p *pipeline.Pipeline) *Feeds { return &Feeds{p.Client, p.Zone()} }

// Acquire acquires the lease of a feed, until another bridge does: expected is the
// sequence of the last lease, as LastLease returned it, 0 for none. From then on only
// events published through the lease returned, or a later one, are stored.
// pipeline.ErrConflict is returned if another bridge was faster.
func (f *Feeds) Acquire(ctx context.Context, feed, holder string, expected uint64) (*Lease, error) {
	lease := &Lease{feeds: f, feed: feed, holder: holder, token: nuid.Next()}
	err := lease.write(ctx, expected)
	if js.Conflict(err) {
		// It may be our own, stored by a first attempt whose ack was lost.
		if last, sequence, asked := f.LastLease(ctx, feed); asked == nil && last.Token == lease.token {
			lease.wrote(sequence)
			return lease, nil
		}
		err = pipeline.ErrConflict
	}
	if err != nil {
		return nil, fmt.Errorf("take over feed %s: %w", feed, err)
	}
	return lease, nil
}

// LastLease returns the newest lease of a feed with its sequence; 0 if there is none.
func (f *Feeds) LastLease(ctx context.Context, feed string) (pipeline.Lease, uint64, error) {
	message, err := f.core.Stream(pipeline.StreamONE).Last(ctx, pipeline.LeaseSubject(feed))
	if message == nil && err == nil {
		return pipeline.Lease{}, 0, nil
	}
	var lease pipeline.Lease
	if err == nil {
		err = json.Unmarshal(message.Data, &lease)
	}
	if err != nil {
		return pipeline.Lease{}, 0, fmt.Errorf("read the lease of feed %s: %w", feed, err)
	}
	return lease, message.Sequence, nil
}

// Expected returns the names of the feeds with a lease that is not retired. The replica that answers may be a moment behind.
func (f *Feeds) Expected(ctx context.Context) (names []string, err error) {
	defer errs.Wrap(&err, "read the leases of all feeds")
	err = f.core.Stream(pipeline.StreamONE).EachNewest(ctx, pipeline.SubjectsLeases, func(message js.Message) {
		var lease pipeline.Lease
		if json.Unmarshal(message.Data, &lease) == nil && !lease.Retired {
			names = append(names, lease.Feed)
		}
	})
	return names, err
}

// Release releases the feed, so that another bridge can take it at once.
func (l *Lease) Release(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.released = true
	return l.failed(l.write(ctx, l.sequence))
}

// Retire releases the feed of a server that the zone no longer has: it is not expected to be published any more.
func (l *Lease) Retire(ctx context.Context) error {
	l.mu.Lock()
	l.retired = true
	l.mu.Unlock()
	return l.Release(ctx)
}

// Sequence returns the lease's own sequence in StreamONE.
func (l *Lease) Sequence() uint64 { return l.shown.Load() }

// wrote sets the sequence of the lease in the stream.
func (l *Lease) wrote(sequence uint64) {
	l.sequence, l.renewed = sequence, time.Now()
	l.shown.Store(sequence)
}

// Publish stores the events in their order and returns when JetStream has acknowledged all of them.
// ErrSuperseded is returned if another bridge took the feed: nothing more is stored. After any other
// error the first events may have been stored and the caller passes the same events again: those are
// stored once.
//
// A batch is fenced by its first message: all of it is stored or nothing. Many events, and those to
// a replicated stream, go in atomic batches. A few are pipelined, each fenced, and
// each stored only right behind the one before it: a reconnect in between cannot store a later one
// first. If another feed's event came between them they are refused, and sent one by one.
func (l *Lease) Publish(ctx context.Context, events []Event) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.renew(ctx); err != nil {
		return l.failed(err)
	}
	err := l.publish(ctx, events)
	if js.Conflict(err) {
		// Superseded, or the stream has dropped the lease.
		if err = l.restore(ctx); err == nil {
			err = l.publish(ctx, events)
		}
	}
	return l.failed(err)
}

func (l *Lease) failed(err error) error {
	if js.Conflict(err) {
		err = pipeline.ErrSuperseded
	}
	errs.Wrap(&err, "publish feed %s as %s", l.feed, l.holder)
	return err
}

// publish also begins a trace for each event, if tracing is on: everything that
// follows from a hook event belongs to it.
func (l *Lease) publish(ctx context.Context, events []Event) error {
	messages, space := make([]*nats.Msg, len(events)), make([]nats.Msg, len(events))
	feed, tracer := []string{l.feed}, otel.Tracer("github.com/flowjet/flowjet/pipeline") // without a provider it does nothing
	var spans []trace.Span
	for i := range events {
		messages[i] = &space[i]
		events[i].write(messages[i])
		messages[i].Header[pipeline.HeaderFeed] = feed
		if len(spans) < i {
			continue // tracing is off
		}
		started, span := tracer.Start(ctx, "hook event", trace.WithNewRoot(), trace.WithSpanKind(trace.SpanKindProducer))
		if span.SpanContext().IsValid() {
			span.SetAttributes(attribute.String("subject", events[i].Subject), attribute.Int("id", events[i].Event.ID))
			js.InjectTrace(started, messages[i])
			spans = append(spans, span)
		}
	}
	// The server refuses them unless the lease is the feed's last.
	fence := func(message *nats.Msg) { js.Expect(message, pipeline.LeaseSubject(l.feed), l.sequence) }
	err := l.feeds.core.Stream(pipeline.StreamONE).Append(ctx, messages, js.Rules{Fence: fence, Burst: js.Chained})
	for _, span := range spans {
		if err != nil {
			span.RecordError(err)
		}
		span.End()
	}
	return err
}

// write sets the message to the event, as it is stored, without a fence.
func (e *Event) write(message *nats.Msg) {
	message.Subject, message.Data = e.Subject, e.Data
	if message.Header == nil {
		message.Header = make(nats.Header, 8)
	}
	clear(message.Header)
	if message.Data == nil {
		event := e.Event
		event.Version = pipeline.Version
		message.Data = pipeline.Encode(&event)
	}
	message.Header[jetstream.MsgIDHeader] = []string{e.MessageID}
	if e.Event.Resync {
		message.Header[pipeline.HeaderResync] = []string{"true"}
	}
}

// renew writes an old lease again, before the stream drops it.
func (l *Lease) renew(ctx context.Context) error {
	if time.Since(l.renewed) < renewLease {
		return nil
	}
	err := l.write(ctx, l.sequence)
	if js.Conflict(err) {
		return l.restore(ctx)
	}
	return err
}

// restore finds out why the server does not have the lease as the last: it has
// another sequence (its ack was lost), was dropped, or is superseded.
func (l *Lease) restore(ctx context.Context) error {
	last, sequence, err := l.feeds.LastLease(ctx, l.feed)
	switch {
	case err != nil:
		return err
	case sequence == 0:
		return l.write(ctx, 0)
	case last.Token != l.token:
		return pipeline.ErrSuperseded
	}
	l.wrote(sequence)
	return nil
}

// write stores the lease if the last one has the sequence (0: if there is none).
func (l *Lease) write(ctx context.Context, expected uint64) error {
	subject := pipeline.LeaseSubject(l.feed)
	message := nats.NewMsg(subject)
	message.Data = pipeline.Encode(pipeline.Lease{
		Version: pipeline.Version, Feed: l.feed, Holder: l.holder, Token: l.token, Time: time.Now().UTC(),
		Released: l.released, Retired: l.retired,
	})
	js.Expect(message, subject, expected)
	sequence, err := l.feeds.core.Publish(ctx, message)
	if err != nil {
		return err
	}
	l.wrote(sequence)
	return nil
}

// Stage begins to store events that follow those of a Publish, or of the commit of an
// earlier Stage, which may still be running: they are sent while the batch before is being written
// to the disk. Nothing is stored before commit is called, or if it never is. One
// batch should be staged at a time; the caller bounds its bytes. Few events, or more than a batch
// can hold, are left to commit.
//
// Commit publishes these events as Publish does, with the same errors. If the batch
// cannot be committed, because the connection was lost or the lease was renewed meanwhile, it
// publishes the events from the beginning.
func (l *Lease) Stage(events []Event) (commit func(context.Context) error) {
	publish := func(ctx context.Context) error { return l.Publish(ctx, events) }
	if len(events) <= js.MaxBurst {
		return publish // which is faster than a batch
	}
	message, feed := new(nats.Msg), []string{l.feed} // reused for all
	batch, err := l.feeds.core.Stage(len(events), func(i int) *nats.Msg {
		events[i].write(message)
		message.Header[pipeline.HeaderFeed] = feed
		if i == 0 {
			js.Expect(message, pipeline.LeaseSubject(l.feed), l.Sequence())
		}
		return message
	})
	if err != nil {
		return publish
	}
	return func(ctx context.Context) error {
		l.mu.Lock()
		err := l.renew(ctx)
		if err == nil {
			attempt, cancel := context.WithTimeout(ctx, js.Attempt)
			_, err = batch.Commit(attempt)
			cancel()
		}
		l.mu.Unlock()
		if err == nil {
			return nil
		}
		return publish(ctx)
	}
}

// Beat announces that the holder of the lease is alive, and whether it is connected to the hook events. It is not stored, and lost
// when nobody listens.
func (l *Lease) Beat(leaving, connected bool) error {
	beat := pipeline.FeedBeat{
		Version: pipeline.Version, Feed: l.feed, Holder: l.holder, Token: l.token, Lease: l.Sequence(), Leaving: leaving,
		Disconnected: !connected,
	}
	return l.feeds.core.Announce(pipeline.BridgeSubject(l.feed), pipeline.Encode(beat))
}

// Token identifies this lease.
func (l *Lease) Token() string { return l.token }

// outdated is the silence after which a beat of an older lease counts: the stream may have been recreated.
const outdated = 10 * time.Second

// Watch listens for the beats of a feed's holder.
type Watch struct {
	core         *js.Client
	subscription *nats.Subscription
	changed      chan struct{}

	mu   sync.Mutex
	last pipeline.FeedBeat
	at   time.Time
}

// Watch begins to listen. Its silence counts from now on.
func (f *Feeds) Watch(feed string) (*Watch, error) {
	w := &Watch{core: f.core, changed: make(chan struct{}, 1), at: time.Now()}
	var err error
	w.subscription, err = f.core.Conn().Subscribe(pipeline.BridgeSubject(feed), func(message *nats.Msg) {
		var beat pipeline.FeedBeat
		if json.Unmarshal(message.Data, &beat) != nil {
			return
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		if beat.Lease < w.last.Lease && time.Since(w.at) < outdated {
			return // from a superseded holder that has not noticed yet
		}
		changed := beat.Token != w.last.Token || beat.Leaving != w.last.Leaving
		w.last, w.at = beat, time.Now()
		if changed {
			select {
			case w.changed <- struct{}{}:
			default:
			}
		}
	})
	if err != nil {
		return nil, fmt.Errorf("listen for the holder of feed %s: %w", feed, err)
	}
	return w, nil
}

// Changed returns a channel that is signalled when another holder sends a beat, or the holder leaves.
func (w *Watch) Changed() <-chan struct{} { return w.changed }

// Last returns the newest beat; its Token is empty if there was none.
func (w *Watch) Last() pipeline.FeedBeat {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last
}

// Silence returns how long no beat arrived although one could have: the
// time without a connection to NATS, and that of the watch's own pauses, does not count.
func (w *Watch) Silence() time.Duration {
	state := w.core.State()
	if !state.Connected {
		return 0
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	since := w.at
	if state.Since.After(since) {
		since = state.Since
	}
	return time.Since(since)
}

// Close stops listening.
func (w *Watch) Close() { _ = w.subscription.Unsubscribe() }
