// Command flowjet runs Flowjet: `flowjet up` everything in one process, `flowjet demo` a tour of it, `flowjet replay` a recording
// of hook events.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
	"github.com/spf13/pflag"

	"github.com/flowjet/flowjet/app"
	"github.com/flowjet/flowjet/internal/systemd"
	"github.com/flowjet/flowjet/internal/terminal"
	"github.com/flowjet/flowjet/operate"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/tenant"
)

// version is set by the build.
var version = "dev"

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := newRoot()
	out := &terminal.Output{File: os.Stdout}
	root.SetOut(out)
	cmd, err := root.ExecuteContextC(ctx)
	if err = helpful(cmd, cmp.Or(err, out.Err)); err != nil && !errors.Is(err, context.Canceled) {
		terminal.Error(os.Stderr, err)
		if errors.Is(err, app.ErrRefused) {
			systemd.Hold(ctx, err, 30*time.Second) // the units restart each process after a second
		}
		return int(operate.ExitOf(err))
	}
	return 0
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use: "flowjet", Short: "Flowjet runs OpenNebula's multi-VM services on NATS JetStream",
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
		// An error is one line.
		DisableSuggestions: true,
	}
	ofServices, ofOperators := newOperatorCommands()
	addGroup(root, "tenant", "Over the API, as yourself:", newTenantCommands(ofServices)...)
	addGroup(root, "operate", "Over NATS, for operators:", ofOperators...)
	addGroup(root, "run", "To run Flowjet:", newRunners()...)
	config := terminal.Group("config", "Check a configuration, or convert OneFlow's")
	config.AddCommand(newConfigCheck(), newConfigImport())
	addGroup(root, "install", "To set it up:", config, newMigrate())
	addGroup(root, "try", "To try it, with a simulated OpenNebula:", newDemo(), newCluster(), newReplay(),
		newRunner("sim", "Run the simulated OpenNebula", "Run the simulated OpenNebula alone, for other processes to use.",
			"flowjet sim --data-dir sim-data --sim-boot-delay 1s", only(app.PartSim)))
	root.AddCommand(newMan(), newOptionsTopic())
	refuseStrangers(root)
	// All commands look alike: their lines fit a terminal.
	root.SetUsageTemplate(strings.ReplaceAll(root.UsageTemplate(), ".FlagUsages", fmt.Sprintf(".FlagUsagesWrapped %d", helpWidth)))
	eachCommand(root, func(cmd *cobra.Command) {
		if cmd.Name() != "options" && !strings.Contains(cmd.CommandPath(), "completion") {
			cmd.Long = wrapped(cmd.Long, helpWidth)
		}
	})
	return root
}

// newTenantCommands returns a user's commands, over the API. Operators' commands about single services are in the same
// group, under their own heading.
func newTenantCommands(ofOperators []*cobra.Command) []*cobra.Command {
	services, templates := tenant.Commands(tenant.Environment{Simulated: app.SimulatedUser()})
	service := terminal.Group("service", "Create, list, show, change, explain and end services")
	service.Long = service.Short + ".\n\nThe commands over the API are for every user, with OpenNebula's credentials and rights. Those over NATS see all services, also " +
		"while oned and every API are away; they need the keys of an operator."
	addGroup(service, "tenant", "Over the API, as yourself:", services...)
	addGroup(service, "operate", "Over NATS, for operators:", ofOperators...)
	template := terminal.Group("template", "Create, list, show, change and instantiate service templates")
	addGroup(template, "tenant", "Over the API, as yourself:", templates...)
	return []*cobra.Command{service, template}
}

// newOperatorCommands returns an operator's commands. They have the same options and the same configuration file as the
// parts, and find everything as the parts do.
func newOperatorCommands() (services, others []*cobra.Command) {
	addFlags := func(cmd *cobra.Command) {
		app.AddReadFlags(cmd.Flags())
		addConfigFlag(cmd, new(string), true)
	}
	return operate.Commands(addFlags, func(cmd *cobra.Command) (operate.Environment, error) {
		path, _ := cmd.Flags().GetString("config")
		config, err := readConfig(path, cmd)
		around := operate.Environment{
			Attach: func(ctx context.Context) (*pipeline.Pipeline, []string, error) {
				return config.Attach(ctx, pipeline.Config{Role: pipeline.RoleOperator, Name: cmd.CommandPath()})
			},
			Refresh: config.Refresh, Oned: config.AskOned, OnedTime: config.OnedTime, API: config.AskAPI, Unreadable: config.UnreadableServices,
			OnedAt: strings.Join(config.One.XMLRPC, ", "), APIAt: config.APIAddress(),
		}
		if around.Servers = strings.FieldsFunc(config.NATS.URL, func(r rune) bool { return r == ',' || r == ' ' }); len(around.Servers) == 0 {
			around.DataDir = config.DataDir
		}
		return around, err
	})
}

