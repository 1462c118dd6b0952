package js

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/flowjet/flowjet/internal/errs"
)

// BucketPrefix is the prefix of the name of a bucket's stream.
const BucketPrefix = "KV_"

// Stream is a stream. Each call retries conditions that pass.
type Stream struct {
	client *Client
	name   string
	// handle is nil until the stream is bound.
	handle jetstream.Stream
	group  *group
}

// Bound reports whether the stream can be used.
func (s *Stream) Bound() bool { return s.handle != nil }

// Config returns the configuration that the stream had when it was bound.
func (s *Stream) Config() jetstream.StreamConfig {
	if s.handle == nil {
		return jetstream.StreamConfig{}
	}
	return s.handle.CachedInfo().Config
}

// Replicated reports whether the stream is kept by more than one server.
func (s *Stream) Replicated() bool { return s.Config().Replicas > 1 }

// ask retries a call of a stream.
func ask[T any](ctx context.Context, s *Stream, call func(context.Context, jetstream.Stream) (T, error)) (answer T, err error) {
	if s.handle == nil {
		return answer, jetstream.ErrStreamNotFound
	}
	err = Retry(ctx, func(ctx context.Context) (err error) {
		answer, err = call(ctx, s.handle)
		return err
	})
	return answer, err
}

// Info returns the stream's current state.
func (s *Stream) Info(ctx context.Context, options ...jetstream.StreamInfoOpt) (info *jetstream.StreamInfo, err error) {
	defer errs.Wrap(&err, "ask about stream %s", s.name)
	return ask(ctx, s, func(ctx context.Context, stream jetstream.Stream) (*jetstream.StreamInfo, error) {
		return stream.Info(ctx, options...)
	})
}

// Led is Info from a stream with a leader. A server that reaches no other answers, too, without end, with what its replica has.
func (s *Stream) Led(ctx context.Context) (info *jetstream.StreamInfo, err error) {
	err = Retry(ctx, func(ctx context.Context) error {
		if info, err = s.Info(ctx); err == nil && info.Cluster != nil && info.Cluster.Leader == "" {
			return fmt.Errorf("ask about stream %s: %w", s.name, errLeaderless)
		}
		return err
	})
	return info, err
}

// End returns the sequence of the last message that the stream has had: messages behind it are new.
func (s *Stream) End(ctx context.Context) (uint64, error) {
	info, err := s.Led(ctx)
	if err != nil {
		return 0, err
	}
	return info.State.LastSeq, nil
}

// Get reads one message: that of the sequence, or with WithGetMsgSubject the first one
// from there on. It is nil if there is none.
func (s *Stream) Get(ctx context.Context, sequence uint64, options ...jetstream.GetMsgOpt) (*Message, error) {
	return orNone(ask(ctx, s, func(ctx context.Context, stream jetstream.Stream) (*Message, error) {
		return stream.GetMsg(ctx, sequence, options...)
	}))
}

// Last returns the newest message on a subject, nil if there is none.
func (s *Stream) Last(ctx context.Context, subject string) (*Message, error) {
	return orNone(ask(ctx, s, func(ctx context.Context, stream jetstream.Stream) (*Message, error) {
		return stream.GetLastMsgForSubject(ctx, subject)
	}))
}

// orNone returns nil for a message that does not exist.
func orNone(message *Message, err error) (*Message, error) {
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil, nil
	}
	return message, err
}

// LastOf returns the sequence and the header of the newest message on any of the subjects that
// a filter matches, 0 and nil if there is none. It asks the stream's leader, because another replica
// may lag behind. nats.go asks for one subject only, and any replica.
func (s *Stream) LastOf(ctx context.Context, filter string) (sequence uint64, header nats.Header, err error) {
	request := []byte(`{"last_by_subj":` + strconv.Quote(filter) + `}`)
	err = Retry(ctx, func(ctx context.Context) error {
		answer, err := s.client.conn.RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET."+s.name, request)
		if err != nil {
			return err
		}
		var found struct {
			Error   *jetstream.APIError `json:"error"`
			Message struct {
				Sequence uint64 `json:"seq"`
				Header   []byte `json:"hdrs"`
			} `json:"message"`
		}
		if err := json.Unmarshal(answer.Data, &found); err != nil {
			return fmt.Errorf("read the answer of stream %s: %w", s.name, err)
		}
		if found.Error != nil {
			return &serverError{found.Error}
		}
		if sequence = found.Message.Sequence; len(found.Message.Header) > 0 {
			header, err = nats.DecodeHeadersMsg(found.Message.Header)
		}
		return err
	})
	if Code(err) == jetstream.JSErrCodeMessageNotFound {
		return 0, nil, nil
	}
	return sequence, header, err
}

