package main

import (
	"context"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/flowjet/flowjet/app"
	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/internal/terminal"
	"github.com/flowjet/flowjet/operate"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/inspect"
)

// newOperatorCommands are what an operator types. They take the same options and
// the same configuration file as the parts, and find everything as these do.
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
			return surroundings(config), nil
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
		value, usage = installedConfig(), usage+" (default "+packagedConfig+" where there is one)"
	}
	cmd.Flags().StringVar(path, "config", value, usage)
	cmd.Flags().Lookup("config").DefValue = "" // the help is the same on every host
}

// packagedConfig is where the packages have the configuration.
const packagedConfig = "/etc/flowjet/flowjet.yaml"

// installedConfig is the packages' configuration on a host that has it, so that an
// operator need not name it.
func installedConfig() string {
	if _, err := os.Stat(packagedConfig); err != nil {
		return ""
	}
	return packagedConfig
}

func surroundings(config app.Config) operate.Surroundings {
	around := operate.Surroundings{
		Oned: config.AskOned, OnedTime: config.OnedTime, API: config.AskAPI,
		OnedAt: strings.Join(config.One.XMLRPC, ", "), APIAt: config.APIAddress(),
	}
	if config.NATS.URL == "" {
		around.DataDir = config.DataDir
	}
	return around
}
