package tenant

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/flowjet/flowjet/client"
	"github.com/flowjet/flowjet/internal/terminal"
)

func newServiceShow(t tool) *cobra.Command {
	var watch bool
	cmd := t.command(help{
		"show SERVICE", "Show a service: its roles and VMs, why it is in its state, its log",
		"--watch then prints a line for each transition, until the service has ended or Ctrl-C. -o wide also shows its ETag, networks, inputs and policies.",
		"flowjet service show web\nflowjet service show 3 -o json\nflowjet service show 3 --watch",
	}, []terminal.Format{terminal.Table, terminal.Wide, terminal.JSON, terminal.YAML}, cobra.ExactArgs(1),
		func(ctx context.Context, c *console, api *client.Client, args []string) error {
			id, err := service.find(ctx, api, args[0])
			if err != nil {
				return err
			}
			shown, err := api.Service(ctx, id)
			if err != nil {
				return err
			}
			if c.Structured() && watch {
				err = c.Line(shown)
			} else {
				err = c.Present(shown, func() { serviceView{c, shown}.show(ctx, api) })
			}
			if err != nil || !watch {
				return err
			}
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			err = api.Follow(ctx, id, false, nil, func(event client.Event) {
				if c.Structured() {
					_ = c.Line(event) // the output shows its own errors
				} else {
					c.Say("%s  %s", c.Exactly(event.Time), c.Change(event.Change))
				}
				if event.Kind == "service" && event.New == gone {
					cancel()
				}
			})
			if ctx.Err() != nil {
				return nil
			}
			return err
		})
	cmd.Flags().BoolVar(&watch, "watch", false, "keep showing transitions until Ctrl-C")
	cmd.ValidArgsFunction = t.arguments(service.names)
	return cmd
}

type serviceView struct {
	*console
	client.Service
}

func (v serviceView) show(ctx context.Context, api *client.Client) {
	v.Title("Service %d  %s", v.ID, v.Name)
	v.Say("owner       %s (group %s)", terminal.Printable(v.Owner), terminal.Printable(v.Group))
	v.Say("permissions %s", permissions(v.Permissions))
	v.reasons(ctx, api)
	v.Say("deployment  %s", v.Deployment)
	if v.Description != "" {
		v.Say("description %s", terminal.Printable(v.Description))
	}
	if v.Format == terminal.Wide {
		v.Say("ETag        %s", v.ETag)
	}
	v.Say("")
	v.roles()
	if v.Format == terminal.Wide {
		v.settings()
	}
	if len(v.Log) > 0 {
		v.Say("")
	}
	for _, entry := range slices.Backward(v.Log[:min(shownLog, len(v.Log))]) {
		text := v.Timed(terminal.Printable(entry.Message))
		if entry.Severity == "E" {
			text = v.Paint("31", text)
		}
		v.Say("%s  %s", v.At(entry.Time), text)
	}
}

// permissions returns an octet with its meaning: "640 (um- u-- ---)".
func permissions(octet string) string {
	var allowed []string
	for _, digit := range octet {
		text := []byte("---")
		for i, right := range "uma" {
			if (digit-'0')&(4>>i) != 0 {
				text[i] = byte(right)
			}
		}
		allowed = append(allowed, string(text))
	}
	return fmt.Sprintf("%s (%s)", terminal.Printable(octet), strings.Join(allowed, " "))
}

func (v serviceView) reasons(ctx context.Context, api *client.Client) {
	why, err := api.Why(ctx, v.ID)
	v.Say("state       %s%s", v.State(v.Row.State), v.Since(why.Since))
	if err != nil {
		return
	}
	v.Lines(11, "failed", terminal.Findings(why.Failed)...)
	v.Lines(11, "waits for", terminal.Findings(why.Waits)...)
	if why.Reason != "" && len(why.Failed) == 0 {
		v.Lines(11, "because", why.Reason)
	}
	for i := range why.Next {
		// This program has the same commands, for users without OneFlow's.
		why.Next[i] = strings.ReplaceAll(why.Next[i], "`oneflow ", "`flowjet service ")
	}
	v.Lines(11, "what to do", why.Next...)
	if why.OnedAway != "" {
		v.Lines(11, "note", "OpenNebula does not answer: VMs are as last heard")
	}
}

// mostVMs is how many VMs of a role are listed, unless all are requested.
const mostVMs = 20

func (v serviceView) roles() {
	var roles, vms [][]string
	for _, role := range v.Roles {
		roles = append(roles, []string{role.Name, role.State, fmt.Sprintf("%d/%d", role.Running, role.Wanted), cmp.Or(strings.Join(role.Parents, ","), "-")})
		for i, vm := range role.VMs {
			if i == mostVMs && v.Format != terminal.Wide {
				vms = append(vms, []string{fmt.Sprintf("and %d more", len(role.VMs)-i), role.Name})
				break
			}
			vms = append(vms, []string{strconv.Itoa(vm.ID), role.Name, vm.State, cmp.Or(vm.Host, "-"), cmp.Or(strings.Join(vm.IPs, ","), "-"), v.Ago(vm.Started), vm.Error})
		}
	}
	v.Table([]string{"ROLE", "STATE", "RUNNING", "PARENTS"}, roles)
	v.Section([]string{"VM", "ROLE", "STATE", "HOST", "IP", "AGE", ""}, vms)
}

// settings writes the networks, the inputs, and the policies with their last evaluation.
func (v serviceView) settings() {
	var rows [][]string
	for _, network := range v.Networks {
		rows = append(rows, []string{"network", network.Name, cmp.Or(network.ID, "-"), strings.TrimSpace(network.From + " " + network.Of)})
	}
	inputs := v.Inputs
	for _, role := range v.Roles {
		inputs = append(inputs, role.Inputs...)
		if role.Heal != "" {
			rows = append(rows, []string{"heal", role.Name, role.Heal, fmt.Sprintf("healed in the last hour: %d", role.Healed)})
		}
		for _, policy := range role.Policies {
			rows = append(rows, []string{"policy", role.Name, policy.Type + " " + policy.Adjust, fmt.Sprintf("%s (last evaluated: %s)", policy.When, v.At(policy.Last))})
		}
	}
	for _, input := range inputs {
		value := input.Value
		if input.Type == "password" && input.Set {
			value = "(set)"
		}
		rows = append(rows, []string{"input", input.Name, cmp.Or(value, "-"), input.Description})
	}
	v.Section([]string{"KIND", "NAME", "VALUE", "ABOUT"}, rows)
}

// shownLog is how many of the log's last entries are shown.
const shownLog = 8
