package operate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/terminal"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/inspect"
	"github.com/flowjet/flowjet/pipeline/presence"
)

func statusCommand(t tool) *cobra.Command {
	var forget string
	cmd := t.command(help{
		"status", "Show how everything is doing",
		"Processes with their hosts, versions and tasks, waiting messages, and failures. A process that ran before and does not\n" +
			"report is MISSING until it is back or another takes its place; --forget NAME removes a process that is gone for good.\n" +
			"`flowjet doctor` suggests fixes.",
		"flowjet status\nflowjet status --forget 'fe-2 worker'",
	}, terminal.ShowFormats, cobra.NoArgs,
		func(ctx context.Context, c *terminal.Console, pipe clients, _ []string) error {
			if forget != "" { // it is not expected any more
				err := presence.Forget(ctx, pipe.Pipeline, forget)
				if errors.Is(err, presence.ErrUnknownMember) {
					return terminal.ExitNotFound.Because(fmt.Errorf("no process %q is expected: `flowjet status` lists those that are", forget))
				}
				if err != nil {
					return err
				}
				return c.Present(map[string]any{"name": forget, "forgotten": true}, func() { c.Say("%s: removed from the expected processes", forget) })
			}
			overview, err := pipe.overview(ctx)
			if err != nil {
				return err
			}
			return c.Present(overview, func() { writeOverview(c, overview) })
		})
	cmd.Flags().StringVar(&forget, "forget", "", "do not expect the process `NAME` any more: it was removed for good")
	return cmd
}

// overview reads everything. Its error says what keeps NATS from answering.
func (c clients) overview(ctx context.Context) (inspect.Overview, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ctx, probe := unlessAway(ctx, c.servers)
	defer probe.Stop()
	overview, err := c.Overview(ctx, nil)
	if err != nil {
		for host, disk := range fullDisks(overview) { // NATS servers that cannot write do not answer
			used, mend := fullText(disk)
			err = fmt.Errorf("%w; on %s %s: %s there", err, host, used, mend)
		}
	}
	return overview, err
}

func writeOverview(c *terminal.Console, overview inspect.Overview) {
	c.Title("Flowjet on %s", overview.Server)
	writeProcesses(c, overview)
	var workers [][]string
	for _, worker := range overview.Workers {
		var does []string
		if worker.Router {
			does = append(does, "routes")
		}
		if worker.Autoscaler {
			does = append(does, "scales")
		}
		if worker.OnedUnreachable {
			does = append(does, "cannot reach oned")
		}
		workers = append(workers, []string{worker.Worker, strconv.Itoa(len(worker.Partitions)), cmp.Or(strings.Join(does, ", "), "-")})
	}
	if len(workers) == 0 {
		c.Say("%s", c.Paint("31", "No worker is running: services make no progress."))
	} else {
		c.Table([]string{"WORKER", "PARTITIONS", "ALSO"}, workers)
	}
	c.Say("")
	var feeds [][]string
	for _, feed := range overview.Feeds {
		alive := "silent"
		switch {
		case feed.Disconnected:
			alive = "not connected to the hook events"
		case feed.Alive:
			alive = "ok"
		}
		feeds = append(feeds, []string{feed.Feed, feed.Holder, alive, c.Ago(feed.Since)})
	}
	if len(feeds) == 0 {
		c.Say("%s", c.Paint("31", "No bridge has ever published: no events are received."))
	} else {
		c.Table([]string{"FEED", "BRIDGE", "STATE", "LEASE AGE"}, feeds)
	}
	writeReaders(c, overview)
	c.Say("")
	var streams [][]string
	for _, stream := range overview.Streams {
		limit := "-"
		if stream.MaxBytes > 0 {
			limit = bytesText(stream.MaxBytes)
		}
		streams = append(streams, []string{
			stream.Name, strconv.FormatUint(stream.Messages, 10), bytesText(stream.Bytes), limit, strconv.Itoa(stream.Replicas), c.Ago(stream.Last), stream.Trouble,
		})
	}
	c.Table([]string{"STREAM", "MESSAGES", "SIZE", "LIMIT", "REPLICAS", "LAST", "PROBLEM"}, streams)
}

// writeProcesses writes the counts, and lists the expected processes and the NATS servers of a cluster.
func writeProcesses(c *terminal.Console, overview inspect.Overview) {
	c.Say("services      %s", counts(overview.Services, "none"))
	c.Say("timers        %d set, %d overdue", overview.Timers.Set, overview.Timers.Overdue)
	c.Say("webhooks      %d deliveries wait, %d receivers of services fail", overview.Webhooks.Waiting, overview.Webhooks.Failing)
	c.Say("dead letters  %s", counts(overview.DeadLetters, "none"))
	c.Say("")
	var members, servers [][]string
	for _, member := range overview.Members {
		state := "ok"
		at := slices.IndexFunc(overview.Disks, func(d inspect.DiskStatus) bool { return d.Process == member.Name })
		switch {
		case member.SinceUnknown:
			state = "MISSING"
		case !member.Missing.IsZero():
			state = "MISSING for " + c.Ago(member.Missing)
		case at >= 0 && overview.Disks[at].NearlyFull():
			state = fmt.Sprintf("ok, its disk is %.0f %% full", overview.Disks[at].Full()*100)
		}
		members = append(members, []string{member.Name, strings.Join(member.Parts, ", "), cmp.Or(member.Release, "-"), state})
	}
	if len(members) > 0 {
		c.Table([]string{"PROCESS", "PARTS", "VERSION", "STATE"}, members)
		c.Say("")
	}
	for _, server := range overview.Servers {
		state := "ok"
		if server.Away {
			state = "AWAY"
		}
		servers = append(servers, []string{server.Name, state})
	}
	if len(servers) > 1 {
		c.Table([]string{"NATS SERVER", "STATE"}, servers)
		c.Say("")
	}
}

