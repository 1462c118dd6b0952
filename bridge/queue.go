package bridge

import (
	"context"
	"sync"
	"time"

	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
)

// item is one thing in the queue: a message as heard, an event that a resync
// found, or a barrier.
type item struct {
	// number counts what was heard since the bridge's start: of two equal
	// messages it says which.
	number uint64
	heard  time.Time
	from   *listener
	frames [][]byte
	found  *pipeline.Event
	// passed is closed when everything before the barrier is stored.
	passed chan struct{}
}

// itemOverhead is about what an item takes besides its frames, in bytes.
const itemOverhead = 256

func (i item) size() int64 {
	size := int64(itemOverhead)
	for _, frame := range i.frames {
		size += int64(len(frame))
	}
	return size
}

// lately is the newest state of a VM that was heard while a resync runs.
type lately struct {
	state, lcmState string
	heard           time.Time
}

// queue keeps events in order between hearing and storing. Its bytes count
// until JetStream has acknowledged them.
type queue struct {
	limit int64

	mu       sync.Mutex
	items    []item
	bytes    int64
	number   *uint64
	finished bool
	// lately is nil while no resync runs.
	lately map[int]lately

	ready chan struct{} // capacity 1: something to take
	room  chan struct{} // capacity 1: something was stored
}

func newQueue(limit int64, number *uint64) *queue {
	return &queue{limit: limit, number: number, ready: make(chan struct{}, 1), room: make(chan struct{}, 1)}
}

func signal(to chan struct{}) {
	select {
	case to <- struct{}{}:
	default:
	}
}

// push appends what was heard. It waits while the queue is full, and says so.
func (q *queue) push(ctx context.Context, i item) (waited bool, err error) {
	for {
		if q.offer(i, q.note) {
			return waited, nil
		}
		waited = true
		select {
		case <-q.room:
		case <-ctx.Done():
			return waited, ctx.Err()
		}
	}
}

// pushFound appends a VM's event that a resync found, unless newer news of that VM
// has been heard since the listing began.
func (q *queue) pushFound(ctx context.Context, event pipeline.Event, listed time.Time) (pushed bool, err error) {
	for {
		fresh := true
		if q.offer(item{heard: event.Heard, found: &event}, func(item) bool {
			fresh = q.stillNews(event, listed)
			return fresh
		}) || !fresh {
			return fresh, nil
		}
		select {
		case <-q.room:
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
}

// offer appends an item if there is room and accept wants it. An empty queue
// has room for anything.
func (q *queue) offer(i item, accept func(item) bool) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	size := i.size()
	if q.bytes > 0 && q.bytes+size > q.limit || !accept(i) {
		return false
	}
	q.append(i, size)
	if q.bytes < q.limit {
		signal(q.room) // for another producer that waits
	}
	return true
}

func (q *queue) append(i item, size int64) {
	*q.number++
	i.number = *q.number
	q.items = append(q.items, i)
	q.bytes += size
	signal(q.ready)
}

// note remembers a VM's newest state while a resync runs.
func (q *queue) note(i item) bool {
	if q.lately == nil || len(i.frames) == 0 {
		return true
	}
	if key, err := opennebula.ParseKey(string(i.frames[0])); err == nil && key.Kind == opennebula.KeyState && key.Object == "vm" {
		q.lately[key.ID] = lately{state: key.State, lcmState: key.LCMState, heard: i.heard}
	}
	return true
}

// stillNews is the rule by which an old list never overrides a newer event.
func (q *queue) stillNews(event pipeline.Event, listed time.Time) bool {
	last, heard := q.lately[event.ID]
	if !heard {
		return true
	}
	same := last.state == event.State && last.lcmState == event.LCMState
	return last.heard.Before(listed) && !same
}

// beginResync starts to remember what is heard and waits until everything
// heard before is stored.
func (q *queue) beginResync(ctx context.Context) error {
	passed := make(chan struct{})
	q.mu.Lock()
	q.lately = map[int]lately{}
	q.append(item{passed: passed}, itemOverhead)
	q.mu.Unlock()
	select {
	case <-passed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (q *queue) endResync() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.lately = nil
}

// take removes what has arrived, up to a number of items and about so many
// bytes. It waits for something to arrive; after finish it returns nothing
// once the queue is empty.
func (q *queue) take(ctx context.Context, most int, mostBytes int64) ([]item, error) {
	for {
		items, finished := q.takeNow(most, mostBytes)
		if len(items) > 0 || finished {
			return items, nil
		}
		select {
		case <-q.ready:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (q *queue) takeNow(most int, mostBytes int64) (items []item, finished bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	count, size := 0, int64(0)
	for count < min(most, len(q.items)) && (count == 0 || size < mostBytes) {
		size += q.items[count].size()
		count++
	}
	items = append(items, q.items[:count]...)
	clear(q.items[:count]) // lets go of the bodies
	q.items = q.items[count:]
	if len(q.items) == 0 {
		q.items = nil
	}
	return items, q.finished && len(items) == 0
}

// done lets go of items that are stored.
func (q *queue) done(items []item) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, i := range items {
		q.bytes -= i.size()
		if i.passed != nil {
			close(i.passed)
		}
	}
	signal(q.room)
}

// finish says that nothing more will be pushed.
func (q *queue) finish() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.finished = true
	signal(q.ready)
}

func (q *queue) length() (items int, bytes int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.items), q.bytes
}
