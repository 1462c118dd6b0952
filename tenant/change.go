package tenant

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/flowjet/flowjet/client"
	"github.com/flowjet/flowjet/client/schema"
	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/internal/terminal"
)

// change is a change that a command line requests.
type change struct {
	kind   kind
	id     int
	method string
	path   string
	body   any
	// etag is the expected ETag, if the command has read the object.
	etag string
	// done is the message after it: "role web has 3 VMs".
	done string
	// makes is true if the change creates an object of kind.
	makes bool
	// until is the state that --wait waits for; gone for none that is left.
	until string
	// times is how often the change is made, once if it is 0, and nth counts.
	times, nth int
}

// gone is the state of a deleted service, and the others are those in which waiting ends.
const (
	gone    = "DONE"
	running = "RUNNING"
	warning = "WARNING"
	hold    = "HOLD"
)

// changeFlags are the flags of commands that change something.
type changeFlags struct {
	dryRun, wait bool
	timeout      time.Duration
	key, ifMatch string
}

// can are the features that only some changes have.
type can struct{ plan, wait, match, several bool }

// acting makes a command that changes the object of a kind that its first argument names, as the other arguments request:
// build's change is below that object's path.
func (t tool) acting(k kind, help help, args cobra.PositionalArgs, able can, offers []completion, build func(args []string) (change, error)) *cobra.Command {
	return t.changing(help, args, able, append([]completion{k.names}, offers...), func(ctx context.Context, api *client.Client, args []string) (change, error) {
		asked, err := build(args[1:])
		if err != nil {
			return change{}, err
		}
		asked.kind = k
		asked.id, err = k.find(ctx, api, args[0])
		asked.path = k.at(asked.id) + asked.path
		return asked, err
	})
}

// changing makes a command that changes something. Offers are the shell completions of its arguments.
func (t tool) changing(help help, args cobra.PositionalArgs, able can, offers []completion,
	build func(ctx context.Context, api *client.Client, args []string) (change, error),
) *cobra.Command {
	var flags changeFlags
	if able.several {
		help.long = strings.TrimSpace(help.long + "\n\n" + strings.Fields(help.use)[1] + " can also be a list of ids, such as 1,4..6.")
	}
	cmd := t.command(help, terminal.ChangeFormats, args, func(ctx context.Context, c *console, api *client.Client, args []string) error {
		if err := terminal.AtLeast("timeout", flags.timeout, 0); err != nil {
			return err
		}
		one := func(args []string) error {
			asked, err := build(ctx, api, args)
			if errors.Is(err, errUnchanged) {
				fmt.Fprintln(c.notes, "nothing was changed")
				return nil
			}
			if err != nil {
				return err
			}
			c.several = c.several || asked.times > 1
			for ; err == nil && asked.nth < max(1, asked.times); asked.nth++ {
				err = flags.make(ctx, c, api, asked)
			}
			return err
		}
		if able.several {
			return forEach(ctx, c, args, one)
		}
		return one(args)
	})
	cmd.ValidArgsFunction = t.arguments(offers...)
	set := cmd.Flags()
	set.StringVar(&flags.key, "idempotency-key", "", "requests with the same `KEY` within 24 hours make the change only once")
	if able.plan {
		set.BoolVar(&flags.dryRun, "dry-run", false, "show what would be done, but do not do it")
	}
	if able.wait {
		set.BoolVar(&flags.wait, "wait", false, "wait until the change is done, and fail if the service fails")
		set.DurationVar(&flags.timeout, "timeout", 0, "with --wait: give up after this time; 0 for never")
	}
	if able.match {
		set.StringVar(&flags.ifMatch, "if-match", "", "change it only if it still has the ETag `ETAG`: see show -o wide")
	}
	return cmd
}

type result struct {
	Kind string `json:"kind"`
	ID   int    `json:"id"`
	Name string `json:"name,omitempty"`
	// State is the service's, if it was waited for.
	State string `json:"state,omitempty"`
	// Queued is true if no worker has carried it out yet, Replayed if it was made before with the same key.
	Queued   bool `json:"queued"`
	Replayed bool `json:"replayed"`
}

