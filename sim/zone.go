package sim

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/flowjet/flowjet/internal/zmqpub"
	"github.com/flowjet/flowjet/sim/internal/gate"
)

// zone has the servers of one zone, and knows which of them run and lead. Its exported methods are the Sim's.
type zone struct {
	config Config
	db     *database
	raft   *raft
	hooks  *hooks

	// The stages of each call.
	calls      *callLog
	callFaults *callFaults
	delays     *delays

	mu      sync.Mutex // guards starting, stopping and restarting, and the sockets
	running bool
	servers []*server
	quit    chan struct{}
}

// start opens all sockets, and continues interrupted work.
func (z *zone) start(ctx context.Context) error {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.quit = make(chan struct{})
	if err := z.open(ctx); err != nil {
		return err
	}
	z.running = true
	if raft := z.raft.now(); raft.phase != phaseLed {
		z.lead(raft.last)
	}
	z.watchConnections()
	z.db.locked(z.db.takeOver)
	return nil
}

// stop closes all sockets; an open call may take until the context's end.
func (z *zone) stop(ctx context.Context) {
	z.mu.Lock()
	z.running = false
	close(z.quit)
	sockets := z.takeSockets()
	z.mu.Unlock()
	closeSockets(ctx, sockets...)
}

// ServerState is the status of one server of the zone.
type ServerState struct {
	Endpoint       string `json:"endpoint"`
	Hooks          string `json:"hooks"`
	Running        bool   `json:"running"`
	Leader         bool   `json:"leader"`
	Term           int    `json:"term"`
	AuthDriverRuns int    `json:"auth_driver_runs"` // how often it has run the authentication driver
	// Connections are those of XML-RPC by the peer's address; the zone's own messages are under "zone".
	Connections map[string]gate.Count `json:"connections"`
}

// Servers returns the zone's servers, in order.
func (z *zone) Servers() []ServerState {
	z.mu.Lock()
	defer z.mu.Unlock()
	states := make([]ServerState, len(z.servers))
	raft := z.raft.now()
	for i, one := range z.servers {
		states[i] = ServerState{
			Endpoint: one.endpoint(), Hooks: one.hooksEndpoint(),
			Running: one.sockets != nil, Leader: raft.leader() == i, Term: raft.term,
			AuthDriverRuns: int(one.sessions.runs.Load()), Connections: one.gate.Counts(),
		}
	}
	return states
}

// Endpoint returns the URL of XML-RPC, of the first server if there are several.
func (z *zone) Endpoint() string { return z.servers[0].endpoint() }

// HooksEndpoint returns the ZeroMQ address of the first server's hook events.
func (z *zone) HooksEndpoint() string { return z.servers[0].hooksEndpoint() }

// open listens on the addresses of all servers, or of none.
func (z *zone) open(ctx context.Context) error {
	for _, one := range z.servers {
		if one.sockets != nil {
			continue
		}
		if err := one.open(ctx); err != nil {
			closeSockets(ctx, z.takeSockets()...)
			return err
		}
	}
	z.attachLeader()
	return nil
}

// attachLeader makes the leader publish the events; z.mu is held.
func (z *zone) attachLeader() {
	var publisher *zmqpub.Publisher
	if sockets := z.leaderSockets(); sockets != nil {
		publisher = sockets.events
	}
	z.hooks.attach(publisher)
}

// leaderSockets returns the leader's sockets, nil without a leader; z.mu is held.
func (z *zone) leaderSockets() *serverSockets {
	if leader := z.raft.now().leader(); leader >= 0 {
		return z.servers[leader].sockets
	}
	return nil
}

// takeSockets detaches all sockets so that they can be closed.
func (z *zone) takeSockets() (taken []*serverSockets) {
	z.hooks.attach(nil)
	for _, one := range z.servers {
		if one.sockets != nil {
			taken = append(taken, one.sockets)
			one.sockets = nil
		}
	}
	return taken
}