// counts lists the count of each name.
func counts[N int | uint64](many map[string]N, none string) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(many)) {
		if many[name] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", many[name], name))
		}
	}
	return cmp.Or(strings.Join(parts, ", "), none)
}

// workersReader is the name of the partitions' readers together.
const workersReader = "workers"

// readersOf returns the readers, and the partitions' as one: sixteen add nothing.
func readersOf(overview inspect.Overview) (readers []inspect.ReaderStatus) {
	work := inspect.ReaderStatus{Reader: workersReader}
	for _, reader := range overview.Readers {
		if !strings.HasPrefix(reader.Reader, pipeline.PartitionKeyPrefix) {
			readers = append(readers, reader)
			continue
		}
		work.Lag += reader.Lag
		if work.Oldest.IsZero() || !reader.Oldest.IsZero() && reader.Oldest.Before(work.Oldest) {
			work.Oldest = reader.Oldest
		}
	}
	return append(readers, work)
}

func writeReaders(c *terminal.Console, overview inspect.Overview) {
	c.Say("")
	var rows [][]string
	for _, reader := range readersOf(overview) {
		rows = append(rows, []string{reader.Reader, strconv.FormatUint(reader.Lag, 10), c.Ago(reader.Oldest)})
	}
	c.Table([]string{"READER", "WAITING", "OLDEST"}, rows)
}

// bytesText returns a size in a suitable unit.
func bytesText[T int64 | uint64](size T) string {
	value := float64(size)
	for _, unit := range []string{"B", "KiB", "MiB"} {
		if value < 1024 {
			return fmt.Sprintf("%.0f %s", value, unit)
		}
		value /= 1024
	}
	return fmt.Sprintf("%.1f GiB", value)
}

const topRows, topEvents = 20, 15 // how many services and transitions are listed at most

func topCommand(t tool) *cobra.Command {
	var every time.Duration
	cmd := t.command(help{
		"top", "Show how everything is doing, and keep it up to date",
		"Processes, waiting messages, services that are not RUNNING, and recent transitions, refreshed every two seconds. q or Ctrl-C ends it.\n" +
			"Without a terminal it prints once.",
		"flowjet top\nflowjet top --interval 10s",
	}, []terminal.Format{terminal.Table}, cobra.NoArgs, func(ctx context.Context, c *terminal.Console, pipe clients, _ []string) error {
		if err := terminal.AtLeast("interval", every, 100*time.Millisecond); err != nil {
			return err
		}
		ctx, quit := context.WithCancel(ctx)
		defer quit()
		screen, drawn := c.Screen(quit)
		if !drawn {
			text, err := topFrame(ctx, c, pipe)
			c.Say("%s", strings.TrimRight(text, "\n"))
			return err
		}
		defer screen.Close()
		for tick := time.Tick(every); ; {
			text, err := topFrame(ctx, c, pipe)
			if ctx.Err() != nil {
				return nil
			}
			if err != nil {
				text = c.Paint("31", "NATS does not answer: "+err.Error())
			}
			screen.Draw(text)
			select {
			case <-tick:
			case <-ctx.Done():
				return nil
			}
		}
	})
	cmd.Flags().DurationVar(&every, "interval", 2*time.Second, "time between two refreshes")
	return cmd
}

func topFrame(ctx context.Context, console *terminal.Console, pipe clients) (string, error) {
	overview, err := pipe.overview(ctx)
	if err != nil {
		return "", err
	}
	var rows []serviceRow
	err = pipe.EachRecord(ctx, func(id int, record pipeline.Record) {
		if row := rowOf(id, record.State.Service); !record.Deleted && row.State != spec.ServiceRunning.String() {
			rows = append(rows, row)
		}
	})
	if err != nil {
		return "", err
	}
	var latest []pipeline.Transition // none if they cannot be read soon, for which the overview shows the reason
	reading, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if ends, err := pipe.Ends(reading, []string{pipeline.StreamFlow}); err == nil {
		last := ends[pipeline.StreamFlow]
		_ = pipe.Tail(reading, pipeline.StreamFlow, last-min(last, topEvents), false, func(seen inspect.Entry) { latest = append(latest, *seen.Transition) })
	}
	var text strings.Builder
	c := console.To(&text)
	c.Title("Flowjet on %s  %s", overview.Server, c.At(c.Now()))
	writeProcesses(c, overview)
	writeReaders(c, overview)
	c.Say("")
	writeUnsettled(c, rows)
	c.Section(transitionTable(c, latest[max(0, len(latest)-topEvents):]))
	return strings.ReplaceAll(text.String(), "\n\n\n", "\n\n"), nil
}

// writeUnsettled lists the services that are not RUNNING: those in trouble first, then those that have not been RUNNING for
// the longest time.
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
	slices.SortFunc(rows, func(a, b serviceRow) int {
		return cmp.Or(cmp.Compare(weight(a), weight(b)), a.Since.Compare(b.Since), cmp.Compare(a.ID, b.ID))
	})
	_ = writeServices(c, rows[:min(len(rows), topRows)]) // a table is written to memory
	if more := len(rows) - topRows; more > 0 {
		c.Say("and %d more: `flowjet service records`", more)
	}
}
