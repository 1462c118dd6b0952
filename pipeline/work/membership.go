package work

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"

	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/internal/js"
	"github.com/flowjet/flowjet/pipeline/internal/liveness"
)

const (
	// beat is how often a worker announces itself.
	beat = 200 * time.Millisecond
	// deadAfter is how long a worker may be silent.
	deadAfter = 800 * time.Millisecond
	// deadAtMost is how long it may be silent if heartbeats of live workers were late in the last minute: each time that a
	// worker loses its keys it reads their messages again, and over a network that loses packets it would do nothing else.
	deadAtMost = 5 * time.Second
	// settle is how long a joining worker waits for the others' answers before it takes any key.
	settle = 100 * time.Millisecond
)

// Membership is a worker among the live ones.
//
// Safety: none; two workers may both believe to own a key for a second. That costs wasted work, and
// the records' compare-and-set keeps it harmless. Liveness: a worker that is gone, hangs or is cut
// off loses its keys to the others after 800 ms, or 5 s in a minute in which heartbeats came late, and a worker that leaves at once. A worker counts
// itself by the same rule: its keys depend on its own heartbeat coming back from the
// server, so a worker that is cut off or was suspended owns nothing. See Owners for how keys are
// divided.
type Membership struct {
	core         *js.Client
	schema       int
	worker       string
	process      string
	subscription *nats.Subscription
	workers      *liveness.Set[pipeline.WorkerBeat]
	changes      chan struct{}
	liveness.Announcer
	settled *time.Timer
	joined  time.Time

	mu          sync.Mutex
	owned       map[string]bool
	unreachable bool
	blocked     string
	twin        bool
	left        bool
}

// Join announces a worker and keeps it announced until Leave or until the
// pipeline closes; ctx is for joining only. The worker's id has to be its own.
func Join(ctx context.Context, p *pipeline.Pipeline, worker string) (*Membership, error) {
	m := &Membership{
		core: p.Client, schema: p.Schema(), worker: pipeline.Token(worker), process: nuid.Next(), joined: time.Now(),
		changes: make(chan struct{}, 1),
		workers: liveness.New[pipeline.WorkerBeat](deadAfter, deadAtMost), owned: map[string]bool{},
	}
	err := ctx.Err()
	if err == nil {
		m.subscription, err = p.Conn().Subscribe(pipeline.SubjectsWorker, m.receive)
	}
	if err != nil {
		return nil, fmt.Errorf("join the workers as %s: %w", worker, err)
	}
	m.announce(pipeline.WorkerJoining)
	m.settled = time.AfterFunc(settle, m.refresh)
	m.Announcer = liveness.Announce(m.core.Life(), beat, m.beat)
	return m, nil
}

// Owned returns this worker's current keys: "work-0" to "work-15", "router" and "autoscaler".
func (m *Membership) Owned() map[string]bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.owned)
}

// Changes returns a channel that is signalled when the result of Owned has changed. Pending signals merge into one.
func (m *Membership) Changes() <-chan struct{} { return m.changes }

// SetTrouble announces whether this worker can reach oned, for the others take over from a worker that cannot, unless none
// can; and why one of its services waits, empty if none does.
func (m *Membership) SetTrouble(unreachable bool, blocked string) {
	m.mu.Lock()
	changed := m.unreachable != unreachable && !m.left
	m.unreachable, m.blocked = unreachable, blocked
	m.mu.Unlock()
	if changed {
		m.announce(pipeline.WorkerAlive)
	}
}

// beat announces the worker; a leaving worker owns nothing.
func (m *Membership) beat(leaving bool) {
	if !leaving {
		m.announce(pipeline.WorkerAlive)
		m.refresh()
		return
	}
	m.settled.Stop()
	_ = m.subscription.Unsubscribe()
	m.announce(pipeline.WorkerLeaving)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.left = true
	m.workers.Clear()
	m.apply(map[string]bool{})
}

func (m *Membership) announce(state string) {
	m.mu.Lock()
	said := pipeline.WorkerBeat{Version: m.schema, Worker: m.worker, Process: m.process, State: state, OnedUnreachable: m.unreachable, Blocked: m.blocked}
	m.mu.Unlock()
	if err := m.core.Announce(pipeline.WorkerSubject(m.worker), pipeline.Encode(said)); err != nil {
		m.core.Log().Debug("a heartbeat was not sent", "worker", m.worker, "error", err)
	}
}

