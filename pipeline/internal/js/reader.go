package js

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/flowjet/flowjet/internal/errs"
	"github.com/flowjet/flowjet/internal/idle"
)

const (
	// heartbeat is how often the server reports that there is nothing to read;
	// two missed ones and the consumer is replaced.
	heartbeat = time.Second
	// pullExpiry is how long a request for messages is valid.
	pullExpiry = 30 * time.Second
	// prefetch is how many messages a reader holds at most.
	prefetch = 128
	// forgetConsumer is how long the server keeps the consumer of a reader that has stopped asking. A stream has 1,000
	// consumers at most (nats-server 2.15), and a worker that dies leaves 17.
	forgetConsumer = 10 * time.Second
	stopPatience   = time.Second
	// consumerPrefix is the beginning of the names of readers' consumers.
	consumerPrefix = "flowjet-"
)

// Message is a stored message.
type Message = jetstream.RawStreamMsg

// Reader reads a stream's messages in order, from a sequence on, each once. It is an ordered
// consumer: in memory, on one server, without acks, recreated behind the last message
// returned whenever it is lost, silent or skips a number. Next is for one goroutine at a time.
//
// nats.go's own does the same with requests of 10 s that no context ends: after the kill of a server
// up to 11 s of silence. Here each ends with the caller's context or after one attempt's time.
type Reader struct {
	stream *Stream
	filter string
	// newest makes the first consumer return only the last message of each subject.
	newest bool

	stopped context.Context
	stop    context.CancelFunc

	// mu guards the fields that Stop shares with Next.
	mu       sync.Mutex
	consumer string
	messages jetstream.MessagesContext

	// epoch is that of the connection the consumer was made on, openings how many were made.
	epoch    context.Context
	openings int
	// Pending is the number of messages that were left to read behind last.
	Pending uint64
	// last is the stream sequence returned last; delivered the consumer's own.
	last      uint64
	delivered uint64
}

func (s *Stream) newReader(filter string, after uint64) *Reader {
	r := &Reader{stream: s, filter: filter, last: after}
	r.stopped, r.stop = context.WithCancel(context.Background())
	return r
}

// Read begins to read the messages whose subjects match a filter, behind a sequence. A missing stream is an error at once.
func (s *Stream) Read(ctx context.Context, filter string, after uint64) (*Reader, error) {
	r := s.newReader(filter, after)
	if err := r.open(ctx); err != nil {
		r.Stop()
		return nil, err
	}
	return r, nil
}

// Follow visits the messages behind a sequence, and then each new one, until ctx ends, whose error it returns, or the client is closed.
func (s *Stream) Follow(ctx context.Context, filter string, after uint64, visit func(Message)) error {
	r, err := s.Read(ctx, filter, after)
	if err != nil {
		return err
	}
	defer r.Stop()
	for {
		message, err := r.Next(ctx)
		if err != nil {
			return err
		}
		visit(message)
	}
}

// Each visits the messages that are now in the stream behind a sequence, each message once.
func (s *Stream) Each(ctx context.Context, filter string, after uint64, visit func(Message)) error {
	return s.newReader(filter, after).drain(ctx, visit)
}

// EachNewest visits the last message of each subject that matches a filter, in order. If
// its consumer is lost on the way it continues with every message.
func (s *Stream) EachNewest(ctx context.Context, filter string, visit func(Message)) error {
	r := s.newReader(filter, 0)
	r.newest = true
	return r.drain(ctx, visit)
}

// Between visits the messages behind a sequence up to another, and reports whether it has: not
// if there are more than most, if the replica that it reads lags behind, or if the
// stream has lost messages since.
func (s *Stream) Between(ctx context.Context, filter string, after, last uint64, most int, visit func(Message)) (bool, error) {
	if last < after {
		return false, nil
	}
	r, err := s.Read(ctx, filter, after)
	if err != nil {
		return false, err
	}
	if r.Pending > uint64(most) { //nolint:gosec // a bound
		r.Stop()
		return false, nil
	}
	err = r.drain(ctx, visit)
	return err == nil && r.last >= last, err
}

// Backlog returns the number of messages behind a sequence, and the first of them, an empty one
// if there is none.
func (s *Stream) Backlog(ctx context.Context, filter string, after uint64) (count uint64, first Message, err error) {
	r, err := s.Read(ctx, filter, after)
	if err != nil {
		return 0, Message{}, err
	}
	defer r.Stop()
	for count = r.Pending; count > 0; count = r.Pending {
		if first, err = r.fetch(ctx); err == nil || ctx.Err() != nil {
			return count, first, err
		}
		r.drop() // a busy server's heartbeat may have been missed
		if err = r.open(ctx); err != nil {
			return 0, Message{}, err
		}
	}
	return 0, Message{}, nil
}

func (r *Reader) drain(ctx context.Context, visit func(Message)) error {
	defer r.Stop()
	for open := false; ; {
		if !open {
			if err := r.open(ctx); err != nil {
				return err
			}
		}
		if r.Pending == 0 {
			return nil
		}
		message, err := r.fetch(ctx)
		if open = err == nil; open {
			visit(message)
			continue
		}
		if ctx.Err() != nil {
			return fmt.Errorf("read %s of stream %s: %w", r.filter, r.stream.name, ctx.Err())
		}
		r.drop()
	}
}

