package sim

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/sim/internal/clock"
	"github.com/flowjet/flowjet/sim/internal/gate"
)

// Config says where the simulator listens and how fast it is. The zero value
// works: memory only, free ports of loopback, 2 ms a boot step.
type Config struct {
	StateFile string // keeps everything over restarts; "" is memory only
	Zone      int    // the zone's id in its federation
	// XMLRPCListen, HooksListen and ControlListen are host:port; "" is a free port of 127.0.0.1.
	XMLRPCListen, HooksListen, ControlListen string
	// BootDelay is the time of each step of a VM or network; 0 is 2 ms and a negative one (NoDelay) is none.
	BootDelay      time.Duration
	ServerPassword string // the server user's, of a zone from a state file too; "" is a random one
	KeepDone       int    // how many ended VMs are kept; 0 is 10,000
	// HooksHighWater is how many messages may wait for one subscriber before it loses them; 0 is 100,000. oned's own
	// default is 1000.
	HooksHighWater int
	// Others are the zone's further servers, beside the one at XMLRPCListen and HooksListen, which starts as their leader.
	// Without any that one is alone.
	Others []ServerAddress
	// ElectionTime is how long the zone has no leader after the leader's end,
	// through all of an election's phases; 0 is 5 s times TimeFactor.
	ElectionTime time.Duration
	// FollowerLag is the maximum lag of a follower's reads; 0 is 500 ms, as measured, and negative is none.
	FollowerLag time.Duration
	// TimeFactor shortens oned's long delays: a run of the authentication driver (0.3 s), an election (5 s), catching up
	// after a restart (10 s), and how long the scheduler collects VMs before it places them (10 s, or seven VMs). 0 is a
	// twentieth, and negative is no time.
	TimeFactor float64
	// ActionTimeout is how long a deployment that hangs keeps the scheduler from placing other VMs: oned accepts no plan
	// while another one is carried out (ACTION_TIMEOUT, 300 s as shipped). 0 is not at all.
	ActionTimeout  time.Duration
	MaxConnections int // how many connections a server has at a time; 0 is 15, as in oned, and negative any number
	// Published is called with every hook event that has gone to a publisher, in order, with or without subscribers: the
	// publisher's address, one of the event's keys, and the second frame. It must not wait for the simulator.
	Published func(endpoint, key string, body []byte)
	Logger    *slog.Logger // gets errors; nil is silent
}

// ServerAddress is where one server of the zone listens, host:port each; "" is a free port of 127.0.0.1.
type ServerAddress struct{ XMLRPCListen, HooksListen string }

// NoDelay is a BootDelay of zero.
const NoDelay time.Duration = -1

func (c Config) withDefaults() Config {
	c.ControlListen = cmp.Or(c.ControlListen, anyPort)
	c.BootDelay = cmp.Or(c.BootDelay, 2*time.Millisecond)
	c.KeepDone = cmp.Or(c.KeepDone, 10_000)
	c.FollowerLag = max(cmp.Or(c.FollowerLag, 500*time.Millisecond), 0)
	c.TimeFactor = max(cmp.Or(c.TimeFactor, 0.05), 0)
	c.ElectionTime = cmp.Or(c.ElectionTime, c.scaled(electionTime))
	c.MaxConnections = cmp.Or(c.MaxConnections, gate.Limit)
	c.HooksHighWater = cmp.Or(c.HooksHighWater, 100_000)
	c.Logger = cmp.Or(c.Logger, slog.New(slog.DiscardHandler))
	return c
}

// scaled returns the simulator's time for a delay of oned's.
func (c Config) scaled(oned time.Duration) time.Duration {
	return time.Duration(c.TimeFactor * float64(oned))
}

const anyPort = "127.0.0.1:0"

// Sim is a simulated OpenNebula. Its methods, and those of its parts, may be called concurrently; methods that change VMs
// or return addresses need Start first.
type Sim struct {
	*zone
	*faultInjector
	*hooks
	*delays
	*callLog
	*callFaults

	config Config
	db     *database

	mu             sync.Mutex // guards starting and stopping
	stopControl    func(ctx context.Context)
	controlAddress string // set by the first start and stays the same ever after
}

// New prepares a simulator; nothing is opened before Start.
func New(config Config) (*Sim, error) {
	if config.KeepDone < 0 || config.HooksHighWater < 0 {
		return nil, errors.New("configure the simulator: sizes cannot be negative")
	}
	if config.ServerPassword == "" {
		config.ServerPassword = randomHex(16)
	}
	config = config.withDefaults()
	s := &Sim{
		config: config, hooks: &hooks{clock: clock.New(), published: config.Published},
		delays: &delays{
			bootStep: max(config.BootDelay, 0), calls: map[string]time.Duration{}, writing: make(chan struct{}, 1),
		},
		callLog: &callLog{counts: map[string]int{}}, callFaults: &callFaults{},
	}
	leadership := &raft{}
	s.db = newDatabase(config, leadership, s.delays, s.hooks)
	s.faultInjector = &faultInjector{db: s.db}
	s.zone = &zone{config: config, db: s.db, raft: leadership, hooks: s.hooks, calls: s.callLog, callFaults: s.callFaults, delays: s.delays}
	first := ServerAddress{XMLRPCListen: config.XMLRPCListen, HooksListen: config.HooksListen}
	for i, address := range append([]ServerAddress{first}, config.Others...) {
		s.servers = append(s.servers, &server{
			zone: s.zone, index: i, gate: gate.New(config.MaxConnections),
			sessions:   sessions{processor: make(chan struct{}, 1), cost: config.scaled(authDriverTime)},
			rpcAddress: cmp.Or(address.XMLRPCListen, anyPort), hooksAddress: cmp.Or(address.HooksListen, anyPort),
		})
	}
	if len(s.servers) > 1 {
		leadership.elected(0, 0)
	}
	return s, nil
}

