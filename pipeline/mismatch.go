package pipeline

import (
	"context"
	"encoding/json"
	"fmt"
	"time"
)

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
	info, err := p.core.Stream(StreamOf(BucketState)).Info(ctx)
	if err != nil {
		return time.Time{}, fmt.Errorf("ask when a record was written last: %w", err)
	}
	return info.State.LastTime, nil
}

func (p *Pipeline) loadNote(ctx context.Context, key string, note any) (bool, error) {
	text, revision, err := p.core.Bucket(BucketCheckpoint).Get(ctx, key)
	if err != nil {
		return false, fmt.Errorf("read the key %s of %s: %w", key, BucketCheckpoint, err)
	}
	return revision != 0 && json.Unmarshal(text, note) == nil, nil
}

func (p *Pipeline) saveNote(ctx context.Context, key string, note any) error {
	if err := p.core.Bucket(BucketCheckpoint).Put(ctx, key, Encode(note)); err != nil {
		return fmt.Errorf("write the key %s of %s: %w", key, BucketCheckpoint, err)
	}
	return nil
}
