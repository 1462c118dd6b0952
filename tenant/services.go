package tenant

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/flowjet/flowjet/client"
	"github.com/flowjet/flowjet/client/schema"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/terminal"
)

func act(perform string, params any, done string) change {
	return change{method: http.MethodPost, path: "/action", done: done, body: map[string]any{"action": map[string]any{"perform": perform, "params": params}}}
}

func newScale(t tool) *cobra.Command {
	var force bool
	cmd := t.acting(service, help{
		"scale SERVICE ROLE NUMBER", "Set how many VMs a role has",
		"VMs are created or terminated until the role has NUMBER VMs, within its min_vms and max_vms unless --force is given. After scaling, the service is in\n" +
			"COOLDOWN, five minutes unless the role sets a cooldown, before it is RUNNING again; --wait also waits for that.",
		"flowjet service scale web worker 5 --wait\nflowjet service scale 3 worker 5 --dry-run",
	}, cobra.ExactArgs(3), can{plan: true, wait: true, match: true}, []completion{roles, noOffer}, func(args []string) (change, error) {
		number, err := strconv.Atoi(args[1])
		if err != nil || number < 0 {
			return change{}, terminal.ExitUsage.Because(fmt.Errorf("NUMBER is %q: it must be a whole number, 0 or more", args[1]))
		}
		return change{
			method: http.MethodPost, path: "/scale", until: running,
			body: map[string]any{"role_name": args[0], "cardinality": number, "force": force},
			done: fmt.Sprintf("role %s is set to %d VMs", terminal.Printable(args[0]), number),
		}, nil
	})
	cmd.Flags().BoolVar(&force, "force", false, "ignore the role's min_vms and max_vms")
	return cmd
}

func noOffer(context.Context, *client.Client, []string) []cobra.Completion { return nil }

// roles offers the roles of the service in the first argument.
func roles(ctx context.Context, api *client.Client, args []string) []cobra.Completion {
	id, err := service.find(ctx, api, args[0])
	if err != nil {
		return nil
	}
	shown, _ := api.Service(ctx, id) // without an answer nothing is offered
	var offered []cobra.Completion
	for _, role := range shown.Roles {
		offered = append(offered, cobra.CompletionWithDesc(role.Name, fmt.Sprintf("%s %d/%d", role.State, role.Running, role.Wanted)))
	}
	return offered
}

func newRecover(t tool) *cobra.Command {
	var remove bool
	cmd := t.acting(service, help{
		"recover SERVICE", "Retry what has failed",
		"A service that failed to deploy, scale or undeploy continues where it failed. For a service in WARNING, OpenNebula retries the failed VMs. With --delete\n" +
			"the service is undeployed instead, in any state.",
		"flowjet service recover web --wait\nflowjet service recover 3 --delete --dry-run",
	}, cobra.ExactArgs(1), can{plan: true, wait: true, match: true, several: true}, nil, func([]string) (change, error) {
		asked := act("recover", map[string]any{"delete": remove}, "it recovers")
		asked.until = running
		if remove {
			asked.until, asked.done = gone, "it is being removed"
		}
		return asked, nil
	})
	cmd.Flags().BoolVar(&remove, "delete", false, "remove the service and its VMs")
	return cmd
}

// serviceChanges are the commands without flags of their own.
func serviceChanges(t tool) []*cobra.Command {
	undeploy := t.acting(service, help{
		"undeploy SERVICE", "Undeploy a service: terminate its VMs, delete its networks and the service",
		"VMs are terminated role by role, children first with the strategy straight. If undeploying fails, use recover --delete.",
		"flowjet service undeploy web --wait\nflowjet service undeploy 3 --dry-run",
	}, cobra.ExactArgs(1), can{plan: true, wait: true, match: true, several: true}, nil, func([]string) (change, error) {
		return change{method: http.MethodDelete, until: gone, done: "it is being undeployed"}, nil
	})
	undeploy.Aliases = []string{"delete"}
	return []*cobra.Command{
		undeploy,
		t.acting(service, help{
			"release SERVICE [ROLE]", "Release VMs that are on hold",
			"All roles in HOLD, or only ROLE.",
			"flowjet service release web --wait\nflowjet service release 3 worker",
		}, cobra.RangeArgs(1, 2), can{plan: true, wait: true, match: true}, []completion{roles}, func(args []string) (change, error) {
			asked := act("release", map[string]any{}, "its VMs are released")
			asked.until = running
			if len(args) == 1 {
				asked.path = rolePath(args[0]) + "/action"
				asked.done = "the VMs of role " + terminal.Printable(args[0]) + " are released"
			}
			return asked, nil
		}),
		t.acting(service, help{
			"add-role SERVICE FILE", "Add a role to a service",
			"FILE has the role as YAML or JSON, as a service template would; - is standard input.",
			"flowjet service add-role web cache.yaml --wait",
		}, cobra.ExactArgs(2), can{plan: true, wait: true, match: true}, []completion{nil}, func(args []string) (change, error) {
			role, err := readFile(args[0])
			asked := act("add_role", map[string]any{"role": role}, "the role is added")
			asked.path, asked.until = "/role_action", running
			return asked, err
		}),
		t.acting(service, help{
			"remove-role SERVICE ROLE", "Remove a role from a service, and terminate its VMs", "",
			"flowjet service remove-role web cache --wait",
		}, cobra.ExactArgs(2), can{plan: true, wait: true, match: true}, []completion{roles}, func(args []string) (change, error) {
			asked := act("remove_role", map[string]any{"role": args[0]}, "role "+terminal.Printable(args[0])+" is being removed")
			asked.path, asked.until = "/role_action", running
			return asked, nil
		}),
		t.acting(service, help{
			"sched-delete SERVICE [ROLE] ID", "Delete a scheduled action from the VMs of a service, or of one role",
			"`onevm show VM` lists the scheduled actions of a VM with their IDs, which start at 0 for each VM.",
			"flowjet service sched-delete web 0\nflowjet service sched-delete web worker 0",
		}, cobra.RangeArgs(2, 3), can{}, []completion{roles, noOffer}, func(args []string) (change, error) {
			scheduled, err := strconv.Atoi(args[len(args)-1])
			if err != nil || scheduled < 0 {
				return change{}, terminal.ExitUsage.Because(fmt.Errorf("ID is %q: it must be the whole number of a scheduled action, as `onevm show` lists it", args[len(args)-1]))
			}
			asked := change{method: http.MethodDelete, done: fmt.Sprintf("scheduled action %d is deleted from its VMs", scheduled)}
			if len(args) == 2 {
				asked.path = rolePath(args[0])
				asked.done = fmt.Sprintf("scheduled action %d is deleted from the VMs of role %s", scheduled, terminal.Printable(args[0]))
			}
			asked.path += fmt.Sprintf("/sched_action/%d", scheduled)
			return asked, nil
		}),
		t.changing(help{
			"purge-done", "Remove the documents of services in DONE that OneFlow has left", "Flowjet itself leaves none.", "flowjet service purge-done",
		}, cobra.NoArgs, can{}, []completion{service.names, nil}, func(context.Context, *client.Client, []string) (change, error) {
			return change{kind: service, id: -1, method: http.MethodPost, path: "/service_pool/purge_done", done: "documents of services in DONE are removed"}, nil
		}),
	}
}

