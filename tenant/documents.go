package tenant

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"github.com/flowjet/flowjet/client"
	"github.com/flowjet/flowjet/internal/terminal"
)

// documentCommands are those that services and templates have in common; example is an id.
func documentCommands(t tool, k kind, word, example string) []*cobra.Command {
	argument := strings.ToUpper(word)
	simple := func(verb, arguments, short, long, sample string, count cobra.PositionalArgs, build func(id int, args []string) (change, error)) *cobra.Command {
		return t.changing(help{
			verb + " " + argument + " " + arguments, short, long, fmt.Sprintf("flowjet %s %s %s %s", word, verb, example, sample),
		}, count, can{match: true, several: verb != "rename"}, []completion{k.names, noOffer, noOffer}, func(ctx context.Context, _ *console, api *client.Client, args []string) (change, error) {
			id, err := k.find(ctx, api, args[0])
			if err != nil {
				return change{}, err
			}
			return build(id, args[1:])
		})
	}
	return []*cobra.Command{
		newUpdate(t, k, word, example),
		simple("rename", "NAME", "Give a "+k.name+" another name", "", "shop", cobra.ExactArgs(2), func(id int, args []string) (change, error) {
			return k.act(id, "rename", map[string]any{"name": args[0]}, "its name is "+terminal.Printable(args[0])), nil
		}),
		simple("chmod", "OCTET", "Set who may use, manage and administer a "+k.name, "One digit each for the owner, the group and all others: 4 use, 2 manage, 1 administer.", "640", cobra.ExactArgs(2),
			func(id int, args []string) (change, error) {
				return k.act(id, "chmod", map[string]any{"octet": args[0]}, "its permissions are "+terminal.Printable(args[0])), nil
			}),
		simple("chown", "USER [GROUP]", "Give a "+k.name+" to another user", owners, "alice", cobra.RangeArgs(2, 3),
			func(id int, args []string) (change, error) {
				params := map[string]any{"owner_id": args[0]}
				if len(args) == 2 {
					params["group_id"] = args[1]
				}
				return k.act(id, "chown", params, "its owner is user "+terminal.Printable(args[0])), nil
			}),
		simple("chgrp", "GROUP", "Give a "+k.name+" to another group", owners, "users", cobra.ExactArgs(2),
			func(id int, args []string) (change, error) {
				return k.act(id, "chgrp", map[string]any{"group_id": args[0]}, "its group is "+terminal.Printable(args[0])), nil
			}),
	}
}

// owners is the help of commands that change the owner or group.
const owners = "The VMs of a service change with it. Users and groups are given by id, or by name if OpenNebula shows them to you (`oneuser list`, `onegroup list`)."

// errUnchanged ends an edit that has changed nothing.
var errUnchanged = errors.New("nothing was changed")

func newUpdate(t tool, k kind, word, example string) *cobra.Command {
	var set bool
	cmd := t.changing(help{
		"update " + strings.ToUpper(word) + " [FILE]", "Change the attributes of a " + k.name,
		"FILE has all attributes as YAML or JSON, or with --append only those to set; - is standard input. Without FILE the attributes\n" +
			"open in your EDITOR; changes that others make meanwhile are not overwritten.",
		fmt.Sprintf("flowjet %s update %s\nflowjet %s update %s new.yaml --append", word, example, word, example),
	}, cobra.RangeArgs(1, 2), can{plan: k.path == service.path, wait: k.path == service.path, match: true}, []completion{k.names, nil}, func(ctx context.Context, _ *console, api *client.Client, args []string) (change, error) {
		id, err := k.find(ctx, api, args[0])
		if err != nil {
			return change{}, err
		}
		asked := change{kind: k, id: id, method: http.MethodPut, path: k.at(id), done: "it is updated"}
		if k.path == service.path {
			asked.until = running
		}
		if len(args) == 2 {
			asked.body, err = readFile(args[1])
		} else {
			asked.body, asked.etag, err = edited(ctx, api, k.at(id))
		}
		if err == nil && set {
			asked = appending(k, asked)
		}
		return asked, err
	})
	cmd.Flags().BoolVar(&set, "append", false, "set only the attributes in FILE")
	return cmd
}

// edited is what is there as a person has edited it, and the ETag that it had.
func edited(ctx context.Context, api *client.Client, path string) (body any, etag string, err error) {
	was, etag, err := api.Body(ctx, path)
	if err != nil {
		return nil, "", err
	}
	changed, err := edit(ctx, was)
	if err == nil && changed == nil {
		err = errUnchanged
	}
	return changed, etag, err
}

// appending sets attributes instead of all.
func appending(k kind, asked change) change {
	if k.path == service.path {
		asked.body = map[string]any{"append": true, "template": asked.body}
		return asked
	}
	set := k.act(asked.id, "update", map[string]any{"append": true, "template_json": asked.body}, asked.done)
	set.etag = asked.etag
	return set
}
