package sim

import (
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/sim/internal/statefile"
	"github.com/flowjet/flowjet/sim/internal/template"
	"github.com/flowjet/flowjet/sim/internal/xmlrpc"
)

// electionTime is how long a zone had no leader after its leader's end.
const electionTime = 5 * time.Second

// raftPhase is a phase of an election.
type raftPhase int

const (
	phaseLed       raftPhase = iota // there is a leader
	phaseUnnoticed                  // the leader is gone and the others still send it writes
	phaseElection                   // the servers ask each other for votes
	phaseUndecided                  // no server won; the servers follow nobody until the next try
)

// raft tracks the zone's leader. A committed write is in every server's log at once and in its database later (see
// replica).
type raft struct {
	mu    sync.Mutex
	state raftState
}

// raftState is the leadership at a moment.
type raftState struct {
	zone  bool // there is, or was, an election; a server alone has none
	phase raftPhase
	last  int // the current or last leader
	term  int
	round uint64 // changes with every phase: timers of another round are void
	// began is when the leader began to lead, reconciled when it has replicated its log and accepts writes.
	began, reconciled time.Time
}

func (r *raft) now() raftState {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state
}

// leader returns the leading server, -1 if there is none.
func (s raftState) leader() int {
	if s.phase != phaseLed {
		return -1
	}
	return s.last
}

// elected makes a server the leader, in a new term. It accepts no writes while it replicates its log.
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

// depose leaves the zone without a leader and starts an election. z.mu is held.
func (z *zone) depose(first raftPhase) {
	z.db.update(func(t *tx) {
		round := z.raft.enter(first)
		t.loseDrivers()
		z.after(round, first)
	})
	z.attachLeader()
}

// after continues an election from a phase: the others notice after half of its time that the leader is gone, ask for votes
// for a quarter, and follow nobody for the last quarter.
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
			_ = z.moveLeadership() // without a running server the next one to start leads
		default:
			z.after(z.raft.enter(next), next)
		}
	})
}

// lead makes a server the leader: pending VMs continue. z.mu is held.
func (z *zone) lead(n int) {
	z.db.locked(func() {
		z.raft.elected(n, z.config.ElectionTime/10)
		z.db.replication.lead(n)
		z.db.takeOver()
	})
	z.attachLeader()
}

// LoseWrites has a server lack these documents and VMs, also while it leads, as one that has lost writes in the middle of its log: every
// other server has them. Without any the server is whole again.
func (z *zone) LoseWrites(n int, documents, vms []int) error {
	if _, err := z.serverNumbered(n); err != nil {
		return err
	}
	lost := map[statefile.Key]bool{}
	for kind, ids := range map[string][]int{kindDocument: documents, kindVM: vms} {
		for _, id := range ids {
			lost[statefile.Key{Kind: kind, ID: id}] = true
		}
	}
	z.db.locked(func() { z.db.lost[n] = lost })
	return nil
}

