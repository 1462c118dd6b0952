package bridge

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/flowjet/flowjet/internal/idle"
	"github.com/flowjet/flowjet/pipeline"
)

const (
	firstPause   = 50 * time.Millisecond
	longestPause = 2 * time.Second
	// steady is how long a connection has to last to count as a good one.
	steady = time.Second
)

// listener reads a feed's publisher, and reconnects.
type listener struct {
	*feed
	endpoint, address string
	decoder           *decoder
	conn              *connection // the feed's mutex guards it
}

func (l *listener) run(ctx context.Context, q *queue) {
	wait := idle.Between(firstPause, longestPause)
	for ctx.Err() == nil {
		began := time.Now()
		err := l.hear(ctx, q)
		l.disconnected(ctx, err)
		if time.Since(began) > steady {
			wait = idle.Between(firstPause, longestPause)
		}
		wait.Wait(ctx)
	}
}

// hear connects and reads until the connection breaks.
func (l *listener) hear(ctx context.Context, q *queue) error {
	conn, err := subscribe(ctx, l.address, l.config.topics())
	if err != nil {
		return err
	}
	defer conn.close()
	l.connected(conn)
	for {
		message, err := conn.read()
		if err != nil {
			return err
		}
		message.heard = time.Now().UTC()
		if conn.from.reader.Buffered() == 0 && q.isIdle() { // no other precedes it or, as far as is known, follows: the decoder would first have to be woken
			l.pass(l.decoder.decode([]item{message}), 1)
		} else if err := l.push(ctx, q, message); err != nil {
			return err
		}
		l.mu.Lock()
		l.status.Heard++
		l.status.LastHeard = message.heard
		l.mu.Unlock()
	}
}

// push queues a message. While it waits for room the publisher silently drops the messages above
// its high-water mark: when room gets scarce, because there is no processor time for decoding,
// the listener decodes the message itself.
func (l *listener) push(ctx context.Context, q *queue, message item) error {
	if q.almostFull() {
		// A translation needs a tenth of the room.
		message = item{heard: message.heard, translation: new(l.decoder.translate(message))}
	}
	waited, err := q.push(ctx, message)
	if err != nil {
		return err
	}
	if waited {
		l.overflowed(time.Now())
	}
	return nil
}

// overflowed counts a message that had to wait for room. Any other within a second is the same overflow.
func (l *listener) overflowed(now time.Time) {
	l.mu.Lock()
	again := now.Sub(l.status.overflowed) < steady
	l.status.overflowed = now
	if !again {
		l.status.Gaps++
	}
	l.mu.Unlock()
	l.metrics.overflows.Inc()
	l.requestResync("the queue was full")
	if !again {
		l.log.Warn("the queue of hook events was full: oned may have dropped some, comparing with oned", "endpoint", l.endpoint)
	}
}

func (l *listener) connected(conn *connection) {
	l.mu.Lock()
	l.conn = conn
	again := !l.status.Since.IsZero()
	gap := time.Since(l.status.Since)
	if again {
		l.status.Gaps++
	}
	l.status.Connected, l.status.Since, l.status.Error = true, time.Now(), ""
	l.mu.Unlock()
	if again {
		l.log.Info("connected to the hook events again, comparing with oned", "endpoint", l.endpoint, "gap", gap.Round(time.Millisecond))
	} else {
		l.log.Info("connected to the hook events", "endpoint", l.endpoint)
	}
	l.requestResync("connected to " + l.endpoint)
}

func (l *listener) disconnected(ctx context.Context, err error) {
	l.mu.Lock()
	l.conn = nil
	first := l.status.Error == ""
	if l.status.Connected || l.status.Since.IsZero() {
		l.status.Connected, l.status.Since = false, time.Now()
	}
	if err != nil {
		l.status.Error = err.Error()
	}
	l.mu.Unlock()
	if first && ctx.Err() == nil {
		l.log.Warn("cannot connect to the hook events, retrying", "endpoint", l.endpoint, "error", err,
			"hint", "is oned's hook manager running, and bound to this address (HM_MAD's -b)?")
	}
}

