package consumers

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/pipeline"
)

func (r *responder) keepReply(reply pipeline.Reply) {
	r.record.Replies = append(r.record.Replies, reply)
	if surplus := len(r.record.Replies) - keptReplies; surplus > 0 {
		r.record.Replies = r.record.Replies[surplus:]
	}
}

// answer gives a command's result to whoever waits for it.
func (r *responder) answer(ctx context.Context, input pipeline.Input, reply pipeline.Reply) error {
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
	if err := r.worker.pipe.FinishCommand(ctx, input.ReplyTo, status, reply); err != nil {
		return fmt.Errorf("answer command %s to service %d: %w", command.ID, r.service, err)
	}
	return nil
}

// answerFailure tells who waits for a command that it could not be carried out. One whose
// decision was stored, and whose document could not be saved, has the answer that it was
// decided to have.
func (r *responder) answerFailure(ctx context.Context, input pipeline.Input, cause error) error {
	command := input.Work.Command
	if command == nil {
		return nil
	}
	if stored, _, err := r.worker.pipe.LoadRecord(ctx, r.service); err == nil {
		if at := slices.IndexFunc(stored.Replies, func(r pipeline.Reply) bool { return r.Command == command.ID }); at >= 0 {
			return r.answer(ctx, input, stored.Replies[at])
		}
	}
	return r.answer(ctx, input, pipeline.Reply{
		Version: pipeline.Version, Command: command.ID, Refused: flow.RefusedFailed, Message: cause.Error(), Time: time.Now().UTC(),
	})
}
