package js

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
)

// worthBatching is from how many messages on a batch is faster than one publish after the
// other on a stream of one replica: a batch costs about 3 ms more there, and a publish
// 0.28 ms (both with an fsync).
const worthBatching = 12

// Rules are how messages are stored that belong together.
type Rules struct {
	// Fence puts the condition on a message under which all of them may be stored. It is
	// called for the first message of a batch, and for each that is sent by itself.
	Fence func(*nats.Msg)
	// Burst is how their order is kept where they are sent one right behind the other;
	// without it they are not.
	Burst BurstOrder
	// Order is what came before, for a sender that calls more than once; nil begins with the call.
	Order *Order
}

// Order is that of one sender's messages over several calls, of which only Renamed asks. After an error the
// sender gives the same messages again, from an earlier one on, and may cut them into other calls.
type Order struct {
	// newest is the highest sequence of the sender's messages. One that is stored below it stands in front of
	// messages that were given before it.
	newest uint64
}

// NewOrder returns the order of a sender of which nothing is known: what the stream holds may be its own, in any order.
func (s *Stream) NewOrder(ctx context.Context) (*Order, error) {
	newest, err := s.End(ctx)
	return &Order{newest}, err
}

// BurstOrder is how messages keep their order in a burst although one of them is lost.
type BurstOrder int

// The ways to keep the order of a burst.
const (
	// NoBurst sends none.
	NoBurst BurstOrder = iota
	// Chained has each message stored only right behind the one before it. It is for
	// a stream in which others seldom store anything in between.
	Chained
	// Renamed stores those behind the lost one once more, under other message ids:
	// the last one stored of equals is then the last one given.
	Renamed
)

// Result is what became of one message.
type Result struct {
	Sequence uint64
	Err      error
}

// Append stores messages in their order and returns when all are stored. Each has a
// message id. On an error a first part of them may be stored.
func (s *Stream) Append(ctx context.Context, messages []*nats.Msg, rules Rules) error {
	one := &entry{messages: messages}
	s.append(ctx, []*entry{one}, rules)
	return one.result.Err
}

// AppendEach stores messages that do not depend on each other, each under its own
// condition if it has one, and returns what became of each.
func (s *Stream) AppendEach(ctx context.Context, messages []*nats.Msg) []Result {
	entries, space := make([]*entry, len(messages)), make([]entry, len(messages))
	for i := range messages {
		entries[i] = &space[i]
		entries[i].messages = messages[i : i+1]
	}
	s.append(ctx, entries, Rules{})
	results := make([]Result, len(messages))
	for i, one := range entries {
		results[i] = one.result
	}
	return results
}

// entry is messages that are stored in their order: after one that is refused none is
// stored. Entries do not depend on each other.
type entry struct {
	messages []*nats.Msg
	result   Result // of the last message, or of the one that failed
}

type item struct {
	*nats.Msg
	entry *entry
}

type appender struct {
	*Client
	rules Rules
	order *Order
	items []item
	// failed is set when an entry has failed whose messages may be among the items.
	failed bool
}

// append stores entries, each time the next ones by the way that is quickest for so many. An
// entry that fails leaves the others as they are, unless it failed for want of time: then NATS
// is away, and nobody waits for each that is left.
func (s *Stream) append(ctx context.Context, entries []*entry, rules Rules) {
	a := appender{Client: s.client, rules: rules, order: cmp.Or(rules.Order, &Order{})}
	mayBurst := true
	for _, one := range entries {
		mayBurst = mayBurst && len(one.messages) == 1
		for _, message := range one.messages {
			a.items = append(a.items, item{message, one})
		}
	}
	mayBurst = mayBurst || rules.Burst != NoBurst
	// Several replicas refuse conditions on what is still on its way with 10164. Several
	// callers' messages are many sooner: while a batch of theirs is stored, the next one gathers.
	replicated, few := s.Replicated(), MaxBurst
	if rules.Burst == NoBurst {
		few = worthBatching - 1
	}
	for len(a.items) > 0 {
		if a.failed {
			a.items = slices.DeleteFunc(a.items, func(left item) bool { return left.entry.result.Err != nil })
			a.failed = false
			continue
		}
		var err error
		if mayBurst && !replicated && len(a.items) <= few {
			err = a.stepBurst(ctx)
		} else {
			err = a.stepBatch(ctx, replicated)
		}
		if err != nil {
			for _, left := range a.items {
				left.entry.result.Err = err
			}
			return
		}
	}
}

