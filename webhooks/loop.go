package webhooks

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/flowjet/flowjet/internal/idle"
	"github.com/flowjet/flowjet/pipeline"
)

// loop makes the deliveries that wait on one subject, about one service for one receiver, one after the other.
type loop struct {
	*Deliverer
	subject  string
	service  int
	receiver string
	again    bool // a delivery arrived while it ran; the deliverer's mutex guards it
}

// wake makes a subject's loop check for waiting deliveries.
func (d *Deliverer) wake(ctx context.Context, loops *sync.WaitGroup, subject string, service int) error {
	d.mutex.Lock()
	if running := d.loops[subject]; running != nil {
		running.again = true
		d.mutex.Unlock()
		return nil
	}
	d.mutex.Unlock()
	if err := d.room.Acquire(ctx, 1); err != nil {
		return err
	}
	receiver, _, _ := pipeline.ReadHookSubject(subject)
	l := &loop{Deliverer: d, subject: subject, service: service, receiver: receiver}
	d.mutex.Lock()
	d.loops[subject] = l
	d.mutex.Unlock()
	loops.Go(func() {
		defer d.room.Release(1)
		l.run(ctx)
		d.mutex.Lock()
		defer d.mutex.Unlock()
		if d.loops[subject] == l {
			delete(d.loops, subject)
		}
	})
	return nil
}

func (l *loop) run(ctx context.Context) {
	pause := l.current().FirstPause
	for ctx.Err() == nil && l.owns(l.service) {
		delivery, found, err := l.pipe.NextDelivery(ctx, l.subject)
		if err == nil && !found {
			l.mutex.Lock()
			again := l.again // a delivery has just arrived
			if l.again = false; !again {
				delete(l.loops, l.subject)
			}
			l.mutex.Unlock()
			if !again {
				return
			}
			continue
		}
		if err == nil {
			err = l.handle(ctx, delivery)
		}
		if err != nil && ctx.Err() == nil {
			l.logger.Warn("a webhook waits for NATS", "receiver", l.receiver, "service", l.service, "error", err)
			_ = idle.For(ctx, pause) // the loop checks ctx
		}
	}
}

// handle makes one attempt at a delivery, when it is due, and stores the result.
func (l *loop) handle(ctx context.Context, delivery pipeline.Delivery) error {
	if len(delivery.Body) == 0 {
		return l.giveUp(ctx, delivery, "the delivery cannot be read")
	}
	attempts, err := l.pipe.LoadAttempts(ctx, l.subject)
	if err != nil {
		return err
	}
	failedBefore := attempts.Sequence != 0
	if attempts.Sequence != delivery.Sequence {
		attempts = pipeline.Attempts{Sequence: delivery.Sequence}
	}
	if err := idle.For(ctx, time.Until(attempts.Next)); err != nil {
		return err
	}
	if !l.owns(l.service) {
		return nil
	}
	failure, err := l.attempt(ctx, delivery, attempts.Count+1)
	if err != nil {
		return err
	}
	if failure != nil && ctx.Err() != nil {
		return ctx.Err() // cut off by ourselves
	}
	if failure != nil {
		return l.failed(ctx, delivery, attempts, failure)
	}
	l.metrics.outcome(delivery, "delivered")
	if failedBefore {
		if err := l.pipe.ForgetAttempts(ctx, l.subject); err != nil {
			return err
		}
	}
	return l.pipe.DropDelivery(ctx, delivery.Sequence)
}

// failed stores a failure and when to retry, or gives up.
func (l *loop) failed(ctx context.Context, delivery pipeline.Delivery, attempts pipeline.Attempts, failure *failure) error {
	l.metrics.outcome(delivery, "failed")
	settings, now := l.current(), time.Now()
	attempts.Count++
	attempts.Error = failure.text
	if attempts.First.IsZero() {
		attempts.First = now
	}
	if failure.final || now.Sub(delivery.Queued) > settings.GiveUpAfter {
		after := fmt.Sprintf("after %d attempts", attempts.Count)
		if attempts.Count == 1 {
			after = "after one attempt"
		}
		return l.giveUp(ctx, delivery, after+": "+failure.text)
	}
	pause := settings.LongestPause
	if doublings := attempts.Count - 1; settings.FirstPause <= pause>>doublings { // one with each failure
		pause = settings.FirstPause << doublings
	}
	pause = pause*4/5 + rand.N(pause*2/5+1) // spread, so that many services do not come back to a receiver at once
	attempts.Next = now.Add(max(pause, min(failure.after, settings.LongestPause)))
	l.logger.Info("a webhook delivery failed, retrying", "receiver", title(delivery), "id", delivery.ID,
		"attempt", attempts.Count, "next", attempts.Next, "error", failure.text)
	return l.pipe.SaveAttempts(ctx, l.subject, attempts)
}

func (l *loop) giveUp(ctx context.Context, delivery pipeline.Delivery, reason string) error {
	l.metrics.outcome(delivery, "dead")
	l.logger.Warn("a webhook delivery failed permanently and is dead-lettered", "receiver", title(delivery), "id", delivery.ID, "reason", reason)
	if err := l.pipe.DeadLetterDelivery(ctx, l.subject, fmt.Sprintf("%s for %s, %s", delivery.ID, title(delivery), reason), delivery); err != nil {
		return err
	}
	if err := l.pipe.ForgetAttempts(ctx, l.subject); err != nil {
		return err
	}
	return l.pipe.DropDelivery(ctx, delivery.Sequence)
}

// keyedSlots are a number of slots for each key in use.
type keyedSlots struct {
	most  int64
	mutex sync.Mutex
	byKey map[string]*usedSlots
}

type usedSlots struct {
	*semaphore.Weighted
	users int
}

// acquire waits for one of a key's slots until it is released; without one it returns ctx's error.
func (k *keyedSlots) acquire(ctx context.Context, key string) (release func(), err error) {
	k.mutex.Lock()
	slots := k.byKey[key]
	if slots == nil {
		slots = &usedSlots{Weighted: semaphore.NewWeighted(k.most)}
		k.byKey[key] = slots
	}
	slots.users++
	k.mutex.Unlock()
	leave := func() {
		k.mutex.Lock()
		defer k.mutex.Unlock()
		if slots.users--; slots.users == 0 {
			delete(k.byKey, key)
		}
	}
	if err := slots.Acquire(ctx, 1); err != nil {
		leave()
		return nil, err
	}
	return func() {
		slots.Release(1)
		leave()
	}, nil
}
