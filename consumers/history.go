package consumers

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/flowjet/flowjet/flow"
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
func (l *lane) addTransitions(changes []flow.Change, did []string) {
	now := time.Now().UTC()
	outbox := &l.record.Outbox
	outbox.First = max(1, outbox.First)
	for i, change := range changes {
		transition := pipeline.Transition{
			Version: pipeline.Version, Service: l.service, Change: change, Cause: l.cause,
			Next: adviceFor(change, l.service), Time: now,
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
	for _, state := range flow.ServiceStates() {
		if state.String() == change.New && (state.Failed() || state == flow.ServiceWarning || state == flow.ServiceHold) {
			return state.Advice(service)
		}
	}
	return ""
}

// addNodeTransitions tells what became of networks and virtual routers since the
// last commit. They are found by comparing, since each is seen in another place.
func (l *lane) addNodeTransitions() {
	l.addTransitions(flow.NodeChanges(l.told, l.record.State), nil)
	l.told = l.record.State
}

// tellNext publishes what is committed but not told: the first transition only,
// so that an input which comes meanwhile need not wait, or all of them where
// other services wait to work and one batch serves several.
func (l *lane) tellNext(ctx context.Context) error {
	if err := l.stillOurs(ctx); err != nil {
		return err
	}
	outbox := &l.record.Outbox
	count := 1
	if !l.placed || l.worker.turns.crowded() {
		count = len(outbox.Transitions)
	}
	telling := slices.Clone(outbox.Transitions[:count])
	for i := range telling {
		telling[i].Webhooks = outbox.Webhooks
	}
	if err := l.worker.pipe.PublishTransitions(ctx, telling, outbox.First); err != nil {
		return fmt.Errorf("tell what happened to service %d: %w", l.service, err)
	}
	outbox.First += uint64(count) //nolint:gosec // a length
	outbox.Transitions = outbox.Transitions[count:]
	return nil
}
