package operate

import (
	"context"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/inspect"
)

func (t tool) serviceWhy() *cobra.Command {
	var cmd *cobra.Command
	cmd = t.command("why ID", "Explain a service's state",
		"Since when it is in it, what failed (which role, which VM, oned's words), what led there, what the service waits for, and what to do.\n"+
			"oned is asked how the VMs are now; while it is away, what was heard of them last is shown, and that it is so.\n"+
			"The API answers the same at /flowjet/v1/services/ID/why.", cobra.ExactArgs(1),
		func(ctx context.Context, c *console, pipe clients, args []string) error {
			id, err := serviceID(args[0])
			if err != nil {
				return err
			}
			why, err := pipe.Why(ctx, id, t.Look(cmd))
			if err != nil {
				return unknownService(id, err)
			}
			if c.json {
				return c.show(why)
			}
			c.why(why)
			return nil
		})
	cmd.ValidArgsFunction = t.serviceIDs
	return cmd
}

func (c *console) why(why inspect.Why) {
	c.title("Service %d  %s", why.Service, why.Name)
	since := ""
	if why.Since != nil {
		since = " for " + c.ago(*why.Since) + ", since " + c.at(*why.Since)
	}
	c.say("is in        %s%s", c.state(why.State), since)
	if why.Cause != nil {
		c.say("led there    %s", why.Cause.Title())
	}
	if why.Reason != "" {
		c.say("because      %s", c.timed(why.Reason))
	}
	c.troubles("failed", why.Failed)
	c.troubles("waits for", why.Waits)
	if len(why.Failed)+len(why.Waits) == 0 && why.State == "RUNNING" {
		c.say("waits for    nothing: all is well")
	}
	c.troubles("beside that", why.Notes)
	if why.OnedAway != "" {
		c.say("as last heard, not as it is now: %s", c.timed(why.OnedAway))
	}
	for _, name := range slices.Sorted(maps.Keys(why.Timers)) {
		at := why.Timers[name]
		c.say("looks again  %s (timer %s)", due(c, at), name)
	}
	for _, next := range why.Next {
		c.say("what to do   %s", c.timed(next))
	}
	if len(why.Path) > 0 {
		c.say("")
		c.say("What happened last:")
		c.transitions(why.Path)
	}
}

// troubles are listed under a label that stands before the first.
func (c *console) troubles(label string, troubles []flow.Finding) {
	for _, trouble := range troubles {
		text := c.timed(trouble.Message)
		if trouble.Role != "" && trouble.VM != nil {
			text += " (role " + trouble.Role + ")"
		}
		c.say("%-12s %s", label, text)
		label = ""
	}
}

func (c *console) transitions(path []pipeline.Transition) {
	var rows [][]string
	for _, transition := range path {
		rows = append(rows, []string{c.at(transition.Time), c.timed(what(transition)), transition.Cause.Title()})
	}
	c.table([]string{"TIME", "WHAT", "CAUSE"}, rows)
}
