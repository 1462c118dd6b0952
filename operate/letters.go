package operate

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/flowjet/flowjet/internal/terminal"
	"github.com/flowjet/flowjet/pipeline"
)

// maxLetters is how many dead letters a command looks at.
const maxLetters = 10_000

// letterView is a dead letter in JSON. Data is text: what is kept of a letter is almost always JSON itself.
type letterView struct {
	pipeline.DeadLetter
	Service int    `json:"service"`
	Data    string `json:"data,omitempty"`
	Retry   bool   `json:"retry"` // reports whether it can be sent again
}

func viewOf(letter pipeline.DeadLetter) letterView {
	return letterView{DeadLetter: letter, Service: letter.Service(), Retry: letter.Origin != ""}
}

func letterList(t tool) *cobra.Command {
	var service serviceFlag
	cmd := t.command(help{
		"ls", "List the dead letters", "Messages that could not be processed, with the reason. They are kept for 30 days.",
		"flowjet dlq ls --service 3",
	}, terminal.ListFormats, cobra.NoArgs,
		func(ctx context.Context, c *terminal.Console, pipe clients, _ []string) error {
			letters, err := pipe.DeadLetters(ctx, maxLetters)
			if err != nil {
				return err
			}
			views := []letterView{}
			for _, letter := range letters {
				if service.wants(letter.Service()) {
					views = append(views, viewOf(letter))
				}
			}
			if len(views) == 0 {
				if err := service.check(ctx, pipe); err != nil {
					return err
				}
			}
			return writeLetters(c, views)
		})
	t.addServiceFlag(cmd, &service, "only those about the service")
	return cmd
}

func writeLetters(c *terminal.Console, views []letterView) error {
	var rows [][]string
	for _, view := range views {
		service := "-"
		if view.Service >= 0 {
			service = strconv.Itoa(view.Service)
		}
		reason := c.Timed(view.Reason)
		if c.Format != terminal.Wide {
			reason = abridged(reason, 100)
		}
		rows = append(rows, []string{strconv.FormatUint(view.Sequence, 10), c.At(view.Time), view.Where, service, reason})
	}
	return c.List(terminal.Listing{
		Value: views, None: "There are no dead letters.",
		Head: []string{"NUMBER", "TIME", "WHERE", "SERVICE", "REASON"}, Rows: rows,
	})
}

func letterShow(t tool) *cobra.Command {
	cmd := t.command(help{"show NUMBER", "Show a dead letter: its reason and the message", "", "flowjet dlq show 1"}, terminal.ShowFormats, cobra.ExactArgs(1),
		func(ctx context.Context, c *terminal.Console, pipe clients, args []string) error {
			letter, err := findLetter(ctx, pipe, args[0])
			if err != nil {
				return err
			}
			view := viewOf(letter)
			view.Data = string(letter.Data)
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
			if json.Compact(&compact, letter.Data) == nil {
				text = compact.String()
			}
			c.Say("%s", terminal.Printable(text))
			return nil
		})
	cmd.ValidArgsFunction = t.letterNumbers
	return cmd
}

func findLetter(ctx context.Context, pipe clients, text string) (pipeline.DeadLetter, error) {
	number, err := strconv.ParseUint(text, 10, 64)
	if err != nil || number == 0 {
		return pipeline.DeadLetter{}, terminal.ExitUsage.Because(fmt.Errorf("%q is not the number of a dead letter: `flowjet dlq ls` lists them", text))
	}
	letter, err := pipe.DeadLetterAt(ctx, number)
	if errors.Is(err, pipeline.ErrNotFound) {
		return pipeline.DeadLetter{}, terminal.ExitNotFound.Because(fmt.Errorf("there is no dead letter %d: `flowjet dlq ls` lists them", number))
	}
	return letter, err
}

// outcome is what became of a dead letter.
type outcome struct {
	Sequence uint64 `json:"sequence"`
	Done     bool   `json:"done"`
	Error    string `json:"error,omitempty"`
}

// letterChange makes a command that changes single letters, or all, and tells of each; it fails if one could not be changed.
func letterChange(t tool, verb, short, long, done string, change func(context.Context, clients, pipeline.DeadLetter) error) *cobra.Command {
	var all bool
	cmd := t.command(help{verb + " NUMBER...", short, long, "flowjet dlq " + verb + " 1 2\nflowjet dlq " + verb + " --all"}, terminal.ShowFormats, func(_ *cobra.Command, args []string) error {
		if all == (len(args) > 0) {
			return terminal.ExitUsage.Because(fmt.Errorf("give the numbers of dead letters, as `flowjet dlq ls` lists them, or --all"))
		}
		return nil
	}, func(ctx context.Context, c *terminal.Console, pipe clients, args []string) error {
		var letters []pipeline.DeadLetter
		if all {
			var err error
			if letters, err = pipe.DeadLetters(ctx, maxLetters); err != nil {
				return err
			}
		}
		for _, text := range args {
			letter, err := findLetter(ctx, pipe, text)
			if err != nil {
				return err
			}
			letters = append(letters, letter)
		}
		outcomes := []outcome{}
		failed := 0
		for _, letter := range letters {
			result := outcome{Sequence: letter.Sequence, Done: true}
			if err := change(ctx, pipe, letter); err != nil {
				result.Done, result.Error = false, err.Error()
				failed++
			}
			outcomes = append(outcomes, result)
			switch {
			case c.Structured():
			case result.Done:
				c.Say("dead letter %d: %s", letter.Sequence, done)
			default:
				c.Say("%s", result.Error)
			}
		}
		if c.Structured() {
			if err := c.Show(outcomes); err != nil {
				return err
			}
		}
		if failed > 0 {
			return fmt.Errorf("%d of %d dead letters could not be %s", failed, len(letters), done)
		}
		return nil
	})
	cmd.Flags().BoolVar(&all, "all", false, "all dead letters")
	cmd.ValidArgsFunction = t.letterNumbers
	return cmd
}

func (t tool) letterNumbers(cmd *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	pipe, err := t.attach(cmd)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer pipe.Close()
	letters, _ := pipe.DeadLetters(cmd.Context(), 100)
	var numbers []cobra.Completion
	for _, letter := range letters {
		numbers = append(numbers, cobra.CompletionWithDesc(strconv.FormatUint(letter.Sequence, 10), abridged(letter.Reason, 60)))
	}
	return numbers, cobra.ShellCompDirectiveNoFileComp
}
