package opennebula

import "context"

// Zone is an OpenNebula zone with its servers.
type Zone struct {
	ID   int    `xml:"ID"`
	Name string `xml:"NAME"`
	// Endpoint is the XML-RPC address that clients are to use.
	Endpoint string `xml:"TEMPLATE>ENDPOINT"`
	// Servers are the zone's oneds; none where there is only one.
	Servers []ZoneServer `xml:"SERVER_POOL>SERVER"`
}

// ZoneServer is one oned of a zone.
type ZoneServer struct {
	ID   int    `xml:"ID"`
	Name string `xml:"NAME"`
	// Endpoint is its own XML-RPC address.
	Endpoint string `xml:"ENDPOINT"`
}

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
	ServerID int       `xml:"SERVER_ID"`
	State    RaftState `xml:"STATE"`
	Term     int       `xml:"TERM"`
	LogIndex int       `xml:"LOG_INDEX"`
	// LogTerm is the term of the log's last entry, and Commit the last one carried out.
	LogTerm int `xml:"LOG_TERM"`
	Commit  int `xml:"COMMIT"`
}

// upToDate reports whether a leader has carried out all that its predecessors had: a new
// one begins with what it has not, and until then answers reads from an older state. It
// accepts changes only afterwards, so an entry of its own term proves it.
func (r RaftStatus) upToDate() bool { return r.LogTerm == r.Term || r.Commit >= r.LogIndex }

// Zone reads a zone with its servers (one.zone.info).
func (s *Session) Zone(ctx context.Context, id int) (Zone, error) {
	var zone Zone
	err := s.read(ctx, &zone, "one.zone.info", id, false)
	return zone, err
}

// RaftStatus asks the oned that is called for its own status, which needs no
// right beyond being logged in (one.zone.raftstatus).
func (s *Session) RaftStatus(ctx context.Context) (RaftStatus, error) {
	var status RaftStatus
	err := s.read(ctx, &status, "one.zone.raftstatus")
	return status, err
}

// At is a client for another oned of the same zone, as the same user. Its calls share
// the client's slots, and keep no connection. It is closed on its own.
func (c *Client) At(endpoint string) *Client {
	other := *c
	other.pulse = &pulse{}
	other.leader = newLeader(c, []string{endpoint}, c.logger)
	other.http = c.probes
	return &other
}

// raftStatus asks one oned for its own status.
func (c *Client) raftStatus(ctx context.Context, endpoint string) (RaftStatus, error) {
	var status RaftStatus
	err := c.objectAt(ctx, endpoint, "one.zone.raftstatus", &status)
	return status, err
}

// zoneServers asks one oned for all of the zone.
func (c *Client) zoneServers(ctx context.Context, endpoint string, id int) ([]ZoneServer, error) {
	var zone Zone
	err := c.objectAt(ctx, endpoint, "one.zone.info", &zone, id, false)
	return zone.Servers, err
}

// objectAt reads an object from one oned, whether it leads or not.
func (c *Client) objectAt(ctx context.Context, endpoint, method string, target any, arguments ...any) error {
	body, err := encodeCall(method, c.tokens.session(c.tokens.user), arguments)
	if err != nil {
		return err
	}
	warmed := c.warmups.enter(ctx, warmupKey{endpoint, c.tokens.user}, c.tokens.currentPeriod())
	received, err := c.exchangeAt(ctx, c.probes, endpoint, method, body)
	warmed(accepted(err))
	if err != nil {
		return err
	}
	defer received.release()
	text, err := received.textValue(method)
	if err != nil {
		return err
	}
	return object(method, text, target)
}
