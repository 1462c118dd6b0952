package sim

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/sim/internal/clock"
	"github.com/flowjet/flowjet/sim/internal/statefile"
)

// database is shared by the zone's servers: the cloud and its changes, the state file and the events about them.
type database struct {
	config      Config
	raft        *raft
	replication *replication
	delays      *delays
	hooks       *hooks

	mu          sync.RWMutex // guards the cloud, the settings of boots, what is lost, and whether changes are accepted
	open        bool
	cloud       *cloud
	bootsPaused bool
	failBoots   int
	lost        map[int]map[statefile.Key]bool // what a server lacks, by the server

	file   *statefile.File
	queue  chan *commit // the commits to carry out; a full queue blocks the caller
	ended  chan struct{}
	clock  *clock.Clock
	window window
}

func newDatabase(config Config, raft *raft, delays *delays, hooks *hooks) *database {
	d := &database{
		config: config, raft: raft, delays: delays, hooks: hooks, cloud: newCloud(), lost: map[int]map[statefile.Key]bool{},
		replication: &replication{lag: config.FollowerLag, catchUp: config.scaled(catchUpTime)},
	}
	if len(config.Others) > 0 {
		for range 1 + len(config.Others) {
			d.replication.replicas = append(d.replication.replicas, &replica{cloud: &cloud{pools: newPools(), hosts: &hosts{}}})
		}
	}
	if config.BootDelay >= 0 { // VMs without any delay do not wait for the scheduler either
		d.window = window{
			length: config.scaled(windowTime),
			plan:   plan{timeout: config.ActionTimeout, deploying: map[int]bool{}},
		}
	}
	return d
}

// start reads the state file, or makes a new zone, and gives every server a copy.
func (d *database) start() error {
	if d.config.StateFile != "" || len(d.cloud.users) == 0 {
		if err := d.read(); err != nil {
			return err
		}
	} else {
		d.startInside()
	}
	d.locked(func() { d.replication.reset(d.cloud) })
	return nil
}

func (d *database) read() error {
	file, err := statefile.Open(d.config.StateFile)
	if err != nil {
		return err
	}
	fresh, begin := newCloud(), func(t *tx) { seed(t, d.config) }
	err = file.Load(func(kind, idText string, content []byte) error {
		begin = func(t *tx) {
			if u := t.cloud.users[serverAdminID]; u != nil { // admits the server user with another password
				u.PasswordHash = hashPassword(d.config.ServerPassword)
				t.save(kindUser, u.ID, u)
			}
		}
		id, err := strconv.Atoi(idText)
		all := fresh.byKind[kind]
		switch {
		case err != nil:
		case kind == kindNext:
			err = json.Unmarshal(content, &fresh.next)
		case all == nil:
			err = fmt.Errorf("unknown kind %q", kind)
		default:
			err = all.restore(id, content)
		}
		if err != nil {
			return fmt.Errorf("read %s %s of the state file: %w: remove the file to begin anew", kind, idText, err)
		}
		return nil
	})
	if err != nil {
		return errors.Join(err, file.Close())
	}
	fresh.rebuild()
	d.locked(func() { d.cloud, d.file = fresh, file })
	d.startInside()
	if err := d.update(begin)(); err != nil {
		d.stop()
		return fmt.Errorf("write the zone to the state file: %w", err)
	}
	return nil
}

// startInside starts the parts behind the sockets.
func (d *database) startInside() {
	d.hooks.clock.Start()
	d.queue, d.ended = make(chan *commit, 4*maxCommitBatch), make(chan struct{})
	go d.carryOutCommits()
	d.clock = clock.New()
	d.clock.Start()
	d.locked(func() { d.open = true })
}

// locked calls a function under the lock that leaves nothing to store.
func (d *database) locked(what func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	what()
}

func (d *database) stop() {
	d.locked(func() { d.open = false })
	d.clock.Stop()
	close(d.queue)
	<-d.ended
	d.hooks.clock.Stop()
	if err := d.file.Close(); err != nil {
		d.config.Logger.Error("close the simulator's state file", "error", err)
	}
}

// update changes the cloud under its lock and queues the commit; commits are stored and published in the order of the
// changes. wait blocks until the change is durable and its events are on their way.
func (d *database) update(change func(t *tx)) (wait func() error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.open {
		return func() error { return errors.New("the simulator is not running") }
	}
	t := &tx{db: d, cloud: d.cloud, dirty: map[statefile.Key]any{}}
	change(t)
	d.replication.commit(t, d.raft.now().leader())
	c := &commit{done: make(chan struct{}), events: append(t.events, t.later...)}
	if d.file != nil {
		c.records, c.err = t.records()
	}
	d.queue <- c
	return func() error {
		<-c.done
		return c.err
	}
}

// view calls the function with a server's state: the cloud for the leader, its own database, which is behind, for another
// one. The caller holds the lock.
func (d *database) view(server int, what func(c *cloud)) {
	if len(d.replication.replicas) == 0 || d.raft.now().leader() == server {
		what(d.cloud)
		return
	}
	d.replication.read(server, what)
}

