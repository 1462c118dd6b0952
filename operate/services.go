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

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/terminal"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/work"
)

type serviceRow struct {
	ID     int       `json:"id"`
	Name   string    `json:"name"`
	Owner  string    `json:"owner"`
	State  string    `json:"state"`
	Since  time.Time `json:"since,omitzero"` // when it entered the state, by its log
	Roles  int       `json:"roles"`
	VMs    int       `json:"vms"`
	Wanted int       `json:"wanted"` // the sum of the roles' cardinalities
}

func serviceRecords(t tool) *cobra.Command {
	var state, owner string
	cmd := t.command(help{
		"records", "List all services, from NATS",
		"The records of all users' services, even while oned and every API are down. Removed services are not listed.",
		"flowjet service records --state FAILED\nflowjet service records --owner alice -o wide",
	}, terminal.ListFormats, cobra.NoArgs,
		func(ctx context.Context, c *terminal.Console, pipe clients, _ []string) error {
			begins := func(name string) bool { return strings.HasPrefix(name, strings.ToUpper(state)) }
			if !slices.ContainsFunc(spec.ServiceStateNames(), begins) {
				return oneOf("state", spec.ServiceStateNames(), state)
			}
			rows := []serviceRow{}
			err := pipe.EachRecord(ctx, func(id int, record pipeline.Record) {
				row := rowOf(id, record.State.Service)
				if !record.Deleted && begins(row.State) && (owner == "" || row.Owner == owner) {
					rows = append(rows, row)
				}
			})
			if err != nil {
				return err
			}
			slices.SortFunc(rows, func(a, b serviceRow) int { return a.ID - b.ID })
			return writeServices(c, rows)
		})
	cmd.Flags().StringVar(&state, "state", "", "only services in this state; FAILED matches all failed states")
	cmd.Flags().StringVar(&owner, "owner", "", "only services of this user")
	_ = cmd.RegisterFlagCompletionFunc("state", cobra.FixedCompletions(spec.ServiceStateNames(), cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func rowOf(id int, service spec.Service) serviceRow {
	row := serviceRow{ID: id, Name: service.Name(), Owner: service.Owner.UName, State: service.State().String(), Since: spec.Since(service), Roles: len(service.Body.Roles)}
	for _, role := range service.Body.Roles {
		row.VMs += len(role.Nodes)
		row.Wanted += role.Cardinality
	}
	return row
}

func writeServices(c *terminal.Console, rows []serviceRow) error {
	var cells [][]string
	for _, row := range rows {
		cells = append(cells, []string{
			strconv.Itoa(row.ID), row.Name, row.Owner, row.State, c.Ago(row.Since), strconv.Itoa(row.Roles), fmt.Sprintf("%d/%d", row.VMs, row.Wanted), c.At(row.Since),
		})
	}
	return c.List(terminal.Listing{
		Value: rows, None: "There are no such services.", Narrow: 7,
		Head: []string{"ID", "NAME", "OWNER", "STATE", "FOR", "ROLES", "VMS", "SINCE"}, Rows: cells,
	})
}

func serviceRecord(t tool) *cobra.Command {
	return t.aboutService(help{
		"record SERVICE", "Show a service's record: what its worker has decided and waits for",
		"Its roles, VMs, networks, timers and log as NATS has them, even while oned and every API are down. docs/inspect.md describes\n" +
			"the fields of -o json.",
		"flowjet service record 3\nflowjet service record 3 -o yaml",
	}, func(ctx context.Context, c *terminal.Console, pipe clients, id int) error {
		record, revision, err := pipe.LoadRecord(ctx, id)
		if err == nil && revision == 0 {
			err = pipeline.ErrNotFound
		}
		if err != nil {
			return unknownService(id, err)
		}
		if c.Structured() {
			return c.Show(record)
		}
		if record.Deleted {
			c.Title("Service %d has ended", id)
			c.Say("`flowjet events --service %d` shows its history.", id)
			return nil
		}
		service := record.State.Service
		row := rowOf(id, service)
		c.Title("Service %d  %s", id, row.Name)
		c.Say("owner       %s", c.Timed(row.Owner))
		c.Say("state       %s for %s", c.State(row.State), c.Ago(row.Since))
		c.Say("deployment  %s", c.Timed(service.Body.Deployment))
		c.Say("")
		writeParts(c, record.State)
		if len(record.Timers) > 0 {
			c.Say("")
		}
		for _, name := range slices.Sorted(maps.Keys(record.Timers)) {
			c.Say("timer %-9s due %s", name, due(c, record.Timers[name].Due))
		}
		log := service.Body.Log
		if len(log) > 0 {
			c.Say("")
		}
		for _, entry := range log[max(0, len(log)-8):] { // the newest
			text := c.Timed(entry.Message)
			if entry.Severity == "E" {
				text = c.Paint("31", text)
			}
			c.Say("%s  %s  %s", c.At(time.Unix(entry.Timestamp, 0)), entry.Severity, text)
		}
		return nil
	})
}

// writeParts lists the roles of a service, then its networks, virtual routers and planned VMs.
func writeParts(c *terminal.Console, state flow.State) {
	var cells [][]string
	for _, role := range state.Service.Body.Roles {
		var vms []string
		for _, id := range spec.VMIDs(role) {
			vms = append(vms, strconv.Itoa(id))
		}
		cells = append(cells, []string{
			role.Name, role.CurrentState().String(), fmt.Sprintf("%d/%d", len(role.Nodes), role.Cardinality), cmp.Or(strings.Join(role.Parents, ","), "-"), cmp.Or(terminal.Abridged(strings.Join(vms, " "), 60), "-"),
		})
	}
	c.Table([]string{"ROLE", "STATE", "VMS", "PARENTS", "VM IDS"}, cells)
	cells = nil
	for _, network := range state.Networks {
		cells = append(cells, []string{"network", network.Name, idText(network.ID), network.State.String()})
	}
	for _, role := range state.Service.Body.Roles {
		if role.VRouterID != nil {
			cells = append(cells, []string{"router", role.Name, strconv.Itoa(*role.VRouterID), "-"})
		}
	}
	for _, intent := range state.Intents {
		cells = append(cells, []string{"VM planned", intent.Name, "-", fmt.Sprintf("%d attempts without an answer", intent.Attempts)})
	}
	c.Section([]string{"KIND", "NAME", "ID", "STATE"}, cells)
}

// idText returns an id, "-" for none.
func idText(id int) string {
	if id < 0 {
		return "-"
	}
	return strconv.Itoa(id)
}

func due(c *terminal.Console, at time.Time) string {
	const onItsWay = 2 * time.Second // for NATS's message, and the worker's answer
	switch left := at.Sub(c.Now()); {
	case left > 0:
		return "in " + terminal.Span(left)
	case left > -onItsWay:
		return "now"
	}
	return c.Ago(at) + " ago"
}

func serviceLook(t tool) *cobra.Command {
	return t.aboutService(help{
		"look SERVICE", "Have a service checked now",
		"Its worker reads the document, the VMs and the networks from oned again and decides what to do next. Workers also check\n" +
			"services regularly; this command saves the wait. It is always safe.",
		"flowjet service look 3",
	}, func(ctx context.Context, c *terminal.Console, pipe clients, id int) error {
		if err := serviceFlag(id).check(ctx, pipe); err != nil {
			return err
		}
		asked := pipeline.Work{Service: id, Reason: "requested by an operator"}
		if _, err := work.NewQueue(pipe.Pipeline).PublishWork(ctx, asked, ""); err != nil {
			return err
		}
		return c.Present(map[string]any{"service": id, "asked": true}, func() {
			c.Say("service %d: its worker checks it now; `flowjet service why %d` shows what it waits for", id, id)
		})
	})
}
