package tenant

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/flowjet/flowjet/client"
	"github.com/flowjet/flowjet/client/schema"
	"github.com/flowjet/flowjet/internal/terminal"
)

func newVMAction(t tool) *cobra.Command {
	var number int
	var period, arguments string
	var cmd *cobra.Command
	cmd = t.changing(help{
		"action SERVICE [ROLE] ACTION", "Schedule an action on the VMs of a service, or of one role",
		"All VMs at once, or with --number in batches, --period apart, for a rolling reboot. Virtual routers are excluded. ACTION is one of " +
			strings.Join(schema.VMActions, ", ") + ".",
		"flowjet service action web reboot\nflowjet service action web worker reboot --number 1 --period 5m\nflowjet service action 3 worker snapshot-create --args before-upgrade",
	}, cobra.RangeArgs(2, 3), can{several: true}, []completion{service.names, rolesAndActions, vmActions}, func(ctx context.Context, _ *console, api *client.Client, args []string) (change, error) {
		action := args[len(args)-1]
		if !slices.Contains(schema.VMActions, action) {
			return change{}, terminal.ExitUsage.Because(fmt.Errorf("ACTION is %q: there are %s", action, strings.Join(schema.VMActions, ", ")))
		}
		params := map[string]any{}
		if cmd.Flags().Changed("number") {
			if number < 1 {
				return change{}, terminal.ExitUsage.Because(fmt.Errorf("--number is %d: it must be 1 or more", number))
			}
			params["number"] = number
		}
		if cmd.Flags().Changed("period") {
			seconds, err := secondsOf(period)
			if err != nil {
				return change{}, err
			}
			params["period"] = seconds
		}
		if arguments != "" {
			params["args"] = arguments
		}
		id, err := service.find(ctx, api, args[0])
		asked := service.act(id, action, params, action+" is scheduled on its VMs")
		if len(args) == 3 {
			asked.path = rolePath(id, args[1]) + "/action"
			asked.done = fmt.Sprintf("%s is scheduled on the VMs of role %s", action, terminal.Printable(args[1]))
		}
		return asked, err
	})
	flags := cmd.Flags()
	flags.IntVar(&number, "number", 0, "VMs in each batch (default all at once)")
	flags.StringVar(&period, "period", "", "`TIME` between two batches, such as 90s, 5m or in seconds")
	flags.StringVar(&arguments, "args", "", "`ARGUMENTS` of the action, such as a snapshot's name, comma separated")
	return cmd
}

func vmActions(context.Context, *client.Client, []string) []cobra.Completion { return schema.VMActions }

func rolesAndActions(ctx context.Context, api *client.Client, args []string) []cobra.Completion {
	return append(roles(ctx, api, args), schema.VMActions...)
}

// secondsOf reads a time as a Go duration, or as OneFlow's client takes it, in seconds.
func secondsOf(text string) (int, error) {
	if seconds, err := strconv.Atoi(text); err == nil && seconds >= 0 {
		return seconds, nil
	}
	period, err := time.ParseDuration(text)
	if err != nil || period < 0 || period%time.Second != 0 {
		return 0, terminal.ExitUsage.Because(fmt.Errorf("--period is %q: it must be whole seconds, such as 90s, 5m or 300", text))
	}
	return int(period / time.Second), nil
}

// rolePath is where a role of a service is acted on.
func rolePath(id int, role string) string {
	return fmt.Sprintf("%s/role/%s", service.at(id), escaped(role))
}

func newSchedDelete(t tool) *cobra.Command {
	return t.changing(help{
		"sched-delete SERVICE [ROLE] ID", "Delete a scheduled action from the VMs of a service, or of one role",
		"`onevm show VM` lists the scheduled actions of a VM with their IDs, which start at 0 for each VM.",
		"flowjet service sched-delete web 0\nflowjet service sched-delete web worker 0",
	}, cobra.RangeArgs(2, 3), can{}, []completion{service.names, roles, noOffer}, func(ctx context.Context, _ *console, api *client.Client, args []string) (change, error) {
		scheduled, err := strconv.Atoi(args[len(args)-1])
		if err != nil || scheduled < 0 {
			return change{}, terminal.ExitUsage.Because(fmt.Errorf("ID is %q: it must be the whole number of a scheduled action, as `onevm show` lists it", args[len(args)-1]))
		}
		id, err := service.find(ctx, api, args[0])
		asked := change{kind: service, id: id, method: http.MethodDelete, path: service.at(id), done: fmt.Sprintf("scheduled action %d is deleted from its VMs", scheduled)}
		if len(args) == 3 {
			asked.path = rolePath(id, args[1])
			asked.done = fmt.Sprintf("scheduled action %d is deleted from the VMs of role %s", scheduled, terminal.Printable(args[1]))
		}
		asked.path += fmt.Sprintf("/sched_action/%d", scheduled)
		return asked, err
	})
}
