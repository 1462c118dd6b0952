// Package zmqpub has a ZeroMQ PUB socket on zmq4's protocol connections, for the simulator and for
// replays. zmq4's own PUB (v0.17) is not used: it writes to its subscribers one after
// the other, so a stopped one holds all others up while the queue grows without bound; a subscriber that
// never finishes its handshake keeps all others from connecting; and a goroutine outlives
// Close.
package zmqpub

import (
	"bufio"
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/go-zeromq/zmq4"
	"github.com/go-zeromq/zmq4/security/null"
)

const (
	// handshakeTime bounds a peer's ZMTP greeting.
	handshakeTime = 5 * time.Second
	// pause is the time after a connection that could not be accepted.
	pause = 10 * time.Millisecond
	// drainTime is how long Close waits for a subscriber to read the queued messages.
	drainTime = 5 * time.Second
)

// Config sets how a Publisher treats its subscribers.
type Config struct {
	// HighWater is how many messages may wait for one subscriber.
	HighWater int
	// Patience is how long Send waits for a subscriber with that many waiting messages before it
	// disconnects it. Without it Send silently drops the message, as libzmq's PUB does, which oned uses.
	Patience time.Duration
	Logger   *slog.Logger
}

// Publisher is a PUB socket with a queue for each subscriber.
type Publisher struct {
	listener net.Listener
	config   Config
	group    sync.WaitGroup

	mu          sync.Mutex
	subscribers map[*subscriber]bool
	// changed is closed and replaced whenever a subscription changes.
	changed chan struct{}
	closed  bool
}

// New publishes to the clients that connect to a listener, which the publisher owns from now on.
func New(listener net.Listener, config Config) *Publisher {
	p := &Publisher{listener: listener, config: config, subscribers: map[*subscriber]bool{}, changed: make(chan struct{})}
	p.group.Go(p.accept)
	return p
}

// Addr returns the listener's host:port.
func (p *Publisher) Addr() string { return p.listener.Addr().String() }

func (p *Publisher) accept() {
	for {
		conn, err := p.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			p.config.Logger.Warn("a subscriber of the hook events could not connect", "error", err)
			<-time.After(pause)
			continue
		}
		p.group.Go(func() { p.serve(conn) })
	}
}

// serve does a subscriber's handshake and reads its subscriptions until it disconnects.
func (p *Publisher) serve(raw net.Conn) {
	s := &subscriber{
		conn:  &bufferedConn{Conn: raw, writer: bufio.NewWriterSize(raw, 64<<10), direct: true},
		queue: make(chan *zmq4.Msg, p.config.HighWater), gone: make(chan struct{}), written: make(chan struct{}), topics: map[string]int{},
	}
	p.mu.Lock()
	closed := p.closed
	if !closed {
		p.subscribers[s] = true
	}
	p.mu.Unlock()
	if closed {
		_ = raw.Close()
		return
	}
	defer p.remove(s)
	defer func() {
		// zmq4 reads properties and commands without checking their lengths.
		if reason := recover(); reason != nil {
			p.config.Logger.Debug("a peer of the hook events speaks no ZeroMQ", "error", reason)
		}
	}()
	_ = raw.SetDeadline(time.Now().Add(handshakeTime))
	zmtp, err := zmq4.Open(s.conn, null.Security(), zmq4.Pub, nil, true, nil)
	if err != nil {
		p.config.Logger.Debug("a peer of the hook events is no ZeroMQ subscriber", "error", err)
		return
	}
	_ = raw.SetDeadline(time.Time{})
	s.conn.mu.Lock()
	s.conn.direct = false
	s.conn.mu.Unlock()
	p.group.Go(func() { s.write(zmtp) })
	for {
		message, err := zmtp.RecvMsg()
		if err != nil {
			return
		}
		p.subscribe(s, message)
	}
}

func (p *Publisher) remove(s *subscriber) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.subscribers[s] {
		delete(p.subscribers, s)
		close(s.gone)
		p.announce()
	}
	_ = s.conn.Close()
}

// announce wakes callers that wait for a subscription. The caller holds the lock.
func (p *Publisher) announce() {
	close(p.changed)
	p.changed = make(chan struct{})
}

