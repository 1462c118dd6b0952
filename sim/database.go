package sim

import (
	"errors"
	"fmt"
	"sync"
)

// database is what the zone's servers have in common: the cloud and all that
// changes it, the file that keeps it and the events that tell of it.
type database struct {
	config      Config
	raft        *raft
	replication *replication
	delays      *delays
	hooks       *hooks

	// mu guards the cloud, the faults of VMs, and whether changes are taken.
	mu     sync.RWMutex
	open   bool
	cloud  *cloud
	faults vmFaults

	store     *store
	committer *committer
	clock     *clock
	window    window
}

func newDatabase(config Config, raft *raft, delays *delays, hooks *hooks) *database {
	return &database{
		config: config, raft: raft, delays: delays, hooks: hooks,
		cloud: newCloud(config), replication: newReplication(config), window: newWindow(config),
	}
}

// start reads the state file, or makes a new zone, and gives every server a
// copy.
func (d *database) start() error {
	if err := d.read(); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.replication.reset(d.cloud)
	return nil
}

func (d *database) read() error {
	if d.config.StateFile == "" && len(d.cloud.users) > 0 {
		d.startInside(&store{})
		return nil
	}
	opened, err := openStore(d.config.StateFile)
	if err != nil {
		return err
	}
	fresh := newCloud(d.config)
	found, err := fresh.restore(opened)
	if err != nil {
		return errors.Join(err, opened.close())
	}
	fresh.rebuild()
	d.mu.Lock()
	d.cloud = fresh
	d.mu.Unlock()
	d.startInside(opened)
	begin := func(t *tx) { seed(t, d.config) }
	if found {
		begin = func(t *tx) { setServerPassword(t, d.config.ServerPassword) }
	}
	if err := d.update(begin)(); err != nil {
		d.stop()
		return fmt.Errorf("write the zone to the state file: %w", err)
	}
	return nil
}

// startInside starts what works behind the sockets.
func (d *database) startInside(opened *store) {
	d.store = opened
	d.hooks.start()
	d.committer = newCommitter(opened, d.publish, d.config.Logger)
	d.clock = newClock()
	d.setOpen(true)
}

// setOpen sets whether changes of the cloud are taken.
func (d *database) setOpen(yes bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.open = yes
}

// publish hands events on; a zone without a leader publishes nothing.
func (d *database) publish(events []event) {
	if d.raft.leader() >= 0 {
		d.hooks.publish(events)
	}
}

// stop ends what start has started.
func (d *database) stop() {
	d.setOpen(false)
	d.clock.stop()
	d.committer.stop()
	d.hooks.stop()
	if err := d.store.close(); err != nil {
		d.config.Logger.Error("close the simulator's state file", "error", err)
	}
}

// update changes the cloud under its lock and queues the commit; the commits
// are stored and published in the order of the changed. wait blocks until the
// change is durable and its events are on their way.
func (d *database) update(change func(t *tx)) (wait func() error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.open {
		return func() error { return errNotRunning }
	}
	t := &tx{db: d, cloud: d.cloud, dirty: map[recordKey]any{}}
	change(t)
	d.replication.commit(t, d.raft.leader())
	c := &commit{done: make(chan struct{}), events: append(t.events, t.later...)}
	if d.committer.persistent() {
		c.records, c.err = t.records()
	}
	d.committer.add(c)
	return func() error {
		<-c.done
		return c.err
	}
}

// view hands the function what a server reads: the leader the cloud, another
// one its own database, which is behind.
func (d *database) view(server int, what func(c *cloud)) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	d.viewLocked(server, what)
}

func (d *database) viewLocked(server int, what func(c *cloud)) {
	if len(d.replication.replicas) == 0 || d.raft.leads(server) {
		what(d.cloud)
		return
	}
	d.replication.read(server, what)
}
