package webhooks

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/batch"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/deliveries"
)

const (
	// maxTransitions bounds how many transitions are read ahead, and how many of these are handled at once; maxQueued and maxQueuedBytes how many
	// of their deliveries are stored at once, but for those of the last of the transitions.
	maxTransitions = 256
	maxQueued      = 1000
	maxQueuedBytes = 4 << 20
	// saveEvery is the number of transitions without receivers, or the silence, after which the position of the search for receivers is stored.
	saveEvery    = 200
	saveWhenIdle = time.Second
	// countEvery is how often the waiting deliveries are counted.
	countEvery = 5 * time.Second
	// confirmCutOff is how long the history must end before the position of the search to count as damaged.
	confirmCutOff = 5 * time.Second
)

// begin returns the position of the search for receivers; the first time, the end of the history.
func (d *Deliverer) begin(ctx context.Context, damage *cutOff) (uint64, error) {
	last, err := d.pipe.LastTransitionSequence(ctx)
	if err != nil {
		return 0, err
	}
	position, err := d.pipe.BeginCursor(ctx, pipeline.WebhooksCursor, last)
	if err == nil {
		damage.observe(last, position)
	}
	return position, err
}

// cutOff remembers that the history ends before the position of the search, as it does when damage has cut it off, and where it ended
// when that was noticed: what follows is new, though its sequences have been read before.
type cutOff struct {
	since time.Time // zero as long as the end is not before the position
	end   uint64
}

func (c *cutOff) observe(last, position uint64) {
	if last < position && c.since.IsZero() {
		c.since, c.end = time.Now(), last
	}
}

// resume returns to the end of a history that was cut off, and reports whether it did. It also does so when the history has grown beyond the
// position meanwhile; then its end was perhaps only reported too early, by a server that had just become the stream's leader, and some
// deliveries are repeated.
func (d *Deliverer) resume(ctx context.Context, damage *cutOff, position uint64) (bool, error) {
	last, err := d.pipe.LastTransitionSequence(ctx)
	if err != nil {
		return false, err
	}
	damage.observe(last, position)
	if damage.since.IsZero() || last < position && time.Since(damage.since) < confirmCutOff {
		return false, nil
	}
	if last < position {
		d.logger.Error("stream FLOW was damaged: it ends before transitions that have been read; reading continues at its end", "ends_at", damage.end, "read_up_to", position)
		if err := d.pipe.NoteMismatch(ctx, "stream FLOW was damaged: the end of the history was lost"); err != nil {
			return false, err
		}
	}
	if err := d.pipe.SaveCursor(ctx, pipeline.WebhooksCursor, damage.end); err != nil {
		return false, err
	}
	*damage = cutOff{}
	return true, nil
}

// find queues a delivery for each receiver of each transition. It returns without an error where it has to begin again.
func (d *Deliverer) find(ctx context.Context, damage *cutOff) (err error) {
	defer func() { d.logUnlessOver(ctx, "finding the receivers of webhooks", err) }()
	saved, err := d.begin(ctx, damage)
	if err != nil {
		return err
	}
	reader, err := d.pipe.ReadTransitions(ctx, -1, saved)
	if err != nil {
		return err
	}
	defer reader.Stop()
	ended := make(chan error, 1)
	life, cancel := context.WithCancel(ctx)
	defer cancel()
	incoming := batch.Ahead(life, maxTransitions, ended, func(ctx context.Context) (one found, err error) {
		one.sequence, one.transition, err = reader.Next(ctx)
		return one, err
	})
	var counted time.Time
	owners := map[int]string{}
	for at := saved; ; {
		if time.Since(counted) >= countEvery {
			counted = time.Now()
			clear(owners) // they may have changed
			if waiting, err := d.pipe.PendingDeliveries(ctx); err == nil {
				d.metrics.pending.Set(float64(waiting))
				if err := d.shares.recount(ctx, d.pipe, waiting); err != nil {
					return err
				}
			}
		}
		idle, queued := false, false
		select {
		case first := <-incoming:
			transitions := batch.Available(first, incoming, maxTransitions)
			if queued, err = d.queue(ctx, transitions, owners); err != nil {
				return err
			}
			at = transitions[len(transitions)-1].sequence
		case <-time.After(saveWhenIdle):
			idle = true
		case err := <-ended:
			return err
		}
		// At once where something was queued: a NATS server that is killed forgets the ids of deliveries that were made, and would store them again.
		if queued || at-saved >= saveEvery || idle && at > saved {
			if err := d.pipe.SaveCursor(ctx, pipeline.WebhooksCursor, at); err != nil {
				return err
			}
			saved = at
		}
		if idle {
			if resumed, err := d.resume(ctx, damage, saved); resumed || err != nil {
				return err
			}
		}
	}
}

// found is a transition with its sequence in the history.
type found struct {
	sequence   uint64
	transition pipeline.Transition
}

// queue queues transitions for all their receivers, as many deliveries at once as may be, and reports whether there were any. owners are the owners of
// services that have been read.
func (d *Deliverer) queue(ctx context.Context, transitions []found, owners map[int]string) (some bool, err error) {
	settings := d.current()
	var queued []deliveries.Queued
	size := 0
	for _, one := range transitions {
		added, err := d.deliveriesOf(ctx, settings, one, owners)
		if err != nil {
			return some, err
		}
		for _, each := range added {
			some = true
			size += len(each.Body)
		}
		if queued = append(queued, added...); len(queued) >= maxQueued || size >= maxQueuedBytes {
			if err := d.queueAll(ctx, queued); err != nil {
				return some, err
			}
			queued, size = nil, 0
		}
	}
	return some, d.queueAll(ctx, queued)
}