// scheduleStep schedules a VM's next step, if there is one: a pending VM waits for the scheduler. The caller holds the
// lock.
func (d *database) scheduleStep(v *vm) {
	moves := steps[v.LCM].next != nowhere
	switch {
	case v.State == one.VMPending && d.window.length > 0:
		d.collect(v)
	case v.State == one.VMPending, v.State == one.VMActive && (moves || v.LCM == one.LCMInit):
		v.placing = v.State == one.VMPending
		d.after(v)
	}
}

// after sets the timer of a VM's next step. The caller holds the lock.
func (d *database) after(v *vm) {
	id, generation := v.ID, v.generation
	d.later(func(t *tx) { t.step(id, generation) })
}

// later runs an object's next step after its delay; oned writes the step after its event.
func (d *database) later(step func(t *tx)) {
	d.clock.After(d.delays.boot(), func() {
		d.update(func(t *tx) {
			t.written = time.Now().Add(d.delays.write())
			step(t)
		})
	})
}

// scheduleAction sets the timer of a VM's scheduled action, which is carried out unless it was removed.
func (d *database) scheduleAction(vmID int, a scheduledAction) {
	if a.Done >= 0 {
		return
	}
	run := func(t *tx) {
		v := t.cloud.vms[vmID]
		if v == nil || v.State == one.VMDone || d.raft.now().leader() < 0 {
			return
		}
		i := slices.IndexFunc(v.Scheduled, func(other scheduledAction) bool { return other.ID == a.ID && other.Done < 0 })
		if i < 0 {
			return
		}
		v.Scheduled[i].Done = now()
		if refused := attempt(func() { t.act(t.cloud.oneadmin(), a.Action, v) }); refused != nil {
			v.Scheduled[i].Message = refused.message
		}
		vms.save(t, v)
	}
	d.clock.At(time.Unix(a.Time, 0), func() { d.update(run) })
}

// takeOver sets the timers of everything that happens without a call at a server that begins to lead: pending VMs wait for
// a host, networks change their state, and actions fall due. The drivers' work is lost. The caller holds the lock.
func (d *database) takeOver() {
	d.cloud.waiting = nil
	d.emptyWindow()
	for _, id := range d.cloud.vms.ids() {
		v := d.cloud.vms[id]
		if v.State == one.VMPending {
			v.generation++
			d.scheduleStep(v)
		}
		for _, a := range v.Scheduled {
			d.scheduleAction(id, a)
		}
	}
	for _, id := range d.cloud.networks.ids() {
		d.scheduleNetwork(d.cloud.networks[id])
	}
}

// maxCommitBatch bounds how many changes go into one write of the state file.
const maxCommitBatch = 256

// commit has the rest of the work for one change of the cloud: first its records are stored, then its events are published,
// then done is closed.
type commit struct {
	records []statefile.Record
	events  []event
	done    chan struct{}
	err     error
}

// tx collects the records and events of a change of the cloud. It lives while the lock is held.
type tx struct {
	db        *database
	cloud     *cloud
	dirty     map[statefile.Key]any
	order     []statefile.Key
	events    []event
	later     []event // events after the call's own: the life-cycle manager's, once the call has been answered
	afterCall bool
	// written is until when reads show the objects of before, while a step's change is written; a call is answered after
	// that.
	written time.Time
}

// save puts an object into its pool and marks it as changed, or removes it if item is nil.
func (t *tx) save(kind string, id int, item any) {
	if pool := t.cloud.byKind[kind]; pool != nil {
		pool.put(id, item)
	}
	key := statefile.Key{Kind: kind, ID: id}
	if _, known := t.dirty[key]; !known {
		t.order = append(t.order, key)
	}
	t.dirty[key] = item
}

// nextID returns an id that was never used before.
func (t *tx) nextID(kind string) int {
	id := t.cloud.next[kind]
	t.cloud.next[kind] = id + 1
	t.save(kindNext, 0, t.cloud.next)
	return id
}

func (t *tx) emit(e event) {
	if t.afterCall {
		t.later = append(t.later, e)
		return
	}
	t.events = append(t.events, e)
}

func (t *tx) records() ([]statefile.Record, error) {
	records := make([]statefile.Record, len(t.order))
	for i, key := range t.order {
		records[i].Key = key
		if item := t.dirty[key]; item != nil {
			var err error
			if records[i].Content, err = json.Marshal(item); err != nil {
				return nil, fmt.Errorf("encode %s %d: %w", key.Kind, key.ID, err)
			}
		}
	}
	return records, nil
}

// carryOutCommits stores and publishes commits in order, until their queue is closed. Commits that have queued up share one
// write of the state file. A commit that could not be stored is not published: a bridge must not hear of a change that a
// restart would lose.
func (d *database) carryOutCommits() {
	defer close(d.ended)
	for first := range d.queue {
		batch := []*commit{first}
		for range min(len(d.queue), maxCommitBatch-1) {
			batch = append(batch, <-d.queue)
		}
		var records []statefile.Record
		for _, one := range batch {
			records = append(records, one.records...)
		}
		err := d.file.Write(records)
		if err != nil {
			d.config.Logger.Error("the simulator's state file cannot be written", "error", err)
		}
		for _, one := range batch {
			one.err = errors.Join(one.err, err)
			if one.err == nil && d.raft.now().leader() >= 0 { // a zone without a leader publishes nothing
				d.hooks.publish(one.events)
			}
			close(one.done)
		}
	}
}
