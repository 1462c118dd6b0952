package consumers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/internal/idle"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
)

// serviceLoop handles the inputs of one service in order. Its goroutine is there only while it has work, and a slot.
type serviceLoop struct {
	*serviceData
	*queue
	// reported are the states of VMs that the current input reports, and open are the inputs that are handled but not flushed.
	reported []pipeline.Trouble
	open     []uint64

	slot     *slot
	saver    *saver
	owner    *ownerSession
	vms      *vmFetcher
	networks *networks
	routers  *routers
	loader   *loader
	ingester *ingester
	executor *executor
}

// serviceData is what the running goroutine knows of its service. The parts of a service loop share it.
type serviceData struct {
	worker  *Worker
	service int
	// The knowledge is valid while loaded, and for oned's database that was restored then.
	loaded   bool
	restored time.Time
	record   pipeline.Record
	revision uint64
	exists   bool // the service has a document
	facts    flow.Facts
	// life is oned's life in which the input is handled. Calls that may end something, and writes, are bound to it (opennebula.Within): by
	// the next call oned may have another database.
	life opennebula.Life
	// led is whether the record has to be stored in any case: the zone's leader has changed, the service was renamed, or the record was started anew.
	led bool
	// cause is the current input's, and came is when it came.
	cause pipeline.Cause
	came  time.Time
}

// newServiceLoop makes a service's loop. Each part has those that it calls.
func newServiceLoop(w *Worker, p *partition, service int) *serviceLoop {
	l := &serviceLoop{serviceData: &serviceData{worker: w, service: service}, queue: &queue{partition: p, wake: make(chan struct{}, 1)}}
	l.slot = &slot{queue: l.queue, worker: w}
	l.saver = &saver{serviceData: l.serviceData, slot: l.slot, dirtyTimers: map[string]bool{}}
	l.owner = &ownerSession{serviceData: l.serviceData}
	l.networks = &networks{l.serviceData, l.slot, l.saver, l.owner}
	l.vms = &vmFetcher{serviceData: l.serviceData, slot: l.slot, networks: l.networks, heard: heard{map[int]reportedState{}, map[int]time.Time{}}}
	l.routers = &routers{l.serviceData, l.saver, l.owner, l.vms}
	l.loader = &loader{serviceData: l.serviceData, saver: l.saver, vms: l.vms}
	l.ingester = &ingester{l.serviceData, l.vms, l.networks, l.loader}
	l.executor = &executor{l.serviceData, l.slot, l.saver, l.owner, l.vms, l.networks, l.routers}
	return l
}

// inputsPerSlot bounds how many inputs a service loop handles before it lets others work.
const inputsPerSlot = 32

// run handles waiting inputs; then the service loop becomes idle, or requests another slot, in which another goroutine may run it.
func (l *serviceLoop) run(ctx context.Context) {
	l.slot.held = true
	for handled := 0; l.slot.held && handled < inputsPerSlot && ctx.Err() == nil; handled++ {
		next, waits := l.partition.next(l)
		if !waits {
			l.worker.scheduler.release()
			return
		}
		l.handle(ctx, next)
	}
	l.slot.release()
	l.partition.again(l)
}

// outcome is the closed set of results of handling an input.
type outcome int

const (
	done   outcome = iota // committed, or nothing to commit
	later                 // the state changed under us: load it and try again
	retry                 // NATS or oned is away, for everybody: wait, load and try again
	again                 // oned refuses it to this service: the same, for a while
	reject                // it can never be handled: dead letter
)

// outcomeOf sorts an error. If an answer is missing, oned is asked whether it answers other calls.
func (w *Worker) outcomeOf(ctx context.Context, err error) outcome {
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
	case opennebula.NotBegun(err): // oned is unreachable, or refuses the server user
		return retry
	case errors.As(err, &refusal), errors.As(err, &silence) && w.onedAnswers(ctx, onedCheck):
		return again
	}
	return retry
}

var (
	// errPoison is returned for an input that can never be handled.
	errPoison = errors.New("the input cannot be processed")
	// errNoDocument is returned for a command for a service whose document does not exist yet.
	errNoDocument = errors.New("its document is missing")
	// errUnreadable is returned for an input for a service whose document another program has made unreadable. It is left alone, and so are
	// its VMs, until a user corrects it, or recovers the service: then it is written as the record has it.
	errUnreadable = fmt.Errorf("%w", errPoison)
)

// maxUnflushed bounds how many inputs share one saving of the document.
const maxUnflushed = 32

// handle brings one input to an end, or leaves it open if ctx ends first. An input has ended when the document is saved and the history
// published; inputs that come close together share this.
func (l *serviceLoop) handle(ctx context.Context, next delivery) {
	if next.writes {
		l.flush(ctx, pipeline.Input{Work: pipeline.Work{Version: pipeline.Version, Service: l.service, Reason: "its document is outdated"}})
		return
	}
	input := next.Input
	l.worker.config.Handling(input.Work)
	// The calls to oned that follow are part of the trace of the event or request.
	tracer := otel.Tracer("github.com/flowjet/flowjet/consumers")
	ctx, span := tracer.Start(pipeline.WithTrace(ctx, input.Trace), "service turn", trace.WithSpanKind(trace.SpanKindConsumer))
	defer span.End()
	if span.IsRecording() {
		cause := causeOf(input)
		span.SetAttributes(attribute.Int("service", l.service), attribute.Int64("sequence", int64(input.Sequence)), //nolint:gosec // sequences fit
			attribute.String("cause.kind", cause.Kind), attribute.String("cause.id", cause.ID))
	}
	l.open = append(l.open, next.sequences...)
	l.came, l.reported = next.came, next.reported
	handling, news := ctx, input.Work.Command == nil
	if !news {
		handling = opennebula.Urgent(ctx) // its client waits
	}
	switch l.retry(ctx, input, news, func() error { return l.handleOnce(handling, input) }) {
	case done:
		l.flush(ctx, input)
	case reject:
		l.endOpen()
	}
}

