package operate

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/pipeline"
)

// eventFilter is which transitions are wanted.
type eventFilter struct {
	service int
	kinds   []string
	since   time.Duration
	last    int
	follow  bool
}

func (t tool) events() *cobra.Command {
	var filter eventFilter
	cmd := t.command("events", "Tell what happened to services",
		"The last 50 transitions, or those of the time that --since names; -f goes on with what happens. Kept are 90 days.\n"+
			"With -o json each is an object on a line of its own, as in the stream FLOW.", cobra.NoArgs,
		func(ctx context.Context, c *console, pipe *pipeline.Pipeline, _ []string) error {
			for _, kind := range filter.kinds {
				if !slices.Contains(flow.WebhookKinds, kind) {
					return fmt.Errorf("--kind %s: there are %v", kind, flow.WebhookKinds)
				}
			}
			return c.events(ctx, pipe, filter)
		})
	flags := cmd.Flags()
	flags.IntVar(&filter.service, "service", -1, "only of the service")
	flags.StringSliceVar(&filter.kinds, "kind", nil, "only of these kinds: service, role, vm, network, router")
	flags.DurationVar(&filter.since, "since", 0, "only what happened so long ago at most, as 30m or 24h")
	flags.IntVarP(&filter.last, "last", "n", 50, "at most so many of what has happened; 0 for all")
	flags.BoolVarP(&filter.follow, "follow", "f", false, "go on with what happens, until Ctrl-C")
	_ = cmd.RegisterFlagCompletionFunc("kind", cobra.FixedCompletions(flow.WebhookKinds, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("service", func(cmd *cobra.Command, _ []string, part string) ([]cobra.Completion, cobra.ShellCompDirective) {
		return t.serviceIDs(cmd, nil, part)
	})
	return cmd
}

func (f eventFilter) wants(transition pipeline.Transition, now time.Time) bool {
	return (len(f.kinds) == 0 || slices.Contains(f.kinds, transition.Kind)) &&
		(f.since == 0 || now.Sub(transition.Time) <= f.since)
}

func (c *console) events(ctx context.Context, pipe *pipeline.Pipeline, filter eventFilter) error {
	end, err := pipe.LastTransitionSequence(ctx)
	if err != nil {
		return err
	}
	found, err := c.past(ctx, pipe, filter)
	if err != nil {
		return err
	}
	for _, transition := range found {
		if err := c.transition(transition); err != nil {
			return err
		}
	}
	if !filter.follow {
		if len(found) == 0 && !c.json {
			c.say("Nothing has happened.")
		}
		return nil
	}
	return c.follow(ctx, pipe, filter, end)
}

// past is what has happened: at most filter.last of it, oldest first.
func (c *console) past(ctx context.Context, pipe *pipeline.Pipeline, filter eventFilter) ([]pipeline.Transition, error) {
	var found []pipeline.Transition
	err := pipe.EachTransition(ctx, filter.service, func(transition pipeline.Transition) {
		if !filter.wants(transition, c.now()) {
			return
		}
		found = append(found, transition)
		if filter.last > 0 && len(found) > 2*filter.last {
			found = append(found[:0], found[len(found)-filter.last:]...)
		}
	})
	if filter.last > 0 {
		found = found[max(0, len(found)-filter.last):]
	}
	return found, err
}

func (c *console) follow(ctx context.Context, pipe *pipeline.Pipeline, filter eventFilter, after uint64) error {
	reader, err := pipe.ReadTransitions(ctx, filter.service, after)
	if err != nil {
		return err
	}
	defer reader.Stop()
	for {
		_, transition, err := reader.Next(ctx)
		if err != nil {
			return stopped(ctx, err)
		}
		if filter.wants(transition, c.now()) {
			if err := c.transition(transition); err != nil {
				return err
			}
		}
	}
}
