package js

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Bucket is a key-value bucket. Each call is retried like those of a Client.
type Bucket struct {
	client *Client
	kv     jetstream.KeyValue
}

func (b *Bucket) retry(ctx context.Context, try func(context.Context) error) error {
	if b.kv == nil {
		return jetstream.ErrBucketNotFound
	}
	return Retry(ctx, func(ctx context.Context) error {
		if err := b.client.connected(); err != nil {
			return err
		}
		return try(ctx)
	})
}

// Get reads a key's value with its revision, which is 0 where there is none.
func (b *Bucket) Get(ctx context.Context, key string) (value []byte, revision uint64, err error) {
	value, revision, _, err = b.GetDated(ctx, key)
	return value, revision, err
}

// GetDated is Get, and says when the value was written.
func (b *Bucket) GetDated(ctx context.Context, key string) (value []byte, revision uint64, written time.Time, err error) {
	err = b.retry(ctx, func(ctx context.Context) error {
		entry, err := b.kv.Get(ctx, key)
		if err == nil {
			value, revision, written = entry.Value(), entry.Revision(), entry.Created()
		}
		return err
	})
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil, 0, time.Time{}, nil
	}
	return value, revision, written, err
}

// Put writes a key's value.
func (b *Bucket) Put(ctx context.Context, key string, value []byte) error {
	return b.retry(ctx, func(ctx context.Context) error {
		_, err := b.kv.Put(ctx, key, value)
		return err
	})
}

// Create writes the value of a key that has none; an error that Conflict knows otherwise.
func (b *Bucket) Create(ctx context.Context, key string, value []byte) (revision uint64, err error) {
	err = b.retry(ctx, func(ctx context.Context) (err error) {
		revision, err = b.kv.Create(ctx, key, value)
		return err
	})
	return revision, err
}

// Update writes a key's value if its revision is still the one given; an error that Conflict knows otherwise.
func (b *Bucket) Update(ctx context.Context, key string, value []byte, revision uint64) (now uint64, err error) {
	err = b.retry(ctx, func(ctx context.Context) (err error) {
		now, err = b.kv.Update(ctx, key, value, revision)
		return err
	})
	return now, err
}

// Purge removes a key with its history.
func (b *Bucket) Purge(ctx context.Context, key string, options ...jetstream.KVDeleteOpt) error {
	return b.retry(ctx, func(ctx context.Context) error { return b.kv.Purge(ctx, key, options...) })
}

// stalledAfter is after how long without a value the reading of a bucket is given up: a
// watch whose NATS server has died may never come to its end.
const stalledAfter = 10 * time.Second

var errStalled = errors.New("the bucket's watch has sent nothing for " + stalledAfter.String())

// Each visits what the bucket holds now. It reads through a watch: the direct multi-get ends at 1024 keys.
func (b *Bucket) Each(ctx context.Context, visit func(key string, value []byte)) error {
	ctx, giveUp := context.WithCancelCause(ctx)
	defer giveUp(nil)
	stall := time.AfterFunc(stalledAfter, func() { giveUp(errStalled) })
	defer stall.Stop()
	return b.watch(ctx, ">", func(entry jetstream.KeyValueEntry) bool {
		stall.Reset(stalledAfter)
		if entry != nil {
			visit(entry.Key(), entry.Value())
		}
		return entry != nil
	})
}

// Await visits a key's value and those that follow until visit returns false.
func (b *Bucket) Await(ctx context.Context, key string, visit func(value []byte) (goOn bool)) error {
	return b.watch(ctx, key, func(entry jetstream.KeyValueEntry) bool { return entry == nil || visit(entry.Value()) })
}

// watch visits the values of keys, then nil, then what changes, until visit returns false.
func (b *Bucket) watch(ctx context.Context, keys string, visit func(jetstream.KeyValueEntry) (goOn bool)) error {
	if b.kv == nil {
		return jetstream.ErrBucketNotFound
	}
	watcher, err := b.kv.Watch(ctx, keys, jetstream.IgnoreDeletes())
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
			if !visit(entry) {
				return nil
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
