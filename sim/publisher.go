package sim

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

// publisher is a ZeroMQ PUB socket on zmq4's protocol connections. zmq4's own
// PUB (v0.17) is not used as it stands: it writes to its subscribers one after
// the other, so a stopped one holds all others up while the queue grows
// without bound; one that never finishes its handshake keeps everybody else
// from connecting; and a goroutine outlives Close. libzmq's PUB, which oned
// has, gives each subscriber a queue of its own and drops what does not fit.
type publisher struct {
	listener  net.Listener
	highWater int
	logger    *slog.Logger

	mu          sync.Mutex
	subscribers map[*subscriber]bool
	changed     chan struct{}
	closed      bool
	group       sync.WaitGroup
}

// handshakeTime bounds a peer's ZMTP greeting.
const handshakeTime = 5 * time.Second

func newPublisher(listener net.Listener, highWater int, logger *slog.Logger) *publisher {
	p := &publisher{
		listener: listener, highWater: highWater, logger: logger,
		subscribers: map[*subscriber]bool{}, changed: make(chan struct{}),
	}
	p.group.Add(1)
	go p.accept()
	return p
}

func (p *publisher) accept() {
	defer p.group.Done()
	for {
		conn, err := p.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			p.logger.Warn("a subscriber of the hook events could not connect", "error", err)
			continue
		}
		p.group.Add(1)
		go p.serve(conn)
	}
}

// serve takes a subscriber through its handshake and reads its subscriptions
// until it leaves.
func (p *publisher) serve(raw net.Conn) {
	defer p.group.Done()
	s := &subscriber{
		conn:  &bufferedConn{Conn: raw, writer: bufio.NewWriterSize(raw, 64<<10), direct: true},
		queue: make(chan *zmq4.Msg, p.highWater), gone: make(chan struct{}), topics: map[string]int{},
	}
	if !p.add(s) {
		_ = raw.Close()
		return
	}
	defer p.remove(s)
	_ = raw.SetDeadline(time.Now().Add(handshakeTime))
	zmtp, err := zmq4.Open(s.conn, null.Security(), zmq4.Pub, nil, true, nil)
	if err != nil {
		p.logger.Debug("a peer of the hook events is no ZeroMQ subscriber", "error", err)
		return
	}
	_ = raw.SetDeadline(time.Time{})
	s.conn.setDirect(false)
	p.group.Add(1)
	go func() {
		defer p.group.Done()
		s.write(zmtp)
	}()
	for {
		message, err := zmtp.RecvMsg()
		if err != nil {
			return
		}
		s.subscribe(message)
		p.announce()
	}
}

func (p *publisher) add(s *subscriber) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	p.subscribers[s] = true
	return true
}

func (p *publisher) remove(s *subscriber) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.subscribers[s] {
		delete(p.subscribers, s)
		close(s.gone)
	}
	_ = s.conn.Close()
}

// announce wakes those who wait for a subscription.
func (p *publisher) announce() {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.changed)
	p.changed = make(chan struct{})
}

// send queues a message for everybody who wants it.
func (p *publisher) send(key string, body []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for s := range p.subscribers {
		if !s.wants(key) {
			continue
		}
		message := zmq4.NewMsgFrom([]byte(key), body)
		select {
		case s.queue <- &message:
		default: // a subscriber that is too slow loses in silence, as libzmq has it
		}
	}
}

// wait blocks until somebody subscribes to keys of the kind.
func (p *publisher) wait(ctx context.Context, key string) error {
	for {
		p.mu.Lock()
		changed := p.changed
		for s := range p.subscribers {
			if s.wants(key) {
				p.mu.Unlock()
				return nil
			}
		}
		p.mu.Unlock()
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// close ends the socket and all connections at once.
func (p *publisher) close() {
	p.mu.Lock()
	p.closed = true
	var leaving []*subscriber
	for s := range p.subscribers {
		leaving = append(leaving, s)
	}
	p.mu.Unlock()
	_ = p.listener.Close()
	for _, s := range leaving {
		p.remove(s)
	}
	p.group.Wait()
}

// subscriber is one connected SUB socket.
type subscriber struct {
	conn  *bufferedConn
	queue chan *zmq4.Msg
	gone  chan struct{}

	mu     sync.Mutex
	topics map[string]int
}

// subscribe reads a subscription: 1 and a prefix, or 0 and a prefix to end it.
func (s *subscriber) subscribe(message zmq4.Msg) {
	if len(message.Frames) != 1 || len(message.Frames[0]) == 0 {
		return
	}
	prefix := string(message.Frames[0][1:])
	s.mu.Lock()
	defer s.mu.Unlock()
	switch message.Frames[0][0] {
	case 1:
		s.topics[prefix]++
	case 0:
		if s.topics[prefix]--; s.topics[prefix] <= 0 {
			delete(s.topics, prefix)
		}
	}
}

func (s *subscriber) wants(key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for prefix := range s.topics {
		if strings.HasPrefix(key, prefix) {
			return true
		}
	}
	return false
}

// write sends what is queued, and flushes when nothing more is.
func (s *subscriber) write(zmtp *zmq4.Conn) {
	for {
		select {
		case message := <-s.queue:
			if zmtp.SendMsg(*message) != nil {
				return
			}
			if len(s.queue) == 0 && s.conn.flush() != nil {
				return
			}
		case <-s.gone:
			return
		}
	}
}

// bufferedConn gathers the small writes of zmq4, which sends each frame's head
// and body on its own.
type bufferedConn struct {
	net.Conn
	mu     sync.Mutex
	writer *bufio.Writer
	direct bool
}

func (c *bufferedConn) setDirect(direct bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.direct = direct
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