// readConfig reads the configuration; an error in it is the caller's fault.
func readConfig(path string, cmd *cobra.Command) (app.Config, error) {
	config, err := app.ReadConfig(path, cmd.Flags())
	return config, terminal.ExitUsage.Because(err)
}

// addConfigFlag adds --config. Commands that run Flowjet name the file; those that only read default to the packages' file.
func addConfigFlag(cmd *cobra.Command, path *string, reads bool) {
	value, usage := "", "YAML configuration `FILE`"
	if reads {
		usage += " (default " + packagedConfig + " where there is one)"
		if _, err := os.Stat(packagedConfig); err == nil {
			value = packagedConfig
		}
	}
	cmd.Flags().StringVar(path, "config", value, usage)
	cmd.Flags().Lookup("config").DefValue = "" // the help is the same on every host
}

const packagedConfig = "/etc/flowjet/flowjet.yaml"

// refuseStrangers makes the commands that cobra adds refuse unknown words, as those of terminal.Group do.
func refuseStrangers(root *cobra.Command) {
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	for _, cmd := range root.Commands() {
		switch cmd.Name() {
		case "completion":
			cmd.Args, cmd.RunE = cobra.NoArgs, func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
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

// helpful rewords cobra's error for a wrong command line, with the likely correction, or where to find it.
func helpful(cmd *cobra.Command, err error) error {
	if err == nil {
		return nil
	}
	return cmp.Or(terminal.ExitUsage.Because(reworded(cmd, err)), err)
}

// reworded returns nil for an error that is not the command line's fault.
func reworded(cmd *cobra.Command, err error) error {
	if words := unknownCommand.FindStringSubmatch(err.Error()); words != nil {
		return unknown(cmd, words[1])
	}
	if wrongCount.MatchString(err.Error()) {
		return fmt.Errorf("it is `flowjet %s`; see `%s --help`", strings.TrimPrefix(cmd.UseLine(), cmd.Root().Name()+" "), cmd.CommandPath())
	}
	if flag, is := errors.AsType[*pflag.NotExistError](err); is {
		if refusal := app.Former(flag.GetSpecifiedName()); refusal != "" {
			return fmt.Errorf("%w; %s", err, refusal)
		}
		var known []string
		cmd.Flags().VisitAll(func(flag *pflag.Flag) { known = append(known, flag.Name) })
		if meant := app.Nearest(flag.GetSpecifiedName(), known); meant != "" {
			return fmt.Errorf("%w; did you mean --%s?", err, meant)
		}
		return fmt.Errorf("%w; `%s --help` lists all", err, cmd.CommandPath())
	}
	if bad, is := errors.AsType[*pflag.InvalidValueError](err); is {
		if better := app.FlagError(err); better != err { //nolint:errorlint // the same error, or a better one
			return better
		}
		// Drop the words of Go's parsers.
		said := map[string]string{
			"int": "must be a whole number", "uint": "must be a whole number, 0 or more", "uint64": "must be a whole number, 0 or more",
			"duration": "must be a time with its unit, such as 30s, 5m or 24h", "bool": "must be true or false", "float64": "must be a number",
		}[bad.GetFlag().Value.Type()]
		if said == "" {
			return fmt.Errorf("--%s: %w", bad.GetFlag().Name, errors.Unwrap(bad))
		}
		return fmt.Errorf("--%s is %q: it %s", bad.GetFlag().Name, bad.GetValue(), said)
	}
	if _, is := errors.AsType[*pflag.ValueRequiredError](err); is {
		return err
	}
	return nil
}

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

const helpWidth = 100

// moreOptions ends the help of commands with Flowjet's options.
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

// newOptionsTopic returns the help topic that lists all options.
func newOptionsTopic() *cobra.Command {
	return &cobra.Command{
		Use: "options", Short: "All options of the commands that run Flowjet and of those over NATS",
		Long: "All options. Each is a flag, an environment variable, and a key in the file of --config: --nats-listen is\n" +
			"FLOWJET_NATS_LISTEN and, under `nats:`, `listen:`. The flag overrides the variable, the variable overrides the file.\n" +
			"docs/configuration.md has the keys.\n\n" + strings.TrimRight(app.DescribeOptions(helpWidth), "\n"),
	}
}

// newMan returns the command that writes manual pages, for packages: `make man` calls it.
func newMan() *cobra.Command {
	return &cobra.Command{
		Use: "man FOLDER", Short: "Write a man page for each command",
		Args:   cobra.ExactArgs(1),
		Hidden: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return fmt.Errorf("create the folder for man pages: %w: choose another", err)
			}
			root := cmd.Root()
			root.DisableAutoGenTag = true
			// The date is fixed, so that the same source gives the same pages.
			day := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
			header := doc.GenManHeader{Section: "1", Source: "Flowjet", Manual: "Flowjet", Date: &day}
			if err := doc.GenManTree(root, &header, args[0]); err != nil {
				return fmt.Errorf("write the man pages: %w", err)
			}
			return nil
		},
	}
}
