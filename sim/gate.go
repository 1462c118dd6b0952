package sim

import (
	"context"
	"errors"
	"net"
	"sync"
	"syscall"
	"time"
)

// oned's limits on connections (MAX_CONN, MAX_CONN_BACKLOG, TIMEOUT). Each is
// closed behind its answer.
const (
	maxConnections    = 15
	connectionBacklog = 15
	requestTimeout    = 15 * time.Second
)

// gate lets a server have so many connections at a time. What comes when all
// are taken waits: clients in the listener's backlog, and so do the zone's own
// messages, which come by the same way.
type gate struct {
	limit int

	mu   sync.Mutex
	open int
	// moved is when a connection was last given or given back.
	moved   time.Time
	changed chan struct{}
	peers   map[string]int
	peak    map[string]int
}

func newGate(limit int) *gate {
	return &gate{limit: limit, changed: make(chan struct{}), peers: map[string]int{}, peak: map[string]int{}}
}

var errGateClosed = errors.New("the listener is closed")

// wait blocks until a connection is free, without taking it.
func (g *gate) wait(quit <-chan struct{}) error {
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
			return errGateClosed
		}
	}
}

// take counts a connection of a peer; the function gives it back, once.
func (g *gate) take(peer string) (leave func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.open++
	g.moved = time.Now()
	g.peers[peer]++
	g.peak[peer] = max(g.peak[peer], g.peers[peer])
	return sync.OnceFunc(func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.open--
		g.moved = time.Now()
		if g.peers[peer]--; g.peers[peer] == 0 {
			delete(g.peers, peer)
		}
		close(g.changed)
		g.changed = make(chan struct{})
	})
}

// enter takes a connection for a message from another server of the zone.
func (g *gate) enter(ctx context.Context, timeout time.Duration) (leave func(), err error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if err := g.wait(ctx.Done()); err != nil {
		return nil, err
	}
	return g.take("zone"), nil
}

// starved is for how long all connections have been taken without one moving.
func (g *gate) starved() time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.limit < 0 || g.open < g.limit {
		return 0
	}
	return time.Since(g.moved)
}

// ConnectionCount is how many connections a peer has to a server: now, and at
// most so far.
type ConnectionCount struct {
	Now  int `json:"now"`
	Peak int `json:"peak"`
}

// counts are the connections by the peers' addresses; those of the zone's own
// messages are under "zone".
func (g *gate) counts() map[string]ConnectionCount {
	g.mu.Lock()
	defer g.mu.Unlock()
	counts := make(map[string]ConnectionCount, len(g.peak))
	for peer, peak := range g.peak {
		counts[peer] = ConnectionCount{Now: g.peers[peer], Peak: peak}
	}
	return counts
}

// gatedListener accepts a connection when the gate has one free.
type gatedListener struct {
	net.Listener
	gate  *gate
	quit  chan struct{}
	close func() error
}

// gated puts a gate before a listener, whose backlog becomes oned's.
func gated(inner net.Listener, g *gate) net.Listener {
	if tcp, ok := inner.(*net.TCPListener); ok && g.limit >= 0 {
		if raw, err := tcp.SyscallConn(); err == nil {
			_ = raw.Control(func(fd uintptr) { _ = syscall.Listen(int(fd), connectionBacklog) })
		}
	}
	quit := make(chan struct{})
	return &gatedListener{Listener: inner, gate: g, quit: quit, close: sync.OnceValue(func() error {
		close(quit)
		return inner.Close()
	})}
}

func (l *gatedListener) Close() error { return l.close() }

func (l *gatedListener) Accept() (net.Conn, error) {
	if err := l.gate.wait(l.quit); err != nil {
		return nil, net.ErrClosed
	}
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	host, _, _ := net.SplitHostPort(conn.RemoteAddr().String())
	return &gatedConn{Conn: conn, leave: l.gate.take(host)}, nil
}

// gatedConn gives its place back when it is closed.
type gatedConn struct {
	net.Conn
	leave func()
}

func (c *gatedConn) Close() error {
	defer c.leave()
	return c.Conn.Close()
}
