// Package operate has an operator's commands: flowjet status, service, events, commands, dlq and doctor. Each reads NATS,
// and so works while no worker, no API and no oned is running; only `dlq retry` and `dlq drop` change anything.
//
// People get tables, with colours on a terminal only; `-o json` gives scripts the same in JSON, whose fields are stable:
// lists are arrays, and endless output has one object a line.
package operate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/spf13/cobra"

	"github.com/flowjet/flowjet/internal/terminal"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/command"
	"github.com/flowjet/flowjet/pipeline/deadletters"
	"github.com/flowjet/flowjet/pipeline/deliveries"
	"github.com/flowjet/flowjet/pipeline/history"
	"github.com/flowjet/flowjet/pipeline/inspect"
	"github.com/flowjet/flowjet/pipeline/work"
)

// Environment is what a command's configuration leads to. A nil function beside Attach is left out.
type Environment struct {
	// Attach connects to NATS; missing names streams and buckets that do not exist.
	Attach        func(context.Context) (pipe *pipeline.Pipeline, missing []string, err error)
	Refresh       inspect.Refresh             // reads from oned what a service waits for
	Oned          func(context.Context) error // authenticates at oned; OnedTime is the clock of its HTTP server
	OnedTime      func(context.Context) (time.Time, error)
	API           func(context.Context) ([]string, error) // why the OneFlow API is not ready; empty if it is
	Unreadable    func(context.Context) ([]int, error)    // the services whose documents at oned cannot be read
	OnedAt, APIAt string                                  // the addresses of both
	Servers       []string                                // the URLs of the NATS servers, if they are not embedded
	DataDir       string                                  // where the embedded NATS server's files are, if they are on this host
}

// connectWithin is how long a command waits for NATS.
const connectWithin = 5 * time.Second

// Commands returns the commands about single services, and all others of an operator: addFlags adds the flags by which
// environmentOf finds a command's environment.
func Commands(addFlags func(*cobra.Command), environmentOf func(*cobra.Command) (Environment, error)) (services, others []*cobra.Command) {
	t := tool{addFlags, environmentOf}
	deadLetters := terminal.Group("dlq", "List, show, retry and drop dead letters")
	deadLetters.AddCommand(deadLetterList(t), deadLetterShow(t),
		deadLetterChange(t, "retry", "Send dead letters to their origin again, and drop them",
			"Repeating a message is harmless: it wakes a service, or is delivered to a webhook again with the same id.", "sent again", clients.Retry),
		deadLetterChange(t, "drop", "Delete dead letters", "They cannot be restored.", "dropped", clients.Drop))
	return []*cobra.Command{serviceRecords(t), serviceRecord(t), serviceWhy(t), serviceWatch(t), serviceLook(t)},
		[]*cobra.Command{statusCommand(t), topCommand(t), eventsCommand(t), commandsCommand(t), deadLetters, doctorCommand(t)}
}

type tool struct {
	addFlags      func(*cobra.Command)
	environmentOf func(*cobra.Command) (Environment, error)
}

// help is a command's help text, as terminal.Command wants it.
type help struct{ use, short, long, example string }

// command makes a command that reads what NATS holds: run does so once it is connected.
func (t tool) command(help help, formats []terminal.Format, args cobra.PositionalArgs, run func(context.Context, *terminal.Console, clients, []string) error) *cobra.Command {
	cmd := terminal.Command(help.use, help.short, help.long, help.example, args)
	t.addFlags(cmd)
	format := terminal.AddFormat(cmd, formats)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c := terminal.New(cmd.OutOrStdout(), *format)
		pipe, err := t.attach(cmd)
		if err != nil {
			return err
		}
		defer pipe.Close()
		err = run(cmd.Context(), c, pipe, args)
		if ExitOf(err) == terminal.ExitUnreachable {
			err = fmt.Errorf("%w; `flowjet doctor` has more", err)
		}
		return err
	}
	return cmd
}

// aboutService makes a command about the one service whose id, or name, is its argument.
func (t tool) aboutService(help help, run func(ctx context.Context, c *terminal.Console, pipe clients, id int) error) *cobra.Command {
	cmd := t.command(help, terminal.ShowFormats, cobra.ExactArgs(1), func(ctx context.Context, c *terminal.Console, pipe clients, args []string) error {
		id, err := serviceID(args[0])
		if err != nil {
			named := 0
			readErr := pipe.EachRecord(ctx, func(each int, record pipeline.Record) {
				if service := record.State.Service; !record.Deleted && service.Name() == args[0] {
					id, named = each, named+1
				}
			})
			if readErr != nil || named != 1 {
				return cmp.Or(readErr, terminal.ExitUsage.Because(fmt.Errorf("%q is not the id of a service, nor the name of a single one: `flowjet service records` lists them", args[0])))
			}
		}
		return run(ctx, c, pipe, id)
	})
	cmd.ValidArgsFunction = t.completing(1, serviceIDs)
	return cmd
}

