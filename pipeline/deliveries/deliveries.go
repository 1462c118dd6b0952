// Package deliveries queues the deliveries to webhooks, and keeps the attempts of
// those that have failed.
package deliveries

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/flowjet/flowjet/internal/errs"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/deadletters"
	"github.com/flowjet/flowjet/pipeline/internal/js"
)

// codeStoreFailed is JetStream's refusal to store a message; its text has the reason.
const codeStoreFailed jetstream.ErrorCode = 10077

// Deliveries are those that are waiting.
type Deliveries struct {
	core        *js.Client
	attempts    *js.Bucket
	deadLetters *deadletters.Store
}

// New returns the deliveries of a pipeline.
func New(p *pipeline.Pipeline) *Deliveries {
	return &Deliveries{p.Client, p.Bucket(pipeline.BucketHooks), deadletters.New(p)}
}

// Queued is a delivery with the subject on which it waits.
type Queued struct {
	Subject string
	pipeline.Delivery
}

// QueueDeliveries stores deliveries at once, those on each subject in their order, and returns the error of each: pipeline.ErrFull if too
// many wait on its subject, and behind it none is stored there. The same transition for the same receiver within ten minutes is stored once.
func (d *Deliveries) QueueDeliveries(ctx context.Context, queued ...Queued) []error {
	failed := make([]error, len(queued))
	var groups [][]*nats.Msg // by subject
	var members [][]int      // of each group, as indices of queued
	known := map[string]int{}
	for i, each := range queued {
		each.Version = pipeline.Version
		message := nats.NewMsg(each.Subject)
		message.Data = pipeline.Encode(each.Delivery)
		message.Header.Set(jetstream.MsgIDHeader, each.Subject+" "+each.ID)
		if failed[i] = d.core.Publishable(message); failed[i] != nil { // it must not keep those behind it out
			continue
		}
		at, is := known[each.Subject]
		if !is {
			at = len(groups)
			known[each.Subject], groups, members = at, append(groups, nil), append(members, nil)
		}
		groups[at], members[at] = append(groups[at], message), append(members[at], i)
	}
	for at, result := range d.core.Stream(pipeline.StreamHook).AppendGroups(ctx, groups) {
		if js.Code(result.Err) == codeStoreFailed && strings.Contains(result.Err.Error(), "maximum") {
			result.Err = pipeline.ErrFull
		}
		for _, i := range members[at][result.Stored:] {
			failed[i] = result.Err
		}
	}
	for i := range failed {
		errs.Wrap(&failed[i], "queue %s for a webhook of service %d", queued[i].ID, queued[i].Service)
	}
	return failed
}

// FollowDeliveries visits all waiting deliveries, and then new ones; an unreadable one has only its subject and service. It
// returns ctx's error, or pipeline.ErrClosed.
func (d *Deliveries) FollowDeliveries(ctx context.Context, visit func(Queued)) error {
	return d.core.Stream(pipeline.StreamHook).Follow(ctx, pipeline.SubjectsHook, 0, func(message js.Message) {
		if _, service, ok := pipeline.ReadHookSubject(message.Subject); ok {
			queued := Queued{Subject: message.Subject}
			_ = json.Unmarshal(message.Data, &queued.Delivery)
			queued.Service = service
			visit(queued)
		}
	})
}

// NextDelivery returns the oldest delivery that waits on a subject; false for none. An
// unreadable one has no body. A newer Flowjet's is pipeline.ErrNewer.
func (d *Deliveries) NextDelivery(ctx context.Context, subject string) (delivery pipeline.Delivery, waits bool, err error) {
	defer errs.Wrap(&err, "read the pending deliveries on %s", subject)
	message, err := d.core.Stream(pipeline.StreamHook).Get(ctx, 1, jetstream.WithGetMsgSubject(subject))
	if message == nil || err != nil {
		return delivery, false, err
	}
	switch err := json.Unmarshal(message.Data, &delivery); {
	case err != nil:
		delivery = pipeline.Delivery{}
	case delivery.Version > pipeline.Version:
		return pipeline.Delivery{}, true, pipeline.ErrNewer
	}
	delivery.Sequence, delivery.Queued = message.Sequence, message.Time
	return delivery, true, nil
}