// Restart restarts oned, on all servers of the zone: their sockets close, events are lost while they are down, and they
// come back on the same ports. It returns once they are back.
func (z *zone) Restart(down time.Duration) error {
	z.mu.Lock()
	var sockets []*serverSockets
	if z.running {
		sockets = z.takeSockets()
	}
	quit := z.quit
	z.mu.Unlock()
	if len(sockets) == 0 {
		return errors.New("restart the simulator: it is not running")
	}
	for _, one := range z.servers {
		one.sessions.cached.Clear()
	}
	z.db.update(func(t *tx) {
		if z.raft.now().zone {
			z.raft.enter(phaseElection)
		}
		t.loseDrivers()
	})
	closeSockets(atOnce(), sockets...)
	select {
	case <-time.After(down):
	case <-quit:
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	if !z.running {
		return errors.New("restart the simulator: it was stopped meanwhile")
	}
	if err := z.open(context.Background()); err != nil {
		return err
	}
	if raft := z.raft.now(); raft.zone {
		z.lead(raft.last)
		return nil
	}
	z.db.locked(z.db.takeOver)
	return nil
}

// StopServer kills one oned: its connections are cut, even during calls. If it was the leader the zone elects another
// running server, which takes Config.ElectionTime, and its drivers' work never ends.
func (z *zone) StopServer(n int) error {
	z.mu.Lock()
	one, err := z.serverNumbered(n)
	if err != nil || one.sockets == nil {
		z.mu.Unlock()
		return err
	}
	sockets := one.sockets
	one.sockets = nil
	z.db.replication.stop(n)
	one.sessions.cached.Clear()
	if z.raft.now().leader() == n {
		z.depose(phaseUnnoticed)
	}
	z.mu.Unlock()
	closeSockets(atOnce(), sockets)
	return nil
}

// StartServer starts a stopped server. It answers from its old database and catches up; it leads if no other server runs.
func (z *zone) StartServer(n int) error {
	z.mu.Lock()
	defer z.mu.Unlock()
	one, err := z.serverNumbered(n)
	if err != nil || one.sockets != nil {
		return err
	}
	alone := !slices.ContainsFunc(z.servers, func(other *server) bool { return other.sockets != nil })
	if err := one.open(context.Background()); err != nil {
		return err
	}
	z.db.replication.start(n)
	if alone {
		z.lead(n)
	}
	return nil
}

func (z *zone) serverNumbered(n int) (*server, error) {
	if !z.running {
		return nil, errors.New("the simulator is not running")
	}
	if n < 0 || n >= len(z.servers) {
		return nil, fmt.Errorf("the zone has no server %d, it has %d, counted from 0", n, len(z.servers))
	}
	return z.servers[n], nil
}

// Lead makes a running server the leader, in a new term.
func (z *zone) Lead(n int) error {
	z.mu.Lock()
	defer z.mu.Unlock()
	one, err := z.serverNumbered(n)
	if err != nil {
		return err
	}
	if one.sockets == nil {
		return fmt.Errorf("server %d cannot lead: it is stopped", n)
	}
	z.lead(n)
	return nil
}

// MoveLeadership makes the next running server the leader, in a new term.
func (z *zone) MoveLeadership() error {
	z.mu.Lock()
	defer z.mu.Unlock()
	return z.moveLeadership()
}

func (z *zone) moveLeadership() error {
	last := z.raft.now().last
	for i := range z.servers {
		next := (last + 1 + i) % len(z.servers)
		if z.servers[next].sockets != nil {
			z.lead(next)
			return nil
		}
	}
	return errors.New("move the leadership: no server runs")
}

// LoseLeadership leaves the zone without a leader: every server refuses writes and publishes nothing, and the VMs stay
// where they are.
func (z *zone) LoseLeadership() {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.db.update(func(t *tx) {
		z.raft.enter(phaseUndecided)
		t.loseDrivers()
	})
}

// GainLeadership ends that: the last leader leads, in a new term.
func (z *zone) GainLeadership() {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.lead(z.raft.now().last)
}

// WaitSubscribed blocks until a subscriber of the leader's hook events would receive a message with the key; messages
// published before are lost for it.
func (z *zone) WaitSubscribed(ctx context.Context, key string) error {
	z.mu.Lock()
	sockets := z.leaderSockets()
	z.mu.Unlock()
	if sockets == nil {
		return errors.New("wait for a subscriber: the simulator is not running")
	}
	return sockets.events.Wait(ctx, 1, 0, key)
}
