package bridge

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/flowjet/flowjet/pipeline/feeds"
)

// entry is an event of a feed as it will be stored.
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

// compared reports whether objects of this kind are compared with oned.
func (o objectID) compared() bool { return o.object == objectVM || o.object == objectNet }

// letter is a dead letter's place among the events. It has no hash.
func letter(l *deadLetter) entry {
	return entry{subject: l.reason, data: l.encode(), heard: l.Heard}
}

func (e entry) isLetter() bool { return e.hash == "" }

// entryOverhead is about what an entry takes besides its texts, in bytes.
const entryOverhead = 192

func (e entry) size() int64 {
	return int64(entryOverhead + len(e.subject) + len(e.hash) + len(e.data))
}

// tailLength is how many stored events are kept, and asked for at a take-over,
// to find the place to go on from: a longer run of equal events is needed to be
// mistaken for another.
const tailLength = 256

// window is a feed's events in order, between hearing and storing. With the
// feed held, an entry goes once it is stored, the last tailLength excepted; on
// standby the oldest go by age and size.
type window struct {
	limit int64
	keep  time.Duration
	spill *spill

	mu      sync.Mutex
	entries []entry
	bytes   int64
	// waiting is the part of bytes that is not stored.
	waiting int64
	// first is the number of entries[0], next that of the first entry that is
	// not stored, counted since the start.
	first, next uint64
	holding     bool
	// full reports whether events are dropped until everything is stored.
	full    bool
	dropped uint64
	// pending counts the entries of each VM and network that are not stored.
	pending map[objectID]int
	// understood counts the messages that went through the decoders.
	understood uint64
	// moved is closed and replaced when next or understood has moved.
	moved chan struct{}
	ready chan struct{} // capacity 1: something to take
}

func newWindow(limit int64, keep time.Duration, s *spill) *window {
	return &window{
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

// add appends what became of so many messages. lost means that the first of it
// was dropped since the window was last empty.
func (w *window) add(entries []entry, messages int) (lost bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.understood += uint64(messages)
	defer w.move()
	for _, e := range entries {
		if w.full {
			w.dropped++
			continue
		}
		if w.holding && (w.spill.length() > 0 || w.bytes+e.size() > w.limit && w.unstored() > 0) {
			if err = w.spill.write(e); err != nil {
				w.full, lost = true, true
				w.dropped++
			}
			continue
		}
		w.append(e)
	}
	if !w.holding {
		w.shrink()
	}
	signal(w.ready)
	return lost, err
}

func (w *window) append(e entry) {
	if len(w.entries) == cap(w.entries) {
		// The first entries go all the time: with little room all are copied often.
		w.entries = slices.Grow(w.entries, len(w.entries)+tailLength)
	}
	w.entries = append(w.entries, e)
	w.bytes += e.size()
	w.await(e)
}

func (w *window) await(e entry) {
	w.waiting += e.size()
	if e.compared() {
		w.pending[e.objectID]++
	}
}

// lends is how many bytes of its room the window can do without: three quarters at
// most, since what is understood comes too.
func (w *window) lends() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return max(0, w.limit/4*3-w.bytes)
}

func (w *window) unstored() int { return len(w.entries) - int(w.next-w.first) }

// shrink lets the oldest go while on standby.
func (w *window) shrink() {
	oldest := time.Now().Add(-w.keep)
	count := 0
	for count < len(w.entries) && (w.bytes > w.limit || w.entries[count].heard.Before(oldest)) {
		w.bytes -= w.entries[count].size()
		count++
	}
	w.drop(count)
}

// drop removes the first entries, whose bytes are counted off already.
func (w *window) drop(count int) {
	for i := range count {
		if w.first+uint64(i) >= w.next {
			w.settle(w.entries[i])
		}
	}
	clear(w.entries[:count])
	w.entries = w.entries[count:]
	w.first += uint64(count)
	w.next = max(w.next, w.first)
}

func (w *window) settle(e entry) {
	w.waiting -= e.size()
	if !e.compared() {
		return
	}
	if w.pending[e.objectID]--; w.pending[e.objectID] <= 0 {
		delete(w.pending, e.objectID)
	}
}

// hold begins to hold the feed behind its stored tail. exact means that the
// newest stored event was found: nothing is missing, and nothing doubled.
func (w *window) hold(tail []feeds.StoredEvent) (exact bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.shrink()
	place, exact := placeBehind(w.entries, tail)
	clear(w.pending)
	w.waiting = 0
	for _, e := range w.entries[place:] {
		w.await(e)
	}
	w.next = w.first + uint64(place)
	w.holding = true
	w.trim()
	signal(w.ready)
	return exact
}

// standBy ends holding. What is in the spill file is given up: the next holder
// has heard it too, or compares.
func (w *window) standBy() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.holding, w.full = false, false
	w.spill.reset()
	w.shrink()
	w.move()
}

