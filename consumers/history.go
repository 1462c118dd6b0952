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

// History is exactly once and in order although workers die: what happened is
// committed together with the state that it led to, and is published from the
// record, under a number that a later worker finds in the stream. A worker that has been overtaken
// finds that out before it publishes.

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

// addTransitions puts what happened into the outbox, for the next commit. The
// last one says what the decision has done next.
func (s *saver) addTransitions(changes []flow.Change, did []string) {
	now := time.Now().UTC()
	outbox := &s.record.Outbox
	outbox.First = max(1, outbox.First)
	for i, change := range changes {
		transition := pipeline.Transition{
			Version: pipeline.Version, Service: s.service, Change: change, Cause: s.cause,
			Next: adviceFor(change, s.service), Time: now,
		}
		if i == len(changes)-1 {
			transition.Did = did
		}
		outbox.Transitions = append(outbox.Transitions, transition)
	}
}

// adviceFor is what to do about a service that has come into trouble.
func adviceFor(change flow.Change, service int) string {
	if change.Kind != "service" {
		return ""
	}
	for _, state := range spec.ServiceStates() {
		if state.String() == change.New && (state.Failed() || state == spec.ServiceWarning || state == spec.ServiceHold) {
			return flow.Advice(state, service)
		}
	}
	return ""
}

// addNodeTransitions tells what became of networks and virtual routers since the
// last commit. They are found by comparing, since each is seen in another place.
func (s *saver) addNodeTransitions() {
	s.addTransitions(flow.NodeChanges(s.published, s.record.State), nil)
	s.published = s.record.State
}

// publishNext publishes what is committed but not told: the first transition only,
// so that an input which comes meanwhile need not wait, or all of them where
// other services wait to work and one batch serves several.
func (s *saver) publishNext(ctx context.Context) error {
	if err := s.stillOurs(ctx); err != nil {
		return err
	}
	outbox := &s.record.Outbox
	count := 1
	if !s.slot.placed || s.worker.scheduler.crowded() {
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
		return fmt.Errorf("publish the transitions of service %d: %w", s.service, err)
	}
	outbox.First += uint64(count) //nolint:gosec // a length
	outbox.Transitions = outbox.Transitions[count:]
	return nil
}

// replaceUnpublishable keeps apart, as dead letters, what NATS will never take of a service's
// history. What stands in its place has its number, and the service goes on.
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

// resend finds out what of the last commit was not told, and has its timers set
// again: the next flush does both.
func (s *saver) resend(ctx context.Context) error {
	outbox := &s.record.Outbox
	if len(outbox.Transitions) > 0 {
		told, err := s.worker.pipe.LastTransition(ctx, s.service)
		if err != nil {
			return fmt.Errorf("find the last published transition of service %d: %w", s.service, err)
		}
		for len(outbox.Transitions) > 0 && outbox.First <= told {
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
