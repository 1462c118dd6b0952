package pipeline

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Input is one message of a partition's work.
type Input struct {
	// Sequence is the message's in StreamWork: inputs come in growing order.
	Sequence uint64
	Work     Work
	// ReplyTo is the inbox that a command's reply goes to; empty without one.
	ReplyTo   string
	Published time.Time
	// Trace is the trace that the input belongs to, for WithTrace.
	Trace string
}

// PartitionReader reads one partition's work in order. Next is for one
// goroutine at a time; Stop may be called from any.
type PartitionReader struct {
	*reader
	partition int
}

// ReadPartition reads a partition's work behind the sequence after (0 reads
// all). The reader survives lost servers and connections: each input comes
// once, in order, for as long as the reader lives.
func (p *Pipeline) ReadPartition(ctx context.Context, partition int, after uint64) (*PartitionReader, error) {
	if partition < 0 || partition >= Partitions {
		return nil, fmt.Errorf("read partition %d: there are 0 to %d", partition, Partitions-1)
	}
	r := &PartitionReader{p.newReader(StreamWork, PartitionSubjects(partition), after), partition}
	if err := r.open(ctx); err != nil {
		return nil, err
	}
	return r, nil
}

// Next waits for the next input. What cannot be understood goes to the
// dead-letter stream and is skipped; what a newer Flowjet wrote comes as
// Work.Newer. It returns ctx's error, or ErrClosed
// after Stop.
func (r *PartitionReader) Next(ctx context.Context) (Input, error) {
	for {
		message, metadata, err := r.next(ctx)
		if err != nil {
			return Input{}, err
		}
		work, err := r.pipeline.decodeWork(message.Data())
		if err == nil {
			return Input{
				Sequence: metadata.Sequence.Stream, Work: work,
				ReplyTo: message.Headers().Get(HeaderReplyTo), Published: metadata.Timestamp, Trace: traceOf(message.Headers()),
			}, nil
		}
		if err := r.pipeline.bury(ctx, "work", message, metadata, err); err != nil {
			// Not handed out and not buried: read it again.
			r.rewind(metadata)
			return Input{}, err
		}
	}
}

// rewind makes the reader start again before a message.
func (r *reader) rewind(metadata *jetstream.MsgMetadata) {
	r.drop()
	r.last = metadata.Sequence.Stream - 1
}

// decodeWork reads a message once where it is of a version that is known here.
func (p *Pipeline) decodeWork(data []byte) (Work, error) {
	work, err := unmarshalWork(data)
	if err == nil && work.Version >= 1 && work.Version <= p.schema {
		return work, nil
	}
	return p.decodeStrange(data, err)
}

// decodeStrange finds out whether a newer Flowjet wrote what cannot be read here;
// why is what reading it led to.
func (p *Pipeline) decodeStrange(data []byte, why error) (Work, error) {
	var head struct {
		Version int `json:"v"`
		Service int `json:"service"`
	}
	switch err := json.Unmarshal(data, &head); {
	case err != nil:
		return Work{}, err
	case head.Version < 1:
		return Work{}, fmt.Errorf("schema version %d is not known here", head.Version)
	case head.Version > p.schema:
		return Work{Version: head.Version, Service: head.Service, Newer: true}, nil
	}
	return Work{}, why
}

// publishedOn is the subject that a message of StreamWork was published on,
// before the stream put its partition in.
func publishedOn(stored string) string {
	return "flow.work." + stored[strings.LastIndexByte(stored, '.')+1:]
}

// bury moves a message that cannot be understood to the dead-letter stream. It
// waits for a missing server as long as ctx allows.
func (p *Pipeline) bury(ctx context.Context, where string, message jetstream.Msg, metadata *jetstream.MsgMetadata, why error) error {
	reason := fmt.Sprintf("message %d on %s cannot be read: %v", metadata.Sequence.Stream, message.Subject(), why)
	p.log.Warn("a message goes to the dead letters", "where", where, "subject", message.Subject(),
		"sequence", metadata.Sequence.Stream, "reason", why)
	for {
		err := p.Bury(ctx, Letter{Where: where, Reason: reason, Data: message.Data(), Origin: publishedOn(message.Subject())})
		switch {
		case err == nil || ctx.Err() != nil || p.conn.IsClosed():
			return err
		case !transient(err) && !errors.Is(err, context.DeadlineExceeded):
			// The dead letters cannot take it, ever; the log has its reason.
			p.log.Error("a dead letter is lost", "error", err)
			return nil
		}
	}
}