func (f *changeFlags) make(ctx context.Context, c *console, api *client.Client, asked change) error {
	request := client.Request{Method: asked.method, Path: asked.path, Body: asked.body, Key: f.key, IfMatch: cmp.Or(f.ifMatch, asked.etag)}
	if c.several && f.key != "" { // a key is for one request
		request.Key = fmt.Sprintf("%s-%d-%d", f.key, asked.id, asked.nth)
	}
	if f.dryRun {
		request.Query = url.Values{"dry_run": {"true"}}
	}
	waiting := f.wait && asked.until != "" && !f.dryRun
	limited, cancel := ctx, context.CancelFunc(func() {})
	if waiting && f.timeout > 0 {
		limited, cancel = context.WithTimeout(ctx, f.timeout)
	}
	defer cancel()
	w := &waiter{console: c, api: api, service: asked.id, until: asked.until, begin: asked.makes}
	if waiting && !asked.makes {
		w.follow(limited)
	}
	answer, err := api.Do(ctx, request)
	var refusal *client.Error
	switch {
	case asked.etag != "" && errors.As(err, &refusal) && refusal.Status == http.StatusPreconditionFailed:
		return fmt.Errorf("%s %d was changed by another user meanwhile, and nothing was changed: try again", asked.kind.name, asked.id)
	case err != nil:
		return err
	case f.dryRun:
		return showPlan(c, answer.Body)
	}
	if answer.Warn != "" {
		fmt.Fprintf(c.notes, "warning: %s\n", answer.Warn)
	}
	made := result{Kind: asked.kind.name, ID: asked.id, Replayed: answer.Replayed, Queued: answer.Status == http.StatusAccepted}
	if asked.makes {
		if made.ID, made.Name, err = answer.Made(); err != nil {
			return err
		}
	}
	if waiting {
		made.State, err = w.await(limited, made.ID, answer)
		switch {
		case err != nil && ctx.Err() != nil:
			return fmt.Errorf("waiting was interrupted: the change of service %d continues", made.ID)
		case err != nil && limited.Err() != nil:
			return terminal.ExitTimeout.Because(fmt.Errorf("service %d did not reach %s within %s and continues: `flowjet service show %d` shows what it waits for", made.ID, asked.until, f.timeout, made.ID))
		case err != nil:
			return err
		}
		made.Queued = false
	}
	return c.result(asked, made)
}

func (c *console) result(asked change, made result) error {
	switch {
	case c.Structured():
		return c.value(made)
	case c.Format == terminal.Name:
		c.Say("%d", made.ID)
		return nil
	}
	if made.ID < 0 {
		c.Say("%s", asked.done)
		return nil
	}
	what := fmt.Sprintf("%s %d", made.Kind, made.ID)
	if made.Name != "" {
		what += " (" + terminal.Printable(made.Name) + ")"
	}
	done := asked.done
	switch {
	case made.Queued:
		done = "it is queued: no worker has executed it yet (--wait waits for it)"
	case made.State == gone:
		done = "it is gone"
	case made.State == hold:
		done = fmt.Sprintf("it is %s: `flowjet service release %d` starts its VMs", c.State(hold), made.ID)
	case made.State != "":
		done = "it is " + c.State(made.State)
	}
	if made.Replayed {
		done += " (requested before with the same key)"
	}
	c.Say("%s: %s", what, done)
	return nil
}

// maxSeveral bounds how many ids a list can have.
const maxSeveral = 1000

// listText is a list of ids and ranges, as in OpenNebula's commands.
var listText = regexp.MustCompile(`^\d{1,9}(\.\.\d{1,9})?(,\d{1,9}(\.\.\d{1,9})?)*$`)