// stepBatch stores the next items in a batch, or one after the other where that is quicker, and
// leaves the rest. It returns an error, as all steps, when nothing more can be stored.
func (a *appender) stepBatch(ctx context.Context, replicated bool) error {
	if !replicated && len(a.items) < worthBatching {
		return a.stepSingly(ctx, 1)
	}
	count, size := 0, 0
	for count < min(len(a.items), maxBatch) {
		if size += a.items[count].Size(); count > 0 && size > maxBatchBytes {
			break
		}
		count++
	}
	if count == 1 {
		return a.stepSingly(ctx, 1)
	}
	items, last := a.items[:count], uint64(0)
	if a.rules.Fence != nil {
		a.rules.Fence(items[0].Msg)
	}
	err := Retry(ctx, func(ctx context.Context) error {
		staged, err := a.Stage(count, func(i int) *nats.Msg { return items[i].Msg })
		if err != nil {
			return err
		}
		last, err = staged.Commit(ctx)
		return err
	})
	switch {
	case err == nil:
		for i, one := range items {
			one.entry.result.Sequence = last - uint64(count-1-i) //nolint:gosec // as many are stored, next to each other
		}
		a.items, a.order.newest = a.items[count:], last
		return nil
	case Transient(err) || ctx.Err() != nil:
		return err
	}
	// A batch is refused as a whole: for one that is stored already, or whose
	// condition does not hold. By itself each is refused or stored.
	return a.stepSingly(ctx, count)
}

func (a *appender) stepSingly(ctx context.Context, count int) error {
	for range count {
		next := a.items[0]
		if next.entry.result.Err == nil {
			sequence, err := a.Publish(ctx, a.alone(next.Msg))
			if err == nil && a.overtaken(sequence) {
				rename(next.Msg)
				sequence, err = a.Publish(ctx, next.Msg)
			}
			if Transient(err) || ctx.Err() != nil && err != nil {
				return err
			}
			// What is refused is stored last, once it is taken: until then, those in front of it may stay where they are.
			next.entry.result, a.order.newest = Result{sequence, err}, sequence
			a.failed = a.failed || err != nil
		}
		a.items = a.items[1:]
	}
	return nil
}

// overtaken reports whether a message that has been answered with its sequence was stored, by an earlier
// attempt, in front of one that was given before it.
func (a *appender) overtaken(sequence uint64) bool {
	return a.rules.Burst == Renamed && sequence < a.order.newest
}

// rename has a message stored although it is stored already, or may be.
func rename(message *nats.Msg) {
	message.Header.Set(jetstream.MsgIDHeader, message.Header.Get(jetstream.MsgIDHeader)+"-"+nuid.Next())
}

// alone makes a message one that is sent by itself, and not in a batch or behind another.
func (a *appender) alone(message *nats.Msg) *nats.Msg {
	for _, header := range []string{jetstream.ExpectedLastMsgIDHeader, headerBatchID, headerBatchSequence, headerBatchCommit} {
		delete(message.Header, header)
	}
	if a.rules.Fence != nil {
		a.rules.Fence(message)
	}
	return message
}

// stepBurst sends all items, one right behind the other, and those that failed by themselves.
func (a *appender) stepBurst(ctx context.Context) error {
	if len(a.items) == 1 {
		return a.stepSingly(ctx, 1)
	}
	before := ""
	for _, one := range a.items {
		message := a.alone(one.Msg)
		if a.rules.Burst == Chained && before != "" {
			message.Header[jetstream.ExpectedLastMsgIDHeader] = []string{before}
		}
		before = message.Header.Get(jetstream.MsgIDHeader)
	}
	results := a.burst(ctx, a.items, a.rules.Burst != NoBurst)
	var again []item
	if a.rules.Burst == NoBurst {
		// They are entries of one message each: those whose answer was lost are sent again.
		for i, one := range a.items {
			if Transient(results[i].Err) {
				again = append(again, one)
				continue
			}
			one.entry.result = results[i]
		}
	} else if failed := slices.IndexFunc(results, func(r Result) bool { return r.Err != nil }); failed >= 0 {
		again = a.items[failed:]
	}
	if a.rules.Burst == Renamed {
		for _, one := range again {
			// Any of them may be stored, in front of one that is not.
			rename(one.Msg)
		}
	}
	a.items = again
	return a.stepSingly(ctx, len(again))
}

// MaxBurst is up to how many messages are faster one right behind the other than in a
// batch, on a stream of one replica: each is an fsync of 0.25 ms then, and not also a
// way there and back; a batch takes 4 ms with up to 64 messages.
const MaxBurst = 16

// errOvertaken is returned for a message that was stored before the one in front of it: by
// an earlier attempt, in which that one was not.
var errOvertaken = errors.New("a later message was stored first")

// errNotSent is returned for a message behind one that could not be sent.
var errNotSent = errors.New("an earlier message could not be sent")

