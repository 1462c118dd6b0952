package sim

import (
	"time"
)

// minForwardTimeout bounds how long a follower waits for a connection of the
// leader's at least.
const minForwardTimeout = 200 * time.Millisecond

// forwardTimeout is how long a follower waits for a connection of the leader's.
// oned's XMLRPC_TIMEOUT_MS is to its ELECTION_TIMEOUT_MS as this is to half of
// the time of an election.
func (s *Sim) forwardTimeout() time.Duration {
	return max(s.config.ElectionTime*2/5, minForwardTimeout)
}

// depose leaves the zone without a leader and has it elect another one. It is
// called with lifeMu held.
func (s *Sim) depose(first raftPhase) {
	s.update(func(t *tx) {
		round := s.raft.enter(first)
		t.loseDrivers()
		s.after(round, first)
	})
	s.attachLeader()
}

// after has an election go on from a phase: the others notice after half of
// its time that the leader is gone, ask for votes for a quarter, and are
// followers of nobody for the last one.
func (s *Sim) after(round uint64, phase raftPhase) {
	quarter := s.config.ElectionTime / 4
	switch phase {
	case phaseUnnoticed:
		s.clock.after(2*quarter, func() { s.proceed(round, phaseElection) })
	case phaseElection:
		s.clock.after(quarter, func() { s.proceed(round, phaseUndecided) })
	case phaseUndecided:
		s.clock.after(quarter, func() {
			s.lifeMu.Lock()
			defer s.lifeMu.Unlock()
			if s.running && s.raft.current() == round {
				_ = s.moveLeadership() // without a server that runs the next one to start leads
			}
		})
	}
}

func (s *Sim) proceed(round uint64, phase raftPhase) {
	s.lifeMu.Lock()
	defer s.lifeMu.Unlock()
	if s.running && s.raft.current() == round {
		s.after(s.raft.enter(phase), phase)
	}
}

// lead makes a server the leader: pending VMs go on. It is called with lifeMu
// held.
func (s *Sim) lead(n int) {
	s.mu.Lock()
	s.raft.elected(n, s.config.ElectionTime/10)
	s.replication.lead(n)
	s.takeOver()
	s.mu.Unlock()
	s.attachLeader()
}

// watchConnections has the zone elect whenever a follower has had no
// connection free for as long as it waits for its leader: the leader's
// messages do not get through to it.
func (s *Sim) watchConnections() {
	if len(s.servers) == 1 || s.config.MaxConnections < 0 {
		return
	}
	patience := s.config.ElectionTime / 2
	s.clock.after(max(patience/4, time.Millisecond), func() {
		s.lifeMu.Lock()
		defer s.lifeMu.Unlock()
		if !s.running {
			return
		}
		leader := s.raft.leader()
		for i, one := range s.servers {
			waited := min(one.gate.starved(), s.raft.ledFor())
			if leader >= 0 && i != leader && one.sockets != nil && waited > patience {
				s.depose(phaseElection)
				break
			}
		}
		s.watchConnections()
	})
}