// idsOf returns the ids of a list such as 1,4..6. Every other word is one name.
func idsOf(word string) ([]string, error) {
	if !listText.MatchString(word) {
		return []string{word}, nil
	}
	var ids []string
	for _, part := range strings.Split(word, ",") {
		first, last, _ := strings.Cut(part, "..")
		from, _ := strconv.Atoi(first)
		to, _ := strconv.Atoi(cmp.Or(last, first))
		if from > to || to-from >= maxSeveral-len(ids) {
			return nil, terminal.ExitUsage.Because(fmt.Errorf("%q must be a list of at most %d ids, such as 1,4..6", word, maxSeveral))
		}
		for id := from; id <= to; id++ {
			if text := strconv.Itoa(id); !slices.Contains(ids, text) { // a second change of the same would fail, or act again
				ids = append(ids, text)
			}
		}
	}
	return ids, nil
}

// forEach changes each of a list of ids. It continues after one that is refused, and fails at the end.
func forEach(ctx context.Context, c *console, args []string, one func(args []string) error) error {
	ids, err := idsOf(args[0])
	if err != nil {
		return err
	}
	if len(ids) == 1 {
		return one(append(ids, args[1:]...))
	}
	c.several = true
	var statuses []terminal.Exit // of those that failed
	for _, id := range ids {
		if ctx.Err() != nil { // interrupted after a change: the others are not made
			return ctx.Err()
		}
		if err := one(append([]string{id}, args[1:]...)); err != nil && ctx.Err() != nil {
			return err
		} else if err != nil {
			terminal.Error(c.notes, err)
			status, _ := terminal.ExitOf(coded(err))
			statuses = append(statuses, status)
		}
	}
	if len(statuses) == 0 {
		return nil
	}
	err = fmt.Errorf("%d of %d changes failed", len(statuses), len(ids))
	if len(statuses) == len(ids) && len(slices.Compact(statuses)) == 1 {
		return statuses[0].Because(err) // as for one id
	}
	return err
}

func showPlan(c *console, text []byte) error {
	if c.Structured() {
		return c.value(json.RawMessage(text))
	}
	var plan schema.Plan
	if err := json.Unmarshal(text, &plan); err != nil {
		return fmt.Errorf("read the plan: %w", err)
	}
	c.Say("Nothing was changed. This would be done:")
	for i, step := range plan.Steps {
		when := "at once"
		if step.WaitsFor != "" {
			when = "when " + terminal.Abridged(step.WaitsFor, mostShown)
		}
		c.Say("%2d  %s", i+1, terminal.Printable(when))
		for _, change := range step.Changes {
			if change.Kind == "vm" {
				continue // the step before has created or ended it
			}
			c.Say("      %s", c.Change(change))
		}
		for _, action := range step.Actions {
			c.Say("      %s", terminal.Printable(inWords(action)))
		}
	}
	if !plan.Complete {
		c.Say("Further steps depend on the outcome, or are too many to be planned ahead.")
		return nil
	}
	end := "it is " + c.State(plan.EndsIn)
	if plan.EndsIn == gone {
		end = "the service is gone"
	}
	c.Say("Then %s.", end)
	return nil
}

// inWords describes a plan's action.
func inWords(a schema.PlanAction) string {
	vm := cmp.Or(a.Name, fmt.Sprintf("VM %d", a.VM))
	switch {
	case a.Do == flow.ActionCreateVM && a.OnHold:
		return "create " + vm + " on hold"
	case a.Do == flow.ActionVM:
		return a.Call + " " + vm
	}
	if text, known := map[flow.ActionKind]string{
		flow.ActionCreateVM: "create " + vm, flow.ActionRecoverVM: "recover " + vm, flow.ActionDeleteDocument: "remove the service",
		flow.ActionCreateNetwork: "create network " + a.Network, flow.ActionDeleteNetwork: "delete network " + a.Network,
		flow.ActionCreateRouter: "create the virtual router of role " + a.Role, flow.ActionDeleteRouter: "delete the virtual router of role " + a.Role,
	}[a.Do]; known {
		return text
	}
	return strings.ReplaceAll(string(a.Do), "_", " ")
}

// mostShown is how much is shown of a line of conditions, errors or roles.
const mostShown = 161
