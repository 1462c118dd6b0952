package pipeline

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"
)

const (
	// beat is how often a worker sends a heartbeat.
	beat = 200 * time.Millisecond
	// deadAfter is how long a worker may be silent.
	deadAfter = 800 * time.Millisecond
	// settle is how long a worker that joins waits for the others' answers
	// before it takes anything.
	settle = 100 * time.Millisecond
	// maxWorkers bounds what a membership remembers.
	maxWorkers = 1024
)

// heartbeatMessage is what workers tell each other on WorkerSubject.
type heartbeatMessage struct {
	Version int    `json:"v"`
	Worker  string `json:"worker"`
	// Process tells two processes of one worker id apart.
	Process string `json:"process"`
	// State is joining, alive or leaving.
	State string `json:"state"`
	// Blind reports whether the worker lives and cannot reach oned.
	Blind bool `json:"blind,omitempty"`
}

// sighting is what was last heard of a worker.
type sighting struct {
	at    time.Time
	blind bool
	// schema is the newest schema version that it knows.
	schema int
}

const (
	stateJoining = "joining"
	stateAlive   = "alive"
	stateLeaving = "leaving"
)

// Membership is a worker's place among the live ones.
//
// Safety: none; two workers may both believe to own a key for a second. That
// costs wasted work, and the records' compare-and-set keeps it harmless.
// Liveness: a worker that is gone, hangs or is cut off loses its keys to the
// others after 800 ms, and a worker that leaves at once. A worker counts
// itself by the same rule: what it owns depends on hearing its own heartbeat
// come back from the server, so one that is cut off or was suspended owns
// nothing. One that says it is blind owns nothing while another is not, and one
// of an older version nothing while there is a newer one, whose records it could
// not read.
type Membership struct {
	pipeline     *Pipeline
	worker       string
	process      string
	log          *slog.Logger
	subscription *nats.Subscription
	changes      chan struct{}
	leave        context.CancelFunc
	done         chan struct{}
	joined       time.Time

	mu    sync.Mutex
	seen  map[string]sighting
	owned map[string]bool
	blind bool
	twin  bool
	left  bool
}

// Join announces a worker and keeps it announced until Leave or until the
// pipeline closes; ctx is for joining only. The worker's id has to be its own.
func (p *Pipeline) Join(ctx context.Context, worker string) (*Membership, error) {
	m := &Membership{
		pipeline: p, worker: token(worker), process: nuid.Next(), log: p.log, joined: time.Now(),
		changes: make(chan struct{}, 1), done: make(chan struct{}),
		seen: map[string]sighting{}, owned: map[string]bool{},
	}
	err := ctx.Err()
	if err == nil {
		m.subscription, err = p.conn.Subscribe(SubjectsWorker, m.hear)
	}
	if err != nil {
		return nil, fmt.Errorf("join the workers as %s: %w", worker, err)
	}
	life, leave := context.WithCancel(p.life)
	m.leave = leave
	m.say(stateJoining)
	go m.run(life)
	return m, nil
}

// Owned is the set of keys that are this worker's now: "work-0" to "work-15"
// and "router".
func (m *Membership) Owned() map[string]bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.owned)
}

// Changes gets a signal when what Owned returns has changed. Signals that
// nobody takes merge into one.
func (m *Membership) Changes() <-chan struct{} { return m.changes }

// Workers lists the live workers, sorted, this one among them.
func (m *Membership) Workers() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.live(time.Now())
}

// SetBlind tells the others whether this worker can reach oned: they take over
// from one that cannot, unless nobody can.
func (m *Membership) SetBlind(blind bool) {
	m.mu.Lock()
	changed := m.blind != blind && !m.left
	m.blind = blind
	m.mu.Unlock()
	if changed {
		m.say(stateAlive)
	}
}

// Leave tells the others that the worker is gone, so that they take over at
// once, and ends the membership. It owns nothing afterwards.
func (m *Membership) Leave(ctx context.Context) {
	m.leave()
	select {
	case <-m.done:
	case <-ctx.Done():
	}
}