// take waits for entries that are not stored and returns them with the number of
// the first. They stay until stored is called.
func (w *window) take(ctx context.Context, most int, mostBytes int64) ([]entry, uint64, error) {
	for {
		if entries, number := w.takeNow(0, most, mostBytes); len(entries) > 0 {
			return entries, number, nil
		}
		select {
		case <-w.ready:
		case <-ctx.Done():
			return nil, 0, ctx.Err()
		}
	}
}

// takeNow is take without waiting, of the entries behind so many that are on
// their way already.
func (w *window) takeNow(behind, most int, mostBytes int64) ([]entry, uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	first := int(w.next-w.first) + behind //nolint:gosec // an index
	if first >= len(w.entries) {
		return nil, 0
	}
	waiting := w.entries[first:]
	count, size := 0, int64(0)
	for count < min(most, len(waiting)) && (count == 0 || size < mostBytes) {
		size += waiting[count].size()
		count++
	}
	return append([]entry(nil), waiting[:count]...), w.next + uint64(behind) //nolint:gosec // not negative
}

// waitingBehind counts the entries behind so many that are on their way.
func (w *window) waitingBehind(behind int) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.unstored() - behind
}

// stored lets go of the next entries: they are in JetStream. relieved reports whether
// dropping has ended with it.
func (w *window) stored(count int) (relieved bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	at := int(w.next - w.first)
	for _, e := range w.entries[at : at+count] {
		w.settle(e)
	}
	w.next += uint64(count)
	w.trim()
	err = w.refill()
	if w.full && w.unstored() == 0 && w.spill.length() == 0 {
		w.full, relieved = false, true
	}
	w.move()
	return relieved, err
}

func (w *window) move() {
	close(w.moved)
	w.moved = make(chan struct{})
}

// trim keeps a tail of what is stored.
func (w *window) trim() {
	count := max(0, int(w.next-w.first)-tailLength)
	for _, e := range w.entries[:count] {
		w.bytes -= e.size()
	}
	w.drop(count)
}

// refill takes back from the spill file what there is room for.
func (w *window) refill() error {
	for w.spill.length() > 0 && (w.bytes < w.limit/2 || w.unstored() == 0) {
		e, err := w.spill.read()
		if err != nil {
			w.spill.reset()
			w.full = true // until what is here is stored; then it is compared
			return err
		}
		w.append(e)
	}
	return nil
}

// allStored waits until everything heard before is stored, or the feed is no
// longer held.
func (w *window) allStored(ctx context.Context) error {
	w.mu.Lock()
	end := w.first + uint64(len(w.entries)) + uint64(w.spill.length())
	w.mu.Unlock()
	return w.waitUntil(ctx, func() bool { return w.next >= end || !w.holding })
}

// allUnderstood waits until so many messages went through the decoders.
func (w *window) allUnderstood(ctx context.Context, messages uint64) error {
	return w.waitUntil(ctx, func() bool { return w.understood >= messages })
}

// waitUntil waits for a condition, which is asked under the lock.
func (w *window) waitUntil(ctx context.Context, condition func() bool) error {
	for {
		w.mu.Lock()
		done, moved := condition(), w.moved
		w.mu.Unlock()
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
func (w *window) awaits(object objectID) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.holding && (w.pending[object] > 0 || w.full || w.spill.length() > 0)
}

// windowState is what Status tells of a window.
type windowState struct {
	waiting, kept, spilled int
	bytes                  int64
	dropped, understood    uint64
}

func (w *window) state() windowState {
	w.mu.Lock()
	defer w.mu.Unlock()
	state := windowState{kept: len(w.entries), spilled: w.spill.length(), dropped: w.dropped, understood: w.understood}
	if w.holding {
		state.waiting = w.unstored() + state.spilled
		state.bytes = w.waiting
	}
	return state
}
