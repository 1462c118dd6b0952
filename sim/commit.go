package sim

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/flowjet/flowjet/sim/internal/statefile"
)

// maxCommitBatch bounds how many changes go into one write of the state file.
const maxCommitBatch = 256

// commit is what one change of the cloud leaves to do: first its records are
// stored, then its events are published, then done is closed.
type commit struct {
	records []statefile.Record
	events  []event
	done    chan struct{}
	err     error
}

// tx collects what a change of the cloud touches. It lives while the lock is held.
type tx struct {
	db     *database
	cloud  *cloud
	dirty  map[statefile.Key]any
	order  []statefile.Key
	events []event
	// later are events that come behind the call's own: what oned's life-cycle
	// manager does once the call has been answered.
	later     []event
	afterCall bool
	// written is until when reads show the objects of before, as long as a step's
	// change is written; a call is answered behind that.
	written time.Time
}

// save marks an object as changed, or as gone where item is nil.
func (t *tx) save(kind string, id int, item any) {
	key := statefile.Key{Kind: kind, ID: id}
	if _, known := t.dirty[key]; !known {
		t.order = append(t.order, key)
	}
	t.dirty[key] = item
	if v, is := item.(*vm); is && v.unsaved {
		v.unsaved = false
		t.save(kindVMTexts, id, &v.vmTexts)
	}
}

// nextID gives an id that was never given before.
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

var errNotRunning = errors.New("the simulator is not running")

// carryOutCommits stores and publishes commits in order, until their queue is closed. What has
// arrived meanwhile shares one write of the state file.
func (d *database) carryOutCommits() {
	defer close(d.ended)
	for first := range d.queue {
		batch := []*commit{first}
		for range min(len(d.queue), maxCommitBatch-1) {
			batch = append(batch, <-d.queue)
		}
		d.carryOut(batch)
	}
}

// carryOut stores a batch and publishes its events. What could not be stored
// is not published: a bridge must not learn what a restart would forget.
func (d *database) carryOut(batch []*commit) {
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
