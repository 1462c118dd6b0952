package consumers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
)

// handleOnce handles one input: learn, decide, commit, answer, act.
func (l *lane) handleOnce(ctx context.Context, input pipeline.Input) error {
	fresh := !l.loaded
	l.cause = causeOf(input)
	if err := l.loadAhead(ctx); err != nil {
		return err
	}
	l.followLeader()
	if input.Sequence <= l.record.Applied {
		return l.repeat(ctx, input, fresh)
	}
	if input.Work.Newer {
		return fmt.Errorf("handle input %d of service %d: %w", input.Sequence, l.service, pipeline.ErrNewer)
	}
	if !l.exists {
		return l.absent(ctx, input)
	}
	if l.outdated(input) || l.isOldNews(input) {
		return nil
	}
	if err := l.learn(ctx, input, fresh); err != nil {
		return err
	}
	if !l.exists {
		return l.absent(ctx, input)
	}
	if err := l.confirmStrangers(ctx); err != nil {
		return err
	}
	return l.decide(ctx, input)
}

// followLeader notes who leads the zone. A change is committed while the service waits:
// which of its VMs may have been left behind depends on when it was.
func (l *lane) followLeader() {
	term, since := l.worker.oned.Leadership()
	before := l.record.State.Leader
	l.record.State = flow.Lead(l.record.State, term, since)
	l.led = l.led || l.record.State.Leader != before && l.record.State.Service.State().Waiting()
}

// repeat meets an input that is part of the record already: a reader that
// starts over sees the last ones again. Its answer is given again, and what the
// record left unfinished is finished.
func (l *lane) repeat(ctx context.Context, input pipeline.Input, fresh bool) error {
	if fresh && l.exists {
		// As with a first answer: who is told that a change has begun must not
		// read the document of before.
		if err := l.saveDocument(ctx); err != nil {
			return err
		}
	}
	if command := input.Work.Command; command != nil {
		for _, reply := range l.record.Replies {
			if reply.Command == command.ID {
				if err := l.answer(ctx, input, reply); err != nil {
					return err
				}
			}
		}
	}
	if !l.exists {
		return l.noteEnd(ctx)
	}
	if !fresh {
		return nil
	}
	l.cause.Kind, l.cause.ID, l.cause.User = "wake", "take-over", ""
	return l.proceed(ctx, l.plan(), nil)
}

// outdated reports whether the input is a timer that has been set anew or cancelled.
func (l *lane) outdated(input pipeline.Input) bool {
	timer := input.Work.Timer
	return timer != nil && l.record.Timers[timer.Name].Generation > timer.Generation
}

// decide plans what the input leads to and sees it through.
func (l *lane) decide(ctx context.Context, input pipeline.Input) error {
	command := input.Work.Command
	if command == nil {
		l.record.Applied = input.Sequence
		return l.proceed(ctx, l.planFor(input), nil)
	}
	reply := pipeline.Reply{Version: pipeline.Version, Command: command.ID, Time: time.Now().UTC()}
	decision, refusal, err := l.apply(ctx, *command)
	if err != nil {
		return err
	}
	if refusal != nil {
		reply.Refused, reply.Message = refusal.Kind, refusal.Message
		decision = l.plan()
	}
	l.record.Applied = input.Sequence
	l.keepReply(reply)
	return l.proceed(ctx, decision, func() error { return l.answer(ctx, input, reply) })
}