// silence returns how long nothing was received over the connection, and how many messages were in all.
func (l *listener) silence() (silence time.Duration, heard uint64, connected bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.status.SilentFor(time.Now()), l.status.Heard, l.status.Connected
}

// item is a message as received, or already decoded.
type item struct {
	heard  time.Time
	frames [][]byte
	// slab has the frames, if not nil.
	slab *slab
	// translation replaces the frames if the message was decoded early.
	translation *translation
}

// translation is the result of a message: an event or dead letter, if it passes.
type translation struct {
	entry  entry
	passes bool
}

// itemOverhead is about the size of an item besides its frames, in bytes.
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

// queue keeps messages in order between receiving and decoding. While it is
// full the listener does not read, and oned drops messages for which it has no room.
type queue struct {
	limit int64
	// spare is the room in bytes that it may use beyond limit: a VM's message is ten times as large as its event,
	// and a process short of processor time for decoding needs room for a moment.
	spare func() int64

	mu    sync.Mutex
	items []item
	bytes int64
	// taken counts the messages that were removed last: they may not be passed on yet.
	taken int

	ready chan struct{} // capacity 1: something to pop
	room  chan struct{} // capacity 1: something was popped
}

func newQueue(limit int64, spare func() int64) *queue {
	return &queue{limit: limit, spare: spare, ready: make(chan struct{}, 1), room: make(chan struct{}, 1)}
}

// push appends a message, and waits while the queue is full. An empty queue has room for anything.
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

// isIdle reports whether all messages were passed on.
func (q *queue) isIdle() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.items)+q.taken == 0
}

// almostFull reports whether more than half of the room is used.
func (q *queue) almostFull() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.bytes > q.limit && 2*q.bytes > q.limit+q.spare()
}

// next removes the messages for a decoder and waits for the first of them. After ctx it
// removes the rest; it returns nothing only when nothing is left.
func (q *queue) next(ctx context.Context) []item {
	for {
		ended := ctx.Err() != nil
		if items := q.pop(decodeAtOnce); len(items) > 0 || ended {
			return items
		}
		select {
		case <-q.ready:
		case <-ctx.Done():
		}
	}
}

func (q *queue) pop(most int) []item {
	q.mu.Lock()
	defer q.mu.Unlock()
	count := min(most, len(q.items))
	items := append([]item(nil), q.items[:count]...)
	clear(q.items[:count]) // frees the bodies
	q.items = q.items[count:]
	if len(q.items) == 0 {
		q.items = nil
	}
	q.taken = count // the former ones were passed on
	for _, i := range items {
		q.bytes -= i.size()
	}
	if len(q.items) > 0 {
		signal(q.ready)
	}
	signal(q.room)
	return items
}

// unparsedEvery is the least time between two lines about hook events that could not be parsed.
const unparsedEvery = time.Minute

// unparsedLog logs hook events that could not be parsed: the first at once, and those that follow within unparsedEvery in one line. Whatever can
// reach oned's port can send as many as it likes.
type unparsedLog struct {
	log *slog.Logger

	mu     sync.Mutex
	pause  *time.Timer // runs after a line; nil without one
	count  int         // events since that line
	reason string      // of the last one
}

// note counts an event, and logs it unless there was a line just now.
func (u *unparsedLog) note(reason string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.count++
	u.reason = reason
	if u.pause == nil {
		u.flush()
	}
}

// end logs the rest.
func (u *unparsedLog) end() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.flush(); u.pause != nil {
		u.pause.Stop()
	}
}

// flush writes a line if there are events, and begins a pause after it. The caller holds the mutex.
func (u *unparsedLog) flush() {
	if u.pause != nil {
		u.pause.Stop()
		u.pause = nil
	}
	if u.count == 0 {
		return
	}
	u.log.Warn("hook events could not be parsed; see the dead letters", "events", u.count, "reason", u.reason, "subject", pipeline.DeadSubject(deadLetterSource))
	u.count = 0
	u.pause = time.AfterFunc(unparsedEvery, func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.flush()
	})
}