// burst sends messages one right behind the other and returns what became of each; if they are
// ordered, it stops at the first that cannot be sent. One without an acknowledgement may be stored,
// and may still be on its way, in front of whatever is published next: the connection keeps the
// order, unless it is made anew in between.
func (a *appender) burst(ctx context.Context, items []item, ordered bool) []Result {
	results, acks := make([]Result, len(items)), make([]jetstream.PubAckFuture, len(items))
	failed := false
	for i, one := range items {
		if failed && ordered {
			results[i].Err = errNotSent
			continue
		}
		err := cmp.Or(a.Publishable(one.Msg), a.connected())
		if err == nil {
			acks[i], err = a.js.PublishMsgAsync(one.Msg, jetstream.WithRetryAttempts(0))
		}
		results[i].Err, failed = err, failed || err != nil
	}
	for i, ack := range acks {
		if ack == nil {
			continue
		}
		select {
		case answer := <-ack.Ok():
			results[i].Sequence = answer.Sequence
			if a.overtaken(answer.Sequence) {
				results[i].Err = errOvertaken
			}
			a.order.newest = max(a.order.newest, answer.Sequence)
		case results[i].Err = <-ack.Err():
		case <-ctx.Done():
			results[i].Err = ctx.Err()
		}
	}
	return results
}

// Expect makes the server refuse a message unless the last one on the subject has the
// sequence. The subject may be another than the message's, and a filter, on one replica
// and on several (tried with nats-server 2.15.2).
func Expect(message *nats.Msg, subject string, sequence uint64) {
	message.Header.Set(jetstream.ExpectedLastSubjSeqHeader, fmt.Sprint(sequence))
	message.Header.Set(jetstream.ExpectedLastSubjSeqSubjHeader, subject)
}

// The headers of an atomic batch, which nats.go has no names for.
const (
	headerBatchID       = "Nats-Batch-Id"
	headerBatchSequence = "Nats-Batch-Sequence"
	headerBatchCommit   = "Nats-Batch-Commit"
)

const (
	// maxBatch is what the server takes in one batch. The fsync at its end is
	// most of what a batch costs: 1000 are stored at 1.4 times the rate of 500.
	maxBatch      = 1000
	maxBatchBytes = 4 << 20
)

// Batch is one that is on its way to the server and may be committed. The server forgets
// one that is not after 10 s.
type Batch struct {
	client *Client
	last   *nats.Msg
	id     string
	count  int
}

// Stage sends all but the last of so many messages. They are asked for one by one and may
// be the same: what is sent is copied. Nothing is stored before Commit.
func (c *Client) Stage(count int, message func(i int) *nats.Msg) (*Batch, error) {
	if count > maxBatch {
		return nil, fmt.Errorf("a batch of %d messages is more than %d", count, maxBatch)
	}
	if err := c.connected(); err != nil {
		return nil, err
	}
	ids := []string{nuid.Next()}
	for i := range count - 1 {
		member := inBatch(message(i), ids, i+1)
		if err := c.Publishable(member); err != nil {
			return nil, err
		}
		if err := c.conn.PublishMsg(member); err != nil {
			return nil, err
		}
	}
	last := message(count - 1)
	return &Batch{c, last, ids[0], count}, c.Publishable(last)
}

// Commit sends the last message, waits until all are stored, next to each other, and
// returns its sequence. It tries once: a message that was lost on the way makes the server
// refuse the commit, and all are to be sent again.
func (b *Batch) Commit(ctx context.Context) (uint64, error) {
	commit := inBatch(b.last, []string{b.id}, b.count)
	commit.Header.Set(headerBatchCommit, "1")
	if err := b.client.connected(); err != nil {
		return 0, err
	}
	answer, err := b.client.conn.RequestMsgWithContext(ctx, commit)
	if err != nil {
		return 0, err
	}
	return batchOutcome(answer.Data)
}

// inBatch makes a message a member of the batch with one id, and of no other.
func inBatch(message *nats.Msg, ids []string, sequence int) *nats.Msg {
	message.Header[headerBatchID] = ids
	message.Header[headerBatchSequence] = []string{strconv.Itoa(sequence)}
	delete(message.Header, headerBatchCommit)
	return message
}

// serverError is JetStream's refusal, in the form that codeOf reads.
type serverError struct{ refusal *jetstream.APIError }

func (e *serverError) Error() string                 { return e.refusal.Error() }
func (e *serverError) APIError() *jetstream.APIError { return e.refusal }

func batchOutcome(answer []byte) (last uint64, err error) {
	var outcome struct {
		Error    *jetstream.APIError `json:"error"`
		Sequence uint64              `json:"seq"`
		Count    int                 `json:"count"`
	}
	if err := json.Unmarshal(answer, &outcome); err != nil {
		return 0, fmt.Errorf("read the answer to a batch: %w", err)
	}
	if outcome.Error != nil {
		return 0, &serverError{outcome.Error}
	}
	if outcome.Count == 0 {
		return 0, errors.New("the server does not support atomic batches; nats-server 2.12 or newer is needed")
	}
	return outcome.Sequence, nil
}
