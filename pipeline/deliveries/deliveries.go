// Package deliveries queues what is to be delivered to webhooks, and keeps what came of
// deliveries that have failed.
package deliveries

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/deadletters"
	"github.com/flowjet/flowjet/pipeline/internal/js"
)

// codeStoreFailed is JetStream's refusal to store a message; its text says why.
const codeStoreFailed jetstream.ErrorCode = 10077

// Deliveries are those that wait.
type Deliveries struct {
	core     *js.Client
	attempts *js.Bucket
	letters  *deadletters.Letters
}

// New returns the deliveries of a pipeline.
func New(p *pipeline.Pipeline) *Deliveries {
	return &Deliveries{p.Client, p.Bucket(pipeline.BucketHooks), deadletters.New(p)}
}

// QueueDelivery stores a delivery on its subject. The same transition for the same receiver within
// ten minutes is stored once. pipeline.ErrFull is returned if too many wait on the subject.
func (d *Deliveries) QueueDelivery(ctx context.Context, subject string, delivery pipeline.Delivery) error {
	delivery.Version = pipeline.Version
	message := nats.NewMsg(subject)
	message.Data = pipeline.Encode(delivery)
	message.Header.Set(jetstream.MsgIDHeader, subject+" "+delivery.ID)
	_, err := d.core.Publish(ctx, message)
	if js.Code(err) == codeStoreFailed && strings.Contains(err.Error(), "maximum") {
		err = pipeline.ErrFull
	}
	if err != nil {
		return fmt.Errorf("queue %s for a webhook of service %d: %w", delivery.ID, delivery.Service, err)
	}
	return nil
}

// Reader reads on which subjects something waits to be delivered.
type Reader struct{ *js.Reader }

// ReadDeliveries reads everything that waits, and then what comes.
func (d *Deliveries) ReadDeliveries(ctx context.Context) (*Reader, error) {
	r, err := d.core.Stream(pipeline.StreamHook).Read(ctx, pipeline.SubjectsHook, 0)
	if err != nil {
		return nil, err
	}
	return &Reader{r}, nil
}

// Next waits for the next delivery and returns its subject and service. It
// returns ctx's error, or pipeline.ErrClosed after Stop.
func (r *Reader) Next(ctx context.Context) (subject string, service int, err error) {
	for {
		message, err := r.Reader.Next(ctx)
		if err != nil {
			return "", 0, err
		}
		if tokens := strings.Split(message.Subject, "."); len(tokens) == 4 {
			if _, err := fmt.Sscanf(tokens[3], "%d", &service); err == nil {
				return message.Subject, service, nil
			}
		}
	}
}

// NextDelivery is the oldest delivery that waits on a subject; false for none. One
// that cannot be read has no body.
func (d *Deliveries) NextDelivery(ctx context.Context, subject string) (pipeline.Delivery, bool, error) {
	message, err := d.core.Stream(pipeline.StreamHook).Get(ctx, 1, jetstream.WithGetMsgSubject(subject))
	if err != nil {
		return pipeline.Delivery{}, false, fmt.Errorf("read the pending deliveries on %s: %w", subject, err)
	}
	if message == nil {
		return pipeline.Delivery{}, false, nil
	}
	var delivery pipeline.Delivery
	if json.Unmarshal(message.Data, &delivery) != nil || delivery.Version > pipeline.Version {
		delivery = pipeline.Delivery{}
	}
	delivery.Sequence, delivery.Queued = message.Sequence, message.Time
	return delivery, true, nil
}

// DropDelivery deletes a delivery that is done. One that is gone is no error.
func (d *Deliveries) DropDelivery(ctx context.Context, sequence uint64) error {
	if err := d.core.Stream(pipeline.StreamHook).Delete(ctx, sequence); err != nil {
		return fmt.Errorf("drop the delivery %d: %w", sequence, err)
	}
	return nil
}

// DeadLetterDelivery makes a dead letter of a delivery, from which it can be queued again.
func (d *Deliveries) DeadLetterDelivery(ctx context.Context, subject, reason string, delivery pipeline.Delivery) error {
	return d.letters.DeadLetter(ctx, pipeline.DeadLetter{Where: "webhook", Reason: reason, Origin: subject, Data: pipeline.Encode(delivery)})
}

// PendingDeliveries is how many deliveries wait.
func (d *Deliveries) PendingDeliveries(ctx context.Context) (uint64, error) {
	info, err := d.core.Stream(pipeline.StreamHook).Info(ctx)
	if err != nil {
		return 0, fmt.Errorf("count the pending webhook deliveries: %w", err)
	}
	return info.State.Msgs, nil
}

// LoadAttempts are those of what waits on a subject; the zero value for none.
func (d *Deliveries) LoadAttempts(ctx context.Context, subject string) (pipeline.Attempts, error) {
	text, revision, err := d.attempts.Get(ctx, attemptsKey(subject))
	if err != nil {
		return pipeline.Attempts{}, fmt.Errorf("load the delivery attempts of %s: %w", subject, err)
	}
	var attempts pipeline.Attempts
	if revision > 0 {
		if err := json.Unmarshal(text, &attempts); err != nil {
			d.core.Log().Warn("the delivery attempts cannot be read and are counted from zero", "subject", subject, "error", err)
			return pipeline.Attempts{}, nil
		}
	}
	return attempts, nil
}

// SaveAttempts keeps what came of a delivery.
func (d *Deliveries) SaveAttempts(ctx context.Context, subject string, attempts pipeline.Attempts) error {
	attempts.Version = pipeline.Version
	if err := d.attempts.Put(ctx, attemptsKey(subject), pipeline.Encode(attempts)); err != nil {
		return fmt.Errorf("save the delivery attempts of %s: %w", subject, err)
	}
	return nil
}

// ForgetAttempts removes what SaveAttempts kept.
func (d *Deliveries) ForgetAttempts(ctx context.Context, subject string) error {
	if err := d.attempts.Purge(ctx, attemptsKey(subject)); err != nil {
		return fmt.Errorf("delete the delivery attempts of %s: %w", subject, err)
	}
	return nil
}

// FailingDeliveries are the attempts to deliver that have failed last, by "<receiver>.<service>".
func (d *Deliveries) FailingDeliveries(ctx context.Context) (map[string]pipeline.Attempts, error) {
	failing := map[string]pipeline.Attempts{}
	err := d.attempts.Each(ctx, func(key string, value []byte) {
		var attempts pipeline.Attempts
		if json.Unmarshal(value, &attempts) == nil {
			failing[key] = attempts
		}
	})
	if err != nil {
		return nil, fmt.Errorf("read which webhooks fail: %w", err)
	}
	return failing, nil
}

func attemptsKey(subject string) string { return strings.TrimPrefix(subject, "flow.hook.") }
