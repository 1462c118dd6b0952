// Package tenant has a user's commands: flowjet service and template, over Flowjet's HTTP API, with OpenNebula's own
// credentials.
//
// A change can be tried without effect, is made once however often it is sent, and can be waited for. People get tables and
// sentences; -o json, yaml and name are for scripts.
package tenant

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/flowjet/flowjet/client"
	"github.com/flowjet/flowjet/internal/terminal"
)

// Environment has the functions of the program that the commands need.
type Environment struct {
	// Simulated is the file with the credentials of a simulator's user, for users without other credentials.
	Simulated string
	// Ask asks the user for a value, whose typing is hidden if it is a secret; nil asks on the terminal, if there is one.
	Ask func(question string, secret bool) (string, error)
}

// Commands returns the commands about services, and those about service templates.
func Commands(environment Environment) (services, templates []*cobra.Command) {
	t := tool{environment}
	services = []*cobra.Command{newServiceList(t), newServiceShow(t), newInstantiate(t, "service"), newScale(t), newRecover(t), newVMAction(t)}
	templates = []*cobra.Command{newTemplateList(t), newTemplateShow(t), newTemplateCreate(t), newInstantiate(t, "template"), newTemplateClone(t), newTemplateDelete(t)}
	return slices.Concat(services, serviceChanges(t), documentCommands(t, service, "service", "3")), append(templates, documentCommands(t, template, "template", "7")...)
}

type tool struct{ Environment }

// help is a command's help text; example has one example a line.
type help struct{ use, short, long, example string }

// console is where a tenant's command writes: results to out, and notes for people to notes.
type console struct {
	*terminal.Console
	notes io.Writer
	// several is true if more than one value is written.
	several bool
}

// value writes a value, on one line of JSON if there are several.
func (c *console) value(v any) error {
	if c.several {
		return c.Line(v)
	}
	return c.Show(v)
}

// command makes a command that calls the API.
func (t tool) command(help help, formats []terminal.Format, args cobra.PositionalArgs, run func(context.Context, *console, *client.Client, []string) error) *cobra.Command {
	cmd := terminal.Command(help.use, help.short, help.long, help.example, args)
	cmd.ValidArgsFunction = cobra.NoFileCompletions
	format := terminal.AddFormat(cmd, formats)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		api, err := t.client(cmd)
		if err != nil {
			return terminal.ExitUsage.Because(err)
		}
		defer api.Close()
		c := &console{Console: terminal.New(cmd.OutOrStdout(), *format), notes: cmd.ErrOrStderr()}
		return coded(run(cmd.Context(), c, api, args))
	}
	cmd.Flags().String("endpoint", "", "`URL` of the API (default ONEFLOW_URL, ~/.one/oneflow_endpoint or http://127.0.0.1:2474)")
	cmd.Flags().String("auth-file", "", "`FILE` with your user:password (default ONE_AUTH or ~/.one/one_auth)")
	return cmd
}

func (t tool) client(cmd *cobra.Command) (*client.Client, error) {
	endpoint, _ := cmd.Flags().GetString("endpoint")
	file, _ := cmd.Flags().GetString("auth-file")
	credentials, err := client.Sources{Endpoint: endpoint, AuthFile: file, Simulated: t.Simulated}.Find()
	if err != nil {
		return nil, err
	}
	return client.New(credentials)
}

var exits = map[int]terminal.Exit{
	http.StatusNotFound:   terminal.ExitNotFound,
	http.StatusBadRequest: terminal.ExitUsage, http.StatusUnprocessableEntity: terminal.ExitUsage, http.StatusRequestEntityTooLarge: terminal.ExitUsage,
	http.StatusTooManyRequests: terminal.ExitUnreachable, http.StatusServiceUnavailable: terminal.ExitUnreachable,
	http.StatusBadGateway: terminal.ExitUnreachable, http.StatusGatewayTimeout: terminal.ExitUnreachable,
}

