package tenant

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/flowjet/flowjet/client"
	"github.com/flowjet/flowjet/client/schema"
	"github.com/flowjet/flowjet/internal/terminal"
)

// wishes are a command line's settings for a new service.
type wishes struct {
	name                               string
	times                              int
	inputs, files, networks, cardinals []string
}

// newInstantiate returns the command of services as well as of templates: under is its place in the example.
func newInstantiate(t tool, under string) *cobra.Command {
	var w wishes
	cmd := t.changing(help{
		"instantiate TEMPLATE [FILE]", "Create a service from a service template",
		"A user input is NAME, or ROLE.NAME for an input of a role. Missing mandatory inputs are prompted for on the terminal. A password is never taken from\n" +
			"the command line, where others could see it: it is prompted for, or read from a file with --input-file. FILE has more attributes to set, as YAML or JSON.",
		"flowjet " + under + " instantiate web --input SIZE=4 --wait\nflowjet " + under + " instantiate 7 --name shop --cardinality worker=3 --network public=id:5 --dry-run\n" +
			"flowjet " + under + " instantiate web --input-file ADMIN_PASSWORD=password.txt",
	}, cobra.RangeArgs(1, 2), can{plan: true, wait: true}, []completion{template.names, nil}, func(ctx context.Context, api *client.Client, args []string) (change, error) {
		if w.times < 1 || w.times > maxSeveral {
			return change{}, terminal.ExitUsage.Because(fmt.Errorf("--multiple is %d: it must be 1 to %d", w.times, maxSeveral))
		}
		from, err := oneTemplate(ctx, api, args[0])
		if err != nil {
			return change{}, err
		}
		var file json.RawMessage
		if len(args) == 2 {
			if file, err = readFile(args[1]); err != nil {
				return change{}, err
			}
		}
		merged, err := t.merge(from, w, file)
		asked := act("instantiate", map[string]any{"merge_template": merged}, "it is being deployed")
		asked.kind, asked.id, asked.path = service, from.ID, template.at(from.ID)+asked.path
		asked.makes, asked.until, asked.times = true, running, w.times
		return asked, err
	})
	flags := cmd.Flags()
	flags.IntVar(&w.times, "multiple", 1, "create this many services")
	flags.StringVar(&w.name, "name", "", "the service's `NAME` (default the template's)")
	flags.StringArrayVar(&w.inputs, "input", nil, "the value of a user input, `NAME=VALUE`; can be repeated")
	flags.StringArrayVar(&w.files, "input-file", nil, "a file with the value of a user input, `NAME=PATH`")
	flags.StringArrayVar(&w.networks, "network", nil, "the network to use: `NAME=id:ID`, NAME=template_id:ID or NAME=reserve_from:ID")
	flags.StringArrayVar(&w.cardinals, "cardinality", nil, "initial number of VMs of a role, `ROLE=NUMBER`")
	for _, flag := range []string{"input", "input-file", "network", "cardinality"} {
		_ = cmd.RegisterFlagCompletionFunc(flag, t.namesFor(flag))
	}
	return cmd
}

// namesFor completes a flag's NAME= with the names in the given template.
func (t tool) namesFor(flag string) cobra.CompletionFunc {
	offer := t.complete(func(ctx context.Context, api *client.Client, args []string) (names []cobra.Completion) {
		if len(args) == 0 {
			return nil
		}
		add := func(name, about string) { names = append(names, cobra.CompletionWithDesc(name+"=", about)) }
		from, _ := oneTemplate(ctx, api, args[0]) // without an answer nothing is offered
		switch flag {
		case "network":
			for _, network := range from.Networks {
				add(network.Name, network.Description)
			}
		case "cardinality":
			for _, role := range from.Roles {
				add(role.Name, strconv.Itoa(role.Cardinality)+" VMs")
			}
		default:
			for _, input := range from.Inputs {
				add(input.Name, input.Description)
			}
			for _, role := range from.Roles {
				for _, input := range role.Inputs {
					add(role.Name+"."+input.Name, input.Description)
				}
			}
		}
		return names
	})
	return func(cmd *cobra.Command, args []string, part string) ([]cobra.Completion, cobra.ShellCompDirective) {
		offered, directive := offer(cmd, args, part)
		return offered, directive | cobra.ShellCompDirectiveNoSpace
	}
}

