package sim

import "time"

// electionTime is how long a zone had no leader after its leader's end.
const electionTime = 5 * time.Second

// depose leaves the zone without a leader and has it elect another one. z.mu is
// held.
func (z *zone) depose(first raftPhase) {
	z.db.update(func(t *tx) {
		round := z.raft.enter(first)
		t.loseDrivers()
		z.after(round, first)
	})
	z.attachLeader()
}

// after has an election go on from a phase: the others notice after half of
// its time that the leader is gone, ask for votes for a quarter, and are
// followers of nobody for the last one.
func (z *zone) after(round uint64, phase raftPhase) {
	quarter := z.config.ElectionTime / 4
	switch phase {
	case phaseUnnoticed:
		z.db.clock.after(2*quarter, func() { z.proceed(round, phaseElection) })
	case phaseElection:
		z.db.clock.after(quarter, func() { z.proceed(round, phaseUndecided) })
	case phaseUndecided:
		z.db.clock.after(quarter, func() {
			z.mu.Lock()
			defer z.mu.Unlock()
			if z.running && z.raft.current() == round {
				_ = z.moveLeadership() // without a server that runs the next one to start leads
			}
		})
	}
}

func (z *zone) proceed(round uint64, phase raftPhase) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if z.running && z.raft.current() == round {
		z.after(z.raft.enter(phase), phase)
	}
}

// lead makes a server the leader: pending VMs go on. z.mu is held.
func (z *zone) lead(n int) {
	z.db.mu.Lock()
	z.raft.elected(n, z.config.ElectionTime/10)
	z.db.replication.lead(n)
	z.db.takeOver()
	z.db.mu.Unlock()
	z.attachLeader()
}

// watchConnections has the zone elect whenever a follower has had no
// connection free for as long as it waits for its leader: the leader's
// messages do not get through to it.
func (z *zone) watchConnections() {
	if len(z.servers) == 1 || z.config.MaxConnections < 0 {
		return
	}
	patience := z.config.ElectionTime / 2
	z.db.clock.after(max(patience/4, time.Millisecond), func() {
		z.mu.Lock()
		defer z.mu.Unlock()
		if !z.running {
			return
		}
		leader := z.raft.leader()
		for i, one := range z.servers {
			waited := min(one.gate.starved(), z.raft.ledFor())
			if leader >= 0 && i != leader && one.sockets != nil && waited > patience {
				z.depose(phaseElection)
				break
			}
		}
		z.watchConnections()
	})
}
