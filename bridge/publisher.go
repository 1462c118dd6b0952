package bridge

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/go-zeromq/zmq4"

	"github.com/flowjet/flowjet/internal/idle"
)

// writeTimeout is how long a subscriber may take no data before it is cut off.
const writeTimeout = 30 * time.Second

// publisher is a ZeroMQ PUB that knows its subscribers. Unlike zmq4's PUB
// socket, and oned's, it waits for a slow subscriber instead of dropping, and
// when send returns the message has been written.
type publisher struct {
	listener net.Listener
	ctx      context.Context
	stop     context.CancelFunc
	group    sync.WaitGroup

	mu          sync.Mutex
	subscribers map[*subscriber]bool
	// changed is closed and replaced whenever a subscription changes.
	changed chan struct{}
}

type subscriber struct {
	net    net.Conn
	zmtp   *zmq4.Conn
	topics map[string]bool
}

func newPublisher(ctx context.Context, listen string) (*publisher, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", listen)
	if err != nil {
		return nil, fmt.Errorf("publish hook events on %s: %w (is oned, or another replay, using the port?)", listen, err)
	}
	p := &publisher{listener: listener, subscribers: map[*subscriber]bool{}, changed: make(chan struct{})}
	p.ctx, p.stop = context.WithCancel(ctx)
	p.group.Go(p.accept)
	return p, nil
}

func (p *publisher) address() string { return p.listener.Addr().String() }

func (p *publisher) close() {
	p.stop()
	p.listener.Close()
	p.mu.Lock()
	for s := range p.subscribers {
		s.net.Close()
	}
	p.mu.Unlock()
	p.group.Wait()
}

func (p *publisher) accept() {
	for p.ctx.Err() == nil {
		conn, err := p.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			if idle.For(p.ctx, firstPause) != nil {
				return
			}
			continue
		}
		p.group.Go(func() { p.serve(conn) })
	}
}

// serve reads a subscriber's subscriptions until it goes.
func (p *publisher) serve(conn net.Conn) {
	defer context.AfterFunc(p.ctx, func() { conn.Close() })()
	defer conn.Close()
	if conn.SetDeadline(time.Now().Add(handshakeTimeout)) != nil {
		return
	}
	zmtp, err := openZMTP(conn, zmq4.Pub, true)
	if err != nil || conn.SetDeadline(time.Time{}) != nil {
		return
	}
	s := &subscriber{net: conn, zmtp: zmtp, topics: map[string]bool{}}
	c := connection{net: conn, zmtp: zmtp}
	defer p.leave(s)
	for {
		frames, err := c.receive()
		if err != nil {
			return
		}
		if len(frames) == 1 && len(frames[0]) > 0 {
			p.subscribe(s, frames[0][0] == 1, string(frames[0][1:]))
		}
	}
}

func (p *publisher) subscribe(s *subscriber, on bool, topic string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.subscribers[s] = true
	s.topics[topic] = on
	p.signal()
}

func (p *publisher) leave(s *subscriber) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.subscribers, s)
	p.signal()
}

func (p *publisher) signal() {
	close(p.changed)
	p.changed = make(chan struct{})
}

// send writes a message to everyone who has subscribed to it and returns how
// many that are.
func (p *publisher) send(frames [][]byte) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	count := 0
	for s := range p.subscribers {
		if !s.wants(string(frames[0])) {
			continue
		}
		if s.net.SetWriteDeadline(time.Now().Add(writeTimeout)) != nil || s.zmtp.SendMsg(zmq4.NewMsgFrom(frames...)) != nil {
			s.net.Close() // serve removes it
			continue
		}
		count++
	}
	return count
}

func (s *subscriber) wants(key string) bool {
	for topic, on := range s.topics {
		if on && strings.HasPrefix(key, topic) {
			return true
		}
	}
	return false
}

// settled is how long subscriptions must not have changed when not all topics
// that were hoped for are subscribed to.
const settled = time.Second

// waitForSubscriber returns when somebody has subscribed to all the keys, or to
// anything and then to nothing else for a second.
func (p *publisher) waitForSubscriber(ctx context.Context, keys []string) error {
	for {
		p.mu.Lock()
		changed, some, all := p.changed, len(p.subscribers) > 0, p.covers(keys)
		p.mu.Unlock()
		if all {
			return nil
		}
		wait := time.Hour
		if some {
			wait = settled
		}
		timer := time.NewTimer(wait)
		select {
		case <-changed:
		case <-timer.C:
			if some {
				return nil
			}
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		}
		timer.Stop()
	}
}

// covers reports whether one subscriber wants all the keys. The caller holds the lock.
func (p *publisher) covers(keys []string) bool {
	for s := range p.subscribers {
		missing := false
		for _, key := range keys {
			missing = missing || !s.wants(key)
		}
		if !missing {
			return true
		}
	}
	return false
}