// merge returns the changes to the template, in the form of merge_template.
func (t tool) merge(from schema.Template, w wishes, file json.RawMessage) (map[string]any, error) {
	merged := map[string]any{}
	if file != nil {
		if err := json.Unmarshal(file, &merged); err != nil {
			return nil, terminal.ExitUsage.Because(fmt.Errorf("read FILE: %w", err))
		}
	}
	if w.name != "" {
		merged["name"] = w.name
	}
	form := form{tool: t}
	if err := errors.Join(form.read(w), w.addNetworks(merged, from)); err != nil {
		return nil, terminal.ExitUsage.Because(err)
	}
	values, err := form.values("", from.Inputs, merged["user_inputs_values"])
	if err != nil {
		return nil, err
	}
	if len(values) > 0 {
		merged["user_inputs_values"] = values
	}
	if err := form.roles(merged, from, w); err != nil {
		return nil, err
	}
	for name := range form.given {
		if !form.used[name] {
			return merged, terminal.ExitUsage.Because(fmt.Errorf("the template has no user input %q: `flowjet template show` lists them; a role's is ROLE.NAME", name))
		}
	}
	return merged, nil
}

// addNetworks reads NAME=id:5.
func (w wishes) addNetworks(merged map[string]any, from schema.Template) error {
	var values []map[string]any
	for _, text := range w.networks {
		name, wanted, isPair := strings.Cut(text, "=")
		how, id, hasID := strings.Cut(wanted, ":")
		if _, err := strconv.Atoi(id); !isPair || !hasID || err != nil || how != "id" && how != "template_id" && how != "reserve_from" {
			return fmt.Errorf("--network is %q: it must look like NAME=id:5, NAME=template_id:5 or NAME=reserve_from:5", text)
		}
		values = append(values, map[string]any{name: map[string]any{how: id}})
	}
	if len(values) == 0 {
		return nil
	}
	// Networks that are not named are as the template proposes.
	for _, network := range from.Networks {
		named := slices.ContainsFunc(values, func(value map[string]any) bool { return value[network.Name] != nil })
		if !named && network.Of != "" {
			values = append(values, map[string]any{network.Name: map[string]any{network.From: network.Of}})
		}
	}
	merged["networks_values"] = values
	return nil
}

// form has the given values of user inputs, by NAME or ROLE.NAME.
type form struct {
	tool
	given map[string]string
	// secret are the values that were not on a command line.
	secret map[string]bool
	used   map[string]bool
}

func (f *form) read(w wishes) error {
	f.given, f.secret, f.used = map[string]string{}, map[string]bool{}, map[string]bool{}
	for _, text := range w.inputs {
		name, value, isPair := strings.Cut(text, "=")
		if !isPair {
			return fmt.Errorf("--input is %q: it must look like NAME=VALUE", text)
		}
		f.given[name] = value
	}
	for _, text := range w.files {
		name, path, isPair := strings.Cut(text, "=")
		if !isPair {
			return fmt.Errorf("--input-file is %q: it must look like NAME=PATH", text)
		}
		value, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("read the value of %s: %w", name, err)
		}
		f.given[name], f.secret[name] = strings.TrimRight(string(value), "\r\n"), true
	}
	return nil
}