// Start opens the state file and the sockets, and continues interrupted work. It may be called again after Stop.
func (s *Sim) Start(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopControl != nil {
		return errors.New("start the simulator: it is running")
	}
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("start the simulator: %w", err)
	}
	if err := s.db.start(); err != nil {
		return err
	}
	control, err := listen(ctx, "control API", cmp.Or(s.controlAddress, s.config.ControlListen))
	if err != nil {
		s.db.stop()
		return err
	}
	if err := s.start(ctx); err != nil {
		s.db.stop()
		return errors.Join(err, control.Close())
	}
	s.controlAddress = control.Addr().String()
	mux := http.NewServeMux()
	for pattern, handler := range (&controlAPI{s}).routes() {
		mux.HandleFunc(pattern, handler)
	}
	s.stopControl = serve(control, mux, s.config.Logger)
	return nil
}

// Stop closes the sockets, stops all work and closes the state file; an open call has until the context's end to finish.
func (s *Sim) Stop(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopControl == nil {
		return nil
	}
	s.stop(ctx)
	s.stopControl(ctx)
	s.stopControl = nil
	s.db.stop()
	return nil
}

// ControlURL returns the root of the control API.
func (s *Sim) ControlURL() string { return "http://" + s.controlAddress }

// ServerCredentials returns "serveradmin:password", as in a real front-end's oneflow_auth. A configured password replaces
// the state file's; without one every New makes a random one.
func (s *Sim) ServerCredentials() string { return "serveradmin:" + s.config.ServerPassword }

// Summary counts the objects in the simulator.
type Summary struct {
	Version     string         `json:"version"`
	Endpoint    string         `json:"endpoint"`
	Hooks       string         `json:"hooks"`
	Leader      bool           `json:"leader"`
	Servers     []ServerState  `json:"servers"`
	VMs         map[string]int `json:"vms"`
	Documents   map[string]int `json:"documents"`
	Networks    int            `json:"networks"`
	VRouters    int            `json:"vrouters"`
	Users       []string       `json:"users"`
	Waiting     int            `json:"waiting"` // pending VMs for which no host has room
	BootsPaused bool           `json:"boots_paused"`
	BootDelay   string         `json:"boot_delay"`
	CallDelay   string         `json:"call_delay"`
	Calls       map[string]int `json:"calls"`
	Events      EventCounts    `json:"events"`
}

// State returns the counts: VMs by state, documents by type, and so on.
func (s *Sim) State() Summary {
	boot := s.boot()
	call, _ := s.of("")
	summary := Summary{
		Version: Version, Endpoint: s.Endpoint(), Hooks: s.HooksEndpoint(), Leader: s.db.raft.now().leader() >= 0,
		Servers: s.Servers(),
		VMs:     map[string]int{}, Documents: map[string]int{}, BootDelay: boot.String(), CallDelay: call.String(),
		Calls: s.CallCounts(), Events: s.Events(),
	}
	s.db.mu.RLock()
	defer s.db.mu.RUnlock()
	for _, v := range s.db.cloud.vms {
		summary.VMs[v.stateName()]++
	}
	for _, d := range s.db.cloud.documents {
		summary.Documents[itoa(d.Type)]++
	}
	for _, id := range s.db.cloud.users.ids() {
		summary.Users = append(summary.Users, s.db.cloud.users[id].Name)
	}
	summary.Networks, summary.VRouters = len(s.db.cloud.networks), len(s.db.cloud.vrouters)
	summary.Waiting, summary.BootsPaused = len(s.db.cloud.waiting), s.db.bootsPaused
	return summary
}

// VM is a VM as tests and the control API see it.
type VM struct {
	ID        int          `json:"id"`
	Name      string       `json:"name"`
	UName     string       `json:"uname"`
	State     one.VMState  `json:"-"`
	LCMState  one.LCMState `json:"-"`
	StateText string       `json:"state"` // STATE, or the LCM_STATE of an active VM
	Host      string       `json:"host,omitempty"`
	IP        string       `json:"ip,omitempty"`
	// Service, Role, Key and Ready are SERVICE_ID, ROLE_NAME, FLOWJET_KEY and READY of the user template.
	Service string `json:"service,omitempty"`
	Role    string `json:"role,omitempty"`
	Key     string `json:"key,omitempty"`
	Ready   string `json:"ready,omitempty"`
}

// VMs returns all VMs that are kept, ended ones included, oldest first.
func (s *Sim) VMs() []VM {
	s.db.mu.RLock()
	defer s.db.mu.RUnlock()
	seen := make([]VM, 0, len(s.db.cloud.vms))
	for _, id := range s.db.cloud.vms.ids() {
		v := s.db.cloud.vms[id]
		ip := ""
		if nics := v.Template.Vectors("NIC"); len(nics) > 0 {
			ip = nics[0].Vector.Text("IP")
		}
		seen = append(seen, VM{
			ID: id, Name: v.Name, UName: v.UName, State: v.State, LCMState: v.LCM, StateText: v.stateName(),
			Host: v.hostName(), IP: ip, Service: v.UserTemplate.Text("SERVICE_ID"), Role: v.UserTemplate.Text("ROLE_NAME"),
			Key: v.UserTemplate.Text("FLOWJET_KEY"), Ready: v.UserTemplate.Text("READY"),
		})
	}
	return seen
}
