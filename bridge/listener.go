package bridge

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/flowjet/flowjet/internal/idle"
)

const (
	firstPause   = 50 * time.Millisecond
	longestPause = 2 * time.Second
	// steady is how long a connection has to last to count as a good one.
	steady = time.Second
)

type listener struct {
	endpoint, address string
	topics            []string
	decoder           *decoder
	log               *slog.Logger
	// requestResync is called when events may have been lost.
	requestResync func(cause string)
	metrics       *metrics

	mu     sync.Mutex
	status FeedStatus
	conn   *connection
}

func (l *listener) run(ctx context.Context, q *queue) {
	pause := firstPause
	for ctx.Err() == nil {
		began := time.Now()
		err := l.hear(ctx, q)
		l.disconnected(ctx, err)
		if time.Since(began) > steady {
			pause = firstPause
		}
		if idle.For(ctx, pause/2+rand.N(pause/2)) != nil {
			return
		}
		pause = min(2*pause, longestPause)
	}
}

// hear connects and reads until the connection breaks.
func (l *listener) hear(ctx context.Context, q *queue) error {
	conn, err := subscribe(ctx, l.address, l.topics)
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
		if err := l.pass(ctx, q, message); err != nil {
			return err
		}
	}
}

// reconnect gives up a connection over which nothing is heard.
func (l *listener) reconnect() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn != nil {
		l.conn.net.Close()
	}
}

// pass queues a message. While it waits for room the publisher drops without a word what is above
// its high-water mark: where room gets scarce, because nobody has the processor time to decode what
// was heard, the listener does it.
func (l *listener) pass(ctx context.Context, q *queue, message item) error {
	now := time.Now().UTC()
	message.heard = now
	if q.almostFull() {
		// What is left takes a tenth of the room.
		early := l.decoder.translate(message)
		message = item{heard: now, translation: &early}
	}
	waited, err := q.push(ctx, message)
	if err != nil {
		return err
	}
	l.mu.Lock()
	l.status.Heard++
	l.status.LastHeard = now
	l.mu.Unlock()
	if waited {
		l.overflowed(time.Now())
	}
	return nil
}

// overflowed notes that a message had to wait for room. What follows within a second is the same overflow.
func (l *listener) overflowed(now time.Time) {
	l.mu.Lock()
	again := now.Sub(l.status.overflowed) < steady
	l.status.overflowed = now
	l.status.Overflows++
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

// silence is how long nothing was heard over the connection that stands, and the
// number of messages heard in all.
func (l *listener) silence() (silence time.Duration, heard uint64, connected bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.status.SilentFor(time.Now()), l.status.Heard, l.status.Connected
}
