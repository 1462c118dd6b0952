package sim

import (
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/flowjet/flowjet/sim/internal/statefile"
)

// catchUpTime is how long a server was behind that had been started again.
const catchUpTime = 10 * time.Second

// replication brings what the leader has committed into the databases of the
// zone's servers. The leader itself has the cloud; the others have a replica
// each, which is behind by up to the lag, and by more after a restart.
type replication struct {
	lag, catchUp time.Duration

	mu       sync.RWMutex
	index    atomic.Int64
	replicas []*replica
}

// replica is a server's database: copies of objects as they were at a commit.
// All replicas share the copies, which nobody changes.
type replica struct {
	cloud *cloud
	// pending are commits that are in the log and not yet in the database.
	pending []replicated
	// stopped: the server does not run. Its log catches up when it is back.
	stopped bool
	// index is the last commit in the database.
	index atomic.Int64
}

// replicated is a commit on its way to a replica.
type replicated struct {
	due     time.Time
	index   int64
	objects []copied
}

// copied is an object at a commit; nil where it is gone.
type copied struct {
	key  statefile.Key
	item any
}

// reset gives every replica all that the cloud has. The cloud's lock is held.
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

// commit queues what a change of the cloud has touched for every replica; the
// leader's has it at once. The cloud's lock is held.
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
		// Nothing for one half of them, as measured, and for the other up to the lag, a quarter of it
		// in the median.
		if i != leader && rand.IntN(2) == 0 { //nolint:gosec // no secret depends on it
			share := rand.Float64() //nolint:gosec // no secret depends on it
			due = at.Add(time.Duration(share * share * float64(r.lag)))
		}
		one.pending = append(one.pending, replicated{due: due, index: index, objects: objects})
		one.advance(at)
	}
}

// read hands a follower's database to the function.
func (r *replication) read(server int, what func(c *cloud)) {
	r.on(server, (*replica).advance)
	r.mu.RLock()
	defer r.mu.RUnlock()
	what(r.replicas[server].cloud)
}

// applied is the index of the last commit in a server's database.
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

// stop is for a server that is killed: its database stays as it is.
func (r *replication) stop(server int) {
	r.on(server, func(one *replica, at time.Time) {
		one.advance(at)
		one.stopped = true
	})
}

// start has a killed server catch up: after half of its time little by little.
func (r *replication) start(server int) {
	r.on(server, func(one *replica, at time.Time) {
		one.stopped = false
		for i := range one.pending {
			one.pending[i].due = at.Add(r.catchUp/2 + r.catchUp/2*time.Duration(i+1)/time.Duration(len(one.pending)))
		}
	})
}

// lead gives a server that leads from now on all that has been committed.
func (r *replication) lead(server int) {
	r.on(server, func(one *replica, at time.Time) {
		for i := range one.pending {
			one.pending[i].due = time.Time{}
		}
		one.stopped = false
		one.advance(at)
	})
}

// advance applies what is due, in order.
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
