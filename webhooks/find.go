package webhooks

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/history"
)

const (
	// saveEvery is after how many transitions, or after how long a silence, it is
	// stored how far the receivers were found.
	saveEvery    = 200
	saveWhenIdle = time.Second
)

// begin is how far receivers were found; the first time, everything that has
// happened until now.
func (d *Deliverer) begin(ctx context.Context) (uint64, error) {
	last, err := d.pipe.LastTransitionSequence(ctx)
	if err != nil {
		return 0, err
	}
	return d.pipe.BeginCursor(ctx, pipeline.WebhooksCursor, last)
}

// find queues a delivery for each receiver of each transition.
func (d *Deliverer) find(ctx context.Context) (err error) {
	defer func() { d.logUnlessOver(ctx, "finding the receivers of webhooks", err) }()
	saved, err := d.begin(ctx)
	if err != nil {
		return err
	}
	reader, err := d.pipe.ReadTransitions(ctx, -1, saved)
	if err != nil {
		return err
	}
	defer reader.Stop()
	f := finder{Deliverer: d, saved: saved, at: saved}
	for {
		if err := f.step(ctx, reader); err != nil {
			return err
		}
	}
}

// finder is how far the finding has come.
type finder struct {
	*Deliverer
	saved, at uint64
}

// step takes one transition, or stores the place when none comes.
func (f *finder) step(ctx context.Context, reader *history.Reader) error {
	waiting, cancel := context.WithTimeout(ctx, saveWhenIdle)
	sequence, transition, err := reader.Next(waiting)
	idle := waiting.Err() != nil && ctx.Err() == nil
	cancel()
	f.metrics.countPending(ctx, f.pipe)
	if err != nil && idle {
		return f.save(ctx)
	}
	if err != nil {
		return err
	}
	if err := f.queue(ctx, sequence, transition); err != nil {
		return err
	}
	f.at = sequence
	if f.at-f.saved >= saveEvery {
		return f.save(ctx)
	}
	return nil
}

func (f *finder) save(ctx context.Context) error {
	if f.at == f.saved {
		return nil
	}
	if err := f.pipe.SaveCursor(ctx, pipeline.WebhooksCursor, f.at); err != nil {
		return err
	}
	f.saved = f.at
	return nil
}

// queue queues a transition for all its receivers.
func (d *Deliverer) queue(ctx context.Context, sequence uint64, transition pipeline.Transition) error {
	settings := d.current()
	id := transition.MessageID
	if id == "" {
		id = fmt.Sprintf("flow-%d", sequence)
	}
	body, err := payload(id, transition)
	if err != nil {
		return err
	}
	for _, receiver := range settings.Receivers {
		if !receiver.wants(transition.Change) {
			continue
		}
		delivery := pipeline.Delivery{ID: id, Service: transition.Service, Receiver: receiver.Name, Body: body}
		if err := d.queueOne(ctx, pipeline.HookSubject(receiver.Name, transition.Service), delivery); err != nil {
			return err
		}
	}
	if !settings.Services {
		return nil
	}
	return d.queueNamed(ctx, transition, id, body)
}

// queueNamed queues a transition for the receivers that its service names.
func (d *Deliverer) queueNamed(ctx context.Context, transition pipeline.Transition, id string, body []byte) error {
	owner := ""
	for _, webhook := range transition.Webhooks {
		if !webhook.Wants(transition.Kind) || webhook.Check() != nil {
			continue
		}
		if owner == "" {
			var err error
			if owner, err = d.pipe.OwnerOf(ctx, transition.Service); err != nil {
				return err
			}
		}
		delivery := pipeline.Delivery{ID: id, Service: transition.Service, URL: webhook.URL, Secret: webhook.Secret, Owner: owner, Body: body}
		if err := d.queueOne(ctx, pipeline.HookSubject(nameOf(webhook), transition.Service), delivery); err != nil {
			return err
		}
	}
	return nil
}

// nameOf tells a service's receivers apart, in a subject. A prefix that
// no configured receiver can have keeps both kinds apart.
func nameOf(webhook spec.Webhook) string {
	sum := sha256.Sum256([]byte(webhook.URL + "\x00" + webhook.Secret))
	return "=" + hex.EncodeToString(sum[:8])
}

// queueOne queues a delivery; what finds no room becomes a dead letter, so that
// one receiver's backlog holds up nobody else.
func (d *Deliverer) queueOne(ctx context.Context, subject string, delivery pipeline.Delivery) error {
	err := d.pipe.QueueDelivery(ctx, subject, delivery)
	if !errors.Is(err, pipeline.ErrFull) {
		return err
	}
	d.metrics.outcome(delivery, "dead")
	reason := fmt.Sprintf("%s for %s: too many deliveries are pending for the receiver; make sure that it answers, then retry", delivery.ID, title(delivery))
	return d.pipe.DeadLetterDelivery(ctx, subject, reason, delivery)
}

// event is what is posted, in the form of Standard Webhooks.
type event struct {
	// Type is the kind and the new state: service.WARNING.
	Type      string              `json:"type"`
	Timestamp time.Time           `json:"timestamp"`
	ID        string              `json:"id"`
	Data      pipeline.Transition `json:"data"`
}

func payload(id string, transition pipeline.Transition) ([]byte, error) {
	text, err := json.Marshal(event{
		Type: transition.Kind + "." + transition.New, Timestamp: transition.Time, ID: id, Data: transition,
	})
	if err != nil {
		return nil, fmt.Errorf("write transition %s: %w", id, err)
	}
	return text, nil
}
