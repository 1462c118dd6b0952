package sim

import (
	"cmp"
	"log/slog"
	"time"

	"github.com/flowjet/flowjet/sim/internal/gate"
)

// Config says where the simulator listens and how fast it is. The zero value
// works: memory only, free ports of loopback, 2 ms a boot step.
type Config struct {
	// StateFile keeps everything over restarts; "" is memory only.
	StateFile string
	// XMLRPCListen, HooksListen and ControlListen are host:port; "" is a free port of 127.0.0.1.
	XMLRPCListen, HooksListen, ControlListen string
	// BootDelay is the time of each step of a VM or network; 0 is 2 ms and
	// anything negative (NoDelay) is at once.
	BootDelay time.Duration
	// CallDelay is added to every call, CallDelays to those of a method instead.
	CallDelay  time.Duration
	CallDelays map[string]time.Duration
	// SerialisedWrites has writes wait for each other, delays included, as
	// oned's have to for its database.
	SerialisedWrites bool
	// OneadminPassword, ServerPassword and AlicePassword are those of a new zone; "" is opennebula,
	// a random one, and alice. A state file keeps its own, but for the server's.
	OneadminPassword, ServerPassword, AlicePassword string
	// HostCPUs and HostMemory (MiB) are the capacity of each of the four hosts;
	// 0 is 10,000 cores and 64 TiB.
	HostCPUs, HostMemory int
	// KeepDone is how many ended VMs are remembered; 0 is 10,000.
	KeepDone int
	// HooksHighWater is how many messages may wait for one subscriber before it
	// loses them; 0 is 100,000. oned's own default is 1000.
	HooksHighWater int
	// Others are the zone's further servers, beside the one of XMLRPCListen and
	// HooksListen, which starts as their leader. Without any that one is alone.
	Others []ServerAddress
	// ElectionTime is how long the zone has no leader after the leader's end,
	// through all of an election's phases; 0 is 5 s times TimeFactor.
	ElectionTime time.Duration
	// FollowerLag is how far a follower's reads are behind at most; 0 is 500 ms,
	// as measured, and negative is nothing.
	FollowerLag time.Duration
	// TimeFactor shortens what takes oned long: a run of the authentication
	// driver (0.3 s), an election (5 s), what a server has to catch up with after a
	// restart (10 s), and for how long the scheduler collects VMs before it
	// places them (10 s, or seven VMs). 0 is a twentieth, and negative is no time.
	TimeFactor float64
	// ActionTimeout is for how long a deployment that hangs keeps the scheduler from placing
	// other VMs: oned takes no plan while another one is carried out (ACTION_TIMEOUT, 300 s as
	// shipped). 0 is not at all.
	ActionTimeout time.Duration
	// MaxConnections is how many connections a server has at a time; 0 is 15,
	// as oned's, and negative any number.
	MaxConnections int
	// Published is told of every hook event that has gone to a publisher, in
	// order, whether or not anybody hears it: the publisher's address, one of the
	// event's keys, and the second frame. It must not wait for the simulator.
	Published func(endpoint, key string, body []byte)
	// Logger takes what goes wrong; nil is silent.
	Logger *slog.Logger
}

// ServerAddress is where one server of the zone listens, host:port each; "" is
// a free port of 127.0.0.1.
type ServerAddress struct{ XMLRPCListen, HooksListen string }

// NoDelay is a BootDelay of nothing at all.
const NoDelay time.Duration = -1

func (c Config) withDefaults() Config {
	c.ControlListen = cmp.Or(c.ControlListen, anyPort)
	c.BootDelay = cmp.Or(c.BootDelay, 2*time.Millisecond)
	c.OneadminPassword = cmp.Or(c.OneadminPassword, "opennebula")
	c.AlicePassword = cmp.Or(c.AlicePassword, "alice")
	c.HostCPUs = cmp.Or(c.HostCPUs, 10_000)
	c.HostMemory = cmp.Or(c.HostMemory, 64<<20)
	c.KeepDone = cmp.Or(c.KeepDone, 10_000)
	c.FollowerLag = max(cmp.Or(c.FollowerLag, 500*time.Millisecond), 0)
	c.TimeFactor = max(cmp.Or(c.TimeFactor, 0.05), 0)
	c.ElectionTime = cmp.Or(c.ElectionTime, c.scaled(electionTime))
	c.MaxConnections = cmp.Or(c.MaxConnections, gate.Limit)
	c.HooksHighWater = cmp.Or(c.HooksHighWater, 100_000)
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return c
}

// scaled is the time that something takes here which takes oned so long.
func (c Config) scaled(oned time.Duration) time.Duration {
	return time.Duration(c.TimeFactor * float64(oned))
}

const anyPort = "127.0.0.1:0"
