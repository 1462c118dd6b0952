package operate

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

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
		func(ctx context.Context, c *console, pipe clients, _ []string) error {
			if forget != "" {
				return forgetMember(ctx, c, pipe, forget)
			}
			survey, err := pipe.Overview(ctx, nil)
			if err != nil {
				return err
			}
			if c.Structured() {
				return c.Show(survey)
			}
			overviewView{c}.survey(survey)
			return nil
		})
	cmd.Flags().StringVar(&forget, "forget", "", "do not expect the process `NAME` any more: it was removed for good")
	return cmd
}

// forgetMember has a process not expected any more.
func forgetMember(ctx context.Context, c *console, pipe clients, name string) error {
	err := presence.Forget(ctx, pipe.Pipeline, name)
	if errors.Is(err, presence.ErrUnknownMember) {
		return terminal.ExitNotFound.Because(fmt.Errorf("no process %q is expected: `flowjet status` lists those that are", name))
	}
	if err == nil {
		c.Say("%s: removed from the expected processes", name)
	}
	return err
}

func (v overviewView) members(survey inspect.Overview) {
	if len(survey.Members) == 0 {
		return
	}
	var rows [][]string
	for _, member := range survey.Members {
		state := "ok"
		if member.Missing != nil {
			state = "MISSING for " + v.Ago(*member.Missing)
		}
		rows = append(rows, []string{member.Name, strings.Join(member.Parts, ", "), orDash(member.Release), state})
	}
	v.Table([]string{"PROCESS", "PARTS", "VERSION", "STATE"}, rows)
	v.Say("")
}

func (v overviewView) servers(survey inspect.Overview) {
	if len(survey.Servers) < 2 {
		return
	}
	var rows [][]string
	for _, server := range survey.Servers {
		state := "ok"
		if server.Away {
			state = "AWAY"
		}
		rows = append(rows, []string{server.Name, state})
	}
	v.Table([]string{"NATS SERVER", "STATE"}, rows)
	v.Say("")
}

func (v overviewView) survey(survey inspect.Overview) {
	v.Title("Flowjet on %s", survey.Server)
	v.Say("services      %s", counts(survey.Services, "none"))
	v.Say("timers        %d set, %d overdue", survey.Timers.Set, survey.Timers.Overdue)
	v.Say("webhooks      %d deliveries wait, %d receivers of services fail", survey.Webhooks.Waiting, survey.Webhooks.Failing)
	v.Say("dead letters  %s", counts(survey.DeadLetters, "none"))
	v.Say("")
	v.members(survey)
	v.servers(survey)
	v.workers(survey)
	v.feeds(survey)
	v.readers(survey)
	v.streams(survey)
}

// counts lists how many there are of each.
func counts[N int | uint64](many map[string]N, none string) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(many)) {
		if many[name] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", many[name], name))
		}
	}
	if len(parts) == 0 {
		return none
	}
	return strings.Join(parts, ", ")
}

func (v overviewView) workers(survey inspect.Overview) {
	var rows [][]string
	for _, worker := range survey.Workers {
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
		rows = append(rows, []string{worker.Worker, strconv.Itoa(len(worker.Partitions)), orDash(strings.Join(does, ", "))})
	}
	if len(rows) == 0 {
		v.Say("%s", v.Paint("31", "No worker is running: services make no progress."))
		return
	}
	v.Table([]string{"WORKER", "PARTITIONS", "ALSO"}, rows)
}

func (v overviewView) feeds(survey inspect.Overview) {
	v.Say("")
	var rows [][]string
	for _, feed := range survey.Feeds {
		alive := "silent"
		if feed.Alive {
			alive = "ok"
		}
		rows = append(rows, []string{feed.Feed, feed.Holder, alive, v.Ago(feed.Since)})
	}
	if len(rows) == 0 {
		v.Say("%s", v.Paint("31", "No bridge has ever published: no events are received."))
		return
	}
	v.Table([]string{"FEED", "BRIDGE", "STATE", "LEASE AGE"}, rows)
}

// readersOf returns the readers, and those of the partitions as one: sixteen say no more.
func readersOf(survey inspect.Overview) (readers []inspect.ReaderStatus) {
	work := inspect.ReaderStatus{Reader: "workers"}
	for _, reader := range survey.Readers {
		if !strings.HasPrefix(reader.Reader, pipeline.PartitionKeyPrefix) {
			readers = append(readers, reader)
			continue
		}
		work.Lag += reader.Lag
		if work.Oldest == nil || reader.Oldest != nil && reader.Oldest.Before(*work.Oldest) {
			work.Oldest = reader.Oldest
		}
	}
	return append(readers, work)
}

func (v overviewView) readers(survey inspect.Overview) {
	v.Say("")
	var rows [][]string
	for _, reader := range readersOf(survey) {
		rows = append(rows, []string{reader.Reader, strconv.FormatUint(reader.Lag, 10), v.AgoOf(reader.Oldest)})
	}
	v.Table([]string{"READER", "WAITING", "OLDEST"}, rows)
}

func (v overviewView) streams(survey inspect.Overview) {
	v.Say("")
	var rows [][]string
	for _, stream := range survey.Streams {
		limit := "-"
		if stream.MaxBytes > 0 {
			limit = bytesText(stream.MaxBytes)
		}
		rows = append(rows, []string{
			stream.Name, strconv.FormatUint(stream.Messages, 10), bytesText(stream.Bytes), limit, strconv.Itoa(stream.Replicas), v.AgoOf(stream.Last), stream.Trouble,
		})
	}
	v.Table([]string{"STREAM", "MESSAGES", "SIZE", "LIMIT", "REPLICAS", "LAST", "PROBLEM"}, rows)
}

// overviewView prints how everything is doing.
type overviewView struct{ *console }

// bytesText is a size in the unit that suits it.
func bytesText[T int64 | uint64](size T) string {
	const unit = 1024
	switch value := float64(size); {
	case value < unit:
		return fmt.Sprintf("%.0f B", value)
	case value < unit*unit:
		return fmt.Sprintf("%.0f KiB", value/unit)
	case value < unit*unit*unit:
		return fmt.Sprintf("%.0f MiB", value/unit/unit)
	default:
		return fmt.Sprintf("%.1f GiB", value/unit/unit/unit)
	}
}
