package tenant

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/flowjet/flowjet/client"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/terminal"
)

const running = "RUNNING"

func serviceCommands(t tool) []*cobra.Command {
	return append([]*cobra.Command{
		newServiceList(t), newServiceShow(t), newInstantiate(t, "service"), newScale(t), newRecover(t), newRelease(t), newUndeploy(t), newAddRole(t), newRemoveRole(t),
		newVMAction(t), newSchedDelete(t), newPurgeDone(t),
	}, documentCommands(t, service, "service", "3")...)
}

// act is a change by an action of OneFlow's API.
func (k kind) act(id int, perform string, params any, done string) change {
	return change{
		kind: k, id: id, method: http.MethodPost, path: k.at(id) + "/action", done: done,
		body: map[string]any{"action": map[string]any{"perform": perform, "params": params}},
	}
}

func newScale(t tool) *cobra.Command {
	var force bool
	cmd := t.changing(help{
		"scale SERVICE ROLE NUMBER", "Set how many VMs a role has",
		"VMs are created or terminated until the role has NUMBER VMs, within its min_vms and max_vms unless --force is given. After scaling, the service is in\n" +
			"COOLDOWN, five minutes unless the role sets a cooldown, before it is RUNNING again; --wait also waits for that.",
		"flowjet service scale web worker 5 --wait\nflowjet service scale 3 worker 5 --dry-run",
	}, cobra.ExactArgs(3), can{plan: true, wait: true, match: true}, []completion{service.names, roles, noOffer}, func(ctx context.Context, _ *console, api *client.Client, args []string) (change, error) {
		number, err := strconv.Atoi(args[2])
		if err != nil || number < 0 {
			return change{}, terminal.ExitUsage.Because(fmt.Errorf("NUMBER is %q: it must be a whole number, 0 or more", args[2]))
		}
		id, err := service.find(ctx, api, args[0])
		return change{
			kind: service, id: id, method: http.MethodPost, path: service.at(id) + "/scale", until: running,
			body: map[string]any{"role_name": args[1], "cardinality": number, "force": force},
			done: fmt.Sprintf("role %s is set to %d VMs", terminal.Printable(args[1]), number),
		}, err
	})
	cmd.Flags().BoolVar(&force, "force", false, "ignore the role's min_vms and max_vms")
	return cmd
}

// noOffer is for arguments that cannot be guessed.
func noOffer(context.Context, *client.Client, []string) []cobra.Completion { return nil }

// roles offers the roles of the service that is named first.
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
	cmd := t.changing(help{
		"recover SERVICE", "Retry what has failed",
		"A service that failed to deploy, scale or undeploy continues where it failed. For a service in WARNING, OpenNebula retries the failed VMs. With --delete\n" +
			"the service is undeployed instead, in any state.",
		"flowjet service recover web --wait\nflowjet service recover 3 --delete --dry-run",
	}, cobra.ExactArgs(1), can{plan: true, wait: true, match: true, several: true}, []completion{service.names}, func(ctx context.Context, _ *console, api *client.Client, args []string) (change, error) {
		id, err := service.find(ctx, api, args[0])
		asked := service.act(id, "recover", map[string]any{"delete": remove}, "it recovers")
		asked.until = running
		if remove {
			asked.until, asked.done = gone, "it is being removed"
		}
		return asked, err
	})
	cmd.Flags().BoolVar(&remove, "delete", false, "remove the service and its VMs")
	return cmd
}

func newRelease(t tool) *cobra.Command {
	return t.changing(help{
		"release SERVICE [ROLE]", "Release VMs that are on hold",
		"All roles in HOLD, or only ROLE.",
		"flowjet service release web --wait\nflowjet service release 3 worker",
	}, cobra.RangeArgs(1, 2), can{plan: true, wait: true, match: true}, []completion{service.names, roles}, func(ctx context.Context, _ *console, api *client.Client, args []string) (change, error) {
		id, err := service.find(ctx, api, args[0])
		asked := service.act(id, "release", map[string]any{}, "its VMs are released")
		asked.until = running
		if len(args) == 2 {
			asked.path = rolePath(id, args[1]) + "/action"
			asked.done = "the VMs of role " + terminal.Printable(args[1]) + " are released"
		}
		return asked, err
	})
}

