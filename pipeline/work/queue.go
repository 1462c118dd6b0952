package work

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/deadletters"
	"github.com/flowjet/flowjet/pipeline/internal/js"
)

// Queue is the work that wakes services.
type Queue struct {
	core    *js.Client
	zone    int
	schema  int
	letters *deadletters.Letters
}

// NewQueue returns the work of a pipeline.
func NewQueue(p *pipeline.Pipeline) *Queue {
	return &Queue{p.Client, p.Zone(), p.Schema(), deadletters.New(p)}
}

// PublishWork wakes a service and returns the work's sequence in StreamWork.
// The same messageID within two minutes is stored once; an empty one is no id.
func (q *Queue) PublishWork(ctx context.Context, work pipeline.Work, messageID string) (uint64, error) {
	return q.PublishCommand(ctx, work, messageID, "")
}

// PublishCommand is PublishWork for a command whose reply goes to an inbox.
func (q *Queue) PublishCommand(ctx context.Context, work pipeline.Work, messageID, replyTo string) (uint64, error) {
	message := q.message(work, messageID)
	if replyTo != "" {
		message.Header.Set(pipeline.HeaderReplyTo, replyTo)
	}
	sequence, err := q.core.Publish(ctx, message)
	if err != nil {
		return 0, fmt.Errorf("wake service %d: %w", work.Service, err)
	}
	return sequence, nil
}

func (q *Queue) message(work pipeline.Work, messageID string) *nats.Msg {
	work.Version = q.schema
	message := nats.NewMsg(pipeline.WorkSubject(work.Service))
	message.Data = pipeline.Encode(&work)
	if messageID != "" {
		message.Header.Set(jetstream.MsgIDHeader, messageID)
	}
	return message
}

// PublishWakes wakes services in the order given and returns when all wake-ups
// are stored, many at the cost of a few. On an error some of them may be stored;
// the message ids make it harmless to try all again.
//
// Few go out one right behind the other. Where the server is lost in the middle,
// a later one can be stored before an earlier: it is then stored once more, so that
// the last one stored of each service is the last one given.
func (q *Queue) PublishWakes(ctx context.Context, wakes []pipeline.Wake) error {
	messages := make([]*nats.Msg, len(wakes))
	for i, wake := range wakes {
		messages[i] = q.message(wake.Work, wake.MessageID)
		if wake.Trace != "" {
			messages[i].Header.Set(pipeline.HeaderTrace, wake.Trace)
		}
	}
	if err := q.core.Stream(pipeline.StreamWork).Append(ctx, messages, js.Rules{Burst: js.Renamed}); err != nil {
		return fmt.Errorf("wake %d services: %w", len(wakes), err)
	}
	return nil
}

// PartitionReader reads one partition's work in order. Next is for one
// goroutine at a time; Stop may be called from any.
type PartitionReader struct {
	*js.Reader
	letters *deadletters.Letters
	schema  int
}

// ReadPartition reads a partition's work behind the sequence after (0 reads
// all). The reader survives lost servers and connections: each input comes
// once, in order, for as long as the reader lives.
func (q *Queue) ReadPartition(ctx context.Context, partition int, after uint64) (*PartitionReader, error) {
	if partition < 0 || partition >= pipeline.Partitions {
		return nil, fmt.Errorf("read partition %d: there are 0 to %d", partition, pipeline.Partitions-1)
	}
	r, err := q.core.Stream(pipeline.StreamWork).Read(ctx, pipeline.PartitionSubjects(partition), after)
	if err != nil {
		return nil, err
	}
	return &PartitionReader{r, q.letters, q.schema}, nil
}

// Next waits for the next input. What cannot be understood goes to the dead-letter stream, and its
// sequence is returned with pipeline.ErrUnreadable; what a newer Flowjet wrote comes as Work.Newer.
// It returns ctx's error, or pipeline.ErrClosed after Stop.
func (r *PartitionReader) Next(ctx context.Context) (pipeline.Input, error) {
	message, err := r.Reader.Next(ctx)
	if err != nil {
		return pipeline.Input{}, err
	}
	work, err := pipeline.DecodeWork(message.Data, r.schema)
	if err == nil {
		return pipeline.Input{
			Sequence: message.Sequence, Work: work, ReplyTo: message.Header.Get(pipeline.HeaderReplyTo),
			Published: message.Time, Trace: message.Header.Get(pipeline.HeaderTrace),
		}, nil
	}
	if err := r.letters.Unreadable(ctx, "work", message, err); err != nil {
		r.Rewind(message) // neither returned nor a dead letter: read it again
		return pipeline.Input{}, err
	}
	return pipeline.Input{Sequence: message.Sequence}, pipeline.ErrUnreadable
}
