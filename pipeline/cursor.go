package pipeline

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/flowjet/flowjet/pipeline/internal/js"
)

// LoadCursor is the sequence up to which the reader of that name is done; 0
// before its first SaveCursor.
func (p *Pipeline) LoadCursor(ctx context.Context, name string) (uint64, error) {
	text, revision, err := p.core.Bucket(BucketCheckpoint).Get(ctx, name)
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

// SaveCursor keeps the sequence up to which the reader of that name is done.
// Two readers of one name may both save: a cursor that went back only makes
// the next reader read again what is done.
func (p *Pipeline) SaveCursor(ctx context.Context, name string, sequence uint64) error {
	if err := p.core.Bucket(BucketCheckpoint).Put(ctx, name, fmt.Append(nil, sequence)); err != nil {
		return fmt.Errorf("save the cursor %s: %w", name, err)
	}
	return nil
}

// BeginCursor is LoadCursor for a reader that begins at the given place when it
// is started for the first time ever.
func (p *Pipeline) BeginCursor(ctx context.Context, name string, first uint64) (uint64, error) {
	if _, err := p.core.Bucket(BucketCheckpoint).Create(ctx, name, fmt.Append(nil, first)); err != nil && !js.Conflict(err) {
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