// attach connects, and refuses a server on which Flowjet has never run.
func (t tool) attach(cmd *cobra.Command) (clients, error) {
	ctx, cancel := context.WithTimeout(cmd.Context(), connectWithin)
	defer cancel()
	environment, err := t.environmentOf(cmd)
	var pipe *pipeline.Pipeline
	var missing []string
	if err == nil {
		pipe, missing, err = environment.Attach(ctx)
	}
	if ExitOf(err) == terminal.ExitUsage { // doctor could not read the command line or the configuration either
		return clients{}, err
	}
	if err != nil {
		return clients{}, terminal.ExitUnreachable.Because(fmt.Errorf("%w; `flowjet doctor` has more", err))
	}
	if len(missing) > 0 {
		pipe.Close()
		return clients{}, terminal.ExitNotFound.Because(fmt.Errorf("this NATS server lacks %s: Flowjet has not run on it, or has another account; see --nats-url and `flowjet nats provision`", strings.Join(missing, ", ")))
	}
	attached := newClients(pipe)
	attached.refresh, attached.servers = environment.Refresh, environment.Servers
	return attached, nil
}

func serviceID(text string) (int, error) {
	id, err := strconv.Atoi(text)
	if err != nil || id < 0 {
		return 0, terminal.ExitUsage.Because(fmt.Errorf("%q is not the id of a service: `flowjet service records` lists them", text))
	}
	return id, nil
}

// unknownService returns the error for a service that NATS does not know.
func unknownService(id int, err error) error {
	if errors.Is(err, pipeline.ErrNotFound) {
		return terminal.ExitNotFound.Because(fmt.Errorf("there is no service %d, or no worker has processed it yet: `flowjet service records` lists those known", id))
	}
	return err
}

// serviceFlag is the id of the wanted service, -1 for all.
type serviceFlag int

func (t tool) addServiceFlag(cmd *cobra.Command, flag *serviceFlag, usage string) {
	*flag = -1
	cmd.Flags().Func("service", usage, func(text string) error {
		id, err := serviceID(text)
		*flag = serviceFlag(id)
		return err
	})
	_ = cmd.RegisterFlagCompletionFunc("service", t.completing(math.MaxInt, serviceIDs))
}

// wants reports whether entries about the service are wanted.
func (f serviceFlag) wants(service int) bool { return f < 0 || int(f) == service }

// check refuses a service that NATS does not know.
func (f serviceFlag) check(ctx context.Context, pipe clients) error {
	if f < 0 {
		return nil
	}
	_, revision, err := pipe.LoadRecord(ctx, int(f))
	if err != nil || revision > 0 {
		return err
	}
	if last, err := pipe.LastTransition(ctx, int(f)); err != nil || last > 0 {
		return err
	}
	return unknownService(int(f), pipeline.ErrNotFound)
}

// oneOf refuses values that are not among the known ones.
func oneOf(flag string, known []string, values ...string) error {
	for _, value := range values {
		if value != "" && !slices.Contains(known, value) {
			return terminal.ExitUsage.Because(fmt.Errorf("--%s is %q: there are %s", flag, value, strings.Join(known, ", ")))
		}
	}
	return nil
}

// completing completes at most so many arguments, or a flag, from what NATS has, and offers nothing else.
func (t tool) completing(most int, offer func(context.Context, clients) []cobra.Completion) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) >= most {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		pipe, err := t.attach(cmd)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		defer pipe.Close()
		return offer(cmd.Context(), pipe), cobra.ShellCompDirectiveNoFileComp
	}
}

func serviceIDs(ctx context.Context, pipe clients) (ids []cobra.Completion) {
	_ = pipe.EachRecord(ctx, func(id int, record pipeline.Record) {
		if service := record.State.Service; !record.Deleted {
			ids = append(ids, cobra.CompletionWithDesc(strconv.Itoa(id), service.Name()+" "+service.State().String()))
		}
	})
	return ids
}

// clients are the JetStream clients that an operator's commands need.
type clients struct {
	*pipeline.Pipeline // whose data it is
	*inspect.Inspector
	*work.Records
	*history.History
	*command.Commands
	*deadletters.Store
	*deliveries.Deliveries
	refresh inspect.Refresh
	servers []string // the URLs of the NATS servers
}

func newClients(p *pipeline.Pipeline) clients {
	return clients{p, inspect.New(p), work.NewRecords(p), history.New(p), command.New(p), deadletters.New(p), deliveries.New(p), nil, nil}
}

// ExitOf returns the exit status for an error.
func ExitOf(err error) terminal.Exit {
	status, known := terminal.ExitOf(err)
	answer, _ := errors.AsType[*jetstream.APIError](err)
	watched, _ := errors.AsType[*nats.APIError](err) // as watches of buckets return it
	switch {
	case known:
		return status
	case errors.Is(err, pipeline.ErrNotFound):
		return terminal.ExitNotFound
	case errors.Is(err, nats.ErrNoServers), errors.Is(err, nats.ErrNoResponders),
		answer != nil && answer.Code == http.StatusServiceUnavailable, watched != nil && watched.Code == http.StatusServiceUnavailable:
		return terminal.ExitUnreachable
	case errors.Is(err, nats.ErrTimeout), errors.Is(err, context.DeadlineExceeded):
		return terminal.ExitTimeout
	}
	return terminal.ExitFailed
}
