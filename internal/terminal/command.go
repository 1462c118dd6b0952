package terminal

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// Format is the form of a command's output: the value of -o.
type Format string

// The formats. Wide is a table with more columns, Name the ids alone, a line each.
const (
	Table Format = "table"
	Wide  Format = "wide"
	Name  Format = "name"
	JSON  Format = "json"
	YAML  Format = "yaml"
)

// The formats of commands that list objects, that show one, and that change one.
var (
	ListFormats   = []Format{Table, Wide, Name, JSON, YAML}
	ShowFormats   = []Format{Table, JSON, YAML}
	ChangeFormats = []Format{Table, Name, JSON, YAML}
)

// formatFlag is -o: one of the command's formats.
type formatFlag struct {
	*Format
	known []string
}

// Type implements pflag.Value.
func (formatFlag) Type() string { return "FORMAT" }

// String implements pflag.Value.
func (f formatFlag) String() string { return string(*f.Format) }

// Set implements pflag.Value.
func (f formatFlag) Set(text string) error {
	if !slices.Contains(f.known, text) {
		return fmt.Errorf("%q is not one of %s", text, strings.Join(f.known, ", "))
	}
	*f.Format = Format(text)
	return nil
}

// AddFormat gives a command the flag -o and returns its value.
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

// Command returns a command with its help; long follows short, and example has one example a line.
func Command(use, short, long, example string, args cobra.PositionalArgs) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, Long: strings.TrimSpace(short + ".\n\n" + long), Example: Example(example), Args: args}
}

// Example returns a command's examples, given as lines, in the form for its help.
func Example(lines string) string {
	return "  " + strings.ReplaceAll(lines, "\n", "\n  ")
}

// Group returns a command that only holds others. An unknown one is an error, instead of showing the help and succeeding.
func Group(use, short string) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
}

// Exit is the exit status of a command that has failed: scripts use it to decide what to do next.
type Exit int

// The statuses. 0 is success.
const (
	ExitFailed      Exit = iota + 1 // for every other error
	ExitUsage                       // for a wrong command line, configuration or file
	ExitNotFound                    // for a service, template, command or dead letter that does not exist
	ExitUnreachable                 // for NATS, oned or an API that does not answer
	ExitTimeout                     // for a wait that has timed out
	ExitTrouble                     // for problems found by a check
)

type exitError struct {
	error
	status Exit
}

func (e exitError) Unwrap() error { return e.error }

// Because returns err with the status.
func (e Exit) Because(err error) error {
	if err == nil {
		return nil
	}
	return exitError{err, e}
}

// AtLeast refuses a flag's value that is below the lowest possible one.
func AtLeast[N int | time.Duration](flag string, value, lowest N) error {
	if value < lowest {
		return ExitUsage.Because(fmt.Errorf("--%s is %v: it must be %v or more", flag, value, lowest))
	}
	return nil
}

// ExitOf returns the status that an error was given; false for an error without one.
func ExitOf(err error) (Exit, bool) {
	if known, is := errors.AsType[exitError](err); is {
		return known.status, true
	}
	return ExitFailed, false
}
