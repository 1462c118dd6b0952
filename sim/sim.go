package sim

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"syscall"
)

// Sim is a simulated OpenNebula. Its methods may be called from anywhere; what
// changes VMs and what says where it listens needs it to have been started.
type Sim struct {
	config Config

	// mu guards the cloud, the faults of VMs, and whether changes are taken.
	mu     sync.RWMutex
	open   bool
	cloud  *cloud
	faults vmFaults

	store      *store
	committer  *committer
	clock      *clock
	hooks      *hooks
	delays     *delays
	calls      *callLog
	callFaults callFaults

	raft raft
	// sessions are each server's.
	sessions    []*sessions
	replication *replication

	// lifeMu guards starting, stopping and restarting, and what listens.
	lifeMu  sync.Mutex
	running bool
	servers []*server
	control *endpointServer
	// controlAddress is set by the first start and stays the same ever after.
	controlAddress string
	quit           chan struct{}
}

// New prepares a simulator; nothing is opened before Start.
func New(config Config) (*Sim, error) {
	if config.HostCPUs < 0 || config.HostMemory < 0 || config.KeepDone < 0 || config.HooksHighWater < 0 {
		return nil, errors.New("configure the simulator: sizes cannot be negative")
	}
	if config.ServerPassword == "" {
		config.ServerPassword = randomHex(16)
	}
	config = config.withDefaults()
	s := &Sim{
		config: config, delays: newDelays(config), calls: newCallLog(),
		cloud: newCloud(config), hooks: newHooks(config.Published), servers: newServers(config),
		replication: newReplication(config),
	}
	for range s.servers {
		s.sessions = append(s.sessions, newSessions(config))
	}
	if len(s.servers) > 1 {
		s.raft.elected(0, 0)
	}
	return s, nil
}

// Start opens the state file and the sockets, and lets what was on its way go
// on. It may be called again after Stop.
func (s *Sim) Start(ctx context.Context) error {
	s.lifeMu.Lock()
	defer s.lifeMu.Unlock()
	if s.running {
		return errors.New("start the simulator: it is running")
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("start the simulator: %w", err)
	}
	if err := s.openState(); err != nil {
		return err
	}
	if err := s.openSockets(ctx); err != nil {
		s.closeState()
		return err
	}
	s.running = true
	if s.raft.isZone() && s.raft.leader() < 0 {
		s.lead(s.raft.lastLeader())
	}
	s.watchConnections()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.replication.reset(s.cloud)
	s.takeOver()
	return nil
}

// openState reads the state file, or makes a new zone.
func (s *Sim) openState() error {
	if s.config.StateFile == "" && len(s.cloud.users) > 0 {
		s.startInside(&store{})
		return nil
	}
	opened, err := openStore(s.config.StateFile)
	if err != nil {
		return err
	}
	fresh := newCloud(s.config)
	found, err := fresh.restore(opened)
	if err != nil {
		return errors.Join(err, opened.close())
	}
	fresh.rebuild()
	s.mu.Lock()
	s.cloud = fresh
	s.mu.Unlock()
	s.startInside(opened)
	begin := func(t *tx) { t.seed(s.config) }
	if found {
		begin = func(t *tx) { t.setServerPassword(s.config.ServerPassword) }
	}
	if err := s.update(begin)(); err != nil {
		s.closeState()
		return fmt.Errorf("write the zone to the state file: %w", err)
	}
	return nil
}

// startInside starts what works behind the sockets.
func (s *Sim) startInside(opened *store) {
	s.store = opened
	s.quit = make(chan struct{})
	s.hooks.start()
	s.committer = newCommitter(opened, s.publish, s.config.Logger)
	s.clock = newClock()
	s.setOpen(true)
}

// setOpen sets whether changes of the cloud are taken.
func (s *Sim) setOpen(yes bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open = yes
}

// publish hands events on; a zone without a leader publishes nothing.
func (s *Sim) publish(events []event) {
	if s.raft.leader() >= 0 {
		s.hooks.publish(events)
	}
}

// closeState ends what startInside started.
func (s *Sim) closeState() {
	s.setOpen(false)
	s.clock.stop()
	s.committer.stop()
	s.hooks.stop()
	if err := s.store.close(); err != nil {
		s.config.Logger.Error("close the simulator's state file", "error", err)
	}
}

// openSockets listens on all three addresses, or on none.
func (s *Sim) openSockets(ctx context.Context) error {
	control, err := listen(ctx, "control API", "--sim-control-listen", orElse(s.controlAddress, s.config.ControlListen))
	if err != nil {
		return err
	}
	if err := s.openZoneSockets(ctx); err != nil {
		return errors.Join(err, control.Close())
	}
	if s.controlAddress == "" {
		s.controlAddress = control.Addr().String()
	}
	s.control = serve(control, s.controlHandler(), s.config.Logger)
	return nil
}

// listen opens a TCP port; the error names what for, where, and the mend.
func listen(ctx context.Context, what, flag, address string) (net.Listener, error) {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("listen for the simulator's %s on %s: the port is taken: "+
			"stop what uses it or choose another with %s", what, address, flag)
	}
	if err != nil {
		return nil, fmt.Errorf("listen for the simulator's %s on %s: %w: choose another address with %s",
			what, address, err, flag)
	}
	return listener, nil
}

// Stop closes the sockets, ends what is going on and closes the state file; an
// open call has until the context's end to finish.
func (s *Sim) Stop(ctx context.Context) error {
	s.lifeMu.Lock()
	if !s.running {
		s.lifeMu.Unlock()
		return nil
	}
	s.running = false
	close(s.quit)
	control, zone := s.control, s.takeZoneSockets()
	s.lifeMu.Unlock()
	control.stop(ctx)
	closeSockets(ctx, zone)
	s.closeState()
	return nil
}

// ControlURL is the root of the control API.
func (s *Sim) ControlURL() string { return "http://" + s.controlAddress }

// ServerCredentials are "serveradmin:password", as they stand in a real
// front-end's oneflow_auth. A configured password replaces the state file's;
// without one there is a new random one after every New.
func (s *Sim) ServerCredentials() string { return "serveradmin:" + s.config.ServerPassword }
