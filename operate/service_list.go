package operate

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/terminal"
	"github.com/flowjet/flowjet/pipeline"
)

// serviceRow is one service of the list.
type serviceRow struct {
	ID    int    `json:"id"`
	Name  string `json:"name"`
	Owner string `json:"owner"`
	State string `json:"state"`
	// Since is when it came to the state, by its log.
	Since *time.Time `json:"since,omitempty"`
	Roles int        `json:"roles"`
	VMs   int        `json:"vms"`
	// Wanted is the sum of the roles' cardinalities.
	Wanted int `json:"wanted"`
}

func serviceRecords(t tool) *cobra.Command {
	var state, owner string
	cmd := t.command(help{
		"records", "List all services, from NATS",
		"The records of all users' services, even while oned and every API are down. Removed services are not listed.",
		"flowjet service records --state FAILED\nflowjet service records --owner alice -o wide",
	}, terminal.ListFormats, cobra.NoArgs,
		func(ctx context.Context, c *console, pipe clients, _ []string) error {
			if err := checkStatePrefix(state); err != nil {
				return err
			}
			rows := []serviceRow{}
			err := pipe.EachRecord(ctx, func(id int, record pipeline.Record) {
				row := rowOf(id, record.State.Service)
				if !record.Deleted && matches(row.State, state) && (owner == "" || row.Owner == owner) {
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

// checkStatePrefix refuses what no state begins with.
func checkStatePrefix(prefix string) error {
	if slices.ContainsFunc(spec.ServiceStateNames(), func(name string) bool { return matches(name, prefix) }) {
		return nil
	}
	return oneOf("state", prefix, spec.ServiceStateNames())
}

// matches reports whether a value is, or begins with, what is looked for, if anything is.
func matches(value, wanted string) bool {
	return wanted == "" || strings.HasPrefix(strings.ToUpper(value), strings.ToUpper(wanted))
}

func rowOf(id int, service spec.Service) serviceRow {
	row := serviceRow{ID: id, Name: service.Body.Name, Owner: service.Owner.UName, State: service.State().String(), Since: spec.Since(service), Roles: len(service.Body.Roles)}
	for _, role := range service.Body.Roles {
		row.VMs += len(role.Nodes)
		row.Wanted += role.Cardinality
	}
	return row
}

func writeServices(c *console, rows []serviceRow) error {
	var ids []string
	var cells [][]string
	for _, row := range rows {
		since := "-"
		if row.Since != nil {
			since = c.At(*row.Since)
		}
		ids = append(ids, strconv.Itoa(row.ID))
		cells = append(cells, []string{
			strconv.Itoa(row.ID), row.Name, row.Owner, row.State, c.AgoOf(row.Since), strconv.Itoa(row.Roles), fmt.Sprintf("%d/%d", row.VMs, row.Wanted), since,
		})
	}
	return c.List(terminal.Listing{
		Value: rows, Names: ids, None: "There are no such services.", Narrow: 7,
		Head: []string{"ID", "NAME", "OWNER", "STATE", "FOR", "ROLES", "VMS", "SINCE"}, Rows: cells,
	})
}