// watchConnections starts an election when a follower has had no free connection for as long as it waits for its leader:
// the leader's messages do not reach it.
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
func zoneInfo(r *request) any {
	id := r.server.zone.config.Zone
	if r.int(1) != id {
		notFound("zone", r.int(1))
	}
	return xmlrpc.Text("ZONE", func(w *xmlrpc.Writer) {
		w.Fields("ID", id, "NAME", "OpenNebula", "STATE", 0)
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

// systemConfig is one.system.config, of which only the zone's id is simulated.
func systemConfig(r *request) any {
	return xmlrpc.Text("OPENNEBULA_CONFIGURATION", func(w *xmlrpc.Writer) {
		w.Within("FEDERATION", func(w *xmlrpc.Writer) { w.Fields("ZONE_ID", cdata(itoa(r.server.zone.config.Zone))) })
	})
}

// zoneRaftStatus is one.zone.raftstatus; each server answers for itself.
func zoneRaftStatus(r *request) any {
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
	return xmlrpc.Text("RAFT", func(w *xmlrpc.Writer) {
		w.Fields("SERVER_ID", id, "STATE", int(state), "TERM", raft.term, "VOTEDFOR", vote, "COMMIT", applied,
			"LOG_INDEX", applied, "LOG_TERM", raft.term, "FEDLOG_INDEX", -1)
	})
}

// catchUpTime is how long a server was behind after a restart.
const catchUpTime = 10 * time.Second

// replication copies the leader's commits into the databases of the zone's servers. The leader itself has the cloud; the
// others have a replica each, which is behind by up to the lag, and by more after a restart.
type replication struct {
	lag, catchUp time.Duration

	mu       sync.RWMutex
	index    atomic.Int64
	replicas []*replica
}

// replica is a server's database: copies of objects as they were at a commit. All replicas share the copies, which never
// change.
type replica struct {
	cloud   *cloud
	pending []replicated // commits that are in the log and not yet in the database
	stopped bool         // the server does not run. Its log catches up when it is back.
	index   atomic.Int64 // the last commit in the database
}

// replicated is a commit on its way to a replica.
type replicated struct {
	due     time.Time
	index   int64
	objects []copied
}

// copied is an object at a commit; nil if it is removed.
type copied struct {
	key  statefile.Key
	item any
}

// reset copies the whole cloud to every replica. The cloud's lock is held.
func (r *replication) reset(c *cloud) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.replicas) == 0 {
		return
	}
	var all []copied
	for kind, items := range c.byKind {
		for id, item := range items.copies() {
			all = append(all, copied{statefile.Key{Kind: kind, ID: id}, item})
		}
	}
	for _, one := range r.replicas {
		one.cloud, one.pending, one.stopped = &cloud{pools: newPools(), hosts: c.hosts}, nil, false
		one.apply(replicated{index: r.index.Load(), objects: all})
	}
}

// commit queues the records of a change of the cloud for every replica; the leader's has it at once. The cloud's lock is
// held.
func (r *replication) commit(t *tx, leader int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	index := r.index.Add(1)
	if len(r.replicas) == 0 {
		return
	}
	objects := make([]copied, 0, len(t.order))
	for _, key := range t.order {
		if items := t.cloud.byKind[key.Kind]; items != nil {
			objects = append(objects, copied{key, items.copyOf(t.dirty[key])})
		}
	}
	at := time.Now()
	for i, one := range r.replicas {
		due := at
		// Half of them have no delay, as measured, and the others one of up to the lag, a quarter of it in the median.
		if i != leader && rand.IntN(2) == 0 { //nolint:gosec // no secret depends on it
			share := rand.Float64() //nolint:gosec // no secret depends on it
			due = at.Add(time.Duration(share * share * float64(r.lag)))
		}
		one.pending = append(one.pending, replicated{due: due, index: index, objects: objects})
		one.advance(at)
	}
}

// read calls the function with a follower's database.
func (r *replication) read(server int, what func(c *cloud)) {
	r.on(server, (*replica).advance)
	r.mu.RLock()
	defer r.mu.RUnlock()
	what(r.replicas[server].cloud)
}

// applied returns the index of the last commit in a server's database.
func (r *replication) applied(server int) int {
	if len(r.replicas) == 0 {
		return int(r.index.Load())
	}
	return int(r.replicas[server].index.Load())
}

// on changes a server's replica, if it has one.
func (r *replication) on(server int, change func(one *replica, at time.Time)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.replicas) > 0 {
		change(r.replicas[server], time.Now())
	}
}

// stop is for a server that is killed: its database stops changing.
func (r *replication) stop(server int) {
	r.on(server, func(one *replica, at time.Time) {
		one.advance(at)
		one.stopped = true
	})
}

// start lets a killed server catch up: after half of its time little by little.
func (r *replication) start(server int) {
	r.on(server, func(one *replica, at time.Time) {
		one.stopped = false
		for i := range one.pending {
			one.pending[i].due = at.Add(r.catchUp/2 + r.catchUp/2*time.Duration(i+1)/time.Duration(len(one.pending)))
		}
	})
}

// lead applies all commits to the database of a server that becomes the leader.
func (r *replication) lead(server int) {
	r.on(server, func(one *replica, at time.Time) {
		for i := range one.pending {
			one.pending[i].due = time.Time{}
		}
		one.stopped = false
		one.advance(at)
	})
}

// advance applies due commits, in order.
func (r *replica) advance(at time.Time) {
	done := 0
	for !r.stopped && done < len(r.pending) && !r.pending[done].due.After(at) {
		r.apply(r.pending[done])
		done++
	}
	r.pending = slices.Delete(r.pending, 0, done)
}

func (r *replica) apply(c replicated) {
	r.index.Store(c.index)
	for _, object := range c.objects {
		key := object.key
		r.cloud.next[key.Kind] = max(r.cloud.next[key.Kind], key.ID+1)
		r.cloud.byKind[key.Kind].put(key.ID, object.item)
	}
}
