package bridge

import "time"

// FeedStatus is what is known of one endpoint and of the feed that it is
// part of.
type FeedStatus struct {
	// Endpoint is the publisher's address, Feed the name of the lease.
	Endpoint, Feed string
	// Connected says whether the publisher is connected, Since when that has
	// been so, Error why it is not.
	Connected bool
	Since     time.Time
	Error     string
	// Heard counts the messages of this endpoint.
	Heard     uint64
	LastHeard time.Time
	// Overflows counts the messages that found the queue full: oned may have
	// dropped others meanwhile.
	Overflows uint64

	// The rest is the feed's, the same for all its endpoints.

	// Holding says that this bridge has the feed's lease.
	Holding bool
	// Published counts the stored events; LastPublished is when the newest of
	// them was heard.
	Published     uint64
	LastPublished time.Time
	// StoreError says why JetStream takes no events; empty when it does.
	StoreError string
	// QueueLength and QueueBytes are what waits to be stored.
	QueueLength int
	QueueBytes  int64
	DeadLetters uint64
	// LastResync is when the last comparison with oned succeeded, and
	// ResyncError why the latest did not.
	LastResync        time.Time
	ResyncError       string
	ResyncDifferences uint64

	overflowing bool
}

// state is what the endpoints of a bridge have in common.
type state struct {
	holding       bool
	published     uint64
	lastPublished time.Time
	storeError    string
	deadLetters   uint64
	lastResync    time.Time
	resyncError   string
	differences   uint64
}

// Status tells how each endpoint is doing. It is safe to call at any time after
// Start.
func (b *Bridge) Status() []FeedStatus {
	b.mu.Lock()
	common, q := b.state, b.queue
	b.mu.Unlock()
	var length int
	var bytes int64
	if q != nil {
		length, bytes = q.length()
	}
	all := make([]FeedStatus, len(b.listeners))
	for i, listener := range b.listeners {
		listener.mu.Lock()
		status := listener.status
		listener.mu.Unlock()
		status.Endpoint, status.Feed = listener.endpoint, b.config.Feed
		status.Holding, status.Published, status.LastPublished = common.holding, common.published, common.lastPublished
		status.StoreError, status.QueueLength, status.QueueBytes = common.storeError, length, bytes
		status.DeadLetters, status.LastResync, status.ResyncError = common.deadLetters, common.lastResync, common.resyncError
		status.ResyncDifferences = common.differences
		all[i] = status
	}
	return all
}

func (b *Bridge) holding(holds bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.state.holding = holds
}
