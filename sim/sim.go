package sim

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// Sim is a simulated OpenNebula. Its methods, those of its parts too, may be
// called from anywhere; what changes VMs and what returns addresses needs it to
// have been started.
type Sim struct {
	*zone
	*faultInjector
	*hooks
	*delays
	*callLog
	*callFaults

	config Config
	db     *database

	// mu guards starting and stopping.
	mu      sync.Mutex
	control *endpointServer
	// controlAddress is set by the first start and stays the same ever after.
	controlAddress string
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
		config: config, hooks: newHooks(config.Published), delays: newDelays(config), callLog: newCallLog(), callFaults: &callFaults{},
	}
	leadership := &raft{}
	s.db = newDatabase(config, leadership, s.delays, s.hooks)
	s.faultInjector = &faultInjector{db: s.db}
	s.zone = &zone{
		config: config, db: s.db, raft: leadership, hooks: s.hooks, calls: s.callLog, callFaults: s.callFaults, delays: s.delays,
	}
	first := ServerAddress{XMLRPCListen: config.XMLRPCListen, HooksListen: config.HooksListen}
	for i, address := range append([]ServerAddress{first}, config.Others...) {
		s.servers = append(s.servers, newServer(s.zone, i, address))
	}
	if len(s.servers) > 1 {
		leadership.elected(0, 0)
	}
	return s, nil
}

// Start opens the state file and the sockets, and lets what was on its way go
// on. It may be called again after Stop.
func (s *Sim) Start(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.control != nil {
		return errors.New("start the simulator: it is running")
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("start the simulator: %w", err)
	}
	if err := s.db.start(); err != nil {
		return err
	}
	control, err := listen(ctx, "control API", orElse(s.controlAddress, s.config.ControlListen))
	if err != nil {
		s.db.stop()
		return err
	}
	if err := s.zone.start(ctx); err != nil {
		s.db.stop()
		return errors.Join(err, control.Close())
	}
	s.controlAddress = control.Addr().String()
	s.control = serve(control, (&controlAPI{s}).handler(), s.config.Logger)
	return nil
}

// Stop closes the sockets, ends what is going on and closes the state file; an
// open call has until the context's end to finish.
func (s *Sim) Stop(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.control == nil {
		return nil
	}
	s.zone.stop(ctx)
	s.control.stop(ctx)
	s.control = nil
	s.db.stop()
	return nil
}

// ControlURL is the root of the control API.
func (s *Sim) ControlURL() string { return "http://" + s.controlAddress }

// ServerCredentials are "serveradmin:password", as they stand in a real
// front-end's oneflow_auth. A configured password replaces the state file's;
// without one there is a new random one after every New.
func (s *Sim) ServerCredentials() string { return "serveradmin:" + s.config.ServerPassword }
