package operate

import (
	"bytes"
	"context"
	"encoding/json"
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
)

func serviceRecord(t tool) *cobra.Command {
	return t.aboutService(help{
		"record ID", "Show a service's record: what its worker has decided and waits for",
		"Its roles, VMs, networks, timers and log as NATS has them, even while oned and every API are down. docs/inspect.md describes\n" +
			"the fields of -o json.",
		"flowjet service record 3\nflowjet service record 3 -o yaml",
	}, func(ctx context.Context, c *console, pipe clients, id int) error {
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
		serviceView{c}.service(id, record)
		return nil
	})
}

func (v serviceView) service(id int, record pipeline.Record) {
	service := record.State.Service
	if record.Deleted {
		v.Title("Service %d has ended", id)
		v.Say("`flowjet events --service %d` shows its history.", id)
		return
	}
	row := rowOf(id, service)
	v.Title("Service %d  %s", id, row.Name)
	v.Say("owner       %s", v.Timed(row.Owner))
	v.Say("state       %s for %s", v.State(row.State), v.AgoOf(row.Since))
	v.Say("deployment  %s", v.Timed(service.Body.Deployment))
	v.Say("")
	v.roles(service.Body.Roles)
	v.nodes(record.State)
	v.timers(record)
	v.log(service.Body.Log)
}

func (v serviceView) roles(roles []spec.Role) {
	var cells [][]string
	for _, role := range roles {
		state := spec.RolePending
		if role.State != nil {
			state = *role.State
		}
		var vms []string
		for _, node := range role.Nodes {
			vms = append(vms, strconv.Itoa(node.DeployID))
		}
		cells = append(cells, []string{
			role.Name, state.String(), fmt.Sprintf("%d/%d", len(role.Nodes), role.Cardinality), orDash(strings.Join(role.Parents, ",")), orDash(abridged(strings.Join(vms, " "), 60)),
		})
	}
	v.Table([]string{"ROLE", "STATE", "VMS", "PARENTS", "VM IDS"}, cells)
}

func (v serviceView) nodes(state flow.State) {
	var cells [][]string
	for _, network := range state.Networks {
		id := "-"
		if network.ID >= 0 {
			id = strconv.Itoa(network.ID)
		}
		cells = append(cells, []string{"network", network.Name, id, network.State.String()})
	}
	for _, role := range state.Service.Body.Roles {
		if role.VRouterID != nil {
			cells = append(cells, []string{"router", role.Name, strconv.Itoa(*role.VRouterID), "-"})
		}
	}
	for _, intent := range state.Intents {
		cells = append(cells, []string{"VM planned", intent.Name, "-", fmt.Sprintf("%d attempts without an answer", intent.Attempts)})
	}
	if len(cells) > 0 {
		v.Say("")
		v.Table([]string{"KIND", "NAME", "ID", "STATE"}, cells)
	}
}

func (v serviceView) timers(record pipeline.Record) {
	if len(record.Timers) == 0 {
		return
	}
	v.Say("")
	for _, name := range slices.Sorted(maps.Keys(record.Timers)) {
		timer := record.Timers[name]
		v.Say("timer %-9s due %s", name, due(v.console, timer.Due))
	}
}

func due(c *console, at time.Time) string {
	if left := at.Sub(c.Now()); left > 0 {
		return "in " + terminal.Span(left)
	}
	return c.Ago(at) + " ago"
}

// shownLog is how many of the log's last entries are shown.
const shownLog = 8

func (v serviceView) log(log []spec.LogEntry) {
	if len(log) == 0 {
		return
	}
	v.Say("")
	for _, entry := range log[max(0, len(log)-shownLog):] {
		text := v.Timed(entry.Message)
		if entry.Severity == "E" {
			text = v.Paint("31", text)
		}
		v.Say("%s  %s  %s", v.At(time.Unix(entry.Timestamp, 0)), entry.Severity, text)
	}
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

// abridged cuts a text that is too long for a column.
func abridged(text string, most int) string {
	runes := []rune(text)
	if len(runes) <= most {
		return text
	}
	return string(runes[:most-1]) + "…"
}

// compact is a JSON text without the blanks in it.
func compact(data []byte) string {
	var text bytes.Buffer
	if json.Compact(&text, data) != nil {
		return string(data)
	}
	return text.String()
}

// serviceView prints a service.
type serviceView struct{ *console }
