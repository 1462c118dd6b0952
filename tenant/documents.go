package tenant

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"github.com/flowjet/flowjet/client"
	"github.com/flowjet/flowjet/internal/terminal"
	"github.com/flowjet/flowjet/internal/yamlfile"
)

// documentCommands are the commands that services and templates have in common; example is an id.
func documentCommands(t tool, k kind, word, example string) []*cobra.Command {
	argument := strings.ToUpper(word)
	commands := []*cobra.Command{newUpdate(t, k, word, example)}
	for _, each := range []struct {
		verb, arguments, short, long, sample string
		params                               []string // the API's names of the arguments
		done                                 string
	}{
		{"rename", "NAME", "Give a " + k.name + " another name", "", "shop", []string{"name"}, "its name is "},
		{
			"chmod", "OCTET", "Set who may use, manage and administer a " + k.name, "One digit each for the owner, the group and all others: 4 use, 2 manage, 1 administer.",
			"640", []string{"octet"}, "its permissions are ",
		},
		{"chown", "USER [GROUP]", "Give a " + k.name + " to another user", owners, "alice", []string{"owner_id", "group_id"}, "its owner is user "},
		{"chgrp", "GROUP", "Give a " + k.name + " to another group", owners, "users", []string{"group_id"}, "its group is "},
	} {
		count := cobra.ExactArgs(2)
		if len(each.params) > 1 {
			count = cobra.RangeArgs(2, 1+len(each.params))
		}
		commands = append(commands, t.acting(k, help{
			each.verb + " " + argument + " " + each.arguments, each.short, each.long, fmt.Sprintf("flowjet %s %s %s %s", word, each.verb, example, each.sample),
		}, count, can{match: true, several: each.verb != "rename"}, []completion{noOffer, noOffer}, func(args []string) (change, error) {
			params := map[string]any{}
			for i, given := range args {
				params[each.params[i]] = given
			}
			return act(each.verb, params, each.done+terminal.Printable(args[0])), nil
		}))
	}
	return commands
}

const owners = "The VMs of a service change with it. Users and groups are given by id, or by name if OpenNebula shows them to you (`oneuser list`, `onegroup list`)."

// errUnchanged is returned when an edit has changed nothing.
var errUnchanged = errors.New("nothing was changed")

func newUpdate(t tool, k kind, word, example string) *cobra.Command {
	var set bool
	cmd := t.changing(help{
		"update " + strings.ToUpper(word) + " [FILE]", "Change the attributes of a " + k.name,
		"FILE has all attributes as YAML or JSON, or with --append only those to set; - is standard input. Without FILE the attributes\n" +
			"open in your EDITOR; changes that others make meanwhile are not overwritten.",
		fmt.Sprintf("flowjet %s update %s\nflowjet %s update %s new.yaml --append", word, example, word, example),
	}, cobra.RangeArgs(1, 2), can{plan: k.path == service.path, wait: k.path == service.path, match: true}, []completion{k.names, nil}, func(ctx context.Context, api *client.Client, args []string) (change, error) {
		id, err := k.find(ctx, api, args[0])
		if err != nil {
			return change{}, err
		}
		asked := change{kind: k, id: id, method: http.MethodPut, path: k.at(id), done: "it is updated"}
		if k.path == service.path {
			asked.until = running
		}
		var body json.RawMessage
		if len(args) == 2 {
			body, err = readFile(args[1])
		} else {
			if body, asked.etag, err = api.Body(ctx, asked.path); err != nil {
				return change{}, err
			}
			if body, err = edit(ctx, body); err == nil && body == nil {
				err = errUnchanged
			}
		}
		asked.body = body
		switch {
		case set && k.path == service.path:
			asked.body = map[string]any{"append": true, "template": body}
		case set:
			update := act("update", map[string]any{"append": true, "template_json": body}, "")
			asked.method, asked.path, asked.body = update.method, asked.path+update.path, update.body
		}
		return asked, err
	})
	cmd.Flags().BoolVar(&set, "append", false, "set only the attributes in FILE")
	return cmd
}

// maxFile bounds how much of a file is read, in bytes: the API accepts less.
const maxFile = 16 << 20

// readFile reads a file of YAML or JSON, - for standard input, and returns it as JSON.
func readFile(path string) (json.RawMessage, error) {
	var file io.Reader = os.Stdin
	if path != "-" {
		opened, err := os.Open(path)
		if err != nil {
			return nil, terminal.ExitUsage.Because(fmt.Errorf("read the file: %w", err))
		}
		defer opened.Close()
		file = opened
	}
	text, err := io.ReadAll(io.LimitReader(file, maxFile))
	if err != nil {
		return nil, terminal.ExitUsage.Because(fmt.Errorf("read the file: %w", err))
	}
	body, err := asJSON(text)
	if err != nil {
		return nil, terminal.ExitUsage.Because(fmt.Errorf("%s is not an object in YAML or JSON: %w", path, err))
	}
	return body, nil
}

// keyTwice matches the YAML library's error for an object with the same key twice: only its text identifies it.
var keyTwice = regexp.MustCompile(`^line (\d+): mapping key (".*") already defined at line (\d+)$`)

// asJSON returns an object in YAML as JSON; JSON stays as it is.
func asJSON(text []byte) (json.RawMessage, error) {
	var object map[string]any
	err := yamlfile.Read(text, &object, false)
	wrong, mistyped := errors.AsType[*yaml.TypeError](err)
	if mistyped {
		for _, reason := range wrong.Errors {
			if twice := keyTwice.FindStringSubmatch(reason); twice != nil {
				return nil, fmt.Errorf("it has the key %s twice, in lines %s and %s", twice[2], twice[3], twice[1])
			}
		}
	}
	switch trimmed := bytes.TrimSpace(text); {
	case json.Valid(text) && trimmed[0] == '{':
		return trimmed, nil
	case mistyped:
		return nil, errors.New("it is something else") // the error would quote the file
	case err != nil:
		return nil, errors.New(strings.ReplaceAll(err.Error(), "\n", " "))
	}
	if object == nil {
		return nil, errors.New("it is empty")
	}
	return json.Marshal(object)
}

// edit lets a user edit a JSON object as YAML and returns it as JSON; nil if nothing was changed.
func edit(ctx context.Context, body json.RawMessage) (json.RawMessage, error) {
	before, err := terminal.YAMLOf(body)
	if err != nil {
		return nil, err
	}
	file, err := os.CreateTemp("", "flowjet-*.yaml")
	if err != nil {
		return nil, fmt.Errorf("create a file to edit: %w", err)
	}
	defer os.Remove(file.Name())
	_, err = file.Write(before)
	if err = errors.Join(err, file.Close()); err != nil {
		return nil, fmt.Errorf("write a file to edit: %w", err)
	}
	editor := cmp.Or(os.Getenv("VISUAL"), os.Getenv("EDITOR"), "vi")
	// As in git the editor may have arguments.
	command := exec.CommandContext(ctx, "sh", "-c", editor+` "$@"`, editor, file.Name())
	command.Stdin, command.Stdout, command.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := command.Run(); err != nil {
		return nil, fmt.Errorf("edit with %s: %w: set another editor with EDITOR, or give a FILE", editor, err)
	}
	after, err := os.ReadFile(file.Name())
	if err != nil {
		return nil, fmt.Errorf("read the edited file: %w", err)
	}
	if bytes.Equal(before, after) {
		return nil, nil
	}
	changed, err := asJSON(after)
	if err != nil {
		return nil, terminal.ExitUsage.Because(fmt.Errorf("the edited file is not an object in YAML, and nothing was changed: %w", err))
	}
	return changed, nil
}
