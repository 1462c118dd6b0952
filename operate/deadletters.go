package operate

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/flowjet/flowjet/internal/terminal"
	"github.com/flowjet/flowjet/pipeline"
)

// maxDeadLetters is how many dead letters a command reads at most.
const maxDeadLetters = 10_000

const noDeadLetters = "There are no dead letters."

// deadLetterView is a dead letter in JSON. Data is text: it is almost always JSON itself.
type deadLetterView struct {
	pipeline.DeadLetter
	Service int    `json:"service"`
	Data    string `json:"data,omitempty"`
	Retry   bool   `json:"retry"` // reports whether it can be sent again
}

func viewOf(deadLetter pipeline.DeadLetter) deadLetterView {
	return deadLetterView{DeadLetter: deadLetter, Service: deadLetter.Service(), Retry: deadLetter.Origin != ""}
}

func deadLetterList(t tool) *cobra.Command {
	var service serviceFlag
	cmd := t.command(help{
		"ls", "List the dead letters", "Messages that could not be processed, with the reason. They are kept for 30 days.",
		"flowjet dlq ls --service 3",
	}, terminal.ListFormats, cobra.NoArgs,
		func(ctx context.Context, c *terminal.Console, pipe clients, _ []string) error {
			deadLetters, err := pipe.DeadLetters(ctx, maxDeadLetters)
			if err != nil {
				return err
			}
			views := []deadLetterView{}
			for _, deadLetter := range deadLetters {
				if service.wants(deadLetter.Service()) {
					views = append(views, viewOf(deadLetter))
				}
			}
			if len(views) == 0 {
				if err := service.check(ctx, pipe); err != nil {
					return err
				}
			}
			return writeDeadLetters(c, views)
		})
	t.addServiceFlag(cmd, &service, "only those about the service with this `ID`")
	return cmd
}

func writeDeadLetters(c *terminal.Console, views []deadLetterView) error {
	var rows [][]string
	for _, view := range views {
		reason := c.Timed(view.Reason)
		if c.Format != terminal.Wide {
			reason = terminal.Abridged(reason, 100)
		}
		rows = append(rows, []string{strconv.FormatUint(view.Sequence, 10), c.At(view.Time), view.Where, idText(view.Service), reason})
	}
	return c.List(terminal.Listing{
		Value: views, None: noDeadLetters,
		Head: []string{"NUMBER", "TIME", "WHERE", "SERVICE", "REASON"}, Rows: rows,
	})
}

func deadLetterShow(t tool) *cobra.Command {
	cmd := t.command(help{"show NUMBER", "Show a dead letter: its reason and the message", "", "flowjet dlq show 1"}, terminal.ShowFormats, cobra.ExactArgs(1),
		func(ctx context.Context, c *terminal.Console, pipe clients, args []string) error {
			deadLetter, err := findDeadLetter(ctx, pipe, args[0])
			if err != nil {
				return err
			}
			view := viewOf(deadLetter)
			view.Data = string(deadLetter.Data)
			if c.Structured() {
				return c.Show(view)
			}
			c.Title("Dead letter %d", view.Sequence)
			c.Say("from         %s, %s ago", view.Where, c.Ago(view.Time))
			c.Say("reason       %s", c.Timed(view.Reason))
			c.Say("subject      %s", cmp.Or(view.Origin, "-"))
			if view.Retry {
				c.Say("what to do   remove the cause, then `flowjet dlq retry %d`, or `flowjet dlq drop %d`", view.Sequence, view.Sequence)
			} else {
				c.Say("what to do   it cannot be sent again; use `flowjet dlq drop %d` when its cause is known", view.Sequence)
			}
			c.Say("")
			text := view.Data
			var compact bytes.Buffer
			if json.Compact(&compact, deadLetter.Data) == nil {
				text = compact.String()
			}
			c.Say("%s", terminal.Printable(text))
			return nil
		})
	cmd.ValidArgsFunction = t.completing(math.MaxInt, deadLetterNumbers)
	return cmd
}

func findDeadLetter(ctx context.Context, pipe clients, text string) (pipeline.DeadLetter, error) {
	number, err := strconv.ParseUint(text, 10, 64)
	if err != nil || number == 0 {
		return pipeline.DeadLetter{}, terminal.ExitUsage.Because(fmt.Errorf("%q is not the number of a dead letter: `flowjet dlq ls` lists them", text))
	}
	deadLetter, err := pipe.DeadLetterAt(ctx, number)
	if errors.Is(err, pipeline.ErrNotFound) {
		return pipeline.DeadLetter{}, terminal.ExitNotFound.Because(fmt.Errorf("there is no dead letter %d: `flowjet dlq ls` lists them", number))
	}
	return deadLetter, err
}

// outcome is the result for a dead letter.
type outcome struct {
	Sequence uint64 `json:"sequence"`
	Done     bool   `json:"done"`
	Error    string `json:"error,omitempty"`
}

// deadLetterChange makes a command that changes single dead letters, or all, and reports each; it fails if one could not be changed.
func deadLetterChange(t tool, verb, short, long, done string, change func(clients, context.Context, pipeline.DeadLetter) error) *cobra.Command {
	var all bool
	cmd := t.command(help{verb + " NUMBER...", short, long, "flowjet dlq " + verb + " 1 2\nflowjet dlq " + verb + " --all"}, terminal.ShowFormats, func(_ *cobra.Command, args []string) error {
		if all == (len(args) > 0) {
			return terminal.ExitUsage.Because(fmt.Errorf("give the numbers of dead letters, as `flowjet dlq ls` lists them, or --all"))
		}
		return nil
	}, func(ctx context.Context, c *terminal.Console, pipe clients, args []string) error {
		var deadLetters []pipeline.DeadLetter
		if all {
			var err error
			if deadLetters, err = pipe.DeadLetters(ctx, maxDeadLetters); err != nil {
				return err
			}
		}
		for _, text := range args {
			deadLetter, err := findDeadLetter(ctx, pipe, text)
			if err != nil {
				return err
			}
			deadLetters = append(deadLetters, deadLetter)
		}
		outcomes := []outcome{}
		failed := 0
		for _, deadLetter := range deadLetters {
			result := outcome{Sequence: deadLetter.Sequence, Done: true}
			if err := change(pipe, ctx, deadLetter); err != nil {
				result.Done, result.Error = false, err.Error()
				failed++
			}
			outcomes = append(outcomes, result)
			switch {
			case c.Structured():
			case result.Done:
				c.Say("dead letter %d: %s", deadLetter.Sequence, done)
			default:
				c.Say("%s", result.Error)
			}
		}
		err := c.Present(outcomes, func() {
			if len(outcomes) == 0 {
				c.Say(noDeadLetters)
			}
		})
		if err == nil && failed > 0 {
			err = fmt.Errorf("%d of %d dead letters could not be %s", failed, len(deadLetters), done)
		}
		return err
	})
	cmd.Flags().BoolVar(&all, "all", false, "all dead letters")
	cmd.ValidArgsFunction = t.completing(math.MaxInt, deadLetterNumbers)
	return cmd
}

func deadLetterNumbers(ctx context.Context, pipe clients) (numbers []cobra.Completion) {
	deadLetters, _ := pipe.DeadLetters(ctx, 100) // without an answer nothing is offered
	for _, deadLetter := range deadLetters {
		numbers = append(numbers, cobra.CompletionWithDesc(strconv.FormatUint(deadLetter.Sequence, 10), terminal.Abridged(deadLetter.Reason, 60)))
	}
	return numbers
}
