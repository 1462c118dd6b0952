package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/flowjet/flowjet/app"
)

// stopWithin bounds how long Ctrl-C takes.
const stopWithin = 2 * time.Second

// newUp is the command that runs every part in one process.
func newUp() *cobra.Command {
	return newRunner("up", "Run bridge, worker, API and NATS in one process",
		"Run bridge, worker, API and an embedded NATS server in one process.\n"+
			"With --sim a simulated OpenNebula is started too, so that nothing else is needed.", app.Everything)
}

// newParts are the commands that run one part in a process of its own, as many
// of each on as many hosts as wanted.
func newParts() []*cobra.Command {
	only := func(parts ...app.Part) func(app.Config) []app.Part {
		return func(app.Config) []app.Part { return parts }
	}
	return []*cobra.Command{
		newRunner("bridge", "Run a bridge from hook events to NATS", "Run a bridge from OpenNebula's hook events to NATS JetStream.", only(app.PartBridge)),
		newRunner("worker", "Run a worker", "Run a worker, which drives the services that fall to it among all workers.", only(app.PartWorker)),
		newRunner("api", "Run the OneFlow API", "Run the OneFlow API. Any number of them serve the same services.", only(app.PartAPI)),
		addNATSCommands(newRunner("nats", "Run a NATS server, alone or in a cluster", "Run the NATS server that Flowjet embeds, alone or with --nats-cluster in a cluster.", only(app.PartNATS))),
		newRunner("sim", "Run the simulated OpenNebula", "Run the simulated OpenNebula alone, for other processes to use.", only(app.PartSim)),
	}
}

func newRunner(use, short, long string, parts func(app.Config) []app.Part) *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   use,
		Short: short,
		Long:  long + "\n\nEach flag can be set as the environment variable behind it, or in the file of --config.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, err := app.ReadConfig(path, cmd.Flags())
			if err != nil {
				return err
			}
			return runParts(cmd.Context(), config, parts(config))
		},
	}
	app.AddFlags(cmd.Flags())
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return app.FlagError(err) })
	cmd.Flags().StringVar(&path, "config", "", "YAML configuration file")
	return cmd
}

func runParts(ctx context.Context, config app.Config, parts []app.Part) error {
	logger, err := newLogger(config.Log.Level)
	if err != nil {
		return err
	}
	for _, line := range app.UnknownVariables() {
		logger.Warn(line)
	}
	flowjet := app.New(config, parts, version, os.Stdout, logger)
	if err := flowjet.Start(ctx); err != nil {
		return err
	}
	flowjet.PrintWelcome()
	<-ctx.Done()
	fmt.Println("Stopping.")
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
	defer cancel()
	return flowjet.Stop(stopping)
}

func newLogger(level string) (*slog.Logger, error) {
	var parsed slog.Level
	if err := parsed.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("log level %q is none of debug, info, warn and error", level)
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: parsed})), nil
}
