package consumers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/internal/seal"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
)

// handleOnce handles one input: load, ingest, decide, commit, answer, act.
func (l *serviceLoop) handleOnce(ctx context.Context, input pipeline.Input) error {
	if err := l.checkDatabase(ctx); err != nil {
		return err
	}
	l.loaded = l.loaded && !input.Work.Lost
	fresh := !l.loaded
	l.cause = causeOf(input)
	l.loader.noteDocument(input)
	if fresh {
		if err := l.loader.load(ctx); err != nil {
			return err
		}
		if l.loader.strange && input.Work.Command == nil {
			l.record.State = flow.Met(l.record.State, time.Now(), l.worker.config.Settings)
		}
	} else {
		l.loader.followLeader()
	}
	for _, id := range input.Work.Waiting {
		if err := l.endLost(ctx, id); err != nil {
			return err
		}
	}
	if work := input.Work; !fresh && isNews(work) && work.Event == nil && work.Trouble == nil {
		// It is to check everything: its record may be lost, which nothing else shows as long as the service rests.
		if err := l.saver.stillOurs(ctx); err != nil {
			return err
		}
	}
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
		// It was set again, and its firing may have removed the message that counts (Timers.SetTimer).
		return l.saver.syncTimer(ctx, timer.Name)
	}
	l.vms.heard.note(l.reported, published(input, l.came), l.facts)
	if old := l.vms.isOld(input.Work); old && !fresh {
		return nil // oned was asked since then
	} else if !old {
		if err := l.ingester.ingest(ctx, input, fresh); err != nil {
			return err
		}
	}
	if err := l.checkDatabase(ctx); err != nil {
		return err
	}
	if !l.loaded {
		return l.handleOnce(ctx, input)
	}
	if !l.exists {
		return l.absent(ctx, input)
	}
	if input.Work.Taken {
		l.record.State.LeftAlone = nil
	}
	if err := l.vms.confirmStrangers(ctx); err != nil {
		return err
	}
	return l.decide(ctx, input)
}

