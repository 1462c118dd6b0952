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

// hookPort is where oned publishes unless it was told otherwise.
const hookPort = "2101"

// zone is what the bridge asks about the zone's oneds.
type zone interface {
	// hookEndpoints are where the zone's oneds publish, if at the usual port.
	hookEndpoints(ctx context.Context, zone int) ([]string, error)
	// beside is the oned that publishes on an endpoint; before is how many
	// endpoints of the same host come before it.
	beside(ctx context.Context, zone int, endpoint string, before int) (server, error)
}

// server is one oned.
type server interface {
	RaftStatus(ctx context.Context) (opennebula.RaftStatus, error)
	UpdateVM(ctx context.Context, id int, template string, appendTo bool) error
	close()
}

// onedZone asks the oned that the bridge knows, at xmlrpc.
type onedZone struct {
	client *opennebula.Client
	xmlrpc string
}

func (z onedZone) hookEndpoints(ctx context.Context, id int) ([]string, error) {
	zone, err := z.client.Server().Zone(ctx, id)
	if err != nil {
		return nil, err
	}
	servers := zone.Servers
	if len(servers) == 0 {
		// The zone's own endpoint is what users are told; oned was reached here.
		servers = []opennebula.ZoneServer{{Endpoint: cmp.Or(z.xmlrpc, zone.Endpoint)}}
	}
	var endpoints []string
	for _, server := range servers {
		host, err := hostOf(server.Endpoint)
		if err != nil {
			return nil, err
		}
		endpoints = append(endpoints, "tcp://"+net.JoinHostPort(host, hookPort))
	}
	return endpoints, nil
}

// beside goes by the host. Servers of one host belong to its endpoints in the
// order of both lists.
func (z onedZone) beside(ctx context.Context, id int, endpoint string, before int) (server, error) {
	zone, err := z.client.Server().Zone(ctx, id)
	if err != nil {
		return nil, err
	}
	if len(zone.Servers) <= 1 {
		return onedServer{z.client.Server(), func() {}}, nil
	}
	wanted, err := hostOf(endpoint)
	if err != nil {
		return nil, err
	}
	for _, candidate := range zone.Servers {
		if host, err := hostOf(candidate.Endpoint); err != nil || host != wanted {
			continue
		}
		if before > 0 {
			before--
			continue
		}
		client := z.client.At(candidate.Endpoint)
		return onedServer{client.Server(), client.Close}, nil
	}
	return nil, fmt.Errorf("no server of zone %d has the address %s", id, wanted)
}

// onedServer is a session with one oned.
type onedServer struct {
	*opennebula.Session
	end func()
}

func (s onedServer) close() { s.end() }

func hostOf(address string) (string, error) {
	parsed, err := url.Parse(address)
	if err != nil || parsed.Hostname() == "" {
		return "", errors.New("an endpoint of the zone is not an address")
	}
	return parsed.Hostname(), nil
}

const (
	// probeID is the largest id that oned can give: no VM has it.
	probeID   = lastID
	probeCall = callReady
	// probeAnswer is how long a publisher has to tell of a probe.
	probeAnswer = 5 * time.Second
	// attention is how many times within Config.Quiet a oned is asked for its role.
	attention = 6
)

// isProbe reports whether an event was provoked by a bridge.
func isProbe(event opennebula.HookEvent) bool {
	return event.Call == probeCall && event.ID == probeID && !event.OK
}

// attend watches the oned beside a feed's endpoint until ctx ends: whether it
// leads, and whether its publisher says anything.
//
// A publisher that is silent may have nothing to say. It is then given
// something: an update of a VM that cannot exist. oned refuses that to everybody
// with "no such VM" before it looks at rights, changes nothing, and tells of the
// refusal on the feed, where bridges leave it out. A publisher that does not is
// connected to anew.
func (b *Bridge) attend(ctx context.Context, f *feed) {
	a := attendant{bridge: b, feed: f}
	defer a.leave()
	interval := b.config.Quiet / attention
	for {
		if err := a.look(ctx); err != nil && ctx.Err() == nil {
			f.log.Debug("the oned beside an endpoint does not answer", "endpoint", f.listener.endpoint, "error", err)
			a.leave()
			a.set("")
		}
		if idle.For(ctx, interval) != nil {
			return
		}
	}
}

// before counts the endpoints of the same host that come before a feed's.
func (b *Bridge) before(f *feed) (count int) {
	host, _ := hostOf(f.listener.endpoint)
	for _, other := range b.feeds {
		if other == f {
			return count
		}
		if same, err := hostOf(other.listener.endpoint); err == nil && same == host {
			count++
		}
	}
	return count
}

// attendant is what is known of a oned from look to look.
type attendant struct {
	bridge *Bridge
	feed   *feed
	server server
	last   opennebula.RaftStatus
	asked  bool
	// told reports whether a probe was told of on the feed; in vain counts those that
	// were not.
	told   bool
	inVain int
}

func (a *attendant) leave() {
	if a.server != nil {
		a.server.close()
		a.server = nil
	}
}

func (a *attendant) set(role string) {
	a.feed.mu.Lock()
	defer a.feed.mu.Unlock()
	a.feed.state.role = role
}

func (a *attendant) look(ctx context.Context) error {
	if a.server == nil {
		server, err := a.bridge.zone.beside(ctx, a.bridge.config.Zone, a.feed.listener.endpoint, a.bridge.before(a.feed))
		if err != nil {
			return err
		}
		a.server = server
	}
	status, err := a.server.RaftStatus(ctx)
	if err != nil {
		return err
	}
	a.set(status.State.String())
	if a.asked && status.State.Leads() && (status.Term != a.last.Term || !a.last.State.Leads()) {
		a.feed.log.Info("another oned leads the zone", "endpoint", a.feed.listener.endpoint, "term", status.Term)
		a.bridge.ask("another oned leads")
	}
	a.last, a.asked = status, true
	if status.State.Leads() {
		return a.listen(ctx)
	}
	return nil // a follower publishes nothing
}

// maxInVain is how many probes of an endpoint may be not told of before it is
// believed that its oned does not tell of refused calls.
const maxInVain = 3

// listen provokes an event when a connected publisher is silent for long.
func (a *attendant) listen(ctx context.Context) error {
	f := a.feed
	silence, heard, connected := f.listener.silence()
	if !connected || silence < f.config.Quiet || !a.told && a.inVain >= maxInVain {
		return nil
	}
	err := a.server.UpdateVM(ctx, probeID, "", true)
	if !opennebula.IsCode(err, opennebula.CodeNoExists) {
		return err
	}
	deadline, cancel := context.WithTimeout(ctx, min(probeAnswer, f.config.Quiet))
	defer cancel()
	for deadline.Err() == nil {
		if _, now, _ := f.listener.silence(); now > heard {
			a.told, a.inVain = true, 0
			return nil
		}
		_ = idle.For(deadline, f.config.Quiet/(20*attention)+time.Millisecond)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	a.inVain++
	f.log.Warn("a publisher is connected and says nothing, not even of a call just made: connecting anew",
		"endpoint", f.listener.endpoint, "silent_for", silence.Round(time.Second), "mend", "is oned's hook manager alive?")
	f.listener.reconnect()
	return nil
}

// silence is how long nothing was heard over the connection that stands, and the
// number of messages heard in all.
func (l *listener) silence() (silence time.Duration, heard uint64, connected bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	since := l.status.Since
	if l.status.LastHeard.After(since) {
		since = l.status.LastHeard
	}
	return time.Since(since), l.status.Heard, l.status.Connected
}
