package operate

import (
	"cmp"
	"context"
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
)

// more are the events beside services' transitions, by their names in --with.
var more = map[string]string{
	"opennebula":   pipeline.StreamONE,
	"webhooks":     pipeline.StreamHook,
	"dead-letters": pipeline.StreamDead,
}

// eventFilter selects events.
type eventFilter struct {
	service       serviceFlag
	kinds         []string
	with          []string
	since         time.Duration
	last          int
	follow        bool
	vms, networks []int // the service's
}

func eventsCommand(t tool) *cobra.Command {
	var filter eventFilter
	var cmd *cobra.Command
	cmd = t.command(help{
		"events", "List what happened, and follow what happens",
		"The last 50 transitions of services, or those within --since; -f keeps following. They are kept for 90 days.\n" +
			"--with adds OpenNebula's events (of the last 72 hours, at most 100,000), pending webhook deliveries, and dead letters,\n" +
			"in the order of time. With -o json each is an object on its own line: a transition as in the stream FLOW, the others under\n" +
			"opennebula, webhook or dead_letter.",
		"flowjet events --service 3 --since 24h\nflowjet events -f --with opennebula",
	}, terminal.ShowFormats, cobra.NoArgs,
		func(ctx context.Context, c *terminal.Console, pipe clients, _ []string) error {
			if err := cmp.Or(terminal.AtLeast("since", filter.since, 0), terminal.AtLeast("last", filter.last, 0), oneOf("kind", spec.WebhookKinds, filter.kinds...),
				oneOf("with", slices.Sorted(maps.Keys(more)), filter.with...)); err != nil {
				return err
			}
			if err := filter.service.check(ctx, pipe); err != nil {
				return err
			}
			if filter.since > 0 && !cmd.Flags().Changed("last") {
				filter.last = 0
			}
			return writeEvents(ctx, c, pipe, filter)
		})
	flags := cmd.Flags()
	t.addServiceFlag(cmd, &filter.service, "only those of the service with this `ID`; with opennebula also of its VMs and networks")
	flags.StringSliceVar(&filter.kinds, "kind", nil, "only transitions of these kinds: service, role, vm, network, router")
	flags.StringSliceVar(&filter.with, "with", nil, "also show: opennebula, webhooks, dead-letters")
	flags.DurationVar(&filter.since, "since", 0, "only entries of this last period, such as 30m or 24h")
	flags.IntVarP(&filter.last, "last", "n", 50, "show at most this many; 0 for all, as with --since alone")
	flags.BoolVarP(&filter.follow, "follow", "f", false, "keep following, until Ctrl-C")
	_ = cmd.RegisterFlagCompletionFunc("kind", cobra.FixedCompletions(spec.WebhookKinds, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc("with", cobra.FixedCompletions(slices.Sorted(maps.Keys(more)), cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (f eventFilter) wants(entry inspect.Entry, now time.Time) bool {
	if f.since != 0 && now.Sub(entry.Time) > f.since {
		return false
	}
	if len(f.kinds) > 0 && entry.Transition != nil && !slices.Contains(f.kinds, entry.Transition.Kind) {
		return false
	}
	if f.service.wants(entry.Service()) || entry.Event == nil {
		return f.service.wants(entry.Service())
	}
	object := entry.Event.Object
	if object == "api" { // the object of one.vm.update is vm
		object, _, _ = strings.Cut(strings.TrimPrefix(entry.Event.Call, "one."), ".")
	}
	return object == "vm" && slices.Contains(f.vms, entry.Event.ID) || (object == "net" || object == "vn") && slices.Contains(f.networks, entry.Event.ID)
}

func writeEvents(ctx context.Context, c *terminal.Console, pipe clients, filter eventFilter) error {
	streams := []string{pipeline.StreamFlow}
	for _, name := range filter.with {
		if !slices.Contains(streams, more[name]) {
			streams = append(streams, more[name])
		}
	}
	ends, err := pipe.Ends(ctx, streams)
	if err != nil {
		return err
	}
	if filter.service >= 0 && slices.Contains(filter.with, "opennebula") {
		// An event of OpenNebula names a service only if a VM does: the record has the service's objects.
		record, _, err := pipe.LoadRecord(ctx, int(filter.service))
		if err != nil {
			return err
		}
		filter.vms = spec.VMIDs(record.State.Service.Body.Roles...)
		for _, network := range record.State.Networks {
			filter.networks = append(filter.networks, network.ID)
		}
	}
	found, err := pastEvents(ctx, c, pipe, filter, streams, ends)
	if err != nil {
		return err
	}
	for _, entry := range found {
		if err := writeEntry(c, entry); err != nil {
			return err
		}
	}
	if !filter.follow {
		if len(found) == 0 && !c.Structured() {
			c.Say("There are no such events.")
		}
		return nil
	}
	return followEvents(ctx, c, pipe, filter, streams, ends)
}

// mostRead bounds how many of OpenNebula's last events are read.
const mostRead = 100_000

// pastEvents returns at most filter.last past events, oldest first.
func pastEvents(ctx context.Context, c *terminal.Console, pipe clients, filter eventFilter, streams []string, ends map[string]uint64) ([]inspect.Entry, error) {
	var found []inspect.Entry
	for _, stream := range streams {
		var after uint64
		if stream == pipeline.StreamONE {
			after = ends[stream] - min(ends[stream], mostRead)
		}
		var here []inspect.Entry
		err := pipe.Tail(ctx, stream, after, false, func(entry inspect.Entry) {
			if !filter.wants(entry, c.Now()) {
				return
			}
			here = append(here, entry)
			if filter.last > 0 && len(here) > 2*filter.last {
				here = append(here[:0], here[len(here)-filter.last:]...)
			}
		})
		if err != nil {
			return nil, err
		}
		found = append(found, here...)
	}
	slices.SortStableFunc(found, func(a, b inspect.Entry) int { return a.Time.Compare(b.Time) })
	if filter.last > 0 {
		found = found[max(0, len(found)-filter.last):]
	}
	return found, nil
}

// followEvents prints events of all streams as they arrive.
func followEvents(ctx context.Context, c *terminal.Console, pipe clients, filter eventFilter, streams []string, ends map[string]uint64) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	news := make(chan inspect.Entry)
	for _, stream := range streams {
		go func() {
			cancel(pipe.Tail(ctx, stream, ends[stream], true, func(entry inspect.Entry) {
				select {
				case news <- entry:
				case <-ctx.Done():
				}
			}))
		}()
	}
	for {
		select {
		case entry := <-news:
			if !filter.wants(entry, c.Now()) {
				continue
			}
			if err := writeEntry(c, entry); err != nil {
				return err
			}
		case <-ctx.Done():
			return stopped(ctx, context.Cause(ctx))
		}
	}
}

func writeEntry(c *terminal.Console, entry inspect.Entry) error {
	switch {
	case entry.Transition != nil:
		return writeTransition(c, *entry.Transition)
	case entry.Event != nil:
		return writeOther(c, entry, "opennebula", entry.Event, describeEvent(*entry.Event))
	case entry.Delivery != nil:
		receiver := "a receiver that the service names"
		if entry.Delivery.Receiver != "" {
			receiver = "receiver " + entry.Delivery.Receiver
		}
		return writeOther(c, entry, "webhook", entry.Delivery, fmt.Sprintf("%s waits for %s", entry.Delivery.ID, receiver))
	}
	return writeOther(c, entry, "dead_letter", viewOf(*entry.DeadLetter), fmt.Sprintf("number %d, from %s: %s", entry.DeadLetter.Sequence, entry.DeadLetter.Where, entry.DeadLetter.Reason))
}

// writeOther writes an event that is no transition.
func writeOther(c *terminal.Console, entry inspect.Entry, kind string, value any, text string) error {
	if c.Structured() {
		return c.Line(map[string]any{"kind": kind, "time": entry.Time.UTC(), "service": entry.Service(), kind: value})
	}
	c.Say("%s  %-5s %s: %s", c.Exactly(entry.Time), idText(entry.Service()), c.Paint("2", kind), c.Timed(text))
	return nil
}

func describeEvent(event pipeline.Event) string {
	text := event.Title()
	switch {
	case event.Call == "":
	case event.OK:
		text += " succeeded"
	default:
		text += " failed"
	}
	if event.Ready != nil {
		text += fmt.Sprintf(", READY=%t", *event.Ready)
	}
	if event.VM != nil && event.VM.Role != "" {
		text += fmt.Sprintf(" (role %s)", event.VM.Role)
	}
	if event.Resync {
		text += ", found by comparing"
	}
	return text
}

func commandsCommand(t tool) *cobra.Command {
	var service serviceFlag
	var state string
	states := []string{pipeline.CommandQueued, pipeline.CommandDone, pipeline.CommandRefused}
	cmd := t.command(help{
		"commands", "List the commands sent to services, and their results",
		"The commands of the last 24 hours, oldest first. A command that stays queued waits for the worker of its service: see `flowjet doctor`.",
		"flowjet commands --state refused\nflowjet commands --service 3 -o json",
	}, terminal.ListFormats, cobra.NoArgs,
		func(ctx context.Context, c *terminal.Console, pipe clients, _ []string) error {
			if err := oneOf("state", states, state); err != nil {
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
	t.addServiceFlag(cmd, &service, "only those to the service with this `ID`")
	cmd.Flags().StringVar(&state, "state", "", "only commands in this state: queued, done or refused")
	_ = cmd.RegisterFlagCompletionFunc("state", cobra.FixedCompletions(states, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func writeCommands(c *terminal.Console, found []pipeline.CommandStatus) error {
	var rows [][]string
	for _, status := range found {
		took := "-"
		if !status.Ended.IsZero() {
			took = terminal.Span(status.Ended.Sub(status.Queued))
		}
		rows = append(rows, []string{
			c.At(status.Queued), string(status.Verb), strconv.Itoa(status.Service), strconv.Itoa(status.UID), status.State, took, status.ID, status.Message,
		})
	}
	return c.List(terminal.Listing{
		Value: found, ID: 6, None: "There are no such commands. Commands are kept for 24 hours.",
		Head: []string{"QUEUED", "VERB", "SERVICE", "UID", "STATE", "TOOK", "ID", "MESSAGE"}, Rows: rows,
	})
}
