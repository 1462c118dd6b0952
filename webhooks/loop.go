package webhooks

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/deliveries"
)

// storeWithin bounds the time to store the result of an attempt after a stop of the deliverer.
const storeWithin = 2 * time.Second

// loop makes the deliveries that wait on one subject, about one service for one receiver, one after the other. It has a goroutine only while
// it has its slots: those that wait for a slot or for the next attempt cost little, however many they are.
type loop struct {
	*Deliverer
	life    context.Context
	ended   func()
	subject string
	service int
	slots   []slot
	// The deliverer's mutex guards the others: whether a delivery arrived while it ran, and the pause before the next attempt.
	again bool
	pause *time.Timer
}

// wake makes a subject's loop check for waiting deliveries.
func (d *Deliverer) wake(life context.Context, loops *sync.WaitGroup, queued deliveries.Queued) {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	if running := d.loops[queued.Subject]; running != nil {
		running.again = true
		return
	}
	loops.Add(1)
	l := &loop{Deliverer: d, life: life, ended: loops.Done, subject: queued.Subject, service: queued.Service, slots: d.slotsOf(queued)}
	d.loops[queued.Subject] = l
	l.acquire(0)
}

// endPauses ends the loops that pause. Their life has ended.
func (d *Deliverer) endPauses() {
	d.mutex.Lock()
	defer d.mutex.Unlock()
	for _, l := range d.loops {
		if l.pause != nil && l.pause.Stop() {
			l.end()
		}
	}
}

// acquire requests the loop's slots from number on, and runs it once it has all.
func (l *loop) acquire(number int) {
	if number == len(l.slots) {
		go l.run()
		return
	}
	l.slots[number].request(l.slots[number].key, func() { l.acquire(number + 1) })
}

// run handles the next delivery, gives the slots back, so that the others have their turn, and goes on, now or after a pause.
func (l *loop) run() {
	l.mutex.Lock()
	l.again = false
	l.mutex.Unlock()
	pause, more := l.next(l.life)
	for _, slot := range l.slots {
		slot.release(slot.key)
	}
	l.mutex.Lock()
	defer l.mutex.Unlock()
	switch {
	case l.life.Err() != nil, !more && !l.again:
		l.end()
	case pause > 0:
		l.pause = time.AfterFunc(pause, func() { l.acquire(0) })
	default:
		l.acquire(0)
	}
}

// end is called with the deliverer's mutex held.
func (l *loop) end() {
	delete(l.loops, l.subject)
	l.ended()
}

// next handles the next delivery, and returns the pause after it; false if none waits.
func (l *loop) next(ctx context.Context) (pause time.Duration, more bool) {
	if !l.owns(l.service) {
		return checkEvery, true // another deliverer continues, or this one, if it was for a moment
	}
	delivery, found, err := l.pipe.NextDelivery(ctx, l.subject)
	if err == nil && !found {
		return 0, false
	}
	if err == nil {
		pause, err = l.handle(ctx, delivery)
	}
	switch {
	case errors.Is(err, pipeline.ErrNewer):
		return l.current().LongestPause, true
	case err != nil && ctx.Err() == nil:
		l.logger.Warn("a webhook waits for NATS", "subject", l.subject, "error", err)
		return l.current().FirstPause, true
	}
	return pause, true
}

// handle makes one attempt at a delivery if it is due, stores the result, and returns the pause before the next attempt.
func (l *loop) handle(ctx context.Context, delivery pipeline.Delivery) (pause time.Duration, err error) {
	if len(delivery.Body) == 0 {
		return 0, l.giveUp(ctx, delivery, "the delivery cannot be read")
	}
	attempts, err := l.pipe.LoadAttempts(ctx, l.subject)
	if err != nil {
		return 0, err
	}
	failedBefore := attempts.Sequence != 0
	if attempts.Sequence != delivery.Sequence {
		attempts = pipeline.Attempts{Sequence: delivery.Sequence}
	}
	if pause := time.Until(attempts.Next); pause > 0 {
		return pause, nil
	}
	if delivery.Receiver == "" && delivery.Owner == "" { // the service's record could not be read, or is a newer Flowjet's
		if delivery.Owner, err = l.pipe.OwnerOf(ctx, l.service); err != nil {
			return 0, err
		}
	}
	failure := l.attempt(ctx, delivery, attempts.Count+1)
	if failure != nil && ctx.Err() != nil {
		return 0, ctx.Err() // cut off by ourselves
	}
	// After a stop, too: the next deliverer would post it again.
	store, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(storeWithin, cancel) })()
	if failure != nil {
		return l.failed(store, delivery, attempts, failure)
	}
	l.metrics.outcome(delivery, "delivered")
	if failedBefore {
		if err := l.pipe.ForgetAttempts(store, l.subject); err != nil {
			return 0, err
		}
	}
	return 0, l.pipe.DropDelivery(store, delivery.Sequence)
}

// failed stores a failure and when to retry, or gives up, and returns the pause.
func (l *loop) failed(ctx context.Context, delivery pipeline.Delivery, attempts pipeline.Attempts, failure *failure) (pause time.Duration, err error) {
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
		return 0, l.giveUp(ctx, delivery, after+": "+failure.text)
	}
	pause = settings.LongestPause
	if doublings := attempts.Count - 1; settings.FirstPause <= pause>>doublings { // one with each failure
		pause = settings.FirstPause << doublings
	}
	pause = pause*4/5 + rand.N(pause*2/5+1) // spread, so that many services do not come back to a receiver at once
	pause = max(pause, min(failure.after, settings.LongestPause))
	attempts.Next = now.Add(pause)
	l.logger.Info("a webhook delivery failed, retrying", "receiver", title(delivery), "id", delivery.ID,
		"attempt", attempts.Count, "next", attempts.Next, "error", failure.text)
	return pause, l.pipe.SaveAttempts(ctx, l.subject, attempts)
}

func (l *loop) giveUp(ctx context.Context, delivery pipeline.Delivery, reason string) error {
	l.metrics.outcome(delivery, "dead")
	l.logger.Warn("a webhook delivery failed permanently and is dead-lettered", "receiver", title(delivery), "id", delivery.ID, "reason", reason)
	dead := deliveries.Dead{Queued: deliveries.Queued{Subject: l.subject, Delivery: delivery}, Reason: fmt.Sprintf("%s for %s, %s", delivery.ID, title(delivery), reason)}
	if err := l.pipe.DeadLetterDeliveries(ctx, []deliveries.Dead{dead}); err != nil {
		return err
	}
	if err := l.pipe.ForgetAttempts(ctx, l.subject); err != nil {
		return err
	}
	return l.pipe.DropDelivery(ctx, delivery.Sequence)
}
