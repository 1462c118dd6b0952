package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/internal/js"
)

// ResumeCommand is SubmitCommand for a command that may have been submitted
// before, by a process that has gone since: it is carried out once whatever
// became of the first attempt. The errors are SubmitCommand's.
func (c *Commands) ResumeCommand(ctx context.Context, command flow.Command, wait time.Duration) (pipeline.Reply, error) {
	if err := c.register(ctx, command); err != nil {
		return pipeline.Reply{}, err
	}
	status, err := c.storedStatus(ctx, command.ID)
	if err != nil {
		return pipeline.Reply{}, err
	}
	if status.State == pipeline.CommandQueued {
		if err := c.requeue(ctx, command); err != nil {
			return pipeline.Reply{}, err
		}
		if status, err = c.awaitEnd(ctx, command, wait); err != nil {
			return pipeline.Reply{}, err
		}
	}
	return status.reply(), nil
}

// requeue publishes a registered command unless it is in the stream. Two who
// do so at once publish one message: its id is the command's.
func (c *Commands) requeue(ctx context.Context, command flow.Command) error {
	stored := false
	err := c.core.Stream(pipeline.StreamWork).Each(ctx, pipeline.StoredWorkSubject(command.Service), 0, func(message js.Message) {
		var work pipeline.Work
		stored = stored || json.Unmarshal(message.Data, &work) == nil && work.Command != nil && work.Command.ID == command.ID
	})
	if err != nil {
		return fmt.Errorf("look for command %s in the work of service %d: %w", command.ID, command.Service, err)
	}
	if stored {
		return nil
	}
	if _, err := c.queue.PublishWork(ctx, workOf(command), messageID(command)); err != nil {
		return fmt.Errorf("queue command %s again: %w", command.ID, err)
	}
	return nil
}

// awaitEnd waits until the command has ended; pipeline.ErrNoReply after wait.
func (c *Commands) awaitEnd(ctx context.Context, command flow.Command, wait time.Duration) (status storedStatus, err error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	err = c.bucket().Await(ctx, command.ID, func(value []byte) (goOn bool) {
		status = storedStatus{}
		return json.Unmarshal(value, &status) != nil || status.State == pipeline.CommandQueued
	})
	switch {
	case err == nil:
		return status, nil
	case ctx.Err() != nil, errors.Is(err, js.ErrClosed):
		return storedStatus{}, fmt.Errorf("command %s for service %d: %w", command.ID, command.Service, pipeline.ErrNoReply)
	}
	return storedStatus{}, fmt.Errorf("wait for command %s: %w", command.ID, err)
}
