package pipeline

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/flowjet/flowjet/pipeline/internal/js"
)

// LoadCursor is the sequence up to which the reader of that name is done; 0 before its first SaveCursor.
func (p *Pipeline) LoadCursor(ctx context.Context, name string) (uint64, error) {
	text, revision, err := p.Bucket(BucketCheckpoint).Get(ctx, name)
	if err != nil {
		return 0, fmt.Errorf("load the cursor %s: %w", name, err)
	}
	if revision == 0 {
		return 0, nil
	}
	cursor, err := strconv.ParseUint(string(text), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("load the cursor %s: %q is not a sequence; delete the key to read all again", name, text)
	}
	return cursor, nil
}

// SaveCursorEvery is how often a reader saves its cursor: what is read again after a crash.
const SaveCursorEvery = 250 * time.Millisecond

// SaveCursor keeps the sequence up to which the reader of that name is done. Two readers of one
// name may both save: a cursor that went back only makes the next reader read again what is done.
func (p *Pipeline) SaveCursor(ctx context.Context, name string, sequence uint64) error {
	if err := p.Bucket(BucketCheckpoint).Put(ctx, name, fmt.Append(nil, sequence)); err != nil {
		return fmt.Errorf("save the cursor %s: %w", name, err)
	}
	return nil
}

// BeginCursor is LoadCursor for a reader that begins at the given place when it
// is started for the first time ever.
func (p *Pipeline) BeginCursor(ctx context.Context, name string, first uint64) (uint64, error) {
	if _, err := p.Bucket(BucketCheckpoint).Create(ctx, name, fmt.Append(nil, first)); err != nil && !js.Conflict(err) {
		return 0, fmt.Errorf("begin the cursor %s: %w", name, err)
	}
	return p.LoadCursor(ctx, name)
}

// FurthestCursor is the highest cursor of a stream's readers. A stream made
// anew has to number on from there: readers wait for what comes behind their
// cursors, and records skip what is numbered as before.
func (p *Pipeline) FurthestCursor(ctx context.Context, stream string) (uint64, error) {
	var names []string
	switch stream {
	case StreamONE:
		names = []string{RouterKey}
	case StreamWork:
		for partition := range Partitions {
			names = append(names, PartitionKey(partition))
		}
	}
	var furthest uint64
	for _, name := range names {
		cursor, err := p.LoadCursor(ctx, name)
		if err != nil {
			return 0, err
		}
		furthest = max(furthest, cursor)
	}
	return furthest, nil
}

// stampKey is where BucketCheckpoint says which zone all of the data belongs to.
const stampKey = "zone"

// stamp is what the data says of itself.
type stamp struct {
	Version int       `json:"v"`
	Zone    int       `json:"zone"`
	Since   time.Time `json:"since"`
}

// CheckZone returns ErrOtherZone where the data is not the configured zone's, and stamps data that
// has no zone yet where the role may.
func (p *Pipeline) CheckZone(ctx context.Context, role Role) error {
	mine := stamp{Version: Version, Zone: p.zone, Since: time.Now().UTC()}
	mayStamp := role == "" || role == RoleAll || role == RoleWorker || role == RoleOperator
	checkpoints := p.Bucket(BucketCheckpoint)
	text, revision, err := checkpoints.Get(ctx, stampKey)
	if err == nil && revision == 0 && mayStamp {
		if _, err = checkpoints.Create(ctx, stampKey, Encode(mine)); js.Conflict(err) {
			text, _, err = checkpoints.Get(ctx, stampKey)
		}
	}
	if err != nil {
		return fmt.Errorf("read the zone of the data: %w", err)
	}
	if len(text) == 0 {
		return nil
	}
	var held stamp
	if err := json.Unmarshal(text, &held); err != nil {
		return fmt.Errorf("read the zone of the data: the stamp cannot be read: %w; delete the key %s of %s to recreate it", err, stampKey, BucketCheckpoint)
	}
	if held.Zone != p.zone {
		return fmt.Errorf("%w: it belongs to zone %d, but --zone is %d; set the right zone, or another data folder or NATS account", ErrOtherZone, held.Zone, p.zone)
	}
	return nil
}

// The keys of BucketCheckpoint that tell whether the data and oned belong together.
const (
	onedKey     = "oned"
	mismatchKey = "mismatch"
)

// OnedMark is a VM by which oned's database is recognised: one that was restored from a
// backup, or is another oned's, does not have it, or has another VM of that id.
type OnedMark struct {
	Version int `json:"v"`
	// VM is the newest VM that was seen, -1 for none, and Made its STIME.
	VM   int    `json:"vm"`
	Made string `json:"made,omitempty"`
	// Restored is when a database was found that is not the one of before. Records from before
	// that are believed only where oned's documents agree.
	Restored time.Time `json:"restored,omitzero"`
}

// Mismatch is the last time at which data and oned were found not to belong together.
type Mismatch struct {
	Version int       `json:"v"`
	Found   time.Time `json:"found"`
	Reason  string    `json:"reason"`
}

// LoadOnedMark returns the mark; false without one, or where it cannot be read.
func (p *Pipeline) LoadOnedMark(ctx context.Context) (mark OnedMark, has bool, err error) {
	has, err = p.loadNote(ctx, onedKey, &mark)
	return mark, has, err
}

// SaveOnedMark keeps the mark.
func (p *Pipeline) SaveOnedMark(ctx context.Context, mark OnedMark) error {
	mark.Version = Version
	return p.saveNote(ctx, onedKey, mark)
}

// LastMismatch returns what NoteMismatch kept last; false if nothing.
func (p *Pipeline) LastMismatch(ctx context.Context) (mismatch Mismatch, has bool, err error) {
	has, err = p.loadNote(ctx, mismatchKey, &mismatch)
	return mismatch, has, err
}

// NoteMismatch keeps for operators what was found.
func (p *Pipeline) NoteMismatch(ctx context.Context, reason string) error {
	return p.saveNote(ctx, mismatchKey, Mismatch{Version: Version, Found: time.Now().UTC(), Reason: reason})
}

// LastRecordTime is when a record was written last, the zero time without one.
func (p *Pipeline) LastRecordTime(ctx context.Context) (time.Time, error) {
	info, err := p.Stream(StreamOf(BucketState)).Info(ctx)
	if err != nil {
		return time.Time{}, fmt.Errorf("ask when a record was written last: %w", err)
	}
	return info.State.LastTime, nil
}

func (p *Pipeline) loadNote(ctx context.Context, key string, note any) (bool, error) {
	text, revision, err := p.Bucket(BucketCheckpoint).Get(ctx, key)
	if err != nil {
		return false, fmt.Errorf("read the key %s of %s: %w", key, BucketCheckpoint, err)
	}
	return revision != 0 && json.Unmarshal(text, note) == nil, nil
}

func (p *Pipeline) saveNote(ctx context.Context, key string, note any) error {
	if err := p.Bucket(BucketCheckpoint).Put(ctx, key, Encode(note)); err != nil {
		return fmt.Errorf("write the key %s of %s: %w", key, BucketCheckpoint, err)
	}
	return nil
}
