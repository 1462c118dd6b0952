package opennebula

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/flowjet/flowjet/opennebula/onexml"
)

// Zone is an OpenNebula zone with its servers.
type Zone struct {
	// Endpoint is the XML-RPC address for clients.
	Endpoint string
	// Servers are the XML-RPC addresses of the zone's oneds; none if there is only one.
	Servers []string
}

// RaftState is the role of a oned in its zone.
type RaftState int

// oned's Raft states.
const (
	RaftSolo RaftState = iota
	RaftCandidate
	RaftFollower
	RaftLeader
)

// String returns solo, candidate, follower or leader.
func (s RaftState) String() string {
	names := []string{"solo", "candidate", "follower", "leader"}
	if s < 0 || int(s) >= len(names) {
		return "unknown"
	}
	return names[s]
}

// Leads reports whether a oned in this state accepts changes and publishes events.
func (s RaftState) Leads() bool { return s == RaftSolo || s == RaftLeader }

// RaftStatus is a oned's own Raft status.
type RaftStatus struct {
	ServerID int
	State    RaftState
	Term     int
	LogIndex int
	// LogTerm is the term of the log's last entry, and Commit the last one carried out.
	LogTerm int
	Commit  int
}

// Zone reads a zone with its servers (one.zone.info).
func (c *caller) Zone(ctx context.Context, id int) (Zone, error) {
	return object(ctx, c, func(r *onexml.Reader) (z Zone) {
		r.Fields(onexml.Fields{
			"TEMPLATE":    func() { r.At(func() { z.Endpoint = r.String() }, "ENDPOINT") },
			"SERVER_POOL": func() { r.At(func() { z.Servers = append(z.Servers, r.String()) }, "SERVER", "ENDPOINT") },
		})
		return z
	}, "one.zone.info", id, false)
}

// OwnZone returns the id of the zone that the called oned serves (FEDERATION/ZONE_ID of one.system.config); -1 if it is not given.
func (c *caller) OwnZone(ctx context.Context) (int, error) {
	return object(ctx, c, func(r *onexml.Reader) int {
		zone := -1
		r.At(func() { zone = r.Int() }, "FEDERATION", "ZONE_ID")
		return zone
	}, "one.system.config")
}

// RaftStatus asks the called oned for its own status, which needs no
// right beyond being logged in (one.zone.raftstatus).
func (c *caller) RaftStatus(ctx context.Context) (RaftStatus, error) {
	return object(ctx, c, func(r *onexml.Reader) (s RaftStatus) {
		r.Fields(onexml.Fields{
			"SERVER_ID": &s.ServerID, "STATE": (*int)(&s.State), "TERM": &s.Term, "LOG_INDEX": &s.LogIndex, "LOG_TERM": &s.LogTerm, "COMMIT": &s.Commit,
		})
		return s
	}, "one.zone.raftstatus")
}

// At returns the server user's session at one oned of the zone, whether it leads or not. Its calls wait for no slot, and keep no connection.
func (c *Client) At(endpoint string) *Session { return newSession(c.as(c.tokens.user, endpoint)) }

// as returns the caller in whose session the server user acts for a target at one oned, or with an empty endpoint at the leader.
func (e *exchange) as(target, endpoint string) *caller {
	name, group := splitTarget(target)
	return &caller{client: e, endpoint: endpoint, group: group, target: name, current: func() string { return e.tokens.session(target) }}
}

func (e *exchange) raftStatus(ctx context.Context, endpoint string) (RaftStatus, error) {
	return e.as(e.tokens.user, endpoint).RaftStatus(ctx)
}

func (e *exchange) zoneServers(ctx context.Context, endpoint string, id int) ([]string, error) {
	zone, err := e.as(e.tokens.user, endpoint).Zone(ctx, id)
	return zone.Servers, err
}

const (
	// refreshEvery is how often the zone's list of servers is refreshed.
	refreshEvery = time.Minute
	// maxServers bounds how many servers of a zone are asked.
	maxServers = 16
)

// zoneServers tracks the servers of a zone. One given address is enough: the zone
// lists the others. Of several given, only these are used, because the administrator
// knows which can be reached from here; an address in another zone is left out.
type zoneServers struct {
	ask    asker
	logger *slog.Logger
	given  []string

	mutex   sync.Mutex
	zone    int
	known   []string // the given ones first
	foreign map[string]bool
	// listed are the addresses in the zone's own list.
	listed    []string
	refreshed time.Time
	// ids are the servers' ids in the zone, by address.
	ids map[string]int
}

