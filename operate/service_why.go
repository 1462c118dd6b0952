package operate

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/internal/terminal"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/inspect"
)

func serviceWhy(t tool) *cobra.Command {
	var cmd *cobra.Command
	cmd = t.aboutService(help{
		"why ID", "Explain a service's state",
		"Since when the service is in its state, the cause, what failed (role, VM, oned's error), what the service waits for, and what to do.\n" +
			"VM states are read from oned; while oned does not answer, the last known states are shown and marked.\n" +
			"The API has the same at /flowjet/v1/services/ID/why.",
		"flowjet service why 3\nflowjet service why 3 -o json",
	}, func(ctx context.Context, c *terminal.Console, pipe clients, id int) error {
		why, err := pipe.Why(ctx, id, t.Look(cmd))
		if err != nil {
			return unknownService(id, err)
		}
		if c.Structured() {
			return c.Show(why)
		}
		writeWhy(c, why)
		return nil
	})
	return cmd
}

func writeWhy(c *terminal.Console, why inspect.Why) {
	c.Title("%s", strings.TrimSpace(fmt.Sprintf("Service %d  %s", why.Service, why.Name)))
	since := ""
	if why.Since != nil {
		since = " for " + c.Ago(*why.Since) + ", since " + c.At(*why.Since)
	}
	c.Say("state        %s%s", c.State(why.State), since)
	if why.Cause != nil {
		c.Say("cause        %s", c.Timed(why.Cause.Text()))
	}
	if why.Reason != "" {
		c.Say("reason       %s", c.Timed(why.Reason))
	}
	writeTroubles(c, "failed", why.Failed)
	writeTroubles(c, "waits for", why.Waits)
	if len(why.Failed)+len(why.Waits) == 0 && why.State == "RUNNING" {
		c.Say("waits for    nothing")
	}
	writeTroubles(c, "note", why.Notes)
	if why.OnedAway != "" {
		c.Say("note         oned does not answer, so VM states are the last known ones: %s", c.Timed(why.OnedAway))
	}
	for _, name := range slices.Sorted(maps.Keys(why.Timers)) {
		text := due(c, why.Timers[name])
		if purpose := timerPurposes[name]; purpose != "" {
			text += ", " + purpose
		}
		c.Say("next check   %s", text)
	}
	for _, next := range why.Next {
		c.Say("what to do   %s", c.Timed(next))
	}
	if len(why.Path) > 0 {
		c.Say("")
		c.Say("What happened last:")
		writeTransitions(c, why.Path)
	}
}

// timerPurposes are what a service is looked at for, by timer.
var timerPurposes = map[string]string{
	flow.DeadlineStay:     "when a deadline passes",
	flow.DeadlineCooldown: "when the cooldown is over",
	flow.DeadlineSchedule: "for a scheduled policy",
	flow.DeadlineRefill:   "to compare its roles with their min_vms",
	flow.DeadlineHeal:     "to heal a VM",
	flow.DeadlineRetry:    "to repeat a call that oned refused",
}

// writeTroubles lists them under a label that stands before the first.
func writeTroubles(c *terminal.Console, label string, troubles []flow.Finding) {
	for _, trouble := range troubles {
		text := trouble.Message
		if trouble.Role != "" && trouble.VM != nil {
			text += " (role " + trouble.Role + ")"
		}
		c.Say("%-12s %s", label, c.Timed(text))
		label = ""
	}
}

func writeTransitions(c *terminal.Console, path []pipeline.Transition) {
	var rows [][]string
	for _, transition := range path {
		rows = append(rows, []string{c.At(transition.Time), c.Timed(terminal.What(transition.Change)), transition.Cause.Text()})
	}
	c.Table([]string{"TIME", "WHAT", "CAUSE"}, rows)
}
