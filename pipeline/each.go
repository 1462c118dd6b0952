package pipeline

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go/jetstream"
)

// EachRecord visits every service's record, those of ended services too. What
// cannot be read is skipped.
func (p *Pipeline) EachRecord(ctx context.Context, visit func(service int, record Record)) error {
	err := eachValue(ctx, p.state, func(entry jetstream.KeyValueEntry) {
		service, err := strconv.Atoi(entry.Key())
		var record Record
		if err == nil && json.Unmarshal(entry.Value(), &record) == nil {
			visit(service, record)
		}
	})
	if err != nil {
		return fmt.Errorf("read the services' records: %w", err)
	}
	return nil
}

// EachCommand visits every command of the last 24 hours, in the order in which
// they last changed.
func (p *Pipeline) EachCommand(ctx context.Context, visit func(CommandStatus)) error {
	err := eachValue(ctx, p.commands, func(entry jetstream.KeyValueEntry) {
		var status CommandStatus
		if json.Unmarshal(entry.Value(), &status) == nil && status.ID == entry.Key() && status.Verb != "" {
			visit(status)
		}
	})
	if err != nil {
		return fmt.Errorf("read the commands: %w", err)
	}
	return nil
}

// eachValue visits what a bucket holds now. It reads through a watch: the
// direct multi-get ends at 1024 keys.
func eachValue(ctx context.Context, bucket jetstream.KeyValue, visit func(jetstream.KeyValueEntry)) error {
	watcher, err := bucket.WatchAll(ctx, jetstream.IgnoreDeletes())
	if err != nil {
		return err
	}
	defer watcher.Stop() //nolint:errcheck // what was read is read
	for {
		select {
		case entry, open := <-watcher.Updates():
			if !open {
				return ErrClosed
			}
			if entry == nil {
				return nil
			}
			visit(entry)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
