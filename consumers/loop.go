package consumers

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/internal/idle"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
)

// serviceLoop carries the inputs of one service, one after the other. Its goroutine is
// there only while there is work, and has a slot.
type serviceLoop struct {
	worker    *Worker
	partition *partition
	service   int
	// wake gets a signal with each input, for who waits a moment for one.
	wake chan struct{}

	// The partition's mutex guards these.
	inbox  inbox
	turn   *slotRequest  // asked for or granted; nil while the service loop rests
	back   *slotRequest  // asked for by the service loop in its turn, for a slot that it has given away
	urgent bool          // somebody waits for an answer
	room   chan struct{} // closed when a full inbox has room again
	rests  *list.Element // among the service loops that rest
	since  time.Time     // when it came to rest

	// The rest is the running goroutine's. What is known of the service is valid
	// while loaded, which was at that time.
	loaded   bool
	at       time.Time
	record   pipeline.Record
	revision uint64
	exists   bool // the service has a document
	facts    flow.Facts
	// led reports whether the record is to be stored whatever is decided: the zone's leader has
	// changed since, or it began anew.
	led bool
	// cause is the input that is being handled, came is when it came, and told are the states
	// of VMs that it tells.
	cause pipeline.Cause
	came  time.Time
	told  []pipeline.Trouble
	steps
}

// turnLength bounds how many inputs a service loop handles before it lets others work.
const turnLength = 32

// run handles what waits; then the service loop rests, or asks for another turn. Once it
// has said so, another goroutine may run it.
func (l *serviceLoop) run(ctx context.Context) {
	l.slot.placed = true
	for handled := 0; l.slot.placed && handled < turnLength; handled++ {
		next, waits := l.partition.take(l)
		if !waits {
			l.worker.scheduler.release()
			return
		}
		l.handle(ctx, next)
		if ctx.Err() != nil {
			l.slot.release()
			l.partition.end(l)
			return
		}
	}
	l.slot.release()
	l.partition.again(l)
}

// outcome is how the handling of an input ended: the closed set.
type outcome int

const (
	done   outcome = iota // committed, or nothing to commit
	later                 // the state changed under us: load it and try again
	retry                 // NATS or oned is away, for everybody: wait, load and try again
	again                 // oned refuses it to this service: the same, for a while
	reject                // it can never be handled: dead letter
)

// outcomeOf sorts an error. Without an answer it is oned that is asked whether it
// answers others.
func (l *serviceLoop) outcomeOf(ctx context.Context, err error) outcome {
	var refusal *opennebula.Error
	var silence *opennebula.TransportError
	switch {
	case err == nil:
		return done
	case errors.Is(err, pipeline.ErrConflict), errors.Is(err, opennebula.ErrOtherLife):
		return later
	case errors.Is(err, errPoison), errors.Is(err, pipeline.ErrUnpublishable):
		return reject
	case errors.Is(err, errNoDocument):
		return again
	case opennebula.NotBegun(err):
		return retry
	case errors.As(err, &refusal), errors.As(err, &silence) && l.worker.reach.answers(ctx):
		return again
	}
	return retry
}

// errPoison marks an input that no repetition will help.
var errPoison = errors.New("the input cannot be processed")

// errNoDocument marks a command for a service whose document is not there yet.
var errNoDocument = errors.New("its document is missing")

// maxUnflushed bounds how many inputs share one saving of the document.
const maxUnflushed = 32

// handle brings one input to an end, or leaves it open when ctx ends first. An
// input counts as ended when the document is saved and the history told: inputs
// that come close together share that, because oned is the bottleneck.
func (l *serviceLoop) handle(ctx context.Context, next delivery) {
	if next.writes {
		l.flush(ctx, pipeline.Input{Work: pipeline.Work{Version: pipeline.Version, Service: l.service, Reason: "its document is outdated"}})
		return
	}
	input := next.Input
	l.worker.config.Handling(input.Work)
	ctx, span := traceInput(ctx, l.service, input)
	defer span.End()
	l.saver.open = append(l.saver.open, next.sequences...)
	l.came, l.told = next.came, next.states()
	news := input.Work.Command == nil
	handling := ctx
	if !news {
		handling = opennebula.Urgent(ctx) // its client waits
	}
	end := l.retry(ctx, input, news, func() error { return l.handleOnce(handling, input) })
	switch end {
	case done:
		l.flush(ctx, input)
	case reject:
		l.saver.endOpen()
	}
}

