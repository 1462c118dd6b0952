package js

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
