package operate

import (
	"context"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/flowjet/flowjet/internal/terminal"
	"github.com/flowjet/flowjet/pipeline"
)

func commandsCommand(t tool) *cobra.Command {
	var service serviceFlag
	var state string
	states := []string{pipeline.CommandQueued, pipeline.CommandDone, pipeline.CommandRefused}
	cmd := t.command(help{
		"commands", "List the commands sent to services, and their results",
		"The commands of the last 24 hours, oldest first. A command that stays queued waits for the worker of its service: see `flowjet doctor`.",
		"flowjet commands --state refused\nflowjet commands --service 3 -o json",
	}, terminal.ListFormats, cobra.NoArgs,
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
			return writeCommands(c, found)
		})
	t.addServiceFlag(cmd, &service, "only those to the service")
	cmd.Flags().StringVar(&state, "state", "", "only commands in this state: queued, done or refused")
	_ = cmd.RegisterFlagCompletionFunc("state", cobra.FixedCompletions(states, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func writeCommands(c *console, found []pipeline.CommandStatus) error {
	var ids []string
	var rows [][]string
	for _, status := range found {
		took := "-"
		if status.Ended != nil {
			took = terminal.Span(status.Ended.Sub(status.Queued))
		}
		ids = append(ids, status.ID)
		rows = append(rows, []string{
			c.At(status.Queued), string(status.Verb), strconv.Itoa(status.Service), strconv.Itoa(status.UID), status.State, took, status.ID, status.Message,
		})
	}
	return c.List(terminal.Listing{
		Value: found, Names: ids, None: "There are no such commands. Commands are kept for 24 hours.",
		Head: []string{"QUEUED", "VERB", "SERVICE", "UID", "STATE", "TOOK", "ID", "MESSAGE"}, Rows: rows,
	})
}
