package work

import (
	"context"
	"fmt"

	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/deadletters"
	"github.com/flowjet/flowjet/pipeline/internal/js"
)

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

// Next waits for the next input. What cannot be understood goes to the
// dead-letter stream, and its sequence is returned with pipeline.ErrUnreadable; what a
// newer Flowjet wrote comes as Work.Newer. It returns ctx's error, or
// pipeline.ErrClosed after Stop.
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
