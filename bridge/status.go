package bridge

import (
	"fmt"
	"slices"
	"time"
)

// Leads reports whether the endpoint's oned is the one that publishes.
func (s FeedStatus) Leads() bool { return s.Role == "leader" || s.Role == "solo" }

// SilentFor is how long nothing was heard: since the last message, or since the connection was made or lost.
func (s FeedStatus) SilentFor(now time.Time) time.Duration {
	since := s.Since
	if s.LastHeard.After(since) {
		since = s.LastHeard
	}
	if since.IsZero() {
		return 0
	}
	return max(now.Sub(since), 0)
}

// FeedStatus is what is known of one endpoint, which is a feed of its own.
type FeedStatus struct {
	// Endpoint is the publisher's address, Feed the name of its lease.
	Endpoint, Feed string
	// Connected reports whether the publisher is connected, Since when that has been so, Error why it is not.
	Connected bool
	Since     time.Time
	Error     string
	// Role is what the endpoint's oned is in its zone: leader, follower, solo
	// or candidate; empty as long as it has not said.
	Role string
	// Heard counts the messages of this endpoint.
	Heard     uint64
	LastHeard time.Time
	// Rate is the number of messages a second, over the last seconds.
	Rate float64
	// Gaps counts the times in which events may have been lost: the connection was lost, or the queue full.
	Gaps uint64
	// Overflows counts the messages that found the queue full: oned may have dropped others meanwhile.
	Overflows uint64
	// Holding reports whether this bridge has the feed's lease.
	Holding bool
	// Published counts the stored events.
	Published uint64
	// StoreError says why JetStream takes no events; empty when it does.
	StoreError string
	// QueueLength and QueueBytes are what waits to be stored, of which Spilled
	// events are in the spill file (and not in QueueBytes).
	QueueLength int
	QueueBytes  int64
	Spilled     int
	// Kept is how many events are kept for a take-over.
	Kept int
	// Dropped counts the events for which there was no room anywhere.
	Dropped     uint64
	DeadLetters uint64

	// The rest is the bridge's, the same for all its feeds.

	// LastResync is when the last comparison with oned succeeded, and ResyncError why the latest did not.
	LastResync        time.Time
	ResyncError       string
	ResyncDifferences uint64

	overflowed time.Time // the last time
}

// feedState is what changes of a feed besides its connection.
type feedState struct {
	published   uint64
	storeError  string
	deadLetters uint64
	role        string
	meter       meter
}

// meter measures a rate over the seconds between two looks, or longer.
type meter struct {
	at    time.Time
	count uint64
	rate  float64
}

// rateOver is the shortest time that a rate is measured over.
const rateOver = 5 * time.Second

func (m *meter) measure(now time.Time, count uint64) float64 {
	if m.at.IsZero() {
		m.at = now
	}
	if passed := now.Sub(m.at); passed >= rateOver {
		m.rate = float64(count-m.count) / passed.Seconds()
		m.at, m.count = now, count
	}
	return m.rate
}

// Status tells how each feed is doing. It is safe to call at any time after Start.
func (b *Bridge) Status() []FeedStatus {
	b.resyncer.mu.Lock()
	compared := b.resyncer.state
	b.resyncer.mu.Unlock()
	all := make([]FeedStatus, 0, len(b.feeds))
	for _, f := range b.feeds {
		f.listener.mu.Lock()
		status := f.listener.status
		f.listener.mu.Unlock()
		buffer := f.buffer.state()
		status.Endpoint, status.Feed, status.Holding = f.listener.endpoint, f.name, f.holding.Load()
		status.QueueLength, status.QueueBytes = buffer.waiting, buffer.bytes
		status.QueueLength += int(status.Heard - min(status.Heard, buffer.decoded))
		status.Spilled, status.Kept, status.Dropped = buffer.spilled, buffer.kept, buffer.dropped
		status.LastResync, status.ResyncError, status.ResyncDifferences = compared.last, compared.failed, compared.differences
		f.mu.Lock()
		status.Role, status.Rate = f.state.role, f.state.meter.measure(time.Now(), status.Heard)
		status.Published, status.StoreError, status.DeadLetters = f.state.published, f.state.storeError, f.state.deadLetters
		f.mu.Unlock()
		all = append(all, status)
	}
	return all
}

// Hears reports whether this bridge passes on what the oned that leads publishes, and has
// compared since the connection was made: what was lost before is made up for.
func (b *Bridge) Hears() bool { return slices.ContainsFunc(b.Status(), FeedStatus.complete) }

// complete reports whether the feed passes on what the leading oned publishes, and everything
// that was lost before is made up for.
func (s FeedStatus) complete() bool {
	return s.Holding && s.Connected && s.Leads() && s.StoreError == "" && s.ResyncError == "" && s.LastResync.After(s.Since)
}

// HearsCalls identifies the connection on which this bridge passes on all calls that change
// documents or who may see them; empty while it does not. No comparison makes up for a call
// that was lost: behind another connection, or a gap, something may have changed unheard.
func (b *Bridge) HearsCalls() string {
	for _, call := range callsOfLists {
		if !slices.Contains(b.config.Calls, call) {
			return ""
		}
	}
	for _, s := range b.Status() {
		if s.complete() {
			return s.unbroken()
		}
	}
	return ""
}

// unbroken identifies what was heard without a gap, for which no event was dropped or could not be read.
func (s FeedStatus) unbroken() string {
	return fmt.Sprintf("%s %d %d", s.Feed, s.Since.UnixNano(), s.Gaps+s.Dropped+s.DeadLetters)
}