// subscribe reads a subscription: 1 and a prefix, or 0 and a prefix to end it.
func (p *Publisher) subscribe(s *subscriber, message zmq4.Msg) {
	if message.Type != zmq4.UsrMsg || len(message.Frames) != 1 || len(message.Frames[0]) == 0 {
		return
	}
	prefix := string(message.Frames[0][1:])
	p.mu.Lock()
	defer p.mu.Unlock()
	switch message.Frames[0][0] {
	case 1:
		s.topics[prefix]++
	case 0:
		if s.topics[prefix]--; s.topics[prefix] <= 0 {
			delete(s.topics, prefix)
		}
	}
	p.announce()
}

// Send queues a message for every subscriber to its first frame, and returns their number.
func (p *Publisher) Send(frames ...[]byte) (receivers int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for s := range p.subscribers {
		if !s.wants(string(frames[0])) {
			continue
		}
		message := zmq4.NewMsgFrom(frames...)
		receivers++
		select {
		case s.queue <- &message:
		default:
			if p.config.Patience > 0 && !s.put(&message, p.config.Patience) {
				_ = s.conn.Close() // serve removes it
			}
		}
	}
	return receivers
}

// Wait blocks until so many clients have subscribed to all the keys. With settle it also returns once
// a client has subscribed to any key and no subscription has changed for that long.
func (p *Publisher) Wait(ctx context.Context, count int, settle time.Duration, keys ...string) error {
	for {
		p.mu.Lock()
		changed, some := p.changed, false
		all := count
		for s := range p.subscribers {
			some = some || len(s.topics) > 0
			if s.wants(keys...) {
				all--
			}
		}
		p.mu.Unlock()
		if all <= 0 {
			return nil
		}
		var settled <-chan time.Time
		if some && settle > 0 {
			settled = time.After(settle)
		}
		select {
		case <-changed:
		case <-settled:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Close closes the socket and all connections: at once, or with Patience when the queued messages are written.
func (p *Publisher) Close() {
	p.mu.Lock()
	p.closed = true
	leaving := map[*subscriber]bool{}
	for s := range p.subscribers {
		leaving[s] = len(s.topics) > 0
	}
	p.mu.Unlock()
	_ = p.listener.Close()
	for s, subscribed := range leaving {
		if subscribed && p.config.Patience > 0 {
			_ = s.conn.SetWriteDeadline(time.Now().Add(drainTime))
			if s.put(nil, drainTime) {
				<-s.written
			}
		}
		p.remove(s)
	}
	p.group.Wait()
}

type subscriber struct {
	conn *bufferedConn
	// queue has the messages to be written, until nil or until the subscriber is gone; then written is closed.
	queue         chan *zmq4.Msg
	gone, written chan struct{}
	topics        map[string]int // the publisher's lock guards them
}

// wants reports whether the subscriber has subscribed to something, and to all the keys.
func (s *subscriber) wants(keys ...string) bool {
	for _, key := range keys {
		wanted := false
		for prefix := range s.topics {
			wanted = wanted || strings.HasPrefix(key, prefix)
		}
		if !wanted {
			return false
		}
	}
	return len(s.topics) > 0
}

// put queues a message as soon as there is room, within some time.
func (s *subscriber) put(message *zmq4.Msg, within time.Duration) bool {
	select {
	case s.queue <- message:
		return true
	case <-s.written:
	case <-time.After(within):
	}
	return false
}

// write sends the queued messages, and flushes when the queue is empty.
func (s *subscriber) write(zmtp *zmq4.Conn) {
	defer close(s.written)
	for {
		select {
		case message := <-s.queue:
			if message == nil {
				_ = s.conn.flush()
				return
			}
			if zmtp.SendMsg(*message) != nil || len(s.queue) == 0 && s.conn.flush() != nil {
				return
			}
		case <-s.gone:
			return
		}
	}
}

// bufferedConn buffers the small writes of zmq4, which sends each frame's head and body separately.
type bufferedConn struct {
	net.Conn
	mu     sync.Mutex
	writer *bufio.Writer
	direct bool
}

func (c *bufferedConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, err := c.writer.Write(p)
	if err == nil && c.direct {
		err = c.writer.Flush()
	}
	return n, err
}

func (c *bufferedConn) flush() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.writer.Flush()
}
