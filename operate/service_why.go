package operate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/terminal"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/inspect"
)

func serviceWhy(t tool) *cobra.Command {
	return t.aboutService(help{
		"why SERVICE", "Explain a service's state",
		"Since when the service is in its state, the cause, what failed (role, VM, oned's error), what the service waits for, and what to do.\n" +
			"VM states are read from oned; while oned does not answer, the last known states are shown and marked.\n" +
			"The API has the same at /flowjet/v1/services/ID/why.",
		"flowjet service why 3\nflowjet service why 3 -o json",
	}, func(ctx context.Context, c *terminal.Console, pipe clients, id int) error {
		why, err := pipe.Why(ctx, id, pipe.refresh)
		if err != nil {
			return unknownService(id, err)
		}
		return c.Present(why, func() { writeWhy(c, why) })
	})
}

func writeWhy(c *terminal.Console, why inspect.Why) {
	c.Title("%s", strings.TrimSpace(fmt.Sprintf("Service %d  %s", why.Service, why.Name)))
	c.Say("state        %s%s", c.State(why.State), c.Since(why.Since))
	if why.Cause != nil {
		c.Say("cause        %s", c.Timed(why.Cause.Text()))
	}
	if why.Reason != "" {
		c.Say("reason       %s", c.Timed(why.Reason))
	}
	c.Lines(12, "failed", terminal.Findings(why.Failed)...)
	c.Lines(12, "waits for", terminal.Findings(why.Waits)...)
	if len(why.Failed)+len(why.Waits) == 0 && why.State == "RUNNING" {
		c.Say("waits for    nothing")
	}
	c.Lines(12, "note", terminal.Findings(why.Notes)...)
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
		c.Table(transitionTable(c, why.Path))
	}
}

// timerPurposes are the reasons for checking a service, by timer.
var timerPurposes = map[string]string{
	flow.DeadlineStay:     "when a deadline passes",
	flow.DeadlineCooldown: "when the cooldown is over",
	flow.DeadlineSchedule: "for a scheduled policy",
	flow.DeadlineRefill:   "to compare its roles with their min_vms",
	flow.DeadlineHeal:     "to heal a VM",
	flow.DeadlineRetry:    "to repeat a call that oned refused",
}

func transitionTable(c *terminal.Console, path []pipeline.Transition) (head []string, rows [][]string) {
	for _, transition := range path {
		rows = append(rows, []string{c.At(transition.Time), c.Timed(transition.Text()), transition.Cause.Text()})
	}
	return []string{"TIME", "WHAT", "CAUSE"}, rows
}

func serviceWatch(t tool) *cobra.Command {
	var until []string
	var within time.Duration
	cmd := t.aboutService(help{
		"watch SERVICE", "Follow what happens to a service",
		"It ends with Ctrl-C, when the service has ended, or, with --until, when the service is in one of the states.\n" +
			"With --until it fails when the service enters a failed state that is not among them, or when --timeout has passed. A service that has ended was DONE.",
		"flowjet service watch 3\nflowjet service watch 3 --until RUNNING --timeout 5m",
	}, func(ctx context.Context, c *terminal.Console, pipe clients, id int) error {
		if err := terminal.AtLeast("timeout", within, 0); err != nil {
			return err
		}
		for i := range until {
			until[i] = strings.ToUpper(until[i])
		}
		if err := oneOf("until", append(spec.ServiceStateNames(), pipeline.Deleted), until...); err != nil {
			return err
		}
		if within > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeoutCause(ctx, within, terminal.ExitTimeout.Because(fmt.Errorf("service %d did not reach %s within %s: `flowjet service why %d`", id, cmp.Or(strings.Join(until, ", "), "its end"), within, id)))
			defer cancel()
		}
		return stopped(ctx, watcher{c, pipe, id, until}.watch(ctx))
	})
	cmd.Flags().StringSliceVar(&until, "until", nil, "end when the service is in one of these states (RUNNING,DELETED)")
	cmd.Flags().DurationVar(&within, "timeout", 0, "give up after this time; 0 for never")
	return cmd
}

type watcher struct {
	*terminal.Console // for output
	pipe              clients
	service           int
	until             []string
}

func (w watcher) watch(ctx context.Context) error {
	// Transitions are read from here on; earlier ones are in the record.
	last, err := w.pipe.LastTransitionSequence(ctx)
	if err != nil {
		return err
	}
	why, err := w.pipe.Why(ctx, w.service, nil)
	if err != nil {
		return unknownService(w.service, err)
	}
	if !w.Structured() {
		w.Say("Service %d  %s  %s", w.service, w.Timed(why.Name), w.State(why.State))
	}
	if over, err := w.over(why.State); over {
		return err
	}
	reader, err := w.pipe.ReadTransitions(ctx, w.service, last)
	if err != nil {
		return err
	}
	defer reader.Stop()
	for {
		_, transition, err := reader.Next(ctx)
		if err != nil {
			return err
		}
		if err := writeTransition(w.Console, transition); err != nil {
			return err
		}
		if transition.Kind == "service" {
			if over, err := w.over(transition.New); over {
				return err
			}
		}
	}
}

// stopped returns nil if the user has interrupted the command, and a limit's reason otherwise.
func stopped(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); err != nil && !errors.Is(cause, context.Canceled) {
		return cmp.Or(cause, err)
	}
	return nil
}

// over reports whether the state ends the watching, and with which result.
func (w watcher) over(state string) (bool, error) {
	switch {
	case slices.Contains(w.until, state), state == pipeline.Deleted && slices.Contains(w.until, spec.ServiceDone.String()):
		return true, nil
	case len(w.until) > 0 && (strings.HasPrefix(state, "FAILED_") || state == pipeline.Deleted):
		return true, terminal.ExitTrouble.Because(fmt.Errorf("service %d is %s: `flowjet service why %d`", w.service, state, w.service))
	}
	return state == pipeline.Deleted, nil
}

func writeTransition(c *terminal.Console, transition pipeline.Transition) error {
	if c.Structured() {
		return c.Line(transition)
	}
	c.Say("%s  %-5d %s  [%s]", c.Exactly(transition.Time), transition.Service, c.Change(transition.Change), c.Timed(transition.Cause.Title()))
	return nil
}
