package consumers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/internal/seal"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
)

// handleOnce handles one input: load, ingest, decide, commit, answer, act.
func (l *serviceLoop) handleOnce(ctx context.Context, input pipeline.Input) error {
	if err := l.loader.checkDatabase(ctx); err != nil {
		return err
	}
	fresh := !l.loaded
	l.cause = causeOf(input)
	l.loader.noteSeen(input)
	if fresh {
		if err := l.loader.load(ctx); err != nil {
			return err
		}
	}
	l.loader.followLeader()
	if input.Sequence <= l.record.Applied {
		return l.repeat(ctx, input, fresh)
	}
	if input.Work.Newer {
		return fmt.Errorf("handle input %d of service %d: %w", input.Sequence, l.service, pipeline.ErrNewer)
	}
	if !l.exists {
		return l.absent(ctx, input)
	}
	if timer := input.Work.Timer; timer != nil && l.record.Timers[timer.Name].Generation > timer.Generation {
		// It has been set anew, and its firing may have removed the one that counts (Timers.SetTimer).
		return l.saver.syncTimer(ctx, timer.Name)
	}
	l.ingester.heard.note(l.told, published(input, l.came), l.facts)
	if old := l.ingester.isOld(input.Work); old && !fresh {
		return nil // what has been read since is decided on
	} else if !old {
		if err := l.ingester.ingest(ctx, input, fresh); err != nil {
			return err
		}
	}
	if err := l.loader.checkDatabase(ctx); err != nil {
		return err
	}
	if !l.loaded {
		return l.handleOnce(ctx, input)
	}
	if !l.exists {
		return l.absent(ctx, input)
	}
	if err := l.ingester.confirmStrangers(ctx); err != nil {
		return err
	}
	return l.decide(ctx, input)
}

// repeat meets an input that is part of the record already: a reader that starts over sees the
// last ones again. Its answer is given again, and what was left unfinished is finished.
func (l *serviceLoop) repeat(ctx context.Context, input pipeline.Input, fresh bool) error {
	if fresh && l.exists {
		// As with a first answer: who is told that a change has begun must not read the old document.
		if err := l.saver.saveDocument(ctx); err != nil {
			return err
		}
	}
	for _, reply := range l.record.Replies {
		if command := input.Work.Command; command != nil && reply.Command == command.ID {
			if err := l.answer(ctx, input, reply); err != nil {
				return err
			}
		}
	}
	if !l.exists {
		return l.finalize(ctx)
	}
	if !fresh {
		return nil
	}
	l.cause.Kind, l.cause.ID, l.cause.User = "wake", "take-over", ""
	return l.proceed(ctx, input, flow.Decide(l.known(), nil), nil)
}

// keptReplies bounds the replies in a record.
const keptReplies = 8

// decide plans what the input leads to and sees it through. A timer that has come is no longer
// set: where NATS's clock is ahead of ours, and its time has not come, it is set again.
func (l *serviceLoop) decide(ctx context.Context, input pipeline.Input) error {
	command, early := input.Work.Command, input.Published.Before(l.record.Since)
	if command == nil {
		l.record.Applied = input.Sequence
		var outcome flow.Outcome
		switch work := input.Work; {
		case work.Timer != nil:
			delete(l.record.Timers, work.Timer.Name)
		case early:
		case work.Measures != nil:
			outcome = flow.Measured{Measures: *work.Measures}
		}
		return l.proceed(ctx, input, flow.Decide(l.known(), outcome), nil)
	}
	reply := pipeline.Reply{Version: pipeline.Version, Command: command.ID, Time: time.Now().UTC()}
	decision, refusal, err := l.apply(ctx, *command, early)
	if err != nil {
		return err
	}
	if refusal != nil {
		reply.Refused, reply.Message = refusal.Kind, refusal.Message
		decision = flow.Decide(l.known(), nil)
	}
	l.record.Applied = input.Sequence
	l.record.Replies = append(l.record.Replies, reply)
	l.record.Replies = l.record.Replies[max(0, len(l.record.Replies)-keptReplies):]
	return l.proceed(ctx, input, decision, &reply)
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
	switch arguments, err := command.OpenedArguments(l.worker.box.Open); {
	case errors.Is(err, seal.ErrKey):
		return flow.Decision{}, &flow.Refusal{
			Kind: flow.RefusedState, Message: "the server user's password was changed while the command waited: send it again",
		}, nil
	case err == nil: // else it is no sealed text: what is wrong with it is found when it is read
		command.Arguments = arguments
	}
	if l.loader.rewritten {
		return flow.Decide(l.known(), nil), nil, nil // that is what was asked for
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

// known returns what decisions are made from.
func (l *serviceLoop) known() flow.Input {
	return flow.Input{State: l.record.State, Facts: l.facts, Now: time.Now(), Settings: l.worker.config.Settings}
}

// proceed sees a decision, and its answer to a command, through: commit, act, and plan until nothing is left to do.
func (l *serviceLoop) proceed(ctx context.Context, input pipeline.Input, decision flow.Decision, reply *pipeline.Reply) error {
	for {
		if err := l.saver.commit(ctx, decision, reply != nil); err != nil {
			return err
		}
		save := l.saver.writeIfDue
		if reply != nil && input.Work.Command.Verb != flow.VerbDeploy {
			// Who is told of a change reads it in oned, too. A deployment was answered when it was queued.
			save = l.saver.saveDocument
		}
		if err := save(ctx); err != nil {
			return err
		}
		if reply != nil {
			if err := l.answer(ctx, input, *reply); err != nil {
				return err
			}
			reply = nil
			ctx = opennebula.Unhurried(ctx)
			// What a command leads to may take long, and nobody waits for that.
			l.partition.mutex.Lock()
			l.urgent.Store(l.inbox.hasCommand())
			l.partition.mutex.Unlock()
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

// precondition holds a command's If-Match against the service as it is when the command's turn
// has come. What was decided and is not in the document yet is written first. A service has one
// writer at a time: only what is done past Flowjet comes between this look and the decision.
func (l *serviceLoop) precondition(ctx context.Context, command flow.Command) (*flow.Refusal, error) {
	if len(command.IfMatch) == 0 {
		return nil, nil
	}
	if err := l.saver.saveDocument(ctx); err != nil {
		return nil, err
	}
	document, err := l.worker.oned.Server().Document(ctx, l.service)
	if err == nil && !document.Matches(command.IfMatch) {
		document, err = l.worker.oned.Server().Confirmed().Document(ctx, l.service)
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
