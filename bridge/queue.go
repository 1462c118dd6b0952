package bridge

import (
	"context"
	"sync"
	"time"
)

// item is a message as heard, or as decoded already.
type item struct {
	heard  time.Time
	frames [][]byte
	// slab has the frames, if not nil.
	slab *slab
	// translation is there instead of the frames where the message was decoded before its turn.
	translation *translation
}

// translation is what a message became: an event or dead letter, if it passes.
type translation struct {
	entry  entry
	passes bool
}

// itemOverhead is about what an item takes besides its frames, in bytes.
const itemOverhead = 256

func (i item) size() int64 {
	size := int64(itemOverhead)
	if i.translation != nil {
		size += i.translation.entry.size()
	}
	for _, frame := range i.frames {
		size += int64(len(frame))
	}
	return size
}

// queue keeps messages in order between hearing and decoding. While it is
// full the listener does not read, and oned drops what it has no room for.
type queue struct {
	limit int64
	// spare is the room in bytes that it may take beyond limit at present. A VM's
	// message is ten times as large as the event that it becomes: who has no
	// processor time to decode needs room for a moment, which is lent.
	spare func() int64

	mu    sync.Mutex
	items []item
	bytes int64

	ready chan struct{} // capacity 1: something to take
	room  chan struct{} // capacity 1: something was taken
}

func newQueue(limit int64, spare func() int64) *queue {
	return &queue{limit: limit, spare: spare, ready: make(chan struct{}, 1), room: make(chan struct{}, 1)}
}

// push appends a message. It waits while the queue is full, and says so. An
// empty queue has room for anything.
func (q *queue) push(ctx context.Context, i item) (waited bool, err error) {
	for !q.offer(i) {
		waited = true
		select {
		case <-q.room:
		case <-ctx.Done():
			return waited, ctx.Err()
		}
	}
	return waited, nil
}

func (q *queue) offer(i item) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	size := i.size()
	if beyond := q.bytes + size - q.limit; q.bytes > 0 && beyond > 0 && beyond > q.spare() {
		return false
	}
	q.items = append(q.items, i)
	q.bytes += size
	signal(q.ready)
	return true
}

// almostFull reports whether more than half of the room is taken.
func (q *queue) almostFull() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.bytes > q.limit && 2*q.bytes > q.limit+q.spare()
}

// next removes what goes to a decoder next and waits for the first of it. After ctx it
// removes what is left; nothing is returned only when that was all.
func (q *queue) next(ctx context.Context) []item {
	for {
		ended := ctx.Err() != nil
		if items := q.takeNow(decodeAtOnce); len(items) > 0 || ended {
			return items
		}
		select {
		case <-q.ready:
		case <-ctx.Done():
		}
	}
}

func (q *queue) takeNow(most int) []item {
	q.mu.Lock()
	defer q.mu.Unlock()
	count := min(most, len(q.items))
	items := append([]item(nil), q.items[:count]...)
	clear(q.items[:count]) // lets go of the bodies
	q.items = q.items[count:]
	if len(q.items) == 0 {
		q.items = nil
	}
	for _, i := range items {
		q.bytes -= i.size()
	}
	if len(q.items) > 0 {
		signal(q.ready)
	}
	signal(q.room)
	return items
}
