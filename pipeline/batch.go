package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
)

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
	// worthBatching is from how many messages on a batch is faster than one
	// publish after the other on a stream of one replica: a batch costs about
	// 3 ms more there, and a publish 0.28 ms (both with an fsync).
	worthBatching = 12
)

// chunk is how many of the messages go into the next batch; 1 means none.
func chunk(messages []*nats.Msg, replicated bool) int {
	if !replicated && len(messages) < worthBatching {
		return 1
	}
	count, size := 0, 0
	for count < min(len(messages), maxBatch) {
		size += messages[count].Size()
		if count > 0 && size > maxBatchBytes {
			break
		}
		count++
	}
	return count
}

// inChunks stores messages in their order: as many at a time as one batch takes by
// many, and where few is not nil and no more are left than are faster one right
// behind the other, those by few.
func inChunks(messages []*nats.Msg, replicated bool, many, few func([]*nats.Msg) error) error {
	for len(messages) > 0 {
		if few != nil && worthPipelining(messages, replicated) {
			return few(messages)
		}
		count := chunk(messages, replicated)
		if err := many(messages[:count]); err != nil {
			return err
		}
		messages = messages[count:]
	}
	return nil
}

// publishBatch stores all messages or none, in their order and next to each other, and
// returns the last one's sequence.
func (p *Pipeline) publishBatch(ctx context.Context, messages []*nats.Msg) (last uint64, err error) {
	err = persist(ctx, func(ctx context.Context) (err error) {
		last, err = p.tryBatch(ctx, messages)
		return err
	})
	return last, err
}

// tryBatch sends all but the last message without waiting, and asks for an
// answer to the last, which commits. A message that was lost on the way makes
// the server refuse the commit.
func (p *Pipeline) tryBatch(ctx context.Context, messages []*nats.Msg) (uint64, error) {
	last, id, err := p.stageBatch(len(messages), func(i int) *nats.Msg { return messages[i] })
	if err != nil {
		return 0, err
	}
	return p.commitBatch(ctx, last, id, len(messages))
}

// stageBatch sends all but the last of so many messages, and returns that. They are
// asked for one by one and may be the same: what is sent is copied. Nothing is stored
// before commitBatch; a batch that is not committed the server forgets after 10 s.
func (p *Pipeline) stageBatch(count int, message func(i int) *nats.Msg) (last *nats.Msg, id string, err error) {
	ids := []string{nuid.Next()}
	for i := range count - 1 {
		member := inBatch(message(i), ids, i+1)
		if err := p.publishable(member); err != nil {
			return nil, "", err
		}
		if err := p.conn.PublishMsg(member); err != nil {
			return nil, "", err
		}
	}
	last = message(count - 1)
	return last, ids[0], p.publishable(last)
}

// commitBatch sends the last message of a batch, waits until all are stored, and returns
// its sequence.
func (p *Pipeline) commitBatch(ctx context.Context, last *nats.Msg, id string, count int) (uint64, error) {
	commit := inBatch(last, []string{id}, count)
	commit.Header.Set(headerBatchCommit, "1")
	answer, err := p.conn.RequestMsgWithContext(ctx, commit)
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

// alone takes a message out of its batch, or from behind another.
func alone(message *nats.Msg) *nats.Msg {
	delete(message.Header, jetstream.ExpectedLastMsgIDHeader)
	delete(message.Header, headerBatchID)
	delete(message.Header, headerBatchSequence)
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
		return 0, errors.New("the server does not know atomic batches; nats-server 2.12 or newer is needed")
	}
	return outcome.Sequence, nil
}
