package feeds

import (
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/internal/js"
)

// Beat announces that the holder of the lease is alive. It is not stored, and lost when nobody listens.
func (l *Lease) Beat(leaving bool) error {
	beat := pipeline.FeedBeat{
		Version: pipeline.Version, Feed: l.feed, Holder: l.holder, Token: l.token, Lease: l.Sequence(), Leaving: leaving,
	}
	return l.feeds.core.Announce(pipeline.BridgeSubject(l.feed), pipeline.Encode(beat))
}

// Token identifies this lease.
func (l *Lease) Token() string { return l.token }

// outdated is the silence after which a beat of an older lease counts: the stream may have been made anew.
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
			return // from a holder that does not know yet that it is superseded
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

// Changed is signalled when another holder is heard, or the holder leaves.
func (w *Watch) Changed() <-chan struct{} { return w.changed }

// Last is the newest beat; its Token is empty when none was heard.
func (w *Watch) Last() pipeline.FeedBeat {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last
}

// Silence is how long nobody was heard although somebody would have been: the
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

// Close ends listening.
func (w *Watch) Close() { _ = w.subscription.Unsubscribe() }
