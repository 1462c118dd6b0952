package main

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/flowjet/flowjet/app"
	"github.com/flowjet/flowjet/internal/terminal"
)

// holdsCommands has a command that only holds others refuse what is none of them:
// by itself it would show its help and succeed.
func holdsCommands(cmd *cobra.Command) {
	cmd.Args = cobra.NoArgs
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
}

// refuseStrangers does so for what cobra adds by itself.
func refuseStrangers(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, cmd := range root.Commands() {
		switch cmd.Name() {
		case "completion":
			holdsCommands(cmd)
		case "help":
			cmd.Run = nil
			cmd.RunE = func(_ *cobra.Command, words []string) error {
				found, rest, err := root.Find(words)
				if err != nil || len(rest) > 0 {
					return fmt.Errorf("unknown command %q for %q", strings.Join(words, " "), root.Name())
				}
				return found.Help()
			}
		}
	}
}

var (
	unknownCommand = regexp.MustCompile(`^unknown command "([^"]*)" for "([^"]*)"`)
	wrongCount     = regexp.MustCompile(`^(accepts|requires) `)
)

// helpful words what cobra says of a wrong command line for people, with what was
// perhaps meant, or where it is told.
func helpful(cmd *cobra.Command, err error) error {
	if err == nil {
		return nil
	}
	var unknownFlag *pflag.NotExistError
	var badValue *pflag.InvalidValueError
	var noValue *pflag.ValueRequiredError
	switch words := unknownCommand.FindStringSubmatch(err.Error()); {
	case words != nil:
		return terminal.ExitUsage.Because(unknown(cmd, words[1]))
	case errors.As(err, &unknownFlag):
		return terminal.ExitUsage.Because(fmt.Errorf("%w%s", err, flagMeant(cmd, unknownFlag.GetSpecifiedName())))
	case wrongCount.MatchString(err.Error()):
		return terminal.ExitUsage.Because(fmt.Errorf("it is `flowjet %s`; see `%s --help`", strings.TrimPrefix(cmd.UseLine(), cmd.Root().Name()+" "), cmd.CommandPath()))
	case errors.As(err, &badValue):
		return terminal.ExitUsage.Because(wrongValue(err, badValue))
	case errors.As(err, &noValue):
		return terminal.ExitUsage.Because(err)
	}
	return err
}

// wrongValue words what is wrong with a flag's value without the words of Go's parsers.
func wrongValue(err error, bad *pflag.InvalidValueError) error {
	if better := app.FlagError(err); better != err { //nolint:errorlint // it is the same one, or another
		return better
	}
	said := map[string]string{
		"int": "must be a whole number", "uint": "must be a whole number, 0 or more", "uint64": "must be a whole number, 0 or more",
		"duration": "must be a time with its unit, such as 30s, 5m or 24h", "bool": "must be true or false", "float64": "must be a number",
	}[bad.GetFlag().Value.Type()]
	if said == "" {
		return fmt.Errorf("--%s: %w", bad.GetFlag().Name, errors.Unwrap(bad))
	}
	return fmt.Errorf("--%s is %q: it %s", bad.GetFlag().Name, bad.GetValue(), said)
}

// unknown says what a command does not know.
func unknown(cmd *cobra.Command, word string) error {
	for !cmd.HasAvailableSubCommands() && cmd.HasParent() && cmd.Name() == "help" {
		cmd = cmd.Parent()
	}
	if !cmd.HasAvailableSubCommands() {
		return fmt.Errorf("`%s` takes no argument %q, only flags: see `%s --help`", cmd.CommandPath(), word, cmd.CommandPath())
	}
	cmd.SuggestionsMinimumDistance = 2
	if meant := cmd.SuggestionsFor(word); len(meant) > 0 {
		return fmt.Errorf("unknown command %q; did you mean `%s %s`?", word, cmd.CommandPath(), meant[0])
	}
	return fmt.Errorf("unknown command %q; `%s --help` lists all", word, cmd.CommandPath())
}

// flagMeant names the flag that was perhaps meant.
func flagMeant(cmd *cobra.Command, given string) string {
	if refusal := app.FormerFlag(given); refusal != "" {
		return "; " + refusal
	}
	var known []string
	cmd.Flags().VisitAll(func(flag *pflag.Flag) { known = append(known, flag.Name) })
	if meant := app.Nearest(given, known); meant != "" {
		return fmt.Sprintf("; did you mean --%s?", meant)
	}
	return fmt.Sprintf("; `%s --help` lists all", cmd.CommandPath())
}
