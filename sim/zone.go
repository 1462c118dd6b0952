package sim

import "bytes"

// raftState is a server's STATE in one.zone.raftstatus.
type raftState int32

const (
	raftSolo     raftState = 0
	raftFollower raftState = 2
	raftLeader   raftState = 3
)

// leads says that this server may change things.
func (s *Sim) leads() bool { return raftState(s.raft.Load()) != raftFollower }

// zoneInfo is one.zone.info: one zone, whose servers are this one and its
// peers.
func zoneInfo(r *request) answer {
	if r.int(1) != 0 {
		return refusedAnswer(notFound("zone", r.int(1)))
	}
	var b bytes.Buffer
	open(&b, "ZONE")
	number(&b, "ID", 0)
	element(&b, "NAME", "OpenNebula")
	number(&b, "STATE", 0)
	template{single("ENDPOINT", r.sim.Endpoint())}.write(&b, "TEMPLATE")
	open(&b, "SERVER_POOL")
	if raftState(r.sim.raft.Load()) != raftSolo {
		for i, endpoint := range append([]string{r.sim.Endpoint()}, r.sim.config.Peers...) {
			open(&b, "SERVER")
			element(&b, "ENDPOINT", endpoint)
			number(&b, "ID", i)
			element(&b, "NAME", "server-"+itoa(i))
			shut(&b, "SERVER")
		}
	}
	shut(&b, "SERVER_POOL")
	shut(&b, "ZONE")
	return textAnswer(b.String())
}

func zoneRaftStatus(r *request) answer {
	var b bytes.Buffer
	state := raftState(r.sim.raft.Load())
	serverID, votedFor := 0, 0
	if state == raftSolo {
		serverID, votedFor = -1, -1
	}
	open(&b, "RAFT")
	number(&b, "SERVER_ID", serverID)
	number(&b, "STATE", int(state))
	number(&b, "TERM", int(r.sim.term.Load()))
	number(&b, "VOTEDFOR", votedFor)
	number(&b, "COMMIT", int(r.sim.requests.Load()))
	number(&b, "LOG_INDEX", int(r.sim.requests.Load()))
	number(&b, "LOG_TERM", int(r.sim.term.Load()))
	number(&b, "FEDLOG_INDEX", -1)
	shut(&b, "RAFT")
	return textAnswer(b.String())
}

// LoseLeadership makes this server a follower: it refuses writes, publishes
// nothing, and its VMs stay where they are.
func (s *Sim) LoseLeadership() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.raft.Store(int32(raftFollower))
}

// GainLeadership makes this server the leader, in a new term; what was on its
// way goes on.
func (s *Sim) GainLeadership() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.raft.Store(int32(raftLeader))
	s.term.Add(1)
	s.resumeSteps()
}
