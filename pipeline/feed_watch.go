package pipeline

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// FeedBeat is what the bridge that publishes a feed says a few times a second
// on the feed's BridgeSubject.
type FeedBeat struct {
	Version int    `json:"v"`
	Feed    string `json:"feed"`
	Holder  string `json:"holder"`
	Token   string `json:"token"`
	// Lease is the lease's sequence in StreamONE.
	Lease uint64 `json:"lease"`
	// Leaving reports whether the feed is being given up.
	Leaving bool `json:"leaving,omitempty"`
}

// Beat reports whether the holder of the lease is alive. It is not stored, and lost
// when nobody listens.
func (l *FeedLease) Beat(leaving bool) error {
	if !l.pipeline.conn.IsConnected() {
		return nats.ErrDisconnected // kept until later, it would be a lie
	}
	beat := FeedBeat{Version: Version, Feed: l.feed, Holder: l.holder, Token: l.token, Lease: l.Sequence(), Leaving: leaving}
	return l.pipeline.conn.Publish(BridgeSubject(l.feed), Encode(beat))
}

// Token tells this lease from all others.
func (l *FeedLease) Token() string { return l.token }

// outdated is the silence after which a beat of an older lease counts: the
// stream may have been made anew.
const outdated = 10 * time.Second

// FeedWatch listens for the beats of a feed's holder.
type FeedWatch struct {
	pipeline     *Pipeline
	subscription *nats.Subscription
	changed      chan struct{}

	mu   sync.Mutex
	last FeedBeat
	at   time.Time
}

// WatchFeed begins to listen. Its silence counts from now on.
func (p *Pipeline) WatchFeed(feed string) (*FeedWatch, error) {
	w := &FeedWatch{pipeline: p, changed: make(chan struct{}, 1), at: time.Now()}
	var err error
	w.subscription, err = p.conn.Subscribe(BridgeSubject(feed), w.hear)
	if err != nil {
		return nil, fmt.Errorf("listen for who publishes feed %s: %w", feed, err)
	}
	return w, nil
}

func (w *FeedWatch) hear(message *nats.Msg) {
	var beat FeedBeat
	if json.Unmarshal(message.Data, &beat) != nil {
		return
	}
	w.mu.Lock()
	if beat.Lease < w.last.Lease && time.Since(w.at) < outdated {
		w.mu.Unlock()
		return // from one who does not know yet that it is over
	}
	changed := beat.Token != w.last.Token || beat.Leaving != w.last.Leaving
	w.last, w.at = beat, time.Now()
	w.mu.Unlock()
	if changed {
		select {
		case w.changed <- struct{}{}:
		default:
		}
	}
}

// Changed is signalled when another holder is heard, or the holder leaves.
func (w *FeedWatch) Changed() <-chan struct{} { return w.changed }

// Last is the newest beat; its Token is empty when none was heard.
func (w *FeedWatch) Last() FeedBeat {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last
}

// Silence is how long nobody was heard although somebody would have been: the
// time without a connection to NATS, and that of the watch's own pauses, does not count.
func (w *FeedWatch) Silence() time.Duration {
	state := w.pipeline.State()
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

// Close ends listening.
func (w *FeedWatch) Close() { _ = w.subscription.Unsubscribe() }

// StoredEvent is what tells a stored event from others.
type StoredEvent struct {
	Sequence uint64
	// Hash is the one in the message id; empty if a version that had another hash
	// stored the event.
	Hash  string
	Heard time.Time
}

// tailWindows are how many messages back a feed's last events are looked for.
// Beyond the last they are too old to be in anybody's memory.
var tailWindows = []uint64{2_000, 20_000, 100_000}

// Tail is the last events that were heard on the feed and stored before the
// lease, oldest first, most at most. Nothing can be added to them any more.
func (l *FeedLease) Tail(ctx context.Context, most int) ([]StoredEvent, error) {
	end := l.Sequence()
	var events []StoredEvent
	for _, window := range tailWindows {
		var err error
		if events, err = l.eventsBetween(ctx, end-min(end, window), end); err != nil {
			return nil, fmt.Errorf("read the last events of feed %s: %w", l.feed, err)
		}
		if len(events) >= most || window >= end {
			break
		}
	}
	return events[max(0, len(events)-most):], nil
}

// eventsBetween are the feed's events behind a sequence and before the lease's.
// The lease is read too: a server that does not have it yet lags behind.
func (l *FeedLease) eventsBetween(ctx context.Context, after, end uint64) ([]StoredEvent, error) {
	r := l.pipeline.newReader(StreamONE, SubjectsONE, after)
	defer r.Stop()
	var events []StoredEvent
	for {
		message, metadata, err := r.next(ctx)
		if err != nil {
			return nil, err
		}
		if metadata.Sequence.Stream >= end {
			return events, nil
		}
		if event, is := l.storedEvent(message, metadata); is {
			events = append(events, event)
		}
	}
}

func (l *FeedLease) storedEvent(message jetstream.Msg, metadata *jetstream.MsgMetadata) (StoredEvent, bool) {
	header := message.Headers()
	if header.Get(HeaderFeed) != l.feed || header.Get(HeaderResync) != "" {
		return StoredEvent{}, false
	}
	event, err := decodeEvent(message.Data())
	if err != nil {
		return StoredEvent{}, false
	}
	hash, _, _ := strings.Cut(header.Get(jetstream.MsgIDHeader), "-")
	if header.Get(headerEarlierHash) != "" {
		hash = ""
	}
	return StoredEvent{Sequence: metadata.Sequence.Stream, Hash: hash, Heard: event.Heard}, true
}
