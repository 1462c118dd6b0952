package terminal

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// Format is how a command writes what it found: the value of -o.
type Format string

// The formats. Wide is a table with more columns, Name the ids alone, a line each.
const (
	Table Format = "table"
	Wide  Format = "wide"
	Name  Format = "name"
	JSON  Format = "json"
	YAML  Format = "yaml"
)

// The formats of commands that list something, that show one thing, and that change one.
var (
	ListFormats   = []Format{Table, Wide, Name, JSON, YAML}
	ShowFormats   = []Format{Table, JSON, YAML}
	ChangeFormats = []Format{Table, Name, JSON, YAML}
)

// formatFlag is -o: one of those that the command has.
type formatFlag struct {
	*Format
	known []string
}

// Type is pflag.Value's.
func (formatFlag) Type() string { return "FORMAT" }

// String is pflag.Value's.
func (f formatFlag) String() string { return string(*f.Format) }

// Set is pflag.Value's.
func (f formatFlag) Set(text string) error {
	if !slices.Contains(f.known, text) {
		return fmt.Errorf("%q is not one of %s", text, strings.Join(f.known, ", "))
	}
	*f.Format = Format(text)
	return nil
}

// AddFormat gives a command the flag -o and returns where its value is.
func AddFormat(cmd *cobra.Command, known []Format) *Format {
	var names []cobra.Completion
	for _, each := range known {
		names = append(names, string(each))
	}
	format := Table
	cmd.Flags().VarP(formatFlag{&format, names}, "output", "o", "output format: "+strings.Join(names, ", "))
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(names, cobra.ShellCompDirectiveNoFileComp))
	return &format
}

// Command is a command with what it says about itself; long goes on behind short, example is a line each.
func Command(use, short, long, example string, args cobra.PositionalArgs) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, Long: strings.TrimSpace(short + ".\n\n" + long), Example: Example(example), Args: args}
}

// Example is a command's examples, given as lines, as its help has them.
func Example(lines string) string {
	return "  " + strings.ReplaceAll(lines, "\n", "\n  ")
}

// Group is a command that only holds others. A wrong one is an error, and not a reason to show the help and to succeed.
func Group(use, short string) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			cmd.SuggestionsMinimumDistance = 2
			if meant := cmd.SuggestionsFor(args[0]); len(meant) > 0 {
				return ExitUsage.Because(fmt.Errorf("%s has no command %q; did you mean `%s %s`?", cmd.CommandPath(), args[0], cmd.CommandPath(), meant[0]))
			}
			return ExitUsage.Because(fmt.Errorf("%s has no command %q; `%s --help` lists all", cmd.CommandPath(), args[0], cmd.CommandPath()))
		},
	}
}

// Exit is the status with which a command ends that has failed: scripts tell by it what to do next.
type Exit int

// The statuses. 0 is success.
const (
	ExitFailed      Exit = iota + 1 // for everything that has no status of its own
	ExitUsage                       // for a wrong command line, configuration or file
	ExitNotFound                    // for a service, template, command or dead letter that is not there
	ExitUnreachable                 // for NATS, oned or an API that does not answer
	ExitTimeout                     // for something that has not come within the time given
	ExitTrouble                     // for trouble that was looked for and found
)

type exitError struct {
	error
	status Exit
}

func (e exitError) Unwrap() error { return e.error }

// Because is err with the status.
func (e Exit) Because(err error) error {
	if err == nil {
		return nil
	}
	return exitError{err, e}
}

// ExitOf returns the status that an error was given; false for an error without one.
func ExitOf(err error) (Exit, bool) {
	if known, is := errors.AsType[exitError](err); is {
		return known.status, true
	}
	return ExitFailed, false
}
