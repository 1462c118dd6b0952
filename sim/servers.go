package sim

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// server is one oned of the zone.
type server struct {
	index int
	// The addresses are those asked for until the first start, and ever after
	// those that it has: they are not written again, and read without a lock.
	rpcAddress, hooksAddress string
	// gate bounds the connections.
	gate *gate
	// sockets are nil while it does not run.
	sockets *serverSockets
}

// serverSockets are what a oned listens on.
type serverSockets struct {
	rpc    *endpointServer
	events *publisher
}

func newServers(config Config) []*server {
	servers := []*server{{rpcAddress: config.XMLRPCListen, hooksAddress: config.HooksListen, gate: newGate(config.MaxConnections)}}
	for i, other := range config.Others {
		servers = append(servers, &server{
			index: i + 1, rpcAddress: orElse(other.XMLRPCListen, anyPort), hooksAddress: orElse(other.HooksListen, anyPort),
			gate: newGate(config.MaxConnections),
		})
	}
	return servers
}

func (s *server) endpoint() string { return "http://" + s.rpcAddress + "/RPC2" }

// ServerState is what there is to know of one server of the zone.
type ServerState struct {
	Endpoint string `json:"endpoint"`
	Hooks    string `json:"hooks"`
	Running  bool   `json:"running"`
	Leader   bool   `json:"leader"`
	Term     int    `json:"term"`
	// AuthDriverRuns is how often it has run the authentication driver.
	AuthDriverRuns int `json:"auth_driver_runs"`
	// Connections are those of XML-RPC by the peer's address; those of the
	// zone's own messages are under "zone".
	Connections map[string]ConnectionCount `json:"connections"`
}

// Servers are the zone's servers, the first first.
func (s *Sim) Servers() []ServerState {
	s.lifeMu.Lock()
	defer s.lifeMu.Unlock()
	states := make([]ServerState, len(s.servers))
	for i, one := range s.servers {
		states[i] = ServerState{
			Endpoint: one.endpoint(), Hooks: "tcp://" + one.hooksAddress,
			Running: one.sockets != nil, Leader: s.raft.leads(i), Term: s.raft.status(i).term,
			AuthDriverRuns: s.sessions[i].driverRuns(), Connections: one.gate.counts(),
		}
	}
	return states
}

// Endpoint is the URL of XML-RPC, of the first server where there are several.
func (s *Sim) Endpoint() string { return s.servers[0].endpoint() }

// HooksEndpoint is the ZeroMQ address of the first server's hook events.
func (s *Sim) HooksEndpoint() string { return "tcp://" + s.servers[0].hooksAddress }

// openZoneSockets listens on the addresses of all servers, or of none.
func (s *Sim) openZoneSockets(ctx context.Context) error {
	for _, one := range s.servers {
		if one.sockets != nil {
			continue
		}
		if err := s.openServer(ctx, one); err != nil {
			closeSockets(ctx, s.takeZoneSockets())
			return err
		}
	}
	s.attachLeader()
	return nil
}

// openServer listens on one server's two addresses.
func (s *Sim) openServer(ctx context.Context, one *server) error {
	rpc, err := listen(ctx, "XML-RPC", "--sim-xmlrpc-listen", one.rpcAddress)
	if err != nil {
		return err
	}
	events, err := listen(ctx, "hook events", "--sim-hooks-listen", one.hooksAddress)
	if err != nil {
		return errors.Join(err, rpc.Close())
	}
	if one.rpcAddress != rpc.Addr().String() || one.hooksAddress != events.Addr().String() {
		one.rpcAddress, one.hooksAddress = rpc.Addr().String(), events.Addr().String()
	}
	one.sockets = &serverSockets{
		rpc:    serve(gated(rpc, one.gate), s.rpcHandler(one.index), s.config.Logger),
		events: newPublisher(events, s.config.HooksHighWater, s.config.Logger),
	}
	return nil
}

// attachLeader has the leader publish the events; lifeMu is held.
func (s *Sim) attachLeader() {
	if leader := s.raft.leader(); leader >= 0 && s.servers[leader].sockets != nil {
		s.hooks.attach(s.servers[leader].sockets.events)
		return
	}
	s.hooks.attach(nil)
}

// takeZoneSockets detaches all sockets so that they can be closed.
func (s *Sim) takeZoneSockets() (taken []*serverSockets) {
	s.hooks.attach(nil)
	for _, one := range s.servers {
		if one.sockets != nil {
			taken = append(taken, one.sockets)
			one.sockets = nil
		}
	}
	return taken
}

func closeSockets(ctx context.Context, all []*serverSockets) {
	for _, one := range all {
		one.rpc.stop(ctx)
		one.events.close()
	}
}

// closeAtOnce cuts every connection, as a kill does.
func closeAtOnce(all []*serverSockets) {
	atOnce, cancel := context.WithCancel(context.Background())
	cancel()
	closeSockets(atOnce, all)
}