// Delete deletes a message. A missing one is no error.
func (s *Stream) Delete(ctx context.Context, sequence uint64) error {
	_, err := ask(ctx, s, func(ctx context.Context, stream jetstream.Stream) (any, error) {
		return nil, stream.DeleteMsg(ctx, sequence)
	})
	if errors.Is(err, jetstream.ErrMsgNotFound) || errors.Is(err, jetstream.ErrMsgDeleteUnsuccessful) {
		return nil
	}
	return err
}

// Purge removes messages.
func (s *Stream) Purge(ctx context.Context, which ...jetstream.StreamPurgeOpt) error {
	_, err := ask(ctx, s, func(ctx context.Context, stream jetstream.Stream) (any, error) {
		return nil, stream.Purge(ctx, which...)
	})
	return err
}

// Bucket is a key-value bucket. Each call is retried like those of a Client.
type Bucket struct {
	client *Client
	kv     jetstream.KeyValue
}

// askBucket retries a call of a bucket.
func askBucket[T any](ctx context.Context, b *Bucket, call func(context.Context) (T, error)) (answer T, err error) {
	if b.kv == nil {
		return answer, jetstream.ErrBucketNotFound
	}
	err = Retry(ctx, func(ctx context.Context) (err error) {
		if err = b.client.connected(); err == nil {
			answer, err = call(ctx)
		}
		return err
	})
	return answer, err
}

// Get reads a key's value with its revision, which is 0 if there is none.
func (b *Bucket) Get(ctx context.Context, key string) (value []byte, revision uint64, err error) {
	value, revision, _, err = b.GetDated(ctx, key)
	return value, revision, err
}

// GetDated is Get, and also returns when the value was written.
func (b *Bucket) GetDated(ctx context.Context, key string) (value []byte, revision uint64, written time.Time, err error) {
	entry, err := askBucket(ctx, b, func(ctx context.Context) (jetstream.KeyValueEntry, error) { return b.kv.Get(ctx, key) })
	switch {
	case errors.Is(err, jetstream.ErrKeyNotFound):
		return nil, 0, time.Time{}, nil
	case err != nil:
		return nil, 0, time.Time{}, err
	}
	return entry.Value(), entry.Revision(), entry.Created(), nil
}

// Put writes a key's value.
func (b *Bucket) Put(ctx context.Context, key string, value []byte) error {
	_, err := askBucket(ctx, b, func(ctx context.Context) (uint64, error) { return b.kv.Put(ctx, key, value) })
	return err
}

// Create writes the value of a key that has none; otherwise it returns an error for which Conflict is true.
func (b *Bucket) Create(ctx context.Context, key string, value []byte) (revision uint64, err error) {
	return askBucket(ctx, b, func(ctx context.Context) (uint64, error) { return b.kv.Create(ctx, key, value) })
}

// Update writes a key's value if its revision is still the one given; otherwise it returns an error for which Conflict is true.
func (b *Bucket) Update(ctx context.Context, key string, value []byte, revision uint64) (now uint64, err error) {
	return askBucket(ctx, b, func(ctx context.Context) (uint64, error) { return b.kv.Update(ctx, key, value, revision) })
}

// Purge removes a key with its history.
func (b *Bucket) Purge(ctx context.Context, key string, options ...jetstream.KVDeleteOpt) error {
	_, err := askBucket(ctx, b, func(ctx context.Context) (any, error) { return nil, b.kv.Purge(ctx, key, options...) })
	return err
}

// stalledAfter is the time without a value after which the reading of a bucket is abandoned: a
// watch whose NATS server has died may never end.
const stalledAfter = 10 * time.Second

var errStalled = errors.New("the bucket's watch has sent nothing for " + stalledAfter.String())

// Each visits the bucket's current values. It reads through a watch: the direct multi-get ends at 1024 keys.
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

// Await visits a key's value and later ones until visit returns false.
func (b *Bucket) Await(ctx context.Context, key string, visit func(value []byte) (goOn bool)) error {
	return b.watch(ctx, key, func(entry jetstream.KeyValueEntry) bool { return entry == nil || visit(entry.Value()) })
}

// watch visits the values of keys, then nil, then every change, until visit returns false.
func (b *Bucket) watch(ctx context.Context, keys string, visit func(jetstream.KeyValueEntry) (goOn bool)) error {
	if b.kv == nil {
		return jetstream.ErrBucketNotFound
	}
	watcher, err := b.kv.Watch(ctx, keys, jetstream.IgnoreDeletes())
	if err != nil {
		return err
	}
	defer watcher.Stop() //nolint:errcheck // the values have been visited
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