// apply decides what a command leads to, or why it is refused.
func (l *lane) apply(ctx context.Context, command flow.Command) (flow.Decision, *flow.Refusal, error) {
	refusal, err := l.precondition(ctx, command)
	if refusal != nil || err != nil {
		return flow.Decision{}, refusal, err
	}
	if command.Arguments, refusal = l.openArguments(command); refusal != nil {
		return flow.Decision{}, refusal, nil
	}
	decision, err := flow.Apply(l.record.State, command, l.facts, time.Now(), l.worker.config.Settings)
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
func (l *lane) planFor(input pipeline.Input) flow.Decision {
	if timer := input.Work.Timer; timer != nil {
		delete(l.record.Timers, timer.Name)
	}
	if measures := input.Work.Measures; measures != nil {
		return flow.Evaluate(l.record.State, *measures, l.facts, time.Now(), l.worker.config.Settings)
	}
	return l.plan()
}

// plan decides with what is known now.
func (l *lane) plan() flow.Decision {
	return flow.Plan(l.record.State, l.facts, time.Now(), l.worker.config.Settings)
}

// keptReplies bounds the replies in a record.
const keptReplies = 8

func (l *lane) keepReply(reply pipeline.Reply) {
	l.record.Replies = append(l.record.Replies, reply)
	if surplus := len(l.record.Replies) - keptReplies; surplus > 0 {
		l.record.Replies = l.record.Replies[surplus:]
	}
}

// answer gives a command's result to whoever waits for it.
func (l *lane) answer(ctx context.Context, input pipeline.Input, reply pipeline.Reply) error {
	command := input.Work.Command
	ended := reply.Time
	status := pipeline.CommandStatus{
		Version: pipeline.Version, ID: command.ID, State: pipeline.CommandDone, Verb: command.Verb,
		Service: command.Service, UID: command.User.UID, Message: reply.Message,
		Queued: input.Published, Ended: &ended,
	}
	if reply.Refused != "" {
		status.State = pipeline.CommandRefused
	}
	if err := l.worker.pipe.FinishCommand(ctx, input.ReplyTo, status, reply); err != nil {
		return fmt.Errorf("answer command %s to service %d: %w", command.ID, l.service, err)
	}
	return nil
}

// answerFailure tells who waits for a command that it could not be carried out. One that
// was decided on, and whose document could not be saved, has the answer that it was
// decided to have.
func (l *lane) answerFailure(ctx context.Context, input pipeline.Input, cause error) error {
	command := input.Work.Command
	if command == nil {
		return nil
	}
	if at := slices.IndexFunc(l.record.Replies, func(r pipeline.Reply) bool { return r.Command == command.ID }); at >= 0 {
		return l.answer(ctx, input, l.record.Replies[at])
	}
	return l.answer(ctx, input, pipeline.Reply{
		Version: pipeline.Version, Command: command.ID, Refused: flow.RefusedFailed, Message: cause.Error(), Time: time.Now().UTC(),
	})
}

// proceed sees a decision through: commit, act, and plan again until nothing is
// left to do.
func (l *lane) proceed(ctx context.Context, decision flow.Decision, answer func() error) error {
	for {
		if err := l.commit(ctx, decision, answer != nil); err != nil {
			return err
		}
		if err := l.saveEarly(ctx, decision, answer != nil); err != nil {
			return err
		}
		if answer != nil {
			if err := answer(); err != nil {
				return err
			}
			answer = nil
			ctx = opennebula.Unhurried(ctx)
			l.partition.answered(l)
		}
		if len(decision.Actions) == 0 {
			return nil
		}
		next, err := l.act(ctx, decision.Actions)
		if err != nil {
			return err
		}
		if l.record.Deleted {
			return l.bidFarewell(ctx)
		}
		decision = next
	}
}

// absent meets an input for a service that has no document.
func (l *lane) absent(ctx context.Context, input pipeline.Input) error {
	if command := input.Work.Command; command != nil {
		if l.revision == 0 && time.Since(l.came) < l.worker.config.AwaitDocument {
			return fmt.Errorf("%s service %d: %w", command.Verb, l.service, errNoDocument)
		}
		reply := pipeline.Reply{
			Version: pipeline.Version, Command: command.ID, Refused: flow.RefusedMissing,
			Message: fmt.Sprintf("service %d does not exist", l.service), Time: time.Now().UTC(),
		}
		if err := l.answer(ctx, input, reply); err != nil {
			return err
		}
	}
	if l.revision != 0 && !l.record.Deleted {
		return l.noteEnd(ctx)
	}
	if event := input.Work.Event; event != nil && event.VM != nil {
		return l.endLatecomer(ctx, *event.VM)
	}
	return l.endLatecomers(ctx, input.Work.Trouble)
}

// noteEnd commits that a service has ended whose document is gone: a worker may
// have died between deleting it and noting that, or somebody else deleted it.
func (l *lane) noteEnd(ctx context.Context) error {
	if l.revision == 0 || l.record.Deleted {
		return nil
	}
	l.record.Deleted = true
	return l.bidFarewell(ctx)
}

// isLatecomer reports whether a VM was created for a service that has ended since: a call
// that took effect after it had been given up.
func (l *lane) isLatecomer(vm flow.VM) bool {
	return l.record.Deleted && flow.IsOrphan(vm, l.service, l.record.State.Service.Owner, l.record.Ended)
}

// endLatecomer ends the VM that an event told of, if it is one.
func (l *lane) endLatecomer(ctx context.Context, vm flow.VM) error {
	if !l.record.Deleted || vm.Key == "" || vm.Ending() {
		return nil
	}
	// The event may be forged, or of another time: oned says whose the VM is, and what for.
	known, err := l.observe(ctx, l.server().Confirmed(), vm.ID, l.facts)
	if err != nil || !l.isLatecomer(known) {
		return err
	}
	return l.terminateLatecomer(ctx, vm.ID)
}

// endLatecomers ends those of the VMs in trouble that are latecomers.
func (l *lane) endLatecomers(ctx context.Context, trouble []pipeline.Trouble) error {
	if !l.record.Deleted {
		return nil
	}
	for _, told := range trouble {
		vm, err := l.observe(ctx, l.server().Confirmed(), told.VM, l.facts)
		if err != nil {
			return err
		}
		if !l.isLatecomer(vm) {
			continue
		}
		if err := l.terminateLatecomer(ctx, vm.ID); err != nil {
			return err
		}
	}
	return nil
}

func (l *lane) terminateLatecomer(ctx context.Context, vm int) error {
	if found, err := l.readDocument(ctx, l.server().Confirmed()); err != nil || found.exists {
		l.loaded = false // the tombstone is no longer believed
		return err
	}
	l.worker.config.Logger.Warn("a VM came after its service had ended and is terminated", "service", l.service, "vm", vm)
	return l.tolerate(vm, l.session().ActOnVM(ctx, "terminate-hard", vm))
}
