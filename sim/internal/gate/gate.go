// Package gate bounds the connections of a server as oned's are bounded.
package gate

import (
	"context"
	"maps"
	"net"
	"sync"
	"syscall"
	"time"
)

// Limit and backlog are oned's limits on connections (MAX_CONN, MAX_CONN_BACKLOG). Each connection is closed after its
// answer.
const (
	Limit   = 15
	backlog = 15
)

// Gate bounds the connections of a server. When all are taken, clients wait in the listener's backlog, and so do the zone's
// own messages, which use the same connections.
type Gate struct {
	limit int

	mu      sync.Mutex
	open    int
	moved   time.Time // when a connection was last acquired or released
	changed chan struct{}
	counts  map[string]Count
}

// Count is how many connections a peer has to a server: now, and the maximum so far.
type Count struct {
	Now  int `json:"now"`
	Peak int `json:"peak"`
}

// New returns a gate of so many connections; any number if the limit is negative.
func New(limit int) *Gate {
	return &Gate{limit: limit, changed: make(chan struct{}), counts: map[string]Count{}}
}

// wait blocks until a connection is free, without acquiring it.
func (g *Gate) wait(quit <-chan struct{}) error {
	for {
		g.mu.Lock()
		free, changed := g.limit < 0 || g.open < g.limit, g.changed
		g.mu.Unlock()
		if free {
			return nil
		}
		select {
		case <-changed:
		case <-quit:
			return net.ErrClosed
		}
	}
}

// acquire counts a connection of a peer; leave releases it, once.
func (g *Gate) acquire(peer string) (leave func()) {
	count := func(change int) {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.open += change
		g.moved = time.Now()
		now := g.counts[peer].Now + change
		g.counts[peer] = Count{now, max(g.counts[peer].Peak, now)}
		if change < 0 {
			close(g.changed)
			g.changed = make(chan struct{})
		}
	}
	count(1)
	return sync.OnceFunc(func() { count(-1) })
}

// Enter acquires a connection for a message from another server of the zone.
func (g *Gate) Enter(ctx context.Context, timeout time.Duration) (leave func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if err := g.wait(ctx.Done()); err != nil {
		return nil, err
	}
	return g.acquire("zone"), nil
}

// Starved returns for how long all connections have been taken without one moving.
func (g *Gate) Starved() time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.limit < 0 || g.open < g.limit {
		return 0
	}
	return time.Since(g.moved)
}

// Counts returns the connections by the peers' addresses; the zone's own messages are under "zone".
func (g *Gate) Counts() map[string]Count {
	g.mu.Lock()
	defer g.mu.Unlock()
	return maps.Clone(g.counts)
}

// listener accepts a connection when the gate has one free.
type listener struct {
	net.Listener
	gate  *Gate
	quit  chan struct{}
	close func() error
}

// Before puts the gate in front of a listener, whose backlog becomes oned's.
func (g *Gate) Before(inner net.Listener) net.Listener {
	if tcp, ok := inner.(*net.TCPListener); ok && g.limit >= 0 {
		if raw, err := tcp.SyscallConn(); err == nil {
			_ = raw.Control(func(fd uintptr) { _ = syscall.Listen(int(fd), backlog) })
		}
	}
	quit := make(chan struct{})
	return &listener{Listener: inner, gate: g, quit: quit, close: sync.OnceValue(func() error {
		close(quit)
		return inner.Close()
	})}
}

func (l *listener) Close() error { return l.close() }

func (l *listener) Accept() (net.Conn, error) {
	if err := l.gate.wait(l.quit); err != nil {
		return nil, err
	}
	accepted, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	host, _, _ := net.SplitHostPort(accepted.RemoteAddr().String())
	return &conn{Conn: accepted, leave: l.gate.acquire(host)}, nil
}

// conn releases its slot when it is closed.
type conn struct {
	net.Conn
	leave func()
}

func (c *conn) Close() error {
	defer c.leave()
	return c.Conn.Close()
}