func newUndeploy(t tool) *cobra.Command {
	cmd := t.changing(help{
		"undeploy SERVICE", "Undeploy a service: terminate its VMs, delete its networks and the service",
		"VMs are terminated role by role, children first with the strategy straight. If undeploying fails, use recover --delete.",
		"flowjet service undeploy web --wait\nflowjet service undeploy 3 --dry-run",
	}, cobra.ExactArgs(1), can{plan: true, wait: true, match: true, several: true}, []completion{service.names}, func(ctx context.Context, _ *console, api *client.Client, args []string) (change, error) {
		id, err := service.find(ctx, api, args[0])
		return change{kind: service, id: id, method: http.MethodDelete, path: service.at(id), until: gone, done: "it is being undeployed"}, err
	})
	cmd.Aliases = []string{"delete"}
	return cmd
}

func newPurgeDone(t tool) *cobra.Command {
	return t.changing(help{
		"purge-done", "Remove the documents of services in DONE that OneFlow has left", "Flowjet itself leaves none.", "flowjet service purge-done",
	}, cobra.NoArgs, can{}, []completion{service.names, nil}, func(context.Context, *console, *client.Client, []string) (change, error) {
		return change{kind: service, id: -1, method: http.MethodPost, path: "/service_pool/purge_done", done: "documents of services in DONE are removed"}, nil
	})
}

// changeRoles is a change by one of the two actions on a service's roles.
func changeRoles(id int, perform string, role any, done string) change {
	asked := service.act(id, perform, map[string]any{"role": role}, done)
	asked.path, asked.until = service.at(id)+"/role_action", running
	return asked
}

func newAddRole(t tool) *cobra.Command {
	return t.changing(help{
		"add-role SERVICE FILE", "Add a role to a service",
		"FILE has the role as YAML or JSON, as a service template would; - is standard input.",
		"flowjet service add-role web cache.yaml --wait",
	}, cobra.ExactArgs(2), can{plan: true, wait: true, match: true}, []completion{service.names, nil}, func(ctx context.Context, c *console, api *client.Client, args []string) (change, error) {
		role, err := readFile(args[1])
		if err != nil {
			return change{}, err
		}
		id, err := service.find(ctx, api, args[0])
		return changeRoles(id, "add_role", role, "the role is added"), err
	})
}

func newRemoveRole(t tool) *cobra.Command {
	return t.changing(help{
		"remove-role SERVICE ROLE", "Remove a role from a service, and terminate its VMs", "",
		"flowjet service remove-role web cache --wait",
	}, cobra.ExactArgs(2), can{plan: true, wait: true, match: true}, []completion{service.names, roles}, func(ctx context.Context, _ *console, api *client.Client, args []string) (change, error) {
		id, err := service.find(ctx, api, args[0])
		return changeRoles(id, "remove_role", args[1], "role "+terminal.Printable(args[1])+" is being removed"), err
	})
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
		known, err := statesOf(states)
		if err != nil {
			return err
		}
		l := lister{c, api, known, owner}
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

// statesOf are the states that are meant by their names or how these begin.
func statesOf(words []string) ([]string, error) {
	var chosen []string
	for _, word := range words {
		before := len(chosen)
		for _, name := range spec.ServiceStateNames() {
			if strings.HasPrefix(name, strings.ToUpper(word)) {
				chosen = append(chosen, name)
			}
		}
		if len(chosen) == before {
			return nil, terminal.ExitUsage.Because(fmt.Errorf("--state is %q: there are %s", word, strings.Join(spec.ServiceStateNames(), ", ")))
		}
	}
	return chosen, nil
}
