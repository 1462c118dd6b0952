package work

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/flowjet/flowjet/internal/errs"
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

// LoadRecord reads a service's record with its revision, for SaveRecord. Without a record it returns the zero Record and revision 0.
func (r *Records) LoadRecord(ctx context.Context, service int) (record pipeline.Record, revision uint64, err error) {
	defer errs.Wrap(&err, "load the record of service %d", service)
	text, revision, written, err := r.bucket.GetDated(ctx, strconv.Itoa(service))
	if err != nil || revision == 0 {
		return pipeline.Record{}, 0, err
	}
	if err := pipeline.Decode(text, &record); err != nil {
		return pipeline.Record{}, 0, fmt.Errorf("%w: %w; `nats kv del %s %d` removes it, and the service continues from its document at oned",
			pipeline.ErrUnreadableRecord, err, pipeline.BucketState, service)
	}
	if record.Version > r.schema {
		return pipeline.Record{}, 0, fmt.Errorf("%w (version %d, this one knows %d)", pipeline.ErrNewer, record.Version, r.schema)
	}
	record.Written = written
	return record, revision, nil
}

// RecordRevision returns the revision of a service's record, 0 without one.
func (r *Records) RecordRevision(ctx context.Context, service int) (revision uint64, err error) {
	defer errs.Wrap(&err, "read the revision of the record of service %d", service)
	_, revision, err = r.bucket.Get(ctx, strconv.Itoa(service))
	return revision, err
}

// OwnerOf returns the name of a service's owner from its record, empty if it is not known or the record cannot be read, as a newer Flowjet's: one
// such record must not hold up what is done for many services.
func (r *Records) OwnerOf(ctx context.Context, service int) (string, error) {
	record, _, err := r.LoadRecord(ctx, service)
	if errors.Is(err, pipeline.ErrUnreadableRecord) || errors.Is(err, pipeline.ErrNewer) {
		return "", nil
	}
	return record.State.Service.Owner.UName, err
}

// EachRecord visits every service's record, those of ended services too. Unreadable ones are skipped.
func (r *Records) EachRecord(ctx context.Context, visit func(service int, record pipeline.Record)) error {
	_, err := r.CheckRecords(ctx, visit)
	return err
}

// CheckRecords is EachRecord, and returns the ids of the services whose records are unreadable.
func (r *Records) CheckRecords(ctx context.Context, visit func(service int, record pipeline.Record)) (unreadable []int, err error) {
	defer errs.Wrap(&err, "read the services' records")
	err = r.bucket.Each(ctx, func(key string, value []byte) {
		service, err := strconv.Atoi(key)
		if err != nil {
			return
		}
		var record pipeline.Record
		if pipeline.Decode(value, &record) != nil {
			unreadable = append(unreadable, service)
			return
		}
		visit(service, record)
	})
	return unreadable, err
}

// SaveRecord writes a service's record if its revision is still the one given (0: if there is none), and returns the new revision.
// pipeline.ErrConflict is returned if there was another write in between. After any other error the record may have been written: load it again. On
// one replica many services' records are written by one group commit.
func (r *Records) SaveRecord(ctx context.Context, service int, record pipeline.Record, revision uint64) (uint64, error) {
	stream := r.core.Stream(stateStream)
	if stream.Replicated() { // several replicas do not wait for a disk
		return r.SaveRecordNow(ctx, service, record, revision)
	}
	return r.save(ctx, service, record, revision, func(ctx context.Context, message *nats.Msg) (uint64, error) { return stream.Commit(ctx, message) })
}

// SaveRecordNow is SaveRecord for a caller that cannot wait for the group commit of other callers.
func (r *Records) SaveRecordNow(ctx context.Context, service int, record pipeline.Record, revision uint64) (uint64, error) {
	return r.save(ctx, service, record, revision, r.core.Publish)
}

