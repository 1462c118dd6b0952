package operate

import (
	"context"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/flowjet/flowjet/pipeline"
)

func (t tool) commands() *cobra.Command {
	var service serviceFlag
	var state string
	states := []string{pipeline.CommandQueued, pipeline.CommandDone, pipeline.CommandRefused}
	cmd := t.command("commands", "Tell what was asked of services, and what came of it",
		"The commands of the last 24 hours, oldest first. One that stays queued waits for its service's worker: `flowjet doctor`.", cobra.NoArgs,
		func(ctx context.Context, c *console, pipe clients, _ []string) error {
			if err := oneOf("state", state, states); err != nil {
				return err
			}
			if err := service.check(ctx, pipe); err != nil {
				return err
			}
			found := []pipeline.CommandStatus{}
			err := pipe.EachCommand(ctx, func(status pipeline.CommandStatus) {
				if service.wants(status.Service) && (state == "" || status.State == state) {
					found = append(found, status)
				}
			})
			if err != nil {
				return err
			}
			return c.asked(found)
		})
	t.addServiceFlag(cmd, &service, "only those to the service")
	cmd.Flags().StringVar(&state, "state", "", "only those queued, done or refused")
	_ = cmd.RegisterFlagCompletionFunc("state", cobra.FixedCompletions(states, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (c *console) asked(found []pipeline.CommandStatus) error {
	if c.json {
		return c.show(found)
	}
	if len(found) == 0 {
		c.say("There are no such commands: they are kept for 24 hours.")
		return nil
	}
	var rows [][]string
	for _, status := range found {
		took := "-"
		if status.Ended != nil {
			took = span(status.Ended.Sub(status.Queued))
		}
		rows = append(rows, []string{
			c.at(status.Queued), string(status.Verb), strconv.Itoa(status.Service), strconv.Itoa(status.UID), status.State, took, status.ID, status.Message,
		})
	}
	c.table([]string{"QUEUED", "VERB", "SERVICE", "UID", "STATE", "TOOK", "ID", "MESSAGE"}, rows)
	return nil
}
