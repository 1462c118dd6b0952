package consumers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/internal/seal"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
)

// handleOnce handles one input: learn, decide, commit, answer, act.
func (l *serviceLoop) handleOnce(ctx context.Context, input pipeline.Input) error {
	if err := l.loader.checkDatabase(ctx); err != nil {
		return err
	}
	fresh := !l.loaded
	l.cause = causeOf(input)
	l.loader.noteSeen(input)
	if err := l.ingester.loadAhead(ctx); err != nil {
		return err
	}
	l.loader.followLeader()
	if input.Sequence <= l.record.Applied {
		return l.repeat(ctx, input, fresh)
	}
	if input.Work.Newer {
		return fmt.Errorf("handle input %d of service %d: %w", input.Sequence, l.service, pipeline.ErrNewer)
	}
	if !l.exists {
		return l.orphans.absent(ctx, input)
	}
	if l.outdated(input) {
		// Its firing may have removed the one that counts (Timers.SetTimer).
		name := input.Work.Timer.Name
		return l.saver.setTimer(ctx, name, l.record.Timers[name])
	}
	l.ingester.noteTold(input)
	if l.ingester.isOldNews(input) {
		return nil
	}
	if err := l.ingester.ingest(ctx, input, fresh); err != nil {
		return err
	}
	if err := l.loader.checkDatabase(ctx); err != nil {
		return err
	}
	if !l.loaded {
		return l.handleOnce(ctx, input)
	}
	if !l.exists {
		return l.orphans.absent(ctx, input)
	}
	if err := l.ingester.confirmStrangers(ctx); err != nil {
		return err
	}
	return l.decide(ctx, input)
}

// repeat meets an input that is part of the record already: a reader that
// starts over sees the last ones again. Its answer is given again, and what the
// record left unfinished is finished.
func (l *serviceLoop) repeat(ctx context.Context, input pipeline.Input, fresh bool) error {
	if fresh && l.exists {
		// As with a first answer: who is told that a change has begun must not
		// read the document of before.
		if err := l.saver.saveDocument(ctx); err != nil {
			return err
		}
	}
	if command := input.Work.Command; command != nil {
		for _, reply := range l.record.Replies {
			if reply.Command == command.ID {
				if err := l.responder.answer(ctx, input, reply); err != nil {
					return err
				}
			}
		}
	}
	if !l.exists {
		return l.orphans.finalize(ctx)
	}
	if !fresh {
		return nil
	}
	l.cause.Kind, l.cause.ID, l.cause.User = "wake", "take-over", ""
	return l.proceed(ctx, l.plan(), false, nil)
}

// outdated reports whether the input is a timer that has been set anew.
func (l *serviceLoop) outdated(input pipeline.Input) bool {
	timer := input.Work.Timer
	return timer != nil && l.record.Timers[timer.Name].Generation > timer.Generation
}

// decide plans what the input leads to and sees it through.
func (l *serviceLoop) decide(ctx context.Context, input pipeline.Input) error {
	command, early := input.Work.Command, input.Published.Before(l.record.Since)
	if command == nil {
		l.record.Applied = input.Sequence
		if early {
			return l.proceed(ctx, l.plan(), false, nil)
		}
		return l.proceed(ctx, l.planFor(input), false, nil)
	}
	reply := pipeline.Reply{Version: pipeline.Version, Command: command.ID, Time: time.Now().UTC()}
	decision, refusal, err := l.apply(ctx, *command, early)
	if err != nil {
		return err
	}
	if refusal != nil {
		reply.Refused, reply.Message = refusal.Kind, refusal.Message
		decision = l.plan()
	}
	l.record.Applied = input.Sequence
	l.responder.keepReply(reply)
	told := command.Verb != flow.VerbDeploy // which was answered when it was queued
	return l.proceed(ctx, decision, told, func() error { return l.responder.answer(ctx, input, reply) })
}