// repeat handles an input that is already in the record: a reader that starts over gets the last ones again. It repeats the answer, and
// finishes what was left unfinished.
func (l *serviceLoop) repeat(ctx context.Context, input pipeline.Input, fresh bool) error {
	if fresh && l.exists {
		// As with a first answer: a client that learns of a change must not read the old document.
		if err := l.saver.saveDocument(ctx); err != nil {
			return err
		}
	}
	if command := input.Work.Command; command != nil {
		if reply, recorded := recordedReply(l.record, pipeline.Reply{Command: command.ID}); recorded {
			if err := l.worker.pipe.FinishCommand(ctx, input, reply); err != nil {
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

// endLost ends a command that NATS has lost, and that was neither handled before nor stored again: it would count as queued. A deployment needs no
// command. A refusal is recorded before it is told: the message may have been on its way, and is not carried out then.
func (l *serviceLoop) endLost(ctx context.Context, id string) error {
	status, err := l.worker.pipe.CommandStatus(ctx, id)
	if errors.Is(err, pipeline.ErrNotFound) || err == nil && status.State != pipeline.CommandQueued {
		return nil
	}
	if err != nil {
		return err
	}
	reply, recorded := recordedReply(l.record, pipeline.Reply{Command: id, Time: time.Now().UTC()})
	if !recorded && (status.Verb != flow.VerbDeploy || !l.exists) {
		reply.Refused, reply.Message = flow.RefusedFailed, "NATS has lost the command: check the service, and send it again if it is still needed"
		if l.exists {
			l.keepReply(reply)
			if err := l.saver.store(ctx); err != nil {
				return err
			}
		}
	}
	command := flow.Command{ID: id, Verb: status.Verb, Service: l.service, User: one.Identity{UID: status.UID}}
	lost := pipeline.Input{Published: status.Queued, Work: pipeline.Work{Command: &command}}
	return l.worker.pipe.FinishCommand(ctx, lost, reply)
}

// recordedReply returns the record's reply to the same command, or the given one.
func recordedReply(record pipeline.Record, reply pipeline.Reply) (_ pipeline.Reply, recorded bool) {
	if at := slices.IndexFunc(record.Replies, func(recorded pipeline.Reply) bool { return recorded.Command == reply.Command }); at >= 0 {
		return record.Replies[at], true
	}
	return reply, false
}

// keptReplies bounds the replies in a record.
const keptReplies = 8

// decide plans the next steps for the input and carries them out. A timer that has fired is no longer set: if NATS's clock is ahead of
// ours, and its time has not come, it is set again.
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
	reply, recorded := recordedReply(l.record, pipeline.Reply{Version: pipeline.Version, Command: command.ID, Time: time.Now().UTC()})
	if recorded { // it counted as lost
		l.record.Applied = input.Sequence
		return l.proceed(ctx, input, flow.Decide(l.known(), nil), &reply)
	}
	decision, refusal, err := l.apply(ctx, input, early)
	if err != nil {
		return err
	}
	if refusal != nil {
		reply.Refused, reply.Message = refusal.Kind, refusal.Message
		decision = flow.Decide(l.known(), nil)
	}
	l.record.Applied = input.Sequence
	l.keepReply(reply)
	return l.proceed(ctx, input, decision, &reply)
}

func (l *serviceLoop) keepReply(reply pipeline.Reply) {
	l.record.Replies = append(l.record.Replies, reply)
	l.record.Replies = l.record.Replies[max(0, len(l.record.Replies)-keptReplies):]
}

// apply decides on a command, or returns why it is refused: a command from before the service is meant for another one with its id, or was
// carried out already.
func (l *serviceLoop) apply(ctx context.Context, input pipeline.Input, early bool) (flow.Decision, *flow.Refusal, error) {
	command := *input.Work.Command
	if early {
		return flow.Decision{}, &flow.Refusal{Kind: flow.RefusedState, Message: fmt.Sprintf(
			"the command is from before %s, when oned or Flowjet's data was restored from a backup, or OneFlow took over: check service %d and send the command again if it is still needed",
			l.record.Since.UTC().Format(time.RFC3339), l.service)}, nil
	}
	refusal, err := l.stillAllowed(ctx, command, input.Published)
	if refusal == nil && err == nil {
		refusal, err = l.precondition(ctx, command)
	}
	if refusal != nil || err != nil {
		return flow.Decision{}, refusal, err
	}
	switch arguments, err := command.OpenedArguments(l.worker.box.Open); {
	case errors.Is(err, seal.ErrKey):
		return flow.Decision{}, &flow.Refusal{
			Kind: flow.RefusedState, Message: "the server user's password was changed while the command waited: send it again",
		}, nil
	case err == nil: // else the text is not sealed: mistakes in it are found when it is parsed
		command.Arguments = arguments
	}
	if l.loader.rewritten {
		return flow.Decide(l.known(), nil), nil, nil // the command has done its work
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

// known returns the input of decisions.
func (l *serviceData) known() flow.Input {
	return flow.Input{State: l.record.State, Facts: l.facts, Now: time.Now(), Settings: l.worker.config.Settings}
}

// proceed carries out a decision, and answers its command: commit, act, and plan until nothing is left to do.
func (l *serviceLoop) proceed(ctx context.Context, input pipeline.Input, decision flow.Decision, reply *pipeline.Reply) error {
	for {
		if err := l.saver.commit(ctx, decision, reply != nil); err != nil {
			return err
		}
		save := l.saver.writeIfDue
		if reply != nil && input.Work.Command.Verb != flow.VerbDeploy {
			// A client that gets the answer reads the change in oned, too. A deployment was answered when it was queued.
			save = l.saver.saveDocument
		}
		if err := save(ctx); err != nil {
			return err
		}
		if reply != nil {
			if err := l.worker.pipe.FinishCommand(ctx, input, *reply); err != nil {
				return err
			}
			reply = nil
			ctx = opennebula.Unhurried(ctx)
			// The rest of a command may take long, and no client waits for it.
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

// stillAllowed returns why a command that has waited for long is refused: its user may have lost the right to manage the service since the API
// queued it. A deployment is done with the rights that its owner has then.
func (l *serviceLoop) stillAllowed(ctx context.Context, command flow.Command, queued time.Time) (*flow.Refusal, error) {
	if command.Verb == flow.VerbDeploy || time.Since(queued) < l.worker.config.RecheckAfter {
		return nil, nil
	}
	user, err := l.worker.owners.of(ctx, command.User.UID, time.Now().Add(-l.worker.config.TrustOwner))
	reason := fmt.Sprintf("user %s does not exist any more", command.User.UName)
	if err == nil && user.Identity.UName != "" {
		err = l.worker.oned.For(user.Identity.UName).MayManage(ctx, l.service)
		if err == nil {
			return nil, nil
		}
		reason = err.Error()
	}
	if err != nil && (ctx.Err() != nil || opennebula.Temporary(err)) {
		return nil, fmt.Errorf("check whether %s may still manage service %d: %w", command.User.UName, l.service, err)
	}
	return &flow.Refusal{Kind: flow.RefusedState, Message: fmt.Sprintf("the command had waited since %s, and its user may not manage service %d any more: %s",
		queued.UTC().Format(time.RFC3339), l.service, reason)}, nil
}

// precondition compares a command's If-Match with the service at the time the command is handled. Decisions that are not in the document
// yet are written first. A service has one writer at a time: only changes past Flowjet can come between this check and the decision.
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

// mayFollow reports whether what has another owner may follow the service, which is just being given away: its former owner's, or that of the
// new one, whom the record does not have yet. What anybody else has never does.
func (l *serviceData) mayFollow(ctx context.Context, holder one.Identity) (bool, error) {
	service := l.record.State.Service
	switch {
	case holder.UID == service.Owner.UID:
		return false, nil
	case service.Former != nil && holder.UID == service.Former.UID && time.Now().Before(service.FormerUntil):
		return true, nil
	}
	document, err := l.worker.oned.Server().Confirmed().Document(ctx, l.service)
	if err != nil {
		return false, fmt.Errorf("check the owner of service %d: %w", l.service, err)
	}
	return holder.UID == document.Owner.UID, nil
}