// receive is called with every worker's heartbeats, one after the other.
func (m *Membership) receive(message *nats.Msg) {
	var heard pipeline.WorkerBeat
	if json.Unmarshal(message.Data, &heard) != nil || heard.Worker == "" {
		return
	}
	own := heard.Process == m.process
	if heard.State == pipeline.WorkerJoining && !own {
		m.announce(pipeline.WorkerAlive) // now, so that the new one knows the others
	}
	switch {
	case heard.Worker == m.worker && !own:
		m.mu.Lock()
		if !m.twin {
			m.core.Log().Error("another worker has the same id; ids must be unique", "worker", m.worker)
		}
		m.twin = true
		m.mu.Unlock()
	case heard.State == pipeline.WorkerLeaving:
		m.workers.Left(heard.Worker)
	default:
		if heard.State == pipeline.WorkerJoining {
			m.workers.Left(heard.Worker) // a worker that was started again was not late
		}
		m.workers.Heard(heard.Worker, heard)
	}
	m.refresh()
}

// refresh computes the owned keys again, and signals a change.
func (m *Membership) refresh() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.left || time.Since(m.joined) < settle {
		return // a late heartbeat does not bring back a worker that left
	}
	owned := map[string]bool{}
	for key, owner := range Owners(m.workers.Live()) {
		if owner == m.worker {
			owned[key] = true
		}
	}
	m.apply(owned)
}

// apply is called with mu held.
func (m *Membership) apply(owned map[string]bool) {
	if maps.Equal(owned, m.owned) {
		return
	}
	m.owned = owned
	m.core.Log().Debug("the partitions of this worker have changed", "worker", m.worker, "keys", len(owned))
	select {
	case m.changes <- struct{}{}:
	default:
	}
}

// Observer is the last heartbeat of each live worker, by its id.
type Observer = liveness.Set[pipeline.WorkerBeat]

// Observe begins to follow the workers without being one; all of them are known after a
// heartbeat's time. Stop ends it.
func Observe(p *pipeline.Pipeline) (*Observer, error) {
	return liveness.Listen(p.Conn(), pipeline.SubjectsWorker, deadAfter, func(heard pipeline.WorkerBeat) (string, bool) {
		return heard.Worker, heard.State == pipeline.WorkerLeaving
	})
}

// Owners returns the worker of each key, as every worker computes it for itself. Workers
// that cannot reach oned get nothing while another can, and those of an older
// version nothing while there is a newer one, whose records they could not read.
func Owners(live map[string]pipeline.WorkerBeat) map[string]string {
	able := slices.Sorted(maps.Keys(live))
	reaching := slices.DeleteFunc(slices.Clone(able), func(worker string) bool { return live[worker].OnedUnreachable })
	if len(reaching) > 0 {
		able = reaching
	}
	newest := 0
	for _, worker := range able {
		newest = max(newest, live[worker].Version)
	}
	return rendezvous(slices.DeleteFunc(able, func(worker string) bool { return live[worker].Version < newest }))
}

type claim struct {
	key, worker string
	weight      uint64
}

// rendezvous gives each key to the worker with the highest weight for it, but no worker gets more than
// its part of the partitions. So every worker finds the same without asking, a worker that joins or leaves
// moves little but its own part, and twice as many workers do twice as much.
func rendezvous(workers []string) map[string]string {
	if len(workers) == 0 {
		return nil
	}
	var claims []claim
	for _, key := range pipeline.Keys() {
		for _, worker := range workers {
			sum := sha256.Sum256([]byte(key + "\x00" + worker))
			claims = append(claims, claim{key, worker, binary.BigEndian.Uint64(sum[:8])})
		}
	}
	slices.SortFunc(claims, func(a, b claim) int {
		return cmp.Or(cmp.Compare(b.weight, a.weight), cmp.Compare(b.worker, a.worker), cmp.Compare(a.key, b.key))
	})
	most := (pipeline.Partitions + len(workers) - 1) / len(workers)
	owner, partitions := map[string]string{}, map[string]int{}
	for _, c := range claims {
		isPartition := strings.HasPrefix(c.key, pipeline.PartitionKeyPrefix)
		if owner[c.key] != "" || isPartition && partitions[c.worker] == most {
			continue
		}
		owner[c.key] = c.worker
		if isPartition {
			partitions[c.worker]++
		}
	}
	return owner
}
