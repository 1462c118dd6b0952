package sim

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// maxCommitBatch bounds how many changes go into one write of the state file.
const maxCommitBatch = 256

// record is one object's new content; nil removes it.
type record struct {
	key     recordKey
	content []byte
}

// commit is what one change of the cloud leaves to do: first its records are
// stored, then its events are published, then done is closed.
type commit struct {
	records []record
	events  []event
	done    chan struct{}
	err     error
}

// tx collects what a change of the cloud touches. It lives while the lock is
// held.
type tx struct {
	db     *database
	cloud  *cloud
	dirty  map[recordKey]any
	order  []recordKey
	events []event
	// later are events that come behind the call's own: what oned's life-cycle
	// manager does once the call has been answered.
	later     []event
	afterCall bool
	// written is until when reads show the objects of before, as long as a step's
	// change is written; a call is answered behind that.
	written time.Time
}

// save marks an object as changed.
func (t *tx) save(kind string, id int, item any) {
	key := recordKey{kind, id}
	if _, known := t.dirty[key]; !known {
		t.order = append(t.order, key)
	}
	t.dirty[key] = item
}

// remove marks an object as gone.
func (t *tx) remove(kind string, id int) { t.save(kind, id, nil) }

// nextID gives an id that was never given before.
func (t *tx) nextID(kind string) int {
	id := t.cloud.next[kind]
	t.cloud.next[kind] = id + 1
	t.save(kindNext, 0, t.cloud.next)
	return id
}

// emit adds an event of the change.
func (t *tx) emit(e event) {
	if t.afterCall {
		t.later = append(t.later, e)
		return
	}
	t.events = append(t.events, e)
}

// records encodes what was touched.
func (t *tx) records() ([]record, error) {
	records := make([]record, 0, len(t.order))
	for _, key := range t.order {
		item := t.dirty[key]
		if item == nil {
			records = append(records, record{key: key})
			continue
		}
		content, err := json.Marshal(item)
		if err != nil {
			return nil, fmt.Errorf("encode %s %d: %w", key.kind, key.id, err)
		}
		records = append(records, record{key: key, content: content})
	}
	return records, nil
}

var errNotRunning = errors.New("the simulator is not running")

// committer stores and publishes commits in order, in one goroutine.
type committer struct {
	store   *store
	publish func([]event)
	logger  *slog.Logger
	queue   chan *commit
	ended   chan struct{}
}

func newCommitter(s *store, publish func([]event), logger *slog.Logger) *committer {
	c := &committer{
		store: s, publish: publish, logger: logger,
		queue: make(chan *commit, 4*maxCommitBatch), ended: make(chan struct{}),
	}
	go c.run()
	return c
}

func (c *committer) persistent() bool { return c.store.db != nil }

// add queues a commit; a full queue holds the caller back.
func (c *committer) add(next *commit) { c.queue <- next }

// stop carries out what is queued and ends; nothing may be added any longer.
func (c *committer) stop() {
	close(c.queue)
	<-c.ended
}

func (c *committer) run() {
	defer close(c.ended)
	for first := range c.queue {
		c.carryOut(c.collect(first))
	}
}

// collect takes what has arrived meanwhile, so that a burst shares one write.
func (c *committer) collect(first *commit) []*commit {
	batch := []*commit{first}
	for len(batch) < maxCommitBatch {
		select {
		case next, open := <-c.queue:
			if !open {
				return batch
			}
			batch = append(batch, next)
		default:
			return batch
		}
	}
	return batch
}

// carryOut stores a batch and publishes its events. What could not be stored
// is not published: a bridge must not learn what a restart would forget.
func (c *committer) carryOut(batch []*commit) {
	err := c.store.write(batch)
	if err != nil {
		c.logger.Error("the simulator's state file cannot be written", "error", err)
	}
	for _, one := range batch {
		one.err = errors.Join(one.err, err)
		if one.err == nil {
			c.publish(one.events)
		}
		close(one.done)
	}
}