// all returns the zone's servers, each by one address: a server that is configured by
// its loopback address is listed by another one.
func (z *zoneServers) all() (servers []string) {
	z.mutex.Lock()
	defer z.mutex.Unlock()
	have := map[int]bool{}
	for _, endpoint := range z.known {
		id, known := z.ids[endpoint]
		if z.foreign[endpoint] || known && have[id] {
			continue
		}
		have[id] = have[id] || known
		servers = append(servers, endpoint)
	}
	return servers
}

// distinct sets the ids of the servers that answered, and leaves out second answers of a
// server by another address.
func (z *zoneServers) distinct(found []raftAnswer) []raftAnswer {
	z.mutex.Lock()
	for _, one := range found {
		if one.status.ServerID >= 0 {
			z.ids[one.endpoint] = one.status.ServerID
		}
	}
	z.mutex.Unlock()
	servers := z.all()
	return slices.DeleteFunc(found, func(one raftAnswer) bool { return !slices.Contains(servers, one.endpoint) })
}

// asked returns when the zone's list of servers was last fetched, zero for never.
func (z *zoneServers) asked() time.Time {
	z.mutex.Lock()
	defer z.mutex.Unlock()
	return z.refreshed
}

// add adds servers of the zone that were not known, and returns these.
func (z *zoneServers) add(endpoints ...string) (added []string) {
	z.mutex.Lock()
	defer z.mutex.Unlock()
	for _, endpoint := range endpoints {
		if len(z.given) == 1 && endpoint != "" && !slices.Contains(z.known, endpoint) && len(z.known) < maxServers {
			z.known = append(z.known, endpoint)
			added = append(added, endpoint)
		}
	}
	return added
}

// complete asks the servers that answered for the zone's list if that is due,
// and returns the answers of all servers.
func (z *zoneServers) complete(known []string, found []raftAnswer, poll *raftPoll) []raftAnswer {
	if time.Since(z.asked()) <= refreshEvery || len(found) == 0 {
		return found
	}
	ctx, cancel := context.WithTimeout(context.Background(), probeTime)
	defer cancel()
	lists := map[string][]string{}
	for _, one := range found {
		listed, err := z.ask.zoneServers(ctx, one.endpoint, z.zone)
		if err != nil {
			continue
		}
		z.mutex.Lock()
		z.listed, z.refreshed = listed, time.Now()
		z.mutex.Unlock()
		if lists[one.endpoint] = listed; len(z.given) > 1 {
			continue
		}
		if added := z.add(listed...); len(added) > 0 {
			return poll.round(append(known, added...), true)
		}
		return found
	}
	if len(z.given) == 1 {
		return found
	}
	z.mutex.Lock()
	z.refreshed = time.Now()
	z.mutex.Unlock()
	if len(lists) == 0 {
		return found
	}
	z.compare(lists)
	return z.distinct(found)
}

// compare leaves out given servers whose zone has other servers than that of most of
// them; in a tie the first given one's zone counts.
func (z *zoneServers) compare(lists map[string][]string) {
	count, zoneOf := map[string]int{}, map[string]string{}
	for endpoint, listed := range lists {
		zoneOf[endpoint] = strings.Join(slices.Sorted(slices.Values(listed)), " ")
		if len(listed) == 0 {
			zoneOf[endpoint] = endpoint // a server alone is a zone of its own
		}
		count[zoneOf[endpoint]]++
	}
	ours, most := "", 0
	for _, endpoint := range z.given {
		if zone, answered := zoneOf[endpoint]; answered && count[zone] > most {
			ours, most = zone, count[zone]
		}
	}
	z.mutex.Lock()
	defer z.mutex.Unlock()
	for endpoint, zone := range zoneOf {
		if zone != ours && !z.foreign[endpoint] {
			z.logger.Warn("a server belongs to another zone and is not used: remove it from one.xmlrpc",
				"endpoint", endpoint, "its_zone", zone, "zone", ours)
		}
		z.foreign[endpoint] = zone != ours
	}
}
