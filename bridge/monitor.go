package bridge

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"time"

	"github.com/flowjet/flowjet/internal/idle"
	"github.com/flowjet/flowjet/opennebula"
)

const (
	// probeID is the largest id that oned can give: no VM has it.
	probeID   = lastID
	probeCall = callReady
	// probeAnswer is how long a publisher has to publish a probe.
	probeAnswer = 5 * time.Second
	// checksPerQuiet is how many times within Config.Quiet a oned is asked for its role.
	checksPerQuiet = 6
)

// monitor watches the oned beside a feed's endpoint: whether it leads, and whether its publisher
// sends anything.
//
// A silent publisher may have nothing to send. It is then probed by an update of a VM that
// cannot exist: oned refuses that with "no such VM" before it checks rights, changes
// nothing, and publishes the refusal, which bridges leave out. If that does not arrive either, the
// bridge reconnects.
type monitor struct {
	*feed
	// before counts the endpoints of the same host that come before the feed's.
	before int

	server server
	last   opennebula.RaftStatus
	asked  bool
	// answered reports whether a probe arrived on the feed; unanswered counts those that did not.
	answered   bool
	unanswered int
}

func (m *monitor) run(ctx context.Context) {
	interval := m.config.Quiet / checksPerQuiet
	for {
		if err := m.check(ctx); err != nil && ctx.Err() == nil {
			m.log.Debug("the oned of an endpoint does not answer", "endpoint", m.listener.endpoint, "error", err)
			m.server = nil
			m.setRole("")
		}
		if idle.For(ctx, interval) != nil {
			return
		}
	}
}

func (m *monitor) check(ctx context.Context) error {
	if m.server == nil {
		server, err := m.zone.beside(ctx, m.config.Zone, m.listener.endpoint, m.before)
		if err != nil {
			return err
		}
		m.server = server
	}
	status, err := m.server.RaftStatus(ctx)
	if err != nil {
		return err
	}
	m.setRole(status.State.String())
	if m.asked && status.State.Leads() && (status.Term != m.last.Term || !m.last.State.Leads()) {
		m.log.Info("the zone has a new leader", "endpoint", m.listener.endpoint, "term", status.Term)
		m.requestResync("the zone has a new leader")
	}
	m.last, m.asked = status, true
	if status.State.Leads() {
		return m.probe(ctx)
	}
	return nil // a follower publishes nothing
}

// maxUnanswered is how many unanswered probes show that an oned does not publish refused calls.
const maxUnanswered = 3

// probe provokes an event when a connected publisher is silent for long.
func (m *monitor) probe(ctx context.Context) error {
	silence, heard, connected := m.listener.silence()
	if !connected || silence < m.config.Quiet || !m.answered && m.unanswered >= maxUnanswered {
		return nil
	}
	err := m.server.UpdateVM(ctx, probeID, "", true)
	if !opennebula.IsCode(err, opennebula.CodeNoExists) {
		return err
	}
	deadline, cancel := context.WithTimeout(ctx, min(probeAnswer, m.config.Quiet))
	defer cancel()
	for deadline.Err() == nil {
		if _, now, _ := m.listener.silence(); now > heard {
			m.answered, m.unanswered = true, 0
			return nil
		}
		_ = idle.For(deadline, m.config.Quiet/(20*checksPerQuiet)+time.Millisecond)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	m.unanswered++
	m.log.Warn("a publisher is connected but sends nothing, not even the event of a call just made: reconnecting",
		"endpoint", m.listener.endpoint, "silent_for", silence.Round(time.Second), "hint", "is oned's hook manager running?")
	m.mu.Lock()
	defer m.mu.Unlock()
	if conn := m.listener.conn; conn != nil {
		conn.net.Close()
	}
	return nil
}

// hookPort is the port on which oned publishes by default.
const hookPort = "2101"

// zone answers the bridge's questions about the zone's oneds.
type zone interface {
	// hookEndpoints returns the addresses on which the zone's oneds publish, if at the usual port.
	hookEndpoints(ctx context.Context, zone int) ([]string, error)
	// beside returns the oned that publishes on an endpoint; before counts endpoints of the same host before it.
	beside(ctx context.Context, zone int, endpoint string, before int) (server, error)
}

type server interface {
	RaftStatus(ctx context.Context) (opennebula.RaftStatus, error)
	UpdateVM(ctx context.Context, id int, template string, appendTo bool) error
}

// onedZone asks the oned that the bridge is configured with, at xmlrpc.
type onedZone struct {
	client *opennebula.Client
	xmlrpc string
}

func (z onedZone) hookEndpoints(ctx context.Context, id int) ([]string, error) {
	return HookEndpoints(ctx, z.client, id, z.xmlrpc)
}

// HookEndpoints returns the addresses on which the oneds of a zone publish, if at the usual port. Oned was reached at xmlrpc.
func HookEndpoints(ctx context.Context, client *opennebula.Client, id int, xmlrpc string) ([]string, error) {
	zone, err := client.Server().Zone(ctx, id)
	if err != nil {
		return nil, err
	}
	servers := zone.Servers
	if len(servers) == 0 {
		// The zone's own endpoint is the public one; oned was reached here.
		servers = []string{cmp.Or(xmlrpc, zone.Endpoint)}
	}
	var endpoints []string
	for _, server := range servers {
		host, err := hostOf(server)
		if err != nil {
			return nil, err
		}
		endpoints = append(endpoints, "tcp://"+net.JoinHostPort(host, hookPort))
	}
	return endpoints, nil
}

// beside compares hosts. Servers of one host belong to its endpoints in the order of both lists.
func (z onedZone) beside(ctx context.Context, id int, endpoint string, before int) (server, error) {
	zone, err := z.client.Server().Zone(ctx, id)
	if err != nil {
		return nil, err
	}
	if len(zone.Servers) <= 1 {
		return z.client.Server(), nil
	}
	wanted, err := hostOf(endpoint)
	if err != nil {
		return nil, err
	}
	for _, candidate := range zone.Servers {
		if host, err := hostOf(candidate); err != nil || host != wanted {
			continue
		}
		if before == 0 {
			return z.client.At(candidate), nil
		}
		before--
	}
	return nil, fmt.Errorf("no server of zone %d has the address %s", id, wanted)
}

func hostOf(address string) (string, error) {
	parsed, err := url.Parse(address)
	if err != nil || parsed.Hostname() == "" {
		return "", errors.New("an endpoint of the zone is not an address")
	}
	return parsed.Hostname(), nil
}
