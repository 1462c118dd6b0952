package bridge

import (
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/flowjet/flowjet/opennebula"
)

// Config says what to hear and how to pass it on. Zero values mean the defaults named at each field.
type Config struct {
	// Zone is the OpenNebula zone's id; it stands in every subject.
	Zone int
	// Endpoints are the hook managers' addresses, tcp://host:2101, one for each oned of the zone.
	// Without any, oned is asked for the zone's servers, and the usual port of each is taken.
	Endpoints []string
	// XMLRPC is the address at which oned answers. A zone that lists no servers has its hook manager there.
	XMLRPC string
	// Objects are the kinds of object whose state changes pass; nil is vm, net, host and image.
	Objects []string
	// States are the states that pass, as vm/DONE, vm/ACTIVE/RUNNING or
	// host/ERROR. Of an object that none is given for all pass.
	States []string
	// Calls are the API calls that pass; nil is one.vm.update only. The bodies of API events hold
	// what users sent, but no more than the id and READY is ever taken from one.
	Calls []string
	// Holder names this bridge to people who look at a feed's lease; the host's name by default.
	Holder string
	// MaxQueueBytes bounds the events of a feed in memory; 48 MiB, about 60,000 events. Messages
	// not decoded yet take up to 16 MiB more, and 12 MiB of what these do not need.
	MaxQueueBytes int64
	// SpillDir is a folder for the events of a feed that find no room in memory while JetStream is
	// away, MaxSpillBytes their bound; 1 GiB. Without a folder, and beyond the bound, events are
	// dropped, and replaced by comparing oned with what is stored.
	SpillDir      string
	MaxSpillBytes int64
	Resync        ResyncConfig
	// Standby is the silence after which a bridge takes a feed over from the one that publishes it,
	// which announces itself five times as often; 1 s.
	Standby time.Duration
	// Keep is how long a bridge on standby keeps what it hears; 30 s.
	Keep time.Duration
	// Quiet is the silence of a publisher after which it is probed (see monitor); 30 s.
	Quiet      time.Duration
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// ResyncConfig says when oned's VMs and networks are compared with the stored events.
type ResyncConfig struct {
	// Every is the time between two comparisons; 5 min.
	Every time.Duration
	// Settle is the time after which the comparison that a connect or an overflow has caused is
	// repeated, because a publisher may hear of a subscription late; 2 s.
	Settle time.Duration
	// PageSize is the number of ids asked for at a time; 1000.
	PageSize int
}

func (c Config) withDefaults() Config {
	setDefault(&c.MaxQueueBytes, 48<<20)
	setDefault(&c.MaxSpillBytes, 1<<30)
	setDefault(&c.Standby, time.Second)
	setDefault(&c.Keep, 30*time.Second)
	setDefault(&c.Quiet, 30*time.Second)
	setDefault(&c.Resync.Every, 5*time.Minute)
	setDefault(&c.Resync.Settle, 2*time.Second)
	setDefault(&c.Resync.PageSize, 1000)
	if c.Objects == nil {
		c.Objects = knownObjects
	}
	if c.Calls == nil {
		c.Calls = []string{callReady}
	}
	if c.Holder == "" {
		c.Holder = hostname() + "-" + nuid.Next()
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Registerer == nil {
		c.Registerer = prometheus.NewRegistry()
	}
	return c
}

func setDefault[T int | int64 | time.Duration](value *T, standard T) {
	if *value <= 0 {
		*value = standard
	}
}

// feedName is the same for bridges that hear the same. A loopback address is another one on each host.
func feedName(zone int, endpoint string) string {
	name := strings.TrimPrefix(endpoint, "tcp://")
	host, _, err := net.SplitHostPort(name)
	if address := net.ParseIP(host); err == nil && (host == "localhost" || address != nil && address.IsLoopback()) {
		name += "@" + hostname()
	}
	return fmt.Sprintf("zone%d-%s", zone, name)
}

func hostname() string {
	name, err := os.Hostname()
	if err != nil {
		return "unknown"
	}
	return name
}

// topics are the ZeroMQ subscriptions: each state change in one of its three
// forms, the chosen calls, and the one that probes are made with.
func (c Config) topics() []string {
	topics := []string{opennebula.StateSubscription, opennebula.CallSubscription(probeCall)}
	for _, call := range c.Calls {
		if call != probeCall {
			topics = append(topics, opennebula.CallSubscription(call))
		}
	}
	return topics
}
