package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/flowjet/flowjet/app"
)

// helpWidth is how many columns help takes.
const helpWidth = 100

// moreOptions ends the help of commands that take the options of Flowjet.
const moreOptions = "Each flag can also be set by the environment variable in parentheses, or in the file of --config. `flowjet help options` lists " +
	"all options."

// addGroup adds commands under a heading of their own.
func addGroup(parent *cobra.Command, id, title string, commands ...*cobra.Command) {
	parent.AddGroup(&cobra.Group{ID: id, Title: title})
	for _, command := range commands {
		command.GroupID = id
	}
	parent.AddCommand(commands...)
}

// dress gives all commands the same look: lines that fit a terminal, and a hint where the
// help topics are.
func dress(root *cobra.Command) {
	root.SetUsageTemplate(strings.ReplaceAll(root.UsageTemplate(), ".FlagUsages", fmt.Sprintf(".FlagUsagesWrapped %d", helpWidth)))
	eachCommand(root, func(cmd *cobra.Command) {
		if cmd.Name() != "options" && !strings.Contains(cmd.CommandPath(), "completion") {
			cmd.Long = wrapped(cmd.Long, helpWidth)
		}
	})
}

func eachCommand(cmd *cobra.Command, do func(*cobra.Command)) {
	do(cmd)
	for _, inner := range cmd.Commands() {
		eachCommand(inner, do)
	}
}

// wrapped breaks the paragraphs of a text into lines of at most so many characters.
func wrapped(text string, width int) string {
	paragraphs := strings.Split(text, "\n\n")
	for i, paragraph := range paragraphs {
		var lines []string
		line := ""
		for _, word := range strings.Fields(paragraph) {
			if line != "" && len(line)+1+len(word) > width {
				lines, line = append(lines, line), ""
			}
			line = strings.TrimPrefix(line+" "+word, " ")
		}
		paragraphs[i] = strings.Join(append(lines, line), "\n")
	}
	return strings.Join(paragraphs, "\n\n")
}

// newOptionsTopic is the help topic that lists all options.
func newOptionsTopic() *cobra.Command {
	return &cobra.Command{
		Use:   "options",
		Short: "All options of the commands that run Flowjet and of those over NATS",
		Long: "All options. Each is a flag, an environment variable, and a key in the file of --config: --nats-listen is\n" +
			"FLOWJET_NATS_LISTEN and, under `nats:`, `listen:`. The flag overrides the variable, the variable overrides the file.\n" +
			"docs/configuration.md has the keys.\n\n" + strings.TrimRight(app.DescribeOptions(helpWidth), "\n"),
	}
}
