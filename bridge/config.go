package bridge

import (
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/flowjet/flowjet/opennebula"
)

// Config says what to hear and how to pass it on. Zero values mean the
// defaults named at each field.
type Config struct {
	// Zone is the OpenNebula zone's id; it stands in every subject.
	Zone int
	// Endpoints are the hook managers' addresses, tcp://host:2101, one for
	// each oned of the zone.
	Endpoints []string
	// Objects are the kinds of object whose state changes pass: vm, net, host
	// and image.
	Objects []string
	// Calls are the API calls that pass; one.vm.update only. The bodies of API
	// events hold what users sent, but no more than READY is ever taken from one.
	Calls []string
	// Feed names what is heard: only one bridge at a time publishes a feed. The
	// endpoints' name by default.
	Feed string
	// Holder names this bridge to people who look at the feed's lease; the
	// host's name by default.
	Holder string
	// MaxQueueBytes bounds the events in memory; 64 MiB, about 10,000 events.
	MaxQueueBytes int64
	Resync        ResyncConfig
	// Standby is how long a bridge keeps away from a feed that another has
	// taken over before it takes it back; 1 min.
	Standby    time.Duration
	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// ResyncConfig says when oned's VMs are compared with the stored events.
type ResyncConfig struct {
	// Every is the time between two comparisons; 5 min.
	Every time.Duration
	// Settle is the time after which the comparison that a connect or an
	// overflow has caused is made once more, because a publisher may hear of a
	// subscription late; 2 s.
	Settle time.Duration
	// PageSize is the number of ids asked for at a time; 1000.
	PageSize int
}

func (c Config) withDefaults() Config {
	setDefault(&c.MaxQueueBytes, 64<<20)
	setDefault(&c.Standby, time.Minute)
	setDefault(&c.Resync.Every, 5*time.Minute)
	setDefault(&c.Resync.Settle, 2*time.Second)
	setDefault(&c.Resync.PageSize, 1000)
	if c.Objects == nil {
		c.Objects = []string{"vm", "net", "host", "image"}
	}
	if c.Calls == nil {
		c.Calls = []string{"one.vm.update"}
	}
	if c.Holder == "" {
		c.Holder = hostname() + "-" + nuid.Next()
	}
	if c.Feed == "" {
		c.Feed = feedName(c.Zone, c.Endpoints)
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

// feedName is the same for bridges that hear the same. A loopback address is
// another one on each host.
func feedName(zone int, endpoints []string) string {
	names := make([]string, len(endpoints))
	for i, endpoint := range endpoints {
		names[i] = strings.TrimPrefix(endpoint, "tcp://")
		if host, _, err := net.SplitHostPort(names[i]); err == nil && isLoopback(host) {
			names[i] += "@" + hostname()
		}
	}
	slices.Sort(names)
	return fmt.Sprintf("zone%d-%s", zone, strings.Join(names, "+"))
}

func isLoopback(host string) bool {
	address := net.ParseIP(host)
	return host == "localhost" || address != nil && address.IsLoopback()
}

func hostname() string {
	name, err := os.Hostname()
	if err != nil {
		return "unknown"
	}
	return name
}

// topics are the ZeroMQ subscriptions: each state change in one of its three
// forms, and the chosen calls.
func (c Config) topics() []string {
	topics := []string{opennebula.StateSubscription}
	for _, call := range c.Calls {
		topics = append(topics, opennebula.CallSubscription(call))
	}
	return topics
}

// address is the host:port of a ZeroMQ endpoint.
func address(endpoint string) (string, error) {
	address, isTCP := strings.CutPrefix(endpoint, "tcp://")
	host, port, err := net.SplitHostPort(address)
	if !isTCP || err != nil || host == "" || port == "" {
		return "", fmt.Errorf("hook endpoint %q is not of the form tcp://host:2101", endpoint)
	}
	return address, nil
}