// coded gives an error of the API the exit status of its kind.
func coded(err error) error {
	if _, known := terminal.ExitOf(err); known || err == nil {
		return err
	}
	if _, away := errors.AsType[*client.UnreachableError](err); away {
		return terminal.ExitUnreachable.Because(err)
	}
	if refused, is := errors.AsType[*client.Error](err); is && exits[refused.Status] != 0 {
		return exits[refused.Status].Because(err)
	}
	return err
}

// A kind is a type of object that commands are about.
type kind struct {
	name, path string
	// listed is the command that lists the objects.
	listed string
	all    func(ctx context.Context, api *client.Client, words string) ([]thing, error)
}

// thing is a service or a template, with the fields that identify it.
type thing struct {
	id          int
	name, about string
}

var (
	service = kind{"service", "/service", "flowjet service list", func(ctx context.Context, api *client.Client, words string) ([]thing, error) {
		var found []thing
		rows, err := api.Services(ctx, words, nil)
		for _, row := range rows {
			found = append(found, thing{row.ID, row.Name, row.State})
		}
		return found, err
	}}
	template = kind{"service template", "/service_template", "flowjet template list", func(ctx context.Context, api *client.Client, _ string) ([]thing, error) {
		var found []thing
		list, err := api.Templates(ctx)
		for _, each := range list {
			found = append(found, thing{each.ID, each.Name, each.Description})
		}
		return found, err
	}}
)

// find returns the id of the object with an id or a name.
func (k kind) find(ctx context.Context, api *client.Client, word string) (int, error) {
	if id, err := strconv.Atoi(word); err == nil && id >= 0 {
		return id, nil
	}
	all, err := k.all(ctx, api, word)
	if err != nil {
		return 0, err
	}
	all = slices.DeleteFunc(all, func(each thing) bool { return each.name != word })
	switch len(all) {
	case 0:
		return 0, terminal.ExitNotFound.Because(fmt.Errorf("there is no %s %q that you may see: `%s` lists them", k.name, word, k.listed))
	case 1:
		return all[0].id, nil
	}
	var ids []string
	for _, each := range all {
		ids = append(ids, strconv.Itoa(each.id))
	}
	return 0, terminal.ExitUsage.Because(fmt.Errorf("%q is the name of several (%s): use the id", word, strings.Join(ids, ", ")))
}

func (k kind) at(id int) string { return fmt.Sprintf("%s/%d", k.path, id) }

// completeWithin bounds how long a completion waits for the API.
const completeWithin = 2 * time.Second

// completion returns what a shell offers for an argument, or for the value of a flag.
type completion func(ctx context.Context, api *client.Client, args []string) []cobra.Completion

// complete asks the API for completions, if there are credentials, and offers nothing else.
func (t tool) complete(offer completion) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		api, err := t.client(cmd)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		defer api.Close()
		ctx, cancel := context.WithTimeout(cmd.Context(), completeWithin)
		defer cancel()
		return offer(ctx, api, args), cobra.ShellCompDirectiveNoFileComp
	}
}

// names offers ids, and the names that could be typed instead.
func (k kind) names(ctx context.Context, api *client.Client, _ []string) []cobra.Completion {
	all, _ := k.all(ctx, api, "") // without an answer nothing is offered
	var offered []cobra.Completion
	for _, each := range all {
		offered = append(offered, cobra.CompletionWithDesc(strconv.Itoa(each.id), strings.TrimSpace(each.name+" "+each.about)))
		if each.name != "" && !strings.ContainsFunc(each.name, func(r rune) bool { return r <= ' ' || r == ':' }) {
			offered = append(offered, cobra.CompletionWithDesc(each.name, fmt.Sprintf("%d %s", each.id, each.about)))
		}
	}
	return offered
}

// arguments offers completions for each argument of a command.
func (t tool) arguments(offers ...completion) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, part string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) >= len(offers) {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		if offers[len(args)] == nil {
			return nil, cobra.ShellCompDirectiveDefault // a file
		}
		return t.complete(offers[len(args)])(cmd, args, part)
	}
}