func (m *Membership) run(ctx context.Context) {
	defer close(m.done)
	ticker := time.NewTicker(beat)
	defer ticker.Stop()
	settled := time.NewTimer(settle)
	defer settled.Stop()
	for {
		select {
		case <-ctx.Done():
			m.goodbye()
			return
		case <-settled.C:
			m.refresh()
		case <-ticker.C:
			m.say(stateAlive)
			m.refresh()
		}
	}
}

func (m *Membership) goodbye() {
	_ = m.subscription.Unsubscribe()
	m.say(stateLeaving)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.seen, m.left = map[string]sighting{}, true
	m.apply(map[string]bool{})
}

// say sends a heartbeat. Without a connection there is nobody to hear it, and
// a stale one sent later would tell a lie.
func (m *Membership) say(state string) {
	if !m.pipeline.conn.IsConnected() {
		return
	}
	m.mu.Lock()
	message := heartbeatMessage{Version: m.pipeline.schema, Worker: m.worker, Process: m.process, State: state, Blind: m.blind}
	m.mu.Unlock()
	if err := m.pipeline.conn.Publish(WorkerSubject(m.worker), Encode(message)); err != nil {
		m.log.Debug("a heartbeat was not sent", "worker", m.worker, "error", err)
	}
}

// hear is called with every worker's heartbeats, one after the other.
func (m *Membership) hear(message *nats.Msg) {
	var heard heartbeatMessage
	if json.Unmarshal(message.Data, &heard) != nil || heard.Worker == "" {
		return
	}
	if heard.State == stateJoining && heard.Process != m.process {
		m.say(stateAlive) // Now, so that the new one knows whom it joins.
	}
	m.note(heard)
	m.refresh()
}

func (m *Membership) note(heard heartbeatMessage) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if heard.Worker == m.worker && heard.Process != m.process {
		m.warnTwin()
		return
	}
	if heard.State == stateLeaving {
		delete(m.seen, heard.Worker)
		return
	}
	if _, known := m.seen[heard.Worker]; known || len(m.seen) < maxWorkers {
		m.seen[heard.Worker] = sighting{at: time.Now(), blind: heard.Blind, schema: heard.Version}
	}
}

// warnTwin is called with mu held.
func (m *Membership) warnTwin() {
	if !m.twin {
		m.log.Error("another worker has the same id; give each its own", "worker", m.worker)
	}
	m.twin = true
}

// refresh works out anew what is owned, and signals a change.
func (m *Membership) refresh() {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	if m.left || now.Sub(m.joined) < settle {
		return // A heartbeat heard late does not bring back who has left.
	}
	m.apply(share(m.worker, m.able(now)))
}

// able are the workers that share the keys: those that are not blind, or all
// where everybody is, and of these the newest. It is called with mu held.
func (m *Membership) able(now time.Time) []string {
	all := m.live(now)
	seeing := slices.DeleteFunc(slices.Clone(all), func(worker string) bool { return m.seen[worker].blind })
	if len(seeing) == 0 {
		seeing = all
	}
	newest := 0
	for _, worker := range seeing {
		newest = max(newest, m.seen[worker].schema)
	}
	return slices.DeleteFunc(seeing, func(worker string) bool { return m.seen[worker].schema < newest })
}

// live is called with mu held.
func (m *Membership) live(now time.Time) []string {
	maps.DeleteFunc(m.seen, func(_ string, heard sighting) bool { return now.Sub(heard.at) >= deadAfter })
	return slices.Sorted(maps.Keys(m.seen))
}

// apply is called with mu held.
func (m *Membership) apply(owned map[string]bool) {
	if maps.Equal(owned, m.owned) {
		return
	}
	m.owned = owned
	m.log.Debug("this worker's share has changed", "worker", m.worker, "keys", len(owned))
	select {
	case m.changes <- struct{}{}:
	default:
	}
}
