package work

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/internal/js"
)

var stateStream = pipeline.StreamOf(pipeline.BucketState)

// Records are the services' records.
type Records struct {
	core   *js.Client
	bucket *js.Bucket
	schema int
}

// NewRecords returns the records of a pipeline.
func NewRecords(p *pipeline.Pipeline) *Records {
	return &Records{p.Client, p.Bucket(pipeline.BucketState), p.Schema()}
}

// LoadRecord reads a service's record with its revision, which SaveRecord
// wants back. Without a record it returns the zero Record and revision 0.
func (r *Records) LoadRecord(ctx context.Context, service int) (pipeline.Record, uint64, error) {
	text, revision, written, err := r.bucket.GetDated(ctx, strconv.Itoa(service))
	if err != nil {
		return pipeline.Record{}, 0, fmt.Errorf("load the record of service %d: %w", service, err)
	}
	var record pipeline.Record
	if revision == 0 {
		return record, 0, nil
	}
	if err := pipeline.Decode(text, &record); err != nil {
		return pipeline.Record{}, 0, fmt.Errorf("load the record of service %d: it cannot be read: %w", service, err)
	}
	if record.Version > r.schema {
		return pipeline.Record{}, 0, fmt.Errorf("load the record of service %d: %w (version %d, this one knows %d)", service, pipeline.ErrNewer, record.Version, r.schema)
	}
	record.Written = written
	return record, revision, nil
}

// RecordRevision is the revision of a service's record, 0 without one.
func (r *Records) RecordRevision(ctx context.Context, service int) (uint64, error) {
	_, revision, err := r.bucket.Get(ctx, strconv.Itoa(service))
	if err != nil {
		return 0, fmt.Errorf("read the revision of the record of service %d: %w", service, err)
	}
	return revision, nil
}

// OwnerOf is the name of a service's owner as its record has it, empty if it is not known.
func (r *Records) OwnerOf(ctx context.Context, service int) (string, error) {
	record, _, err := r.LoadRecord(ctx, service)
	return record.State.Service.Owner.UName, err
}

// EachRecord visits every service's record, those of ended services too. What cannot be read is skipped.
func (r *Records) EachRecord(ctx context.Context, visit func(service int, record pipeline.Record)) error {
	err := r.bucket.Each(ctx, func(key string, value []byte) {
		service, err := strconv.Atoi(key)
		var record pipeline.Record
		if err == nil && pipeline.Decode(value, &record) == nil {
			visit(service, record)
		}
	})
	if err != nil {
		return fmt.Errorf("read the services' records: %w", err)
	}
	return nil
}

// SaveRecord writes a service's record if its revision is still the one given (0: if there is
// none), and returns the new revision. pipeline.ErrConflict is returned if somebody else wrote in
// between. After any other error the record may have been written: load it again. On one replica
// many services' records are written by one group commit.
func (r *Records) SaveRecord(ctx context.Context, service int, record pipeline.Record, revision uint64) (uint64, error) {
	stream := r.core.Stream(stateStream)
	if stream.Replicated() { // several replicas wait for no disk
		return r.SaveRecordNow(ctx, service, record, revision)
	}
	return r.save(ctx, r.newWrite(service, record), revision, func(ctx context.Context, message *nats.Msg) (uint64, error) {
		return stream.Commit(ctx, message)
	})
}

// SaveRecordNow is SaveRecord for a caller that cannot wait until what others save at the
// same time is stored.
func (r *Records) SaveRecordNow(ctx context.Context, service int, record pipeline.Record, revision uint64) (uint64, error) {
	return r.save(ctx, r.newWrite(service, record), revision, r.core.Publish)
}

// recordWrite is one call of SaveRecord. Its nonce tells the write apart from
// another worker's of the same content: only one of the two may go on.
type recordWrite struct {
	service int
	subject string
	data    []byte
	nonce   string
	ended   bool
}

func (r *Records) newWrite(service int, record pipeline.Record) recordWrite {
	record.Version = r.schema
	return recordWrite{service, pipeline.KeySubject(pipeline.BucketState, strconv.Itoa(service)), pipeline.Encode(&record), nuid.Next(), record.Deleted}
}

// save writes a record with a function that stores a message. It does not go through
// KeyValue.Update, which hides whether a refusal is final (10071) or another
// write is still on its way (10164, on several replicas), which is tried again.
func (r *Records) save(ctx context.Context, write recordWrite, revision uint64, store func(context.Context, *nats.Msg) (uint64, error)) (uint64, error) {
	saved, err := store(ctx, write.message(revision))
	if js.Conflict(err) {
		saved, err = r.resolve(ctx, write, revision)
	}
	if errors.Is(err, nats.ErrMaxPayload) {
		err = fmt.Errorf("its %d bytes are more than the NATS server takes; raise max_payload: %w", len(write.data), err)
	}
	if err != nil {
		return 0, fmt.Errorf("save the record of service %d: %w", write.service, err)
	}
	return saved, nil
}

func (w recordWrite) message(revision uint64) *nats.Msg {
	message := nats.NewMsg(w.subject)
	message.Data = w.data
	message.Header.Set(pipeline.HeaderNonce, w.nonce)
	if w.ended {
		message.Header.Set(headerTTL, pipeline.TombstoneTTL.String())
	}
	message.Header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(revision, 10))
	return message
}

// resolve finds out what a refusal means: our own write whose answer was lost,
// the marker of a deleted record, or somebody else's write.
func (r *Records) resolve(ctx context.Context, write recordWrite, revision uint64) (uint64, error) {
	last, err := r.core.Stream(stateStream).Last(ctx, write.subject)
	switch {
	case err != nil:
		return 0, err
	case last == nil:
		return 0, pipeline.ErrConflict
	case last.Header.Get(pipeline.HeaderNonce) == write.nonce:
		return last.Sequence, nil
	case revision > 0 || len(last.Data) > 0:
		return 0, pipeline.ErrConflict
	}
	saved, err := r.core.Publish(ctx, write.message(last.Sequence))
	if js.Conflict(err) {
		err = pipeline.ErrConflict
	}
	return saved, err
}