// flush brings outside what was handled, and ends it if all of that is outside.
func (l *serviceLoop) flush(ctx context.Context, input pipeline.Input) {
	complete := false
	end := l.retry(ctx, input, true, func() (err error) {
		complete, err = l.saver.flush(ctx, len(l.saver.open) >= maxUnflushed)
		return err
	})
	if complete || end == reject {
		l.saver.endOpen()
	}
}

// lullLength is how long history and timers wait for an input to come first.
const lullLength = 3 * time.Millisecond

// waiting reports whether an input is there to be handled.
func (l *serviceLoop) waiting() bool { return l.partition.waiting(l) }

// awaitNext waits a moment for the next input. Every message that is published is
// written to the disk, and in a burst the telling of the last step would hold up
// the events of the next. Where others wait to work there is no time for that.
func (l *serviceLoop) awaitNext(ctx context.Context) {
	select {
	case <-l.wake:
	default:
	}
	if l.waiting() || l.worker.scheduler.crowded() {
		return
	}
	timer := time.NewTimer(lullLength)
	defer timer.Stop()
	select {
	case <-l.wake:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// retry repeats a step until it is done, or ends in the dead letters. It is
// retry only when ctx ended first. What oned refuses to this service alone is repeated
// for no longer than Settings.RetryFor, and, where it may be left to the next input, not
// while a command waits.
func (l *serviceLoop) retry(ctx context.Context, input pipeline.Input, mayLeave bool, step func() error) outcome {
	wait := idle.NewBackoff()
	var refused time.Time
	for ctx.Err() == nil {
		err := l.guarded(input, step)
		if ctx.Err() != nil && err != nil {
			return retry
		}
		end := l.outcomeOf(ctx, err)
		l.worker.health.note(l.worker.config.Logger, l.service, end, err)
		switch {
		case end != again:
			refused = time.Time{}
		case refused.IsZero():
			refused = time.Now()
		case time.Since(refused) >= l.worker.config.Settings.RetryFor:
			end, err = reject, fmt.Errorf("%w, tried since %s: %w", errPoison, refused.UTC().Format(time.RFC3339), err)
		}
		switch end {
		case done:
			return done
		case reject:
			l.loaded = false
			if l.deadLetter(ctx, input, err) {
				return reject
			}
		case later:
			l.worker.metrics.conflicts.Inc()
		case retry, again:
			l.worker.metrics.retries.Inc()
		}
		l.loaded = false
		if end == again && mayLeave && l.partition.commandWaits(l) {
			return done
		}
		l.slot.backOff(ctx, wait)
	}
	return retry
}

// guarded turns a panic into an error, so that one service's trouble stays its own.
func (l *serviceLoop) guarded(input pipeline.Input, step func() error) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			l.worker.metrics.panics.Inc()
			l.worker.config.Logger.Error("a decision failed", "service", l.service, "sequence", input.Sequence,
				"cause", cause, "stack", string(debug.Stack()))
			err = fmt.Errorf("%w: %v", errPoison, cause)
		}
	}()
	return step()
}

// deadLetter puts the input into the dead letters, and answers a command that has no answer.
func (l *serviceLoop) deadLetter(ctx context.Context, input pipeline.Input, cause error) bool {
	if l.responder.answerFailure(ctx, input, cause) != nil {
		return false
	}
	l.worker.metrics.dead.Inc()
	err := l.worker.pipe.DeadLetter(ctx, pipeline.DeadLetter{
		Where: "worker", Reason: cause.Error(), Data: pipeline.Encode(input.Work), Origin: pipeline.WorkSubject(l.service),
	})
	return err == nil
}