// Restart is a restart of oned, of all servers of the zone: their sockets close,
// events are lost while they are down, and they come back on the same ports. It
// returns once they are back.
func (s *Sim) Restart(down time.Duration) error {
	s.lifeMu.Lock()
	if !s.running {
		s.lifeMu.Unlock()
		return errors.New("restart the simulator: it is not running")
	}
	zone, quit := s.takeZoneSockets(), s.quit
	s.lifeMu.Unlock()
	if len(zone) == 0 {
		return errors.New("restart the simulator: it is not running")
	}
	s.killAll()
	closeAtOnce(zone)
	timer := time.NewTimer(down)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-quit:
	}
	s.lifeMu.Lock()
	defer s.lifeMu.Unlock()
	if !s.running {
		return errors.New("restart the simulator: it was stopped meanwhile")
	}
	if err := s.openZoneSockets(context.Background()); err != nil {
		return err
	}
	if s.raft.isZone() {
		s.lead(s.raft.lastLeader())
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.takeOver()
	return nil
}

// killAll ends what all processes of the zone know and do.
func (s *Sim) killAll() {
	for _, known := range s.sessions {
		known.clear()
	}
	s.update(func(t *tx) {
		if s.raft.isZone() {
			s.raft.enter(phaseElection)
		}
		t.loseDrivers()
	})
}

// StopServer is the kill of one oned: its connections are cut, whatever has
// been carried out of the calls on them. If it was the leader the zone elects
// another one, if one runs, which takes Config.ElectionTime, and what its
// drivers were at has no end.
func (s *Sim) StopServer(n int) error {
	s.lifeMu.Lock()
	one, err := s.serverNumbered(n)
	if err != nil || one.sockets == nil {
		s.lifeMu.Unlock()
		return err
	}
	sockets := one.sockets
	one.sockets = nil
	s.replication.stop(n)
	s.sessions[n].clear()
	if s.raft.leads(n) {
		s.depose(phaseUnnoticed)
	}
	s.lifeMu.Unlock()
	closeAtOnce([]*serverSockets{sockets})
	return nil
}

// StartServer has a stopped server back. It answers from its old database and
// catches up; it leads if no other server runs.
func (s *Sim) StartServer(n int) error {
	s.lifeMu.Lock()
	defer s.lifeMu.Unlock()
	one, err := s.serverNumbered(n)
	if err != nil || one.sockets != nil {
		return err
	}
	alone := !slices.ContainsFunc(s.servers, func(other *server) bool { return other.sockets != nil })
	if err := s.openServer(context.Background(), one); err != nil {
		return err
	}
	s.replication.start(n)
	if alone {
		s.lead(n)
	}
	return nil
}

func (s *Sim) serverNumbered(n int) (*server, error) {
	if !s.running {
		return nil, errors.New("the simulator is not running")
	}
	if n < 0 || n >= len(s.servers) {
		return nil, fmt.Errorf("the zone has no server %d, it has %d, counted from 0", n, len(s.servers))
	}
	return s.servers[n], nil
}

// Lead makes a server that runs the leader, in a new term.
func (s *Sim) Lead(n int) error {
	s.lifeMu.Lock()
	defer s.lifeMu.Unlock()
	one, err := s.serverNumbered(n)
	if err != nil {
		return err
	}
	if one.sockets == nil {
		return fmt.Errorf("server %d cannot lead: it is stopped", n)
	}
	s.lead(n)
	return nil
}

// MoveLeadership makes the next server that runs the leader, in a new term.
func (s *Sim) MoveLeadership() error {
	s.lifeMu.Lock()
	defer s.lifeMu.Unlock()
	return s.moveLeadership()
}

func (s *Sim) moveLeadership() error {
	last := s.raft.lastLeader()
	for i := range s.servers {
		next := (last + 1 + i) % len(s.servers)
		if s.servers[next].sockets != nil {
			s.lead(next)
			return nil
		}
	}
	return errors.New("move the leadership: no server runs")
}

// LoseLeadership leaves the zone without a leader: every server refuses writes
// and publishes nothing, and the VMs stay where they are.
func (s *Sim) LoseLeadership() {
	s.lifeMu.Lock()
	defer s.lifeMu.Unlock()
	s.update(func(t *tx) {
		s.raft.enter(phaseUndecided)
		t.loseDrivers()
	})
}

// GainLeadership ends that: the server that led last leads, in a new term.
func (s *Sim) GainLeadership() {
	s.lifeMu.Lock()
	defer s.lifeMu.Unlock()
	s.lead(s.raft.lastLeader())
}

// WaitSubscribed blocks until a subscriber of the leader's hook events would
// get a message with the key; what was published before it is lost for it.
func (s *Sim) WaitSubscribed(ctx context.Context, key string) error {
	s.lifeMu.Lock()
	var sockets *serverSockets
	if leader := s.raft.leader(); leader >= 0 {
		sockets = s.servers[leader].sockets
	}
	s.lifeMu.Unlock()
	if sockets == nil {
		return errors.New("wait for a subscriber: the simulator is not running")
	}
	return sockets.events.wait(ctx, key)
}