// Next returns the next message. It fails only when ctx ends, with its error, or after Stop,
// with ErrClosed; it retries everything else.
func (r *Reader) Next(ctx context.Context) (Message, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(r.stopped, cancel)()
	wait := idle.Between(firstBackoff, maxBackoff)
	for {
		message, err := r.fetch(ctx)
		if err == nil {
			return message, nil
		}
		if r.stopped.Err() != nil || r.stream.client.conn.IsClosed() {
			return Message{}, ErrClosed
		}
		if ctx.Err() != nil {
			return Message{}, ctx.Err()
		}
		r.drop()
		wait.Wait(ctx)
	}
}

// Openings returns how often the reader has begun to read. In between the stream may have changed.
func (r *Reader) Openings() int { return r.openings }

// Rewind makes the reader return a message, the last one, once more.
func (r *Reader) Rewind(message Message) {
	r.drop()
	r.last = message.Sequence - 1
}

func (r *Reader) fetch(ctx context.Context) (Message, error) {
	if r.stopped.Err() != nil {
		return Message{}, ErrClosed
	}
	messages, err := r.current(ctx)
	if err != nil {
		return Message{}, err
	}
	// A server that came back has lost the consumer: do not wait for its silence.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(r.epoch, cancel)()
	message, err := messages.Next(jetstream.NextContext(ctx))
	if err != nil {
		return Message{}, err
	}
	metadata, err := message.Metadata()
	if err != nil {
		return Message{}, err
	}
	if metadata.Sequence.Consumer != r.delivered+1 {
		return Message{}, errors.New("a message was lost in transit")
	}
	r.delivered, r.last, r.Pending = metadata.Sequence.Consumer, metadata.Sequence.Stream, metadata.NumPending
	return Message{
		Subject: message.Subject(), Header: message.Headers(), Data: message.Data(),
		Sequence: metadata.Sequence.Stream, Time: metadata.Timestamp,
	}, nil
}

// current returns the running consumer's messages; without one it makes one.
func (r *Reader) current(ctx context.Context) (jetstream.MessagesContext, error) {
	r.mu.Lock()
	messages := r.messages
	r.mu.Unlock()
	if messages != nil {
		return messages, nil
	}
	ctx, cancel := context.WithTimeout(ctx, Attempt)
	defer cancel()
	watch := r.stream.client.watch
	watch.mu.Lock()
	r.epoch = watch.epoch
	watch.mu.Unlock()
	config := jetstream.ConsumerConfig{
		Name:              consumerPrefix + nuid.Next(),
		FilterSubject:     r.filter,
		DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:       r.last + 1,
		AckPolicy:         jetstream.AckNonePolicy,
		MemoryStorage:     true,
		Replicas:          1,
		InactiveThreshold: forgetConsumer,
	}
	if r.newest && r.last == 0 {
		config.DeliverPolicy, config.OptStartSeq = jetstream.DeliverLastPerSubjectPolicy, 0
	}
	consumer, err := r.stream.client.js.CreateConsumer(ctx, r.stream.name, config)
	if err != nil {
		return nil, err
	}
	messages, err = consumer.Messages(
		jetstream.PullMaxMessages(prefetch), jetstream.PullExpiry(pullExpiry),
		jetstream.PullHeartbeat(heartbeat), jetstream.WithMessagesErrOnMissingHeartbeat(true))
	if err != nil {
		return nil, err
	}
	r.delivered, r.Pending = 0, consumer.CachedInfo().NumPending
	r.openings++
	r.mu.Lock()
	stopped := r.stopped.Err() != nil
	if !stopped {
		r.consumer, r.messages = config.Name, messages
	}
	r.mu.Unlock()
	if stopped {
		messages.Stop()
		r.forget(config.Name)
		return nil, ErrClosed
	}
	return messages, nil
}

// drop abandons the consumer, and returns its name. The server deletes it by itself.
func (r *Reader) drop() (name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.messages != nil {
		r.messages.Stop()
	}
	name, r.messages, r.consumer = r.consumer, nil, ""
	return name
}

// Stop ends the reader; a Next that waits returns ErrClosed. It may be called
// more than once and from any goroutine.
func (r *Reader) Stop() {
	r.stop()
	r.forget(r.drop())
}

// forget deletes the consumer. If that fails the server does so by itself.
func (r *Reader) forget(name string) {
	if name == "" || !r.stream.client.conn.IsConnected() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopPatience)
	defer cancel()
	if err := r.stream.client.js.DeleteConsumer(ctx, r.stream.name, name); err != nil {
		r.stream.client.log.Debug("a consumer could not be deleted and will expire", "consumer", name, "error", err)
	}
}

func (r *Reader) open(ctx context.Context) error {
	err := Retry(ctx, func(ctx context.Context) error {
		_, err := r.current(ctx)
		return err
	})
	errs.Wrap(&err, "read %s of stream %s", r.filter, r.stream.name)
	return err
}
