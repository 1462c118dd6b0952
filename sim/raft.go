package sim

import (
	"sync"
	"time"

	"github.com/flowjet/flowjet/opennebula"
)

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
	mu sync.Mutex
	// zone: there is, or was, an election; a server alone has none.
	zone  bool
	phase raftPhase
	// last is the server that leads or has led last.
	last int
	term int
	// round changes with every phase: what was begun in another one is void.
	round uint64
	// began is when the phase began.
	began time.Time
	// reconciled is when a new leader has replicated its log and takes writes.
	reconciled time.Time
}

// leader is the leading server, -1 while none does.
func (r *raft) leader() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.phase != phaseLed {
		return -1
	}
	return r.last
}

func (r *raft) leads(server int) bool { return r.leader() == server }

// lastLeader is the server that leads or has led last.
func (r *raft) lastLeader() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last
}

// current is the round that is on.
func (r *raft) current() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.round
}

// elected makes a server the leader, in a new term. It takes no writes for as
// long as it replicates its log.
func (r *raft) elected(server int, replicating time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.zone, r.phase, r.last = true, phaseLed, server
	r.term++
	r.round++
	r.began = time.Now()
	r.reconciled = r.began.Add(replicating)
}

// enter begins a phase without a leader, and returns its round.
func (r *raft) enter(phase raftPhase) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if phase != phaseUnnoticed {
		r.term++
	}
	r.zone, r.phase = true, phase
	r.round++
	return r.round
}

// raftStatus is what a server says of itself.
type raftStatus struct {
	state          opennebula.RaftState
	id, term, vote int
}

func (r *raft) status(server int) raftStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	status := raftStatus{state: opennebula.RaftFollower, id: server, term: r.term, vote: -1}
	switch {
	case !r.zone:
		status.state, status.id = opennebula.RaftSolo, -1
	case r.phase == phaseLed && r.last == server:
		status.state, status.vote = opennebula.RaftLeader, server
	case r.phase == phaseElection:
		status.state, status.vote = opennebula.RaftCandidate, server
	}
	return status
}

// ledFor is for how long the leader has led, 0 without one.
func (r *raft) ledFor() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.phase != phaseLed {
		return 0
	}
	return time.Since(r.began)
}

// reconciling reports whether the leader takes no writes yet.
func (r *raft) reconciling() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.phase == phaseLed && time.Now().Before(r.reconciled)
}

func (r *raft) currentPhase() raftPhase {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.phase
}

func (r *raft) isZone() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.zone
}
