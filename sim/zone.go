package sim

import (
	"sync/atomic"
)

// raftState is a server's STATE in one.zone.raftstatus.
type raftState int

const (
	raftSolo      raftState = 0
	raftCandidate raftState = 1
	raftFollower  raftState = 2
	raftLeader    raftState = 3
)

// raft is who leads the zone. What the servers have is one and the same state,
// as if every log entry were replicated at once. It changes under the
// simulator's lock and is read without.
type raft struct {
	// zone says that there is, or was, an election: a server alone has none.
	zone atomic.Bool
	// deposed says that nobody leads.
	deposed atomic.Bool
	// last is the server that leads or has led last.
	last atomic.Int32
	term atomic.Int32
}

// leader is the leading server, -1 while none does.
func (r *raft) leader() int {
	if r.deposed.Load() {
		return -1
	}
	return int(r.last.Load())
}

func (r *raft) leads(server int) bool { return r.leader() == server }

func (r *raft) elected(server int) {
	r.zone.Store(true)
	r.last.Store(int32(server)) //nolint:gosec // a zone has a handful of servers
	r.term.Add(1)
	r.deposed.Store(false)
}

func (r *raft) depose() {
	r.zone.Store(true)
	r.deposed.Store(true)
}

// state is what a server says of itself; while nobody leads, the servers of a
// zone are candidates, and one that has no others follows nobody.
func (r *raft) state(server, servers int) raftState {
	switch {
	case !r.zone.Load():
		return raftSolo
	case r.leads(server):
		return raftLeader
	case r.leader() < 0 && servers > 1:
		return raftCandidate
	}
	return raftFollower
}

// zoneInfo is one.zone.info: one zone with its servers.
func zoneInfo(r *request) answer {
	if r.int(1) != 0 {
		return refusedAnswer(notFound("zone", r.int(1)))
	}
	return xmlAnswer(func(b *xmlWriter) {
		open(b, "ZONE")
		number(b, "ID", 0)
		element(b, "NAME", "OpenNebula")
		number(b, "STATE", 0)
		template{single("ENDPOINT", r.sim.Endpoint()), single("ENDPOINT_GRPC", "localhost:2634")}.write(b, "TEMPLATE")
		open(b, "SERVER_POOL")
		if r.sim.raft.zone.Load() {
			for _, server := range r.sim.servers {
				open(b, "SERVER")
				cdata(b, "ENDPOINT", server.endpoint())
				cdata(b, "ENDPOINT_GRPC", "")
				cdata(b, "ID", itoa(server.index))
				cdata(b, "NAME", "server-"+itoa(server.index))
				shut(b, "SERVER")
			}
		}
		shut(b, "SERVER_POOL")
		shut(b, "ZONE")
	})
}

// zoneRaftStatus is one.zone.raftstatus, which each server answers for itself.
func zoneRaftStatus(r *request) answer {
	return xmlAnswer(func(b *xmlWriter) {
		state := r.sim.raft.state(r.server, len(r.sim.servers))
		serverID, votedFor := r.server, int(r.sim.raft.last.Load())
		if state == raftSolo {
			serverID, votedFor = -1, -1
		}
		term := int(r.sim.raft.term.Load())
		open(b, "RAFT")
		number(b, "SERVER_ID", serverID)
		number(b, "STATE", int(state))
		number(b, "TERM", term)
		number(b, "VOTEDFOR", votedFor)
		number(b, "COMMIT", int(r.sim.requests.Load()))
		number(b, "LOG_INDEX", int(r.sim.requests.Load()))
		number(b, "LOG_TERM", term)
		number(b, "FEDLOG_INDEX", -1)
		shut(b, "RAFT")
	})
}
