package bridge

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/flowjet/flowjet/pipeline/feeds"
)

// entry is an event of a feed as it will be stored, or a dead letter with its reason for a subject.
type entry struct {
	subject, hash string
	objectID
	data  []byte
	heard time.Time
}

// objectID is an event's object: vm, net, host, image or api, with its id.
type objectID struct {
	object string
	id     int
}

func (e entry) isDeadLetter() bool { return e.hash == "" }

// entryOverhead is about the size of an entry besides its texts, in bytes.
const entryOverhead = 192

func (e entry) size() int64 {
	return int64(entryOverhead + len(e.subject) + len(e.hash) + len(e.data))
}

// tailLength is how many stored events are kept, and fetched at a take-over, to find the position to
// continue from: only a longer run of equal events can be mistaken for another.
const tailLength = 256

// replayBuffer is a feed's events in order, between receiving and storing. While the feed is held, an
// entry is removed once it is stored, the last tailLength excepted; on standby the oldest are removed by age and size.
type replayBuffer struct {
	limit int64
	keep  time.Duration
	spill *spill

	mu      sync.Mutex
	entries []entry
	bytes   int64
	// waiting is the part of bytes that is not stored.
	waiting int64
	// first is the number of entries[0], next that of the first entry not stored, counted since the start.
	first, next uint64
	holding     bool
	// full reports whether events are dropped until everything is stored.
	full    bool
	dropped uint64
	// pending counts the entries of each VM and network that are not stored.
	pending map[objectID]int
	// decoded counts the messages that went through the decoders.
	decoded uint64
	// moved is closed and replaced when next or decoded has moved.
	moved chan struct{}
	ready chan struct{} // capacity 1: something to read
}

func newReplayBuffer(limit int64, keep time.Duration, s *spill) *replayBuffer {
	return &replayBuffer{
		limit: limit, keep: keep, spill: s, pending: map[objectID]int{},
		moved: make(chan struct{}), ready: make(chan struct{}, 1),
	}
}

func signal(to chan struct{}) {
	select {
	case to <- struct{}{}:
	default:
	}
}

// add appends the entries made of so many messages. lost means that dropping has begun.
func (b *replayBuffer) add(entries []entry, messages int) (lost bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.decoded += uint64(messages)
	defer b.move()
	for _, e := range entries {
		if b.full {
			b.dropped++
			continue
		}
		if b.holding && (b.spill.length() > 0 || b.bytes+e.size() > b.limit && b.unstored() > 0) {
			if err = b.spill.write(e); err != nil {
				b.full, lost = true, true
				b.dropped++
			}
			continue
		}
		b.append(e)
	}
	if !b.holding {
		b.shrink()
	}
	signal(b.ready)
	return lost, err
}

func (b *replayBuffer) append(e entry) {
	if len(b.entries) == cap(b.entries) {
		// The first entries are removed all the time: with little room all are copied often.
		b.entries = slices.Grow(b.entries, len(b.entries)+tailLength)
	}
	b.entries = append(b.entries, e)
	b.bytes += e.size()
	b.count(e, 1)
}

// count counts an entry among those that are not stored, or with -1 no longer.
func (b *replayBuffer) count(e entry, by int) {
	b.waiting += int64(by) * e.size()
	if e.object != objectVM && e.object != objectNet {
		return // only these are compared with oned
	}
	if b.pending[e.objectID] += by; b.pending[e.objectID] <= 0 {
		delete(b.pending, e.objectID)
	}
}

// spare returns how many bytes of its room are free: three quarters at most, since the decoded entries are added too.
func (b *replayBuffer) spare() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return max(0, b.limit/4*3-b.bytes)
}

func (b *replayBuffer) unstored() int { return len(b.entries) - int(b.next-b.first) }

// shrink removes the oldest entries while on standby.
func (b *replayBuffer) shrink() {
	oldest, left := time.Now().Add(-b.keep), b.bytes
	count := 0
	for ; count < len(b.entries) && (left > b.limit || b.entries[count].heard.Before(oldest)); count++ {
		left -= b.entries[count].size()
	}
	b.drop(count)
}

// drop removes the first entries.
func (b *replayBuffer) drop(count int) {
	for i, e := range b.entries[:count] {
		b.bytes -= e.size()
		if b.first+uint64(i) >= b.next {
			b.count(e, -1)
		}
	}
	clear(b.entries[:count])
	b.entries = b.entries[count:]
	b.first += uint64(count)
	b.next = max(b.next, b.first)
}