// flush saves and publishes the results of handled inputs, and ends the inputs if that is complete.
func (l *serviceLoop) flush(ctx context.Context, input pipeline.Input) {
	complete := false
	end := l.retry(ctx, input, true, func() (err error) {
		complete, err = l.complete(ctx, len(l.open) >= maxUnflushed)
		return err
	})
	if complete || end == reject {
		l.endOpen()
	}
}

// complete completes what is committed: the document is saved in time, the history is published, and the timers are set. A service loop that
// lost its state loads it first, which finds what is left to do. Unless all is forced, an input that comes meanwhile goes first.
func (l *serviceLoop) complete(ctx context.Context, all bool) (complete bool, err error) {
	if err := l.loader.load(ctx); err != nil {
		return false, err
	}
	if !all && l.waiting() {
		return false, nil
	}
	mayEnd, err := l.writeInTime(ctx, all)
	if err != nil {
		return false, err
	}
	if len(l.record.Outbox.Transitions)+len(l.saver.dirtyTimers) > 0 {
		defer l.slot.lend()()
		if !all {
			l.awaitNext(ctx)
		}
	}
	for len(l.record.Outbox.Transitions) > 0 {
		if !all && l.waiting() {
			return false, nil
		}
		if err := l.saver.publishNext(ctx); err != nil {
			return false, err
		}
	}
	for name := range l.saver.dirtyTimers {
		if !all && l.waiting() {
			return false, nil
		}
		if err := l.saver.syncTimer(ctx, name); err != nil {
			return false, err
		}
		delete(l.saver.dirtyTimers, name)
	}
	return mayEnd, nil
}

// writeInTime writes the document unless that has time. It reports whether the inputs may end: the document says what the record does, or
// will in a while.
func (l *serviceLoop) writeInTime(ctx context.Context, all bool) (mayEnd bool, err error) {
	if !l.exists {
		l.saver.behind.due = time.Time{}
		return true, nil
	}
	state := l.record.State.Service.State()
	if state.Waiting() && !l.saver.behind.isDue() && l.saver.digest() != l.record.Saved {
		if l.saver.behind.begin(state); !all || !l.saver.behind.isSoon() {
			return !l.saver.behind.isSoon(), nil
		}
	}
	changed, err := l.loader.follow(ctx)
	if changed { // what was decided is decided anew
		l.cause.Kind, l.cause.ID, l.cause.User = "wake", "document", ""
		err = l.proceed(ctx, pipeline.Input{}, flow.Decide(l.known(), nil), nil)
	}
	if err == nil {
		err = l.saver.saveDocument(ctx)
	}
	return err == nil, err
}

// endOpen lets the cursor pass handled inputs.
func (l *serviceLoop) endOpen() {
	l.partition.end(l.open...)
	l.open = l.open[:0]
}

// lullLength is how long history and timers wait for an input to come first.
const lullLength = 3 * time.Millisecond

// awaitNext waits briefly for the next input, unless others wait to work. Each message is written to the disk: in a burst the history of
// the last step would delay the next events.
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

// retry repeats a step until it is done or the input is dead-lettered; it returns retry only if ctx ended first. A step that oned refuses
// to this service alone is repeated for no longer than Settings.RetryFor, and, if it may be left to the next input, not while a command
// waits.
func (l *serviceLoop) retry(ctx context.Context, input pipeline.Input, mayLeave bool, step func() error) outcome {
	wait := idle.NewBackoff()
	var refused time.Time
	logged := false
	for ctx.Err() == nil {
		err := l.worker.guarded(step, "service", l.service, "sequence", input.Sequence)
		if ctx.Err() != nil && err != nil {
			return retry
		}
		end := l.worker.outcomeOf(ctx, err)
		reason, alone := "", errors.Is(err, pipeline.ErrUnreadableRecord) || errors.Is(err, pipeline.ErrNewer)
		if end == retry && !alone { // a problem of one service alone does not count
			reason = err.Error()
		}
		l.worker.health.note(l.service, reason)
		if alone && !logged {
			logged = true
			l.worker.config.Logger.Error("a service waits until a worker can read its record or message; the others go on", "service", l.service, "error", err)
		}
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
		if end == again && mayLeave && l.commandWaits() {
			return done
		}
		l.slot.backOff(ctx, wait)
	}
	return retry
}

// deadLetter dead-letters the input, and answers a command: with the stored answer, if only saving failed.
func (l *serviceLoop) deadLetter(ctx context.Context, input pipeline.Input, cause error) bool {
	if command := input.Work.Command; command != nil {
		reply := pipeline.Reply{
			Command: command.ID, Refused: flow.RefusedFailed, Message: cause.Error(), Time: time.Now().UTC(),
		}
		stored, _, _ := l.worker.pipe.LoadRecord(ctx, l.service)
		reply, _ = recordedReply(stored, reply)
		if l.worker.pipe.FinishCommand(ctx, input, reply) != nil {
			return false
		}
	}
	l.worker.metrics.dead.Inc()
	err := l.worker.pipe.DeadLetter(ctx, pipeline.DeadLetter{
		Where: "worker", Reason: cause.Error(), Data: pipeline.Encode(input.Work), Origin: pipeline.WorkSubject(l.service),
	})
	return err == nil
}
