package terminal

import (
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
	known []Format
}

// Type is pflag.Value's.
func (formatFlag) Type() string { return "FORMAT" }

// String is pflag.Value's.
func (f formatFlag) String() string { return string(*f.Format) }

// Set is pflag.Value's.
func (f formatFlag) Set(text string) error {
	if !slices.Contains(f.known, Format(text)) {
		return fmt.Errorf("%q is not one of %s", text, join(f.known))
	}
	*f.Format = Format(text)
	return nil
}

func join(formats []Format) string {
	var names []string
	for _, format := range formats {
		names = append(names, string(format))
	}
	return strings.Join(names, ", ")
}

// AddFormat gives a command the flag -o and returns where its value is.
func AddFormat(cmd *cobra.Command, known []Format) *Format {
	format := Table
	cmd.Flags().VarP(formatFlag{&format, known}, "output", "o", "output format: "+join(known))
	var names []cobra.Completion
	for _, each := range known {
		names = append(names, string(each))
	}
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

// Group is a command that only holds others. A wrong one is an error, and not a
// reason to show the help and to succeed.
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
