package consumers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/pipeline"
)

// History is exactly once and in order although workers die: transitions are committed together with the state to which they led, and
// published from the record, under a number that a later worker finds in the stream. A worker that has been overtaken detects that before
// it publishes.

func causeOf(input pipeline.Input) pipeline.Cause {
	cause := pipeline.Cause{Kind: "wake", ID: input.Work.Reason, Sequence: input.Sequence}
	switch work := input.Work; {
	case work.Command != nil:
		cause.Kind, cause.ID, cause.User = "command", string(work.Command.Verb)+" "+work.Command.ID, work.Command.User.UName
	case work.Timer != nil:
		cause.Kind, cause.ID = "timer", work.Timer.Name
	case work.Measures != nil:
		cause.Kind, cause.ID = "measures", work.Measures.At.UTC().Format(time.RFC3339)
	case work.Trouble != nil:
		cause.Kind = "event"
	case work.Event != nil:
		cause.Kind, cause.ID = "event", work.Event.Title()
	}
	return cause
}

// addTransitions puts transitions into the outbox, for the next commit. The last one names the next calls. Those of networks and virtual
// routers are found by comparing, since they are seen in different places.
func (s *saver) addTransitions(changes []flow.Change, did []string) {
	nodes := flow.NodeChanges(s.published, s.record.State)
	s.published = s.record.State
	now := time.Now().UTC()
	outbox := &s.record.Outbox
	outbox.First = max(1, outbox.First)
	for i, change := range append(nodes, changes...) {
		transition := pipeline.Transition{Version: pipeline.Version, Service: s.service, Change: change, Cause: s.cause, Time: now}
		if change.Kind == "service" {
			for _, state := range spec.ServiceStates() {
				trouble := state.Failed() || state == spec.ServiceWarning || state == spec.ServiceHold
				if trouble && change.New == state.String() {
					transition.Next = flow.Advice(state, s.service)
				}
			}
		}
		if len(changes) > 0 && i == len(nodes)+len(changes)-1 {
			transition.Did = did
		}
		outbox.Transitions = append(outbox.Transitions, transition)
	}
}

// publishNext publishes committed transitions: only the first, so that an input which comes meanwhile need not wait, or all if others wait
// to work and one batch serves several.
func (s *saver) publishNext(ctx context.Context) error {
	if err := s.stillOurs(ctx); err != nil {
		return err
	}
	outbox := &s.record.Outbox
	count := 1
	if !s.slot.held || s.worker.scheduler.crowded() {
		count = len(outbox.Transitions)
	}
	telling := slices.Clone(outbox.Transitions[:count])
	for i := range telling {
		telling[i].Webhooks = outbox.Webhooks
	}
	err := s.worker.pipe.PublishTransitions(ctx, telling, outbox.First)
	if errors.Is(err, pipeline.ErrUnpublishable) {
		return s.replaceUnpublishable(ctx)
	}
	if err != nil {
		return err
	}
	outbox.First += uint64(count) //nolint:gosec // a length
	if outbox.Transitions = outbox.Transitions[count:]; len(outbox.Transitions) == 0 {
		outbox.Transitions = nil // or a service loop that rests keeps those published
	}
	return nil
}

// replaceUnpublishable dead-letters the transitions that NATS will never accept. Each replacement has the same number, and the service goes
// on.
func (s *saver) replaceUnpublishable(ctx context.Context) error {
	outbox := &s.record.Outbox
	for i, transition := range outbox.Transitions {
		transition.Webhooks = outbox.Webhooks
		cause := s.worker.pipe.Check(transition)
		if cause == nil {
			continue
		}
		number := outbox.First + uint64(i)
		s.worker.config.Logger.Error("a transition cannot be published and is dead-lettered", "service", s.service, "number", number, "error", cause)
		s.worker.metrics.dead.Inc()
		short := pipeline.Transition{
			Version: transition.Version, Service: s.service, Time: transition.Time,
			Change: flow.Change{Kind: transition.Kind, New: transition.New, Reason: "NATS refuses a transition of the service: see the dead letters"},
		}
		err := s.worker.pipe.DeadLetter(ctx, pipeline.DeadLetter{
			Where: "worker", Reason: fmt.Sprintf("transition %d of service %d: %v", number, s.service, cause), Data: pipeline.Encode(short),
		})
		if err != nil {
			return err
		}
		outbox.Transitions[i] = short
	}
	return nil
}

// resend finds out which transitions of the last commit were not published: the next flush publishes them, and sets all timers again.
func (s *saver) resend(ctx context.Context) error {
	outbox := &s.record.Outbox
	if len(outbox.Transitions) > 0 {
		published, err := s.worker.pipe.LastTransition(ctx, s.service)
		if err != nil {
			return err
		}
		for len(outbox.Transitions) > 0 && outbox.First <= published {
			outbox.Transitions = outbox.Transitions[1:]
			outbox.First++
		}
		if err := s.replaceUnpublishable(ctx); err != nil {
			return err
		}
	}
	s.dirtyTimers = map[string]bool{}
	for name := range s.record.Timers {
		s.dirtyTimers[name] = true
	}
	return nil
}

// setDueTimers updates the record's timers by the state's deadlines. The generation distinguishes the current timer from a replaced one,
// and never repeats for a service.
func (s *saver) setDueTimers() {
	timers := make(map[string]pipeline.TimerState, len(s.record.State.Deadlines))
	for name, due := range s.record.State.Deadlines {
		timer := s.record.Timers[name]
		if !timer.Due.Equal(due) {
			s.record.Generation++
			timer = pipeline.TimerState{Generation: s.record.Generation, Due: due}
			s.dirtyTimers[name] = true
		}
		timers[name] = timer
	}
	for name := range s.record.Timers {
		if _, kept := timers[name]; !kept {
			s.dirtyTimers[name] = true
		}
	}
	s.record.Timers = timers
}

// syncTimer sets or cancels a timer on NATS, as the record has it.
func (s *saver) syncTimer(ctx context.Context, name string) error {
	timer, set := s.record.Timers[name]
	if !set {
		return s.worker.pipe.CancelTimer(ctx, s.service, name)
	}
	return s.worker.pipe.SetTimer(ctx, s.service, pipeline.Timer{Name: name, Generation: timer.Generation, Due: timer.Due})
}
