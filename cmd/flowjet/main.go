// Command flowjet runs Flowjet: `flowjet up` everything in one process, `flowjet demo` a tour of it, `flowjet replay` a recording
// of hook events.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/flowjet/flowjet/app"
	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/internal/terminal"
	"github.com/flowjet/flowjet/operate"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/inspect"
	"github.com/flowjet/flowjet/tenant"
)

// version is set by the build.
var version = "dev"

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := newRoot()
	cmd, err := root.ExecuteContextC(ctx)
	if err = helpful(cmd, err); err != nil && !errors.Is(err, context.Canceled) {
		terminal.Error(os.Stderr, err)
		return int(operate.ExitOf(err))
	}
	return 0
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "flowjet",
		Short:         "Flowjet runs OpenNebula's multi-VM services on NATS JetStream",
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
	config := &cobra.Command{Use: "config", Short: "Check a configuration, or convert OneFlow's"}
	holdsCommands(config)
	config.AddCommand(newConfigCheck(), newConfigImport())
	addGroup(root, "install", "To set it up:", config, newMigrate())
	addGroup(root, "try", "To try it, with a simulated OpenNebula:", newDemo(), newCluster(), newReplay(),
		newRunner("sim", "Run the simulated OpenNebula", "Run the simulated OpenNebula alone, for other processes to use.",
			"flowjet sim --data-dir sim-data --sim-boot-delay 1s", only(app.PartSim)))
	root.AddCommand(newMan(), newOptionsTopic())
	refuseStrangers(root)
	// All commands look the same: their lines fit a terminal.
	root.SetUsageTemplate(strings.ReplaceAll(root.UsageTemplate(), ".FlagUsages", fmt.Sprintf(".FlagUsagesWrapped %d", helpWidth)))
	eachCommand(root, func(cmd *cobra.Command) {
		if cmd.Name() != "options" && !strings.Contains(cmd.CommandPath(), "completion") {
			cmd.Long = wrapped(cmd.Long, helpWidth)
		}
	})
	return root
}

// newTenantCommands are what a user types, over the API. Operators' commands about single services stand beside them, told apart.
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

// newOperatorCommands are what an operator types. They take the same options and the same configuration file as the parts, and
// find everything as these do.
func newOperatorCommands() (services, others []*cobra.Command) {
	configOf := func(cmd *cobra.Command) (app.Config, error) {
		path, _ := cmd.Flags().GetString("config")
		return readConfig(path, cmd)
	}
	return operate.Commands(operate.Environment{
		Flags: func(cmd *cobra.Command) {
			app.AddLookFlags(cmd.Flags())
			addConfigFlag(cmd, new(string), true)
		},
		Attach: func(ctx context.Context, cmd *cobra.Command) (*pipeline.Pipeline, []string, error) {
			config, err := configOf(cmd)
			if err != nil {
				return nil, nil, err
			}
			return config.Attach(ctx, pipeline.Config{Role: pipeline.RoleOperator, Name: cmd.CommandPath()})
		},
		Look: func(cmd *cobra.Command) inspect.Look {
			return func(ctx context.Context, state flow.State) (flow.State, flow.Facts, error) {
				config, err := configOf(cmd)
				if err != nil {
					return state, nil, err
				}
				return config.Look(ctx, state)
			}
		},
		Surroundings: func(cmd *cobra.Command) (operate.Surroundings, error) {
			config, err := configOf(cmd)
			if err != nil {
				return operate.Surroundings{}, err
			}
			around := operate.Surroundings{
				Oned: config.AskOned, OnedTime: config.OnedTime, API: config.AskAPI,
				OnedAt: strings.Join(config.One.XMLRPC, ", "), APIAt: config.APIAddress(),
			}
			if config.NATS.URL == "" {
				around.DataDir = config.DataDir
			}
			return around, nil
		},
	})
}

// readConfig puts the configuration together; a wrong one is the caller's fault.
func readConfig(path string, cmd *cobra.Command) (app.Config, error) {
	config, err := app.ReadConfig(path, cmd.Flags())
	return config, terminal.ExitUsage.Because(err)
}

// addConfigFlag adds --config. What runs Flowjet names its file; what only looks finds that of the packages.
func addConfigFlag(cmd *cobra.Command, path *string, looks bool) {
	value, usage := "", "YAML configuration `FILE`"
	if looks {
		usage += " (default " + packagedConfig + " where there is one)"
		if _, err := os.Stat(packagedConfig); err == nil {
			value = packagedConfig
		}
	}
	cmd.Flags().StringVar(path, "config", value, usage)
	cmd.Flags().Lookup("config").DefValue = "" // the help is the same on every host
}

const packagedConfig = "/etc/flowjet/flowjet.yaml"