// DropDelivery deletes a delivery that is done. A missing one is no error.
func (d *Deliveries) DropDelivery(ctx context.Context, sequence uint64) (err error) {
	defer errs.Wrap(&err, "drop the delivery %d", sequence)
	return d.core.Stream(pipeline.StreamHook).Delete(ctx, sequence)
}

// Dead is a delivery that is to become a dead letter, with the reason.
type Dead struct {
	Queued
	Reason string
}

// DeadLetterDeliveries makes dead letters of deliveries, from which they can be queued again.
func (d *Deliveries) DeadLetterDeliveries(ctx context.Context, all []Dead) error {
	letters := make([]pipeline.DeadLetter, len(all))
	for i, dead := range all {
		letters[i] = pipeline.DeadLetter{Where: "webhook", Reason: dead.Reason, Origin: dead.Subject, Data: pipeline.Encode(dead.Delivery)}
	}
	return d.deadLetters.DeadLetterAll(ctx, letters)
}

// PendingDeliveries returns the number of waiting deliveries.
func (d *Deliveries) PendingDeliveries(ctx context.Context) (count uint64, err error) {
	defer errs.Wrap(&err, "count the pending webhook deliveries")
	info, err := d.core.Stream(pipeline.StreamHook).Info(ctx)
	if err == nil {
		count = info.State.Msgs
	}
	return count, err
}

// PendingBySubject returns the number of waiting deliveries on each subject.
func (d *Deliveries) PendingBySubject(ctx context.Context) (count map[string]uint64, err error) {
	defer errs.Wrap(&err, "count the pending webhook deliveries by receiver")
	info, err := d.core.Stream(pipeline.StreamHook).Info(ctx, jetstream.WithSubjectFilter(pipeline.SubjectsHook))
	if err == nil {
		count = info.State.Subjects
	}
	return count, err
}

// LoadAttempts returns the attempts of the delivery that waits on a subject; the zero value for none.
func (d *Deliveries) LoadAttempts(ctx context.Context, subject string) (attempts pipeline.Attempts, err error) {
	defer errs.Wrap(&err, "load the delivery attempts of %s", subject)
	text, revision, err := d.attempts.Get(ctx, attemptsKey(subject))
	if err != nil || revision == 0 {
		return attempts, err
	}
	if err := json.Unmarshal(text, &attempts); err != nil {
		d.core.Log().Warn("the delivery attempts cannot be read and are counted from zero", "subject", subject, "error", err)
		return pipeline.Attempts{}, nil
	}
	return attempts, nil
}

// SaveAttempts stores the attempts of a delivery.
func (d *Deliveries) SaveAttempts(ctx context.Context, subject string, attempts pipeline.Attempts) (err error) {
	defer errs.Wrap(&err, "save the delivery attempts of %s", subject)
	attempts.Version = pipeline.Version
	return d.attempts.Put(ctx, attemptsKey(subject), pipeline.Encode(attempts))
}

// ForgetAttempts removes the attempts that SaveAttempts stored.
func (d *Deliveries) ForgetAttempts(ctx context.Context, subject string) (err error) {
	defer errs.Wrap(&err, "delete the delivery attempts of %s", subject)
	return d.attempts.Purge(ctx, attemptsKey(subject))
}

// FailingDeliveries returns the attempts of the deliveries that have failed last, by "<receiver>.<service>".
func (d *Deliveries) FailingDeliveries(ctx context.Context) (failing map[string]pipeline.Attempts, err error) {
	defer errs.Wrap(&err, "read which webhooks fail")
	failing = map[string]pipeline.Attempts{}
	return failing, d.attempts.Each(ctx, func(key string, value []byte) {
		var attempts pipeline.Attempts
		if json.Unmarshal(value, &attempts) == nil {
			failing[key] = attempts
		}
	})
}

func attemptsKey(subject string) string { return strings.TrimPrefix(subject, "flow.hook.") }
