package operate

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/terminal"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/inspect"
)

const (
	// topRows is how many services are listed at most, topEvents how many of the last transitions.
	topRows   = 20
	topEvents = 15
)

func topCommand(t tool) *cobra.Command {
	var every time.Duration
	cmd := t.command(help{
		"top", "Show how everything is doing, and keep it up to date",
		"Processes, waiting messages, services that are not RUNNING, and recent transitions, refreshed every two seconds. q or Ctrl-C ends it.\n" +
			"Without a terminal it prints once.",
		"flowjet top\nflowjet top --interval 10s",
	}, []terminal.Format{terminal.Table}, cobra.NoArgs, func(ctx context.Context, c *terminal.Console, pipe clients, _ []string) error {
		if every < 100*time.Millisecond {
			return terminal.ExitUsage.Because(fmt.Errorf("--interval is %s: it must be 100ms or more", every))
		}
		return topView{Console: c, pipe: pipe, latest: &latest{}}.run(ctx, every)
	})
	cmd.Flags().DurationVar(&every, "interval", 2*time.Second, "time between two refreshes")
	return cmd
}

type topView struct {
	*terminal.Console
	pipe   clients
	latest *latest
}

func (v topView) run(ctx context.Context, every time.Duration) error {
	ctx, quit := context.WithCancel(ctx)
	defer quit()
	ends, err := v.pipe.Ends(ctx, []string{pipeline.StreamFlow})
	if err != nil {
		return err
	}
	last := ends[pipeline.StreamFlow]
	if err := v.pipe.Tail(ctx, pipeline.StreamFlow, last-min(last, topEvents), v.latest.add); err != nil {
		return err
	}
	screen, drawn := v.Screen(quit)
	if !drawn {
		text, err := v.frame(ctx)
		v.Say("%s", strings.TrimRight(text, "\n"))
		return err
	}
	defer screen.Close()
	go func() {
		// Where it cannot be followed, the overview tells why.
		_ = v.pipe.Follow(ctx, pipeline.StreamFlow, last, v.latest.add)
	}()
	look := time.NewTicker(every)
	defer look.Stop()
	for {
		text, err := v.frame(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			text = v.Paint("31", "NATS does not answer: "+err.Error())
		}
		screen.Draw(text)
		select {
		case <-look.C:
		case <-ctx.Done():
			return nil
		}
	}
}

func (v topView) frame(ctx context.Context) (string, error) {
	overview, err := v.pipe.Overview(ctx, nil)
	if err != nil {
		return "", err
	}
	var rows []serviceRow
	err = v.pipe.EachRecord(ctx, func(id int, record pipeline.Record) {
		if row := rowOf(id, record.State.Service); !record.Deleted && row.State != spec.ServiceRunning.String() {
			rows = append(rows, row)
		}
	})
	if err != nil {
		return "", err
	}
	var text strings.Builder
	c := v.To(&text)
	c.Title("Flowjet on %s  %s", overview.Server, c.At(c.Now()))
	c.Say("services      %s", counts(overview.Services, "none"))
	c.Say("timers        %d set, %d overdue", overview.Timers.Set, overview.Timers.Overdue)
	c.Say("dead letters  %s", counts(overview.DeadLetters, "none"))
	c.Say("")
	writeProcesses(c, overview)
	writeReaders(c, overview)
	c.Say("")
	writeUnsettled(c, rows)
	c.Say("")
	v.latest.mu.Lock()
	defer v.latest.mu.Unlock()
	writeTransitions(c, v.latest.transitions)
	return strings.ReplaceAll(text.String(), "\n\n\n", "\n\n"), nil
}

// writeUnsettled lists the services that are not RUNNING: those in trouble first, then those that have been so for the longest
// time.
func writeUnsettled(c *terminal.Console, rows []serviceRow) {
	if len(rows) == 0 {
		c.Say("Every service is RUNNING.")
		return
	}
	weight := func(row serviceRow) int {
		switch {
		case strings.HasPrefix(row.State, "FAILED_"):
			return 0
		case row.State == spec.ServiceWarning.String():
			return 1
		}
		return 2
	}
	since := func(row serviceRow) time.Time {
		if row.Since == nil {
			return time.Time{}
		}
		return *row.Since
	}
	slices.SortFunc(rows, func(a, b serviceRow) int {
		return cmp.Or(cmp.Compare(weight(a), weight(b)), since(a).Compare(since(b)), cmp.Compare(a.ID, b.ID))
	})
	more := len(rows) - topRows
	_ = writeServices(c, rows[:min(len(rows), topRows)]) // a table, which is written to memory
	if more > 0 {
		c.Say("and %d more: `flowjet service records`", more)
	}
}

// latest are the last transitions, oldest first.
type latest struct {
	mu          sync.Mutex
	transitions []pipeline.Transition
}

func (l *latest) add(seen inspect.Entry) {
	if seen.Transition == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.transitions = append(l.transitions, *seen.Transition)
	l.transitions = l.transitions[max(0, len(l.transitions)-topEvents):]
}
