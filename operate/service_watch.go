package operate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/terminal"
	"github.com/flowjet/flowjet/pipeline"
)

func serviceWatch(t tool) *cobra.Command {
	var until []string
	var within time.Duration
	cmd := t.aboutService(help{
		"watch ID", "Follow what happens to a service",
		"It ends with Ctrl-C, when the service has ended, or, with --until, when the service is in one of the states.\n" +
			"With --until it fails when the service enters a failed state that is not among them, or when --timeout has passed.",
		"flowjet service watch 3\nflowjet service watch 3 --until RUNNING --timeout 5m",
	}, func(ctx context.Context, c *terminal.Console, pipe clients, id int) error {
		for i := range until {
			until[i] = strings.ToUpper(until[i])
			if until[i] != pipeline.Deleted && !slices.Contains(spec.ServiceStateNames(), until[i]) {
				return oneOf("until", until[i], append(spec.ServiceStateNames(), pipeline.Deleted))
			}
		}
		if within > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeoutCause(ctx, within, terminal.ExitTimeout.Because(fmt.Errorf("service %d did not reach %s within %s: `flowjet service why %d`", id, strings.Join(until, ", "), within, id)))
			defer cancel()
		}
		err := watcher{c, pipe, id, until}.watch(ctx)
		if cause := context.Cause(ctx); err != nil && ctx.Err() != nil && !errors.Is(cause, context.Canceled) {
			return cause // the time is over, wherever that was noticed
		}
		return err
	})
	cmd.Flags().StringSliceVar(&until, "until", nil, "end when the service is in one of these states (RUNNING,DELETED)")
	cmd.Flags().DurationVar(&within, "timeout", 0, "give up after this time; 0 for never")
	return cmd
}

type watcher struct {
	*terminal.Console // where it writes
	pipe              clients
	service           int
	until             []string
}

func (w watcher) watch(ctx context.Context) error {
	// What happens from here on is read; what was before is in the record.
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
			return stopped(ctx, err)
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

// stopped is nil where a person has had enough, and the reason of a limit.
func stopped(ctx context.Context, err error) error {
	cause := context.Cause(ctx)
	switch {
	case cause == nil:
		return err
	case errors.Is(cause, context.Canceled):
		return nil
	}
	return cause
}

// over reports whether the state ends the watching, and as what.
func (w watcher) over(state string) (bool, error) {
	switch {
	case slices.Contains(w.until, state):
		return true, nil
	case len(w.until) > 0 && (strings.HasPrefix(state, "FAILED_") || state == pipeline.Deleted):
		return true, terminal.ExitTrouble.Because(fmt.Errorf("service %d is %s: `flowjet service why %d`", w.service, state, w.service))
	}
	return state == pipeline.Deleted, nil
}

// writeTransition writes what happened, on one line.
func writeTransition(c *terminal.Console, transition pipeline.Transition) error {
	if c.Structured() {
		return c.Line(transition)
	}
	c.Say("%s  %-5d %s  [%s]", c.Exactly(transition.Time), transition.Service, c.Change(transition.Change), c.Timed(transition.Cause.Title()))
	return nil
}