// save writes a record with a function that stores a message. Its nonce tells it apart from another worker's with the same content: only
// one of the two may go on. It does not use KeyValue.Update, which hides whether a refusal is final (10071) or another
// write is still on its way (10164, on several replicas), which is retried.
func (r *Records) save(
	ctx context.Context, service int, record pipeline.Record, revision uint64, store func(context.Context, *nats.Msg) (uint64, error),
) (saved uint64, err error) {
	defer errs.Wrap(&err, "save the record of service %d", service)
	record.Version = r.schema
	subject, data, nonce := pipeline.KeySubject(pipeline.BucketState, strconv.Itoa(service)), pipeline.Encode(&record), nuid.Next()
	behind := func(revision uint64) *nats.Msg { // a new one each time: storing it sets headers, too
		message := nats.NewMsg(subject)
		message.Data = data
		message.Header.Set(pipeline.HeaderNonce, nonce)
		if record.Deleted {
			message.Header.Set(headerTTL, pipeline.TombstoneTTL.String())
		}
		message.Header.Set(jetstream.ExpectedLastSubjSeqHeader, strconv.FormatUint(revision, 10))
		return message
	}
	if saved, err = store(ctx, behind(revision)); js.Conflict(err) {
		// A conflict with our own write whose answer was lost, the marker of a deleted record, or another worker's write.
		last, failed := r.core.Stream(stateStream).Last(ctx, subject)
		switch {
		case failed != nil:
			err = failed
		case last != nil && last.Header.Get(pipeline.HeaderNonce) == nonce:
			return last.Sequence, nil
		case last != nil && revision == 0 && len(last.Data) == 0:
			saved, err = r.core.Publish(ctx, behind(last.Sequence))
		}
	}
	switch {
	case js.Conflict(err):
		err = pipeline.ErrConflict
	case errors.Is(err, nats.ErrMaxPayload):
		err = fmt.Errorf("its %d bytes are more than the NATS server takes; raise max_payload: %w", len(data), err)
	}
	return saved, err
}

// A stream whose last blocks were damaged ends before the readers' cursors: at its start the server drops the unreadable blocks, and numbers on from
// there. New messages then have numbers that readers have passed and records count as handled, and nobody reads them.

// EndsEarly reports whether StreamWork ends before its readers' cursors.
func EndsEarly(ctx context.Context, p *pipeline.Pipeline) (read, last uint64, early bool, err error) {
	if last, err = p.Client.Stream(pipeline.StreamWork).End(ctx); err != nil {
		return 0, 0, false, err
	}
	read, err = p.FurthestCursor(ctx, pipeline.StreamWork)
	return read, last, read > last, err
}

// Repair renumbers StreamWork from behind its readers' cursors, if it ends before them. The timers in it, and the commands that have not ended
// according to queued, are published again; other wake-ups are dropped, so that every service has to be woken afterwards. Several processes may
// repair it at once.
func Repair(ctx context.Context, p *pipeline.Pipeline, queued func(ctx context.Context, command string) bool) (repaired bool, err error) {
	read, last, early, err := EndsEarly(ctx, p)
	if err != nil || !early {
		return false, err
	}
	stream := p.Stream(pipeline.StreamWork)
	p.Log().Error("stream WORK was damaged: it ends before messages that have been read; it is renumbered", "ends_at", last, "read_up_to", read)
	var kept []*nats.Msg
	newest, _, err := stream.LastOf(ctx, ">")
	whole := err == nil
	if whole {
		whole, err = stream.Between(ctx, "", 0, newest, math.MaxInt, func(message js.Message) {
			if again := unfinished(message, func(command string) bool { return queued(ctx, command) }); again != nil {
				kept = append(kept, again)
			}
		})
	}
	if !whole {
		return false, fmt.Errorf("read the rest of stream %s: %w", pipeline.StreamWork, cmp.Or(err, errors.New("the server that was asked does not have all of it yet")))
	}
	next := read + pipeline.BeyondCursors
	if err := stream.Purge(ctx, jetstream.WithPurgeSequence(next)); err != nil {
		return false, fmt.Errorf("renumber stream %s from %d: %w", pipeline.StreamWork, next, err)
	}
	for _, message := range kept {
		if _, err := p.Publish(ctx, message); err != nil {
			return false, fmt.Errorf("republish the rest of stream %s: %w", pipeline.StreamWork, err)
		}
	}
	return true, nil
}

// unfinished returns a message of StreamWork to be published again, nil for any other.
func unfinished(message js.Message, queued func(command string) bool) *nats.Msg {
	again := nats.NewMsg(message.Subject)
	again.Data = message.Data
	for name, values := range message.Header {
		if pipeline.KeepsHeader(name) || name == headerSchedule || name == headerScheduleTarget || name == headerTTL || name == pipeline.HeaderReplyTo {
			again.Header[name] = values
		}
	}
	again.Header.Set(jetstream.MsgIDHeader, fmt.Sprintf("repair-%d-%d", message.Time.UnixNano(), message.Sequence))
	if strings.HasPrefix(again.Subject, "flow.timer.") {
		return again
	}
	var work pipeline.Work
	if json.Unmarshal(again.Data, &work) != nil || work.Command == nil || !queued(work.Command.ID) {
		return nil
	}
	again.Subject = pipeline.WorkSubject(work.Service)
	return again
}