// values returns the values of a service's or, with a prefix, a role's inputs. Missing required values are asked for.
func (f *form) values(prefix string, inputs []schema.Input, before any) (map[string]any, error) {
	values := map[string]any{}
	if given, isObject := before.(map[string]any); isObject {
		values = given
	}
	for _, input := range inputs {
		name := prefix + input.Name
		value, given := f.given[name]
		f.used[name] = given
		if given && input.Type == "password" && !f.secret[name] {
			return nil, terminal.ExitUsage.Because(fmt.Errorf("%s is a password, which others could see on a command line: omit it to be asked for it, or use --input-file %s=PATH", name, name))
		}
		if _, inFile := values[input.Name]; inFile && !given {
			continue
		}
		if !given && !input.Mandatory {
			continue
		}
		if !given && input.Default != "" {
			value = input.Default
		} else if !given {
			var err error
			if value, err = f.ask(name, input); err != nil {
				return nil, err
			}
		}
		if input.Type == "text64" {
			value = base64.StdEncoding.EncodeToString([]byte(value))
		}
		values[input.Name] = value
	}
	return values, nil
}

// ask asks the user for a value, if there is a terminal.
func (f *form) ask(name string, input schema.Input) (string, error) {
	question := name
	if input.Description != "" {
		question += " (" + input.Description + ")"
	}
	if len(input.Options) > 0 {
		question += " [" + strings.Join(input.Options, ", ") + "]"
	}
	ask := f.Ask
	if ask == nil {
		ask = onTerminal
	}
	value, err := ask(terminal.Printable(question)+": ", input.Type == "password")
	if errors.Is(err, errNoTerminal) {
		how := "--input " + name + "=VALUE"
		if input.Type == "password" {
			how = "--input-file " + name + "=PATH"
		}
		return "", terminal.ExitUsage.Because(fmt.Errorf("user input %s (%s) is mandatory: set it with %s", name, input.Type, how))
	}
	return value, err
}

func (f *form) roles(merged map[string]any, from schema.Template, w wishes) error {
	cardinals := map[string]int{}
	for _, text := range w.cardinals {
		role, number, _ := strings.Cut(text, "=")
		count, err := strconv.Atoi(number)
		if err != nil || count < 0 {
			return terminal.ExitUsage.Because(fmt.Errorf("--cardinality is %q: it must look like ROLE=3", text))
		}
		cardinals[role] = count
	}
	list, _ := merged["roles"].([]any)
	for _, role := range from.Roles {
		at := slices.IndexFunc(list, func(each any) bool { // the file's settings for the role
			given, isObject := each.(map[string]any)
			return isObject && given["name"] == role.Name
		})
		entry := map[string]any{"name": role.Name}
		if at >= 0 {
			entry = list[at].(map[string]any)
		}
		values, err := f.values(role.Name+".", role.Inputs, entry["user_inputs_values"])
		if err != nil {
			return err
		}
		if len(values) > 0 {
			entry["user_inputs_values"] = values
		}
		if count, wanted := cardinals[role.Name]; wanted {
			entry["cardinality"] = count
			delete(cardinals, role.Name)
		}
		if at < 0 && len(entry) > 1 {
			list = append(list, entry)
		}
	}
	for role := range cardinals {
		return terminal.ExitUsage.Because(fmt.Errorf("--cardinality: the template has no role %q", role))
	}
	if len(list) > 0 {
		merged["roles"] = list
	}
	return nil
}

var errNoTerminal = errors.New("standard input is not a terminal")

func onTerminal(question string, secret bool) (string, error) {
	if !terminal.IsTerminal(os.Stdin) {
		return "", errNoTerminal
	}
	fmt.Fprint(os.Stderr, question)
	if secret {
		value, err := term.ReadPassword(int(os.Stdin.Fd()))
		fmt.Fprintln(os.Stderr)
		return string(value), err
	}
	return readLine(os.Stdin)
}

// readLine reads a line a byte at a time: the rest is for the next question.
func readLine(in *os.File) (string, error) {
	var line strings.Builder
	letter := make([]byte, 1)
	for {
		if _, err := in.Read(letter); err != nil {
			return "", fmt.Errorf("read the answer: %w", err)
		}
		if letter[0] == '\n' {
			return strings.TrimRight(line.String(), "\r"), nil
		}
		line.WriteByte(letter[0])
	}
}
