package pipeline

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/flowjet/flowjet/internal/idle"
)

const (
	// heartbeat is how often the server sends a heartbeat when there is nothing to read;
	// two missed ones and the consumer is replaced.
	heartbeat = time.Second
	// pullExpiry is how long a request for messages stands.
	pullExpiry = 30 * time.Second
	// prefetch is how many messages a reader holds at most.
	prefetch = 128
	// forgetConsumer is how long the server keeps a reader that asks no more. A
	// stream has 1,000 consumers at most (nats-server 2.15), and a worker that
	// dies leaves 17.
	forgetConsumer = 10 * time.Second
	stopPatience   = time.Second
)

// reader reads a stream's messages in order, from a sequence on, each once. It
// is an ordered consumer: in memory, on one server, nothing acknowledged, made
// anew under a fresh name, behind the last message handed out, whenever it is
// lost, silent or skips a number.
//
// nats.go's own ordered consumer does the same with requests of 10 s that no
// context ends; after the kill of a server that is up to 11 s of silence. Here each
// request ends with the caller's context or after one attempt's time.
type reader struct {
	pipeline *Pipeline
	stream   string
	filter   string
	deliver  jetstream.DeliverPolicy

	stopped context.Context
	stop    context.CancelFunc

	// mu guards what Stop shares with next.
	mu       sync.Mutex
	consumer string
	messages jetstream.MessagesContext

	// epoch is that of the connection the consumer was made on.
	epoch context.Context
	// pending is how many messages there were to read at the consumer's start.
	pending uint64
	// last is the stream sequence handed out last; delivered the consumer's own.
	last      uint64
	delivered uint64
}

func (p *Pipeline) newReader(stream, filter string, after uint64) *reader {
	r := &reader{pipeline: p, stream: stream, filter: filter, last: after, deliver: jetstream.DeliverByStartSequencePolicy}
	r.stopped, r.stop = context.WithCancel(context.Background())
	return r
}

// next returns the next message. It fails only when ctx ends or the reader is
// stopped; everything else it tries again.
func (r *reader) next(ctx context.Context) (jetstream.Msg, *jetstream.MsgMetadata, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(r.stopped, cancel)()
	wait := firstBackoff
	for {
		message, metadata, err := r.take(ctx)
		if err == nil {
			return message, metadata, nil
		}
		if r.stopped.Err() != nil || r.pipeline.conn.IsClosed() {
			return nil, nil, ErrClosed
		}
		if ctx.Err() != nil {
			return nil, nil, ctx.Err()
		}
		r.drop()
		if idle.For(ctx, wait) == nil {
			wait = min(2*wait, maxBackoff)
		}
	}
}

func (r *reader) take(ctx context.Context) (jetstream.Msg, *jetstream.MsgMetadata, error) {
	if r.stopped.Err() != nil {
		return nil, nil, ErrClosed
	}
	messages, err := r.current(ctx)
	if err != nil {
		return nil, nil, err
	}
	// A server that came back has forgotten the consumer: do not wait for its
	// silence.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(r.epoch, cancel)()
	message, err := messages.Next(jetstream.NextContext(ctx))
	if err != nil {
		return nil, nil, err
	}
	metadata, err := message.Metadata()
	if err != nil {
		return nil, nil, err
	}
	if metadata.Sequence.Consumer != r.delivered+1 {
		return nil, nil, errors.New("a message was lost on the way")
	}
	r.delivered = metadata.Sequence.Consumer
	r.last = metadata.Sequence.Stream
	return message, metadata, nil
}

// current is the running consumer's messages; without one it makes one.
func (r *reader) current(ctx context.Context) (jetstream.MessagesContext, error) {
	r.mu.Lock()
	messages := r.messages
	r.mu.Unlock()
	if messages != nil {
		return messages, nil
	}
	ctx, cancel := context.WithTimeout(ctx, attempt)
	defer cancel()
	r.epoch = r.pipeline.watch.currentEpoch()
	name := "flowjet-" + nuid.Next()
	consumer, err := r.pipeline.js.CreateConsumer(ctx, r.stream, r.config(name))
	if err != nil {
		return nil, err
	}
	messages, err = consumer.Messages(
		jetstream.PullMaxMessages(prefetch), jetstream.PullExpiry(pullExpiry),
		jetstream.PullHeartbeat(heartbeat), jetstream.WithMessagesErrOnMissingHeartbeat(true))
	if err != nil {
		return nil, err
	}
	r.delivered, r.pending = 0, consumer.CachedInfo().NumPending
	if !r.adopt(name, messages) {
		messages.Stop()
		r.forget(name)
		return nil, ErrClosed
	}
	return messages, nil
}

// adopt keeps the consumer, unless Stop came first.
func (r *reader) adopt(name string, messages jetstream.MessagesContext) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopped.Err() != nil {
		return false
	}
	r.consumer, r.messages = name, messages
	return true
}

func (r *reader) config(name string) jetstream.ConsumerConfig {
	config := jetstream.ConsumerConfig{
		Name:              name,
		FilterSubject:     r.filter,
		DeliverPolicy:     r.deliver,
		AckPolicy:         jetstream.AckNonePolicy,
		MemoryStorage:     true,
		Replicas:          1,
		InactiveThreshold: forgetConsumer,
	}
	if r.deliver == jetstream.DeliverByStartSequencePolicy {
		config.OptStartSeq = r.last + 1
	}
	return config
}

// drop gives the consumer up. The server forgets it by itself.
func (r *reader) drop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.messages != nil {
		r.messages.Stop()
	}
	r.messages, r.consumer = nil, ""
}

// Stop ends the reader; a Next that waits returns ErrClosed. It may be called
// more than once and from any goroutine.
func (r *reader) Stop() {
	r.stop()
	r.mu.Lock()
	name := r.consumer
	r.mu.Unlock()
	r.drop()
	r.forget(name)
}

// forget tells the server that the consumer is not needed any more. Where
// that fails the server finds out by itself.
func (r *reader) forget(name string) {
	if name == "" || !r.pipeline.conn.IsConnected() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), stopPatience)
	defer cancel()
	if err := r.pipeline.js.DeleteConsumer(ctx, r.stream, name); err != nil {
		r.pipeline.log.Debug("a reader's consumer is left to expire", "consumer", name, "error", err)
	}
}

// open makes the first consumer, so that a missing stream is an error at once.
func (r *reader) open(ctx context.Context) error {
	err := persist(ctx, func(ctx context.Context) error {
		_, err := r.current(ctx)
		return err
	})
	if err != nil {
		r.Stop()
		return fmt.Errorf("read %s of stream %s: %w", r.filter, r.stream, err)
	}
	return nil
}
