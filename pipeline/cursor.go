package pipeline

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go/jetstream"
)

// LoadCursor is the sequence up to which the reader of that name is done; 0
// before its first SaveCursor.
func (p *Pipeline) LoadCursor(ctx context.Context, name string) (uint64, error) {
	text, err := getText(ctx, p.checkpoints, name)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("load the cursor %s: %w", name, err)
	}
	cursor, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("load the cursor %s: %q is not a sequence; delete the key to read all again", name, text)
	}
	return cursor, nil
}

// SaveCursor keeps the sequence up to which the reader of that name is done.
// Two readers of one name may both save: a cursor that went back only makes
// the next reader read again what is done.
func (p *Pipeline) SaveCursor(ctx context.Context, name string, sequence uint64) error {
	if err := putText(ctx, p.checkpoints, name, strconv.FormatUint(sequence, 10)); err != nil {
		return fmt.Errorf("save the cursor %s: %w", name, err)
	}
	return nil
}

func getText(ctx context.Context, bucket jetstream.KeyValue, key string) (string, error) {
	var text string
	err := persist(ctx, func(ctx context.Context) error {
		entry, err := bucket.Get(ctx, key)
		if err != nil {
			return err
		}
		text = string(entry.Value())
		return nil
	})
	return text, err
}

func putText(ctx context.Context, bucket jetstream.KeyValue, key, text string) error {
	return persist(ctx, func(ctx context.Context) error {
		_, err := bucket.Put(ctx, key, []byte(text))
		return err
	})
}