// apply decides what a command leads to, or why it is refused: one that came before the
// service is meant for another of its id, or was carried out already.
func (l *serviceLoop) apply(ctx context.Context, command flow.Command, early bool) (flow.Decision, *flow.Refusal, error) {
	if early {
		return flow.Decision{}, &flow.Refusal{Kind: flow.RefusedState, Message: fmt.Sprintf(
			"the command is from before %s, when oned or Flowjet's data was restored from a backup: check service %d and send the command again if it is still needed",
			l.record.Since.UTC().Format(time.RFC3339), l.service)}, nil
	}
	refusal, err := l.precondition(ctx, command)
	if refusal != nil || err != nil {
		return flow.Decision{}, refusal, err
	}
	if command.Arguments, refusal = l.openArguments(command); refusal != nil {
		return flow.Decision{}, refusal, nil
	}
	if l.loader.rewritten {
		return l.plan(), nil, nil // that is what was asked for
	}
	decision, err := flow.Apply(l.known(), command)
	if errors.As(err, &refusal) {
		return flow.Decision{}, refusal, nil
	}
	if err != nil {
		return flow.Decision{}, nil, fmt.Errorf("%w: service %d: %s: %w", errPoison, l.service, command.Verb, err)
	}
	return decision, nil, nil
}

// planFor decides on an input that is no command. A timer that has come is no
// longer set: it is set again if its time has not come after all, because NATS's
// clock is ahead of ours.
func (l *serviceLoop) planFor(input pipeline.Input) flow.Decision {
	if timer := input.Work.Timer; timer != nil {
		delete(l.record.Timers, timer.Name)
	}
	if measures := input.Work.Measures; measures != nil {
		return flow.Decide(l.known(), flow.Measured{Measures: *measures})
	}
	return l.plan()
}

// plan decides with what is known now.
func (l *serviceLoop) plan() flow.Decision {
	return flow.Decide(l.known(), nil)
}

// known returns what decisions are made from.
func (l *serviceLoop) known() flow.Input {
	return flow.Input{State: l.record.State, Facts: l.facts, Now: time.Now(), Settings: l.worker.config.Settings}
}

// keptReplies bounds the replies in a record.
const keptReplies = 8

// proceed sees a decision through: commit, act, and plan again until nothing is
// left to do. Told reports whether somebody waits for the answer.
func (l *serviceLoop) proceed(ctx context.Context, decision flow.Decision, told bool, answer func() error) error {
	for {
		if err := l.saver.commit(ctx, decision, answer != nil); err != nil {
			return err
		}
		if err := l.saver.saveEarly(ctx, told); err != nil {
			return err
		}
		if answer != nil {
			if err := answer(); err != nil {
				return err
			}
			answer, told = nil, false
			ctx = opennebula.Unhurried(ctx)
			l.partition.answered(l)
		}
		if len(decision.Actions) == 0 {
			return nil
		}
		next, err := l.executor.act(ctx, decision.Actions)
		if err != nil {
			return err
		}
		if l.record.Deleted {
			return l.saver.tombstone(ctx)
		}
		decision = next
	}
}

// openArguments opens a command's arguments; the refusal says why that cannot be.
func (l *serviceLoop) openArguments(command flow.Command) (arguments json.RawMessage, refusal *flow.Refusal) {
	arguments, err := command.OpenedArguments(l.worker.box.Open)
	switch {
	case errors.Is(err, seal.ErrKey):
		return nil, &flow.Refusal{Kind: flow.RefusedState, Message: "the server user's password was changed while the command waited: send it again"}
	case err != nil:
		return command.Arguments, nil //nolint:nilerr // no sealed text: what is wrong with it is found when it is read
	}
	return arguments, nil
}

// precondition holds a command's If-Match against the service as it is when
// the command's turn has come. What was decided and is not in the document yet is
// written first: the client that read the document of before has not seen it. A
// service has one writer at a time, so nothing comes between this look and the
// decision but what is done to the document past Flowjet.
func (l *serviceLoop) precondition(ctx context.Context, command flow.Command) (*flow.Refusal, error) {
	if len(command.IfMatch) == 0 {
		return nil, nil
	}
	if err := l.saver.saveDocument(ctx); err != nil {
		return nil, err
	}
	document, err := l.actor.server().Document(ctx, l.service)
	if err == nil && !document.Matches(command.IfMatch) {
		document, err = l.actor.server().Confirmed().Document(ctx, l.service)
	}
	if err != nil {
		return nil, fmt.Errorf("check the ETag of service %d: %w", l.service, err)
	}
	if document.Matches(command.IfMatch) {
		return nil, nil
	}
	return &flow.Refusal{Kind: flow.RefusedChanged, Message: fmt.Sprintf(
		"service %d has changed since it was read (its ETag is now %s): read it again before you change it", l.service, document.ETag())}, nil
}
