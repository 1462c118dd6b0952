package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
)

// renewLease is the age at which a lease is written again: the stream forgets
// it with everything else after 72 h, or sooner when it is full.
const renewLease = time.Hour

// FeedEvent is one event of a feed, ready to be stored.
type FeedEvent struct {
	Subject string
	// MessageID is "<hash of the hook event>-<process>-<occurrence number>".
	MessageID string
	Event     Event
	// Data is Event as Encode writes it; nil has it encoded when it is stored.
	Data []byte
}

// Lease is the message on a feed's lease subject.
type Lease struct {
	Version int       `json:"v"`
	Feed    string    `json:"feed"`
	Holder  string    `json:"holder"`
	Token   string    `json:"token"`
	Time    time.Time `json:"time"`
	// Released reports whether the holder has given the feed up.
	Released bool `json:"released,omitempty"`
}

// FeedLease is the right to publish a feed's events. It ends when somebody
// else acquires the feed; the server then refuses what its holder publishes.
type FeedLease struct {
	pipeline *Pipeline
	feed     string
	holder   string
	token    string

	mu       sync.Mutex
	sequence uint64
	renewed  time.Time
	released bool
	// shown is sequence for those who must not wait for a Publish.
	shown atomic.Uint64
}

// AcquireFeed takes a feed over from whoever had it. From then on only what is
// published through the lease returned, or a later one, is stored.
func (p *Pipeline) AcquireFeed(ctx context.Context, feed, holder string) (*FeedLease, error) {
	return p.acquireFeed(ctx, feed, holder, nil)
}

// TakeFeed is AcquireFeed for as long as nobody else has taken the feed:
// expected is the sequence of the last lease, as LastLease told it, 0 for none.
// ErrConflict is returned when somebody was faster.
func (p *Pipeline) TakeFeed(ctx context.Context, feed, holder string, expected uint64) (*FeedLease, error) {
	return p.acquireFeed(ctx, feed, holder, &expected)
}

func (p *Pipeline) acquireFeed(ctx context.Context, feed, holder string, expected *uint64) (*FeedLease, error) {
	lease := &FeedLease{pipeline: p, feed: feed, holder: holder, token: nuid.Next()}
	err := lease.write(ctx, expected)
	if isConflict(err) {
		// It may be our own, stored by a first attempt whose ack was lost.
		if last, sequence, asked := p.LastLease(ctx, feed); asked == nil && last.Token == lease.token {
			lease.wrote(sequence)
			return lease, nil
		}
		err = ErrConflict
	}
	if err != nil {
		return nil, fmt.Errorf("take feed %s over: %w", feed, err)
	}
	return lease, nil
}

// LastLease is the newest lease of a feed with its sequence; 0 means that there
// is none.
func (p *Pipeline) LastLease(ctx context.Context, feed string) (Lease, uint64, error) {
	lease, sequence, err := p.lastLease(ctx, feed)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return Lease{}, 0, nil
	case err != nil:
		return Lease{}, 0, fmt.Errorf("ask who publishes feed %s: %w", feed, err)
	}
	return lease, sequence, nil
}

// Release gives the feed up, so that another bridge can take it at once.
func (l *FeedLease) Release(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.released = true
	return l.failed(l.write(ctx, &l.sequence))
}

// Sequence is the lease's own in StreamONE.
func (l *FeedLease) Sequence() uint64 {
	return l.shown.Load()
}

// wrote notes that the lease stands in the stream.
func (l *FeedLease) wrote(sequence uint64) {
	l.sequence, l.renewed = sequence, time.Now()
	l.shown.Store(sequence)
}

// Publish stores the events in their order and returns when JetStream has
// acknowledged all of them. ErrSuperseded is returned when the feed was taken over:
// nothing more is stored. After any other error the first events may have been
// stored and the caller gives the same events again: those are stored once.
//
// A batch is fenced by its first message: all of it is stored or nothing.
// Many events, and those to a replicated stream, go in atomic batches. A few go one
// right behind the other, each fenced, and each stored only right behind the one
// before it: a reconnect in between cannot store a later one first. Where another
// feed's event came between them they are refused, and go one by one.
func (l *FeedLease) Publish(ctx context.Context, events []FeedEvent) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.renew(ctx); err != nil {
		return l.failed(err)
	}
	err := l.publish(ctx, events)
	if codeOf(err) == codeWrongSequence {
		// Superseded, or the stream has forgotten the lease.
		if err = l.restore(ctx); err == nil {
			err = l.publish(ctx, events)
		}
	}
	return l.failed(err)
}

func (l *FeedLease) failed(err error) error {
	switch {
	case err == nil:
		return nil
	case codeOf(err) == codeWrongSequence, errors.Is(err, ErrSuperseded):
		return fmt.Errorf("publish feed %s as %s: %w", l.feed, l.holder, ErrSuperseded)
	}
	return fmt.Errorf("publish feed %s as %s: %w", l.feed, l.holder, err)
}