// hold begins to hold the feed behind its stored tail. exact means that the
// newest stored event was found: nothing is missing, and nothing doubled.
func (b *replayBuffer) hold(tail []feeds.StoredEvent) (exact bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.shrink()
	position, exact := resumePosition(b.entries, tail)
	clear(b.pending)
	b.waiting = 0
	for _, e := range b.entries[position:] {
		b.count(e, 1)
	}
	b.next = b.first + uint64(position)
	b.holding = true
	b.drop(max(0, int(b.next-b.first)-tailLength))
	signal(b.ready)
	return exact
}

// standBy ends holding. The spill file is discarded: the next holder has received its events too, or compares.
func (b *replayBuffer) standBy() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.holding, b.full = false, false
	b.spill.reset()
	b.shrink()
	b.move()
}

// read waits for entries that are not stored and returns them with the number of the first: none only when
// ctx has ended and nothing is left. They stay in the buffer until stored is called.
func (b *replayBuffer) read(ctx context.Context) ([]entry, uint64) {
	for {
		ended := ctx.Err() != nil
		if entries, number := b.readNow(0, 1); len(entries) > 0 || ended {
			return entries, number
		}
		select {
		case <-b.ready:
		case <-ctx.Done():
		}
	}
}

// readNow is read without waiting, for at least some entries behind those that are already being stored.
func (b *replayBuffer) readNow(behind, least int) ([]entry, uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	first := int(b.next-b.first) + behind //nolint:gosec // an index
	if len(b.entries) < first+least {
		return nil, 0
	}
	waiting := b.entries[first:]
	count, size := 0, int64(0)
	for count < min(maxBatch, len(waiting)) && (count == 0 || size < maxBatchBytes) {
		size += waiting[count].size()
		count++
	}
	return append([]entry(nil), waiting[:count]...), b.next + uint64(behind) //nolint:gosec // not negative
}

// stored removes the next entries, which are in JetStream, and reads entries back from the spill file
// as far as there is room. relieved reports whether dropping has ended with it, left counts bytes.
func (b *replayBuffer) stored(count int) (relieved bool, left int64, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	at := int(b.next - b.first)
	for _, e := range b.entries[at : at+count] {
		b.count(e, -1)
	}
	b.next += uint64(count)
	b.drop(max(0, int(b.next-b.first)-tailLength))
	for b.spill.length() > 0 && (b.bytes < b.limit/2 || b.unstored() == 0) {
		e, failure := b.spill.read()
		if failure != nil {
			b.spill.reset()
			b.full, err = true, failure // until these entries are stored; a comparison follows
			break
		}
		b.append(e)
	}
	if b.full && b.unstored() == 0 && b.spill.length() == 0 {
		b.full, relieved = false, true
	}
	b.move()
	return relieved, b.waiting, err
}

func (b *replayBuffer) move() {
	close(b.moved)
	b.moved = make(chan struct{})
}

// allStored waits until everything received before is stored, or the feed is no longer held.
func (b *replayBuffer) allStored(ctx context.Context) error {
	b.mu.Lock()
	end := b.first + uint64(len(b.entries)) + uint64(b.spill.length())
	b.mu.Unlock()
	return b.waitUntil(ctx, func() bool { return b.next >= end || !b.holding })
}

// waitUntil waits for a condition, which is evaluated under the lock.
func (b *replayBuffer) waitUntil(ctx context.Context, condition func() bool) error {
	for {
		b.mu.Lock()
		done, moved := condition(), b.moved
		b.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// awaits reports whether an event of the object is still to be stored.
func (b *replayBuffer) awaits(object objectID) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.holding && (b.pending[object] > 0 || b.full || b.spill.length() > 0)
}

// report sets the buffer's part of a feed's status.
func (b *replayBuffer) report(status *FeedStatus) {
	b.mu.Lock()
	defer b.mu.Unlock()
	status.Spilled, status.Dropped = b.spill.length(), b.dropped
	status.QueueLength = int(status.Heard - min(status.Heard, b.decoded)) //nolint:gosec // fits
	if b.holding {
		status.QueueLength += b.unstored() + status.Spilled
	}
}