// deliveriesOf returns the deliveries of a transition to its receivers: those of the configuration, and those of its service.
func (d *Deliverer) deliveriesOf(ctx context.Context, settings Settings, one found, owners map[int]string) ([]deliveries.Queued, error) {
	transition := one.transition
	id := cmp.Or(transition.MessageID, fmt.Sprintf("flow-%d", one.sequence))
	var queued []deliveries.Queued
	for _, receiver := range settings.Receivers {
		named := spec.Webhook{URL: receiver.URL, Kinds: receiver.Kinds}
		if !named.Wants(transition.Kind) || len(receiver.States) > 0 && !slices.Contains(receiver.States, transition.New) {
			continue
		}
		delivery := pipeline.Delivery{ID: id, Service: transition.Service, Receiver: receiver.Name}
		queued = append(queued, deliveries.Queued{Subject: pipeline.HookSubject(receiver.Name, transition.Service), Delivery: delivery})
	}
	for _, webhook := range transition.Webhooks {
		if !settings.Services || !webhook.Wants(transition.Kind) || webhook.Check() != nil {
			continue
		}
		owner := owners[transition.Service]
		if owner == "" {
			var err error
			if owner, err = d.pipe.OwnerOf(ctx, transition.Service); err != nil {
				return nil, err
			}
			owners[transition.Service] = owner
		}
		delivery := pipeline.Delivery{ID: id, Service: transition.Service, URL: webhook.URL, Secret: webhook.Secret, Owner: owner}
		sum := sha256.Sum256([]byte(webhook.URL + "\x00" + webhook.Secret))
		queued = append(queued, deliveries.Queued{Subject: pipeline.HookSubject(ofService+hex.EncodeToString(sum[:8]), transition.Service), Delivery: delivery})
	}
	if len(queued) == 0 {
		return nil, nil
	}
	// It was read from JSON.
	body, _ := json.Marshal(event{Type: transition.Kind + "." + transition.New, Timestamp: transition.Time, ID: id, Data: transition})
	for i := range queued {
		queued[i].Body = body
	}
	return queued, nil
}

// ofService begins the names of receivers that services name in subjects: no configured receiver can have it.
const ofService = "="

// queueAll queues deliveries, those to each receiver of a service in their order. One without room becomes a dead letter, so that one receiver's
// backlog holds up no other.
func (d *Deliverer) queueAll(ctx context.Context, queued []deliveries.Queued) error {
	var admitted, crowded []deliveries.Queued
	var dead []deliveries.Dead
	for _, each := range queued {
		switch {
		case each.Receiver == "" && !d.shares.add(each.Service, each.Owner):
			reason := fmt.Sprintf("too many deliveries are pending for receivers of services of %s; make sure that they answer, then retry", each.Owner)
			dead = append(dead, deliveries.Dead{Queued: each, Reason: reason})
		case d.shares.full[each.Subject]:
			crowded = append(crowded, each)
		default:
			admitted = append(admitted, each)
		}
	}
	// The crowded ones apart from the others: where one is refused, the server refuses all of a batch, and then each is stored alone.
	for _, some := range [][]deliveries.Queued{admitted, crowded} {
		refused, err := d.store(ctx, some)
		if err != nil {
			return err
		}
		dead = append(dead, refused...)
	}
	return d.overflow(ctx, dead)
}

// store stores deliveries in the stream, and returns those that it refuses.
func (d *Deliverer) store(ctx context.Context, queued []deliveries.Queued) (refused []deliveries.Dead, err error) {
	for i, err := range d.pipe.QueueDeliveries(ctx, queued...) {
		each := queued[i]
		full := errors.Is(err, pipeline.ErrFull)
		d.shares.stored(each, full)
		switch {
		case full:
			refused = append(refused, deliveries.Dead{Queued: each, Reason: "too many deliveries are pending for the receiver; make sure that it answers, then retry"})
		case errors.Is(err, pipeline.ErrUnpublishable):
			refused = append(refused, deliveries.Dead{Queued: each, Reason: err.Error()})
		case err != nil:
			return nil, err
		}
	}
	return refused, nil
}

// overflow makes dead letters of deliveries without room, but for those of users who have had too many of them.
func (d *Deliverer) overflow(ctx context.Context, all []deliveries.Dead) error {
	var kept []deliveries.Dead
	for _, dead := range all {
		d.metrics.outcome(dead.Delivery, "dead")
		owner := dead.Owner
		if dead.Receiver != "" {
			var err error
			if owner, err = d.shares.ownerOf(ctx, d.pipe, dead.Service); err != nil {
				return err
			}
		}
		switch count := d.shares.addOverflow(owner, dead.Receiver, time.Now()); {
		case count == maxOverflow+1:
			d.logger.Warn("too many webhook deliveries of a user find no room: further ones are dropped for up to an hour", "owner", owner, "receiver", title(dead.Delivery), "id", dead.ID)
		case count <= maxOverflow:
			dead.Reason = fmt.Sprintf("%s for %s: %s", dead.ID, title(dead.Delivery), dead.Reason)
			kept = append(kept, dead)
		}
	}
	return d.pipe.DeadLetterDeliveries(ctx, kept)
}

// event is the posted body, in the form of Standard Webhooks.
type event struct {
	// Type is the kind and the new state: service.WARNING.
	Type      string              `json:"type"`
	Timestamp time.Time           `json:"timestamp"`
	ID        string              `json:"id"`
	Data      pipeline.Transition `json:"data"`
}