func newServiceList(t tool) *cobra.Command {
	var states []string
	var owner string
	var watch bool
	cmd := t.command(help{
		"list", "List the services that you may see",
		"RUNNING shows running VMs/wanted VMs. --watch then prints a line for each service that changes, until Ctrl-C.",
		"flowjet service list --state RUNNING,WARNING\nflowjet service list --watch\nflowjet service list -o name",
	}, terminal.ListFormats, cobra.NoArgs, func(ctx context.Context, c *console, api *client.Client, _ []string) error {
		l := lister{console: c, api: api, owner: owner}
		for _, word := range states { // a state's name, or a prefix of several
			before := len(l.states)
			for _, name := range spec.ServiceStateNames() {
				if strings.HasPrefix(name, strings.ToUpper(word)) {
					l.states = append(l.states, name)
				}
			}
			if len(l.states) == before {
				return terminal.ExitUsage.Because(fmt.Errorf("--state is %q: there are %s", word, strings.Join(spec.ServiceStateNames(), ", ")))
			}
		}
		if watch {
			return l.watch(ctx)
		}
		rows, err := l.rows(ctx)
		if err != nil {
			return err
		}
		return c.List(listing(c, rows))
	})
	cmd.Aliases = []string{"ls"}
	flags := cmd.Flags()
	flags.StringSliceVar(&states, "state", nil, "only services in these `STATES`; FAILED matches all failed states")
	flags.StringVar(&owner, "owner", "", "only services of this `USER`")
	flags.BoolVar(&watch, "watch", false, "keep showing changes until Ctrl-C")
	_ = cmd.RegisterFlagCompletionFunc("state", cobra.FixedCompletions(spec.ServiceStateNames(), cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func newVMAction(t tool) *cobra.Command {
	var number int
	var period, arguments string
	var cmd *cobra.Command
	cmd = t.acting(service, help{
		"action SERVICE [ROLE] ACTION", "Schedule an action on the VMs of a service, or of one role",
		"All VMs at once, or with --number in batches, --period apart, for a rolling reboot. Virtual routers are excluded. ACTION is one of " +
			strings.Join(schema.VMActions, ", ") + ".",
		"flowjet service action web reboot\nflowjet service action web worker reboot --number 1 --period 5m\nflowjet service action 3 worker snapshot-create --args before-upgrade",
	}, cobra.RangeArgs(2, 3), can{several: true}, []completion{
		func(ctx context.Context, api *client.Client, args []string) []cobra.Completion {
			return append(roles(ctx, api, args), schema.VMActions...)
		},
		func(context.Context, *client.Client, []string) []cobra.Completion { return schema.VMActions },
	}, func(args []string) (change, error) {
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
			seconds, err := strconv.Atoi(period) // as in OneFlow's client
			if err != nil || seconds < 0 {
				length, err := time.ParseDuration(period)
				if err != nil || length < 0 || length%time.Second != 0 {
					return change{}, terminal.ExitUsage.Because(fmt.Errorf("--period is %q: it must be whole seconds, such as 90s, 5m or 300", period))
				}
				seconds = int(length / time.Second)
			}
			params["period"] = seconds
		}
		if arguments != "" {
			params["args"] = arguments
		}
		asked := act(action, params, action+" is scheduled on its VMs")
		if len(args) == 2 {
			asked.path = rolePath(args[0]) + "/action"
			asked.done = fmt.Sprintf("%s is scheduled on the VMs of role %s", action, terminal.Printable(args[0]))
		}
		return asked, nil
	})
	flags := cmd.Flags()
	flags.IntVar(&number, "number", 0, "VMs in each batch (default all at once)")
	flags.StringVar(&period, "period", "", "`TIME` between two batches, such as 90s, 5m or in seconds")
	flags.StringVar(&arguments, "args", "", "`ARGUMENTS` of the action, such as a snapshot's name, comma separated")
	return cmd
}

func rolePath(role string) string { return "/role/" + url.PathEscape(role) }
