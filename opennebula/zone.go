package opennebula

import (
	"context"

	"github.com/flowjet/flowjet/opennebula/onexml"
)

// Zone is an OpenNebula zone with its servers.
type Zone struct {
	// Endpoint is the XML-RPC address that clients are to use.
	Endpoint string
	// Servers are the zone's oneds; none where there is only one.
	Servers []ZoneServer
}

// ZoneServer is one oned of a zone. Endpoint is its own XML-RPC address.
type ZoneServer struct{ Endpoint string }

// RaftState is what a oned is in its zone.
type RaftState int

// oned's Raft states.
const (
	RaftSolo RaftState = iota
	RaftCandidate
	RaftFollower
	RaftLeader
)

// String is solo, candidate, follower or leader.
func (s RaftState) String() string {
	names := []string{"solo", "candidate", "follower", "leader"}
	if s < 0 || int(s) >= len(names) {
		return "unknown"
	}
	return names[s]
}

// Leads reports whether a oned in this state changes things and publishes events.
func (s RaftState) Leads() bool { return s == RaftSolo || s == RaftLeader }

// RaftStatus is what a oned says about itself.
type RaftStatus struct {
	ServerID int
	State    RaftState
	Term     int
	LogIndex int
	// LogTerm is the term of the log's last entry, and Commit the last one carried out.
	LogTerm int
	Commit  int
}

func readZone(r *onexml.Reader) (z Zone) {
	r.Each(func(name []byte) {
		switch string(name) {
		case "TEMPLATE":
			r.At(func() { z.Endpoint = r.String() }, "ENDPOINT")
		case "SERVER_POOL":
			r.At(func() { z.Servers = append(z.Servers, ZoneServer{r.String()}) }, "SERVER", "ENDPOINT")
		}
	})
	return z
}

func readRaftStatus(r *onexml.Reader) (s RaftStatus) {
	readInts(r, map[string]*int{
		"SERVER_ID": &s.ServerID, "STATE": (*int)(&s.State), "TERM": &s.Term, "LOG_INDEX": &s.LogIndex, "LOG_TERM": &s.LogTerm, "COMMIT": &s.Commit,
	})
	return s
}

// Zone reads a zone with its servers (one.zone.info).
func (c *caller) Zone(ctx context.Context, id int) (Zone, error) {
	return object(ctx, c, readZone, "one.zone.info", id, false)
}

// RaftStatus asks the oned that is called for its own status, which needs no
// right beyond being logged in (one.zone.raftstatus).
func (c *caller) RaftStatus(ctx context.Context) (RaftStatus, error) {
	return object(ctx, c, readRaftStatus, "one.zone.raftstatus")
}

// At is a client for another oned of the same zone, as the same user. Its calls share
// the client's slots, and keep no connection. It is closed on its own.
func (c *Client) At(endpoint string) *Client {
	other := *c.exchange
	other.pulse = &pulse{}
	other.leader = newLeader(c.exchange, []string{endpoint}, c.logger)
	other.http = c.probes
	return &Client{&other}
}

func (e *exchange) raftStatus(ctx context.Context, endpoint string) (RaftStatus, error) {
	return objectAt(ctx, e, endpoint, readRaftStatus, "one.zone.raftstatus")
}

func (e *exchange) zoneServers(ctx context.Context, endpoint string, id int) ([]ZoneServer, error) {
	zone, err := objectAt(ctx, e, endpoint, readZone, "one.zone.info", id, false)
	return zone.Servers, err
}

// objectAt reads an object from one oned, whether it leads or not.
func objectAt[T any](ctx context.Context, e *exchange, endpoint string, of func(r *onexml.Reader) T, method string, arguments ...any) (T, error) {
	var none T
	body, err := encodeCall(method, e.tokens.session(e.tokens.user), arguments)
	if err != nil {
		return none, err
	}
	warmed := e.warmups.enter(ctx, warmupKey{endpoint, e.tokens.user}, e.tokens.currentPeriod())
	received, err := e.exchangeAt(ctx, e.probes, endpoint, method, body)
	warmed(accepted(err))
	if err != nil {
		return none, err
	}
	defer received.release()
	text, err := received.textValue(method)
	if err != nil {
		return none, err
	}
	return readObject(method, text, of)
}
