package sim

import (
	"sync"
	"time"

	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/sim/internal/template"
	"github.com/flowjet/flowjet/sim/internal/xmlrpc"
)

// electionTime is how long a zone had no leader after its leader's end.
const electionTime = 5 * time.Second

// raftPhase is how far a zone has come with finding a leader.
type raftPhase int

const (
	// phaseLed: somebody leads.
	phaseLed raftPhase = iota
	// phaseUnnoticed: the leader is gone and the others still send it writes.
	phaseUnnoticed
	// phaseElection: the servers ask each other for votes.
	phaseElection
	// phaseUndecided: nobody won; the servers follow nobody until the next try.
	phaseUndecided
)

// raft is who leads the zone. A committed write is in every server's log at
// once and in its database later (see replica).
type raft struct {
	mu    sync.Mutex
	state raftState
}

// raftState is who leads at a moment.
type raftState struct {
	// zone: there is, or was, an election; a server alone has none.
	zone  bool
	phase raftPhase
	// last is the server that leads or has led last.
	last int
	term int
	// round changes with every phase: what was begun in another one is void.
	round uint64
	// began is when the leader began to lead, reconciled when it has replicated
	// its log and takes writes.
	began, reconciled time.Time
}

func (r *raft) now() raftState {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state
}

// leader is the leading server, -1 while none does.
func (s raftState) leader() int {
	if s.phase != phaseLed {
		return -1
	}
	return s.last
}

// elected makes a server the leader, in a new term. It takes no writes for as
// long as it replicates its log.
func (r *raft) elected(server int, replicating time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state = raftState{
		zone: true, last: server, term: r.state.term + 1, round: r.state.round + 1,
		began: time.Now(), reconciled: time.Now().Add(replicating),
	}
}

// enter begins a phase without a leader, and returns its round.
func (r *raft) enter(phase raftPhase) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if phase != phaseUnnoticed {
		r.state.term++
	}
	r.state.zone, r.state.phase = true, phase
	r.state.round++
	return r.state.round
}

// depose leaves the zone without a leader and has it elect another one. z.mu is held.
func (z *zone) depose(first raftPhase) {
	z.db.update(func(t *tx) {
		round := z.raft.enter(first)
		t.loseDrivers()
		z.after(round, first)
	})
	z.attachLeader()
}

// after has an election go on from a phase: the others notice after half of its time that the
// leader is gone, ask for votes for a quarter, and are followers of nobody for the last one.
func (z *zone) after(round uint64, phase raftPhase) {
	wait, next := z.config.ElectionTime/4, phaseUndecided
	if phase == phaseUnnoticed {
		wait, next = z.config.ElectionTime/2, phaseElection
	}
	z.db.clock.After(wait, func() {
		z.mu.Lock()
		defer z.mu.Unlock()
		switch {
		case !z.running || z.raft.now().round != round:
		case phase == phaseUndecided:
			_ = z.moveLeadership() // without a server that runs the next one to start leads
		default:
			z.after(z.raft.enter(next), next)
		}
	})
}

// lead makes a server the leader: pending VMs go on. z.mu is held.
func (z *zone) lead(n int) {
	z.db.locked(func() {
		z.raft.elected(n, z.config.ElectionTime/10)
		z.db.replication.lead(n)
		z.db.takeOver()
	})
	z.attachLeader()
}

// watchConnections has the zone elect whenever a follower has had no connection free for as long as
// it waits for its leader: the leader's messages do not get through to it.
func (z *zone) watchConnections() {
	if len(z.servers) == 1 || z.config.MaxConnections < 0 {
		return
	}
	patience := z.config.ElectionTime / 2
	z.db.clock.After(max(patience/4, time.Millisecond), func() {
		z.mu.Lock()
		defer z.mu.Unlock()
		if !z.running {
			return
		}
		raft := z.raft.now()
		for i, one := range z.servers {
			waited := min(one.gate.Starved(), time.Since(raft.began))
			if raft.phase == phaseLed && i != raft.last && one.sockets != nil && waited > patience {
				z.depose(phaseElection)
				break
			}
		}
		z.watchConnections()
	})
}

// zoneInfo is one.zone.info: one zone with its servers.
func zoneInfo(r *request) answer {
	if r.int(1) != 0 {
		return answer{refusal: notFound("zone", r.int(1))}
	}
	return xmlAnswer("ZONE", func(w *xmlrpc.Writer) {
		w.Fields("ID", 0, "NAME", "OpenNebula", "STATE", 0)
		template.Of("ENDPOINT", r.server.zone.Endpoint(), "ENDPOINT_GRPC", "localhost:2634").Write(w, "TEMPLATE")
		w.Open("SERVER_POOL")
		if r.server.zone.raft.now().zone {
			for _, server := range r.server.zone.servers {
				w.Group("SERVER", "ENDPOINT", cdata(server.endpoint()), "ENDPOINT_GRPC", cdata(""),
					"ID", cdata(itoa(server.index)), "NAME", cdata("server-"+itoa(server.index)))
			}
		}
		w.Shut("SERVER_POOL")
	})
}

// zoneRaftStatus is one.zone.raftstatus, which each server answers for itself.
func zoneRaftStatus(r *request) answer {
	raft, applied := r.server.zone.raft.now(), r.server.zone.db.replication.applied(r.server.index)
	state, id, vote := opennebula.RaftFollower, r.server.index, -1
	switch {
	case !raft.zone:
		state, id = opennebula.RaftSolo, -1
	case raft.leader() == id:
		state, vote = opennebula.RaftLeader, id
	case raft.phase == phaseElection:
		state, vote = opennebula.RaftCandidate, id
	}
	return xmlAnswer("RAFT", func(w *xmlrpc.Writer) {
		w.Fields("SERVER_ID", id, "STATE", int(state), "TERM", raft.term, "VOTEDFOR", vote, "COMMIT", applied,
			"LOG_INDEX", applied, "LOG_TERM", raft.term, "FEDLOG_INDEX", -1)
	})
}