func (l *FeedLease) publish(ctx context.Context, events []FeedEvent) (err error) {
	messages := l.messages(events)
	stored := traceEvents(ctx, events, messages)
	defer func() { stored(err) }()
	many := func(chunk []*nats.Msg) error { return l.publishChunk(ctx, chunk) }
	few := func(rest []*nats.Msg) error { return l.publishChain(ctx, rest) }
	return inChunks(messages, l.pipeline.replicated(StreamONE), many, few)
}

func (l *FeedLease) messages(events []FeedEvent) []*nats.Msg {
	messages, space := make([]*nats.Msg, len(events)), make([]nats.Msg, len(events))
	feed := []string{l.feed}
	for i := range events {
		messages[i] = &space[i]
		events[i].write(messages[i])
		messages[i].Header[HeaderFeed] = feed
	}
	return messages
}

// publishChunk stores a batch, or where the server has some of it already
// (an ack was lost) one message after the other.
func (l *FeedLease) publishChunk(ctx context.Context, messages []*nats.Msg) error {
	subject := LeaseSubject(l.feed)
	expectLast(messages[0], subject, l.sequence)
	if len(messages) > 1 {
		_, err := l.pipeline.publishBatch(ctx, messages)
		if codeOf(err) != codeBatchDuplicate {
			return err
		}
	}
	return l.publishSingly(ctx, messages)
}

// publishChain stores a few messages, each right behind the one before it. The
// server looks for doubles first, and then at what a message is to stand behind.
func (l *FeedLease) publishChain(ctx context.Context, messages []*nats.Msg) error {
	if len(messages) == 1 {
		return l.publishSingly(ctx, messages)
	}
	subject, before := LeaseSubject(l.feed), ""
	for _, message := range messages {
		expectLast(alone(message), subject, l.sequence)
		if before != "" {
			message.Header[jetstream.ExpectedLastMsgIDHeader] = []string{before}
		}
		before = message.Header.Get(jetstream.MsgIDHeader)
	}
	stored, err := l.pipeline.pipelined(ctx, messages)
	if err == nil {
		return nil
	}
	return l.publishSingly(ctx, messages[stored:])
}

func (l *FeedLease) publishSingly(ctx context.Context, messages []*nats.Msg) error {
	subject := LeaseSubject(l.feed)
	for _, message := range messages {
		expectLast(alone(message), subject, l.sequence)
		if _, err := l.pipeline.publish(ctx, message); err != nil {
			return err
		}
	}
	return nil
}

// write makes the message that of the event, as it is stored, without a fence.
func (e *FeedEvent) write(message *nats.Msg) {
	message.Subject, message.Data = e.Subject, e.Data
	if message.Header == nil {
		message.Header = make(nats.Header, 8)
	}
	clear(message.Header)
	if message.Data == nil {
		event := e.Event
		event.Version = Version
		message.Data = EncodeEvent(event)
	}
	message.Header[jetstream.MsgIDHeader] = []string{e.MessageID}
	if e.Event.Resync {
		message.Header[HeaderResync] = []string{"true"}
	}
}

// expectLast makes the server refuse the message unless the last one on the
// subject has the sequence. The subject may be another than the message's,
// on one replica and on several (tried with nats-server 2.15.2).
func expectLast(message *nats.Msg, subject string, sequence uint64) {
	message.Header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(sequence, 10))
	message.Header.Set(jetstream.ExpectedLastSubjSeqSubjHeader, subject)
}

// renew writes an old lease again, before the stream forgets it.
func (l *FeedLease) renew(ctx context.Context) error {
	if time.Since(l.renewed) < renewLease {
		return nil
	}
	err := l.write(ctx, &l.sequence)
	if codeOf(err) == codeWrongSequence {
		return l.restore(ctx)
	}
	return err
}

// restore finds out why the server does not know the lease as the last: it is
// ours under another sequence (its ack was lost), forgotten, or superseded.
func (l *FeedLease) restore(ctx context.Context) error {
	last, sequence, err := l.pipeline.lastLease(ctx, l.feed)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return l.write(ctx, new(uint64))
	case err != nil:
		return err
	case last.Token != l.token:
		return ErrSuperseded
	}
	l.wrote(sequence)
	return nil
}

func (p *Pipeline) lastLease(ctx context.Context, feed string) (Lease, uint64, error) {
	var lease Lease
	var sequence uint64
	err := persist(ctx, func(ctx context.Context) error {
		message, err := p.streams[StreamONE].GetLastMsgForSubject(ctx, LeaseSubject(feed))
		if err != nil {
			return err
		}
		sequence = message.Sequence
		return json.Unmarshal(message.Data, &lease)
	})
	return lease, sequence, err
}

// write stores the lease; with expected only if the last one has that
// sequence (0: if there is none).
func (l *FeedLease) write(ctx context.Context, expected *uint64) error {
	subject := LeaseSubject(l.feed)
	message := nats.NewMsg(subject)
	message.Data = Encode(Lease{
		Version: Version, Feed: l.feed, Holder: l.holder, Token: l.token, Time: time.Now().UTC(), Released: l.released,
	})
	if expected != nil {
		expectLast(message, subject, *expected)
	}
	sequence, err := l.pipeline.publish(ctx, message)
	if err != nil {
		return err
	}
	l.wrote(sequence)
	return nil
}
