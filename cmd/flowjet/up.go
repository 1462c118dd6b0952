package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/flowjet/flowjet/app"
	"github.com/flowjet/flowjet/internal/systemd"
	"github.com/flowjet/flowjet/internal/terminal"
)

// stopWithin bounds how long Ctrl-C takes where something does not end: less than the 15 s for which systemd waits.
// What ends takes tenths of a second, but seconds on a machine that is busy with other things.
const stopWithin = 10 * time.Second

// newUp is the command that runs every part in one process.
func newUp() *cobra.Command {
	return newRunner("up", "Run bridge, worker, API and NATS in one process",
		"Run bridge, worker, API and an embedded NATS server in one process. With --sim, also run a simulated OpenNebula, so that "+
			"nothing else is needed.",
		"flowjet up --sim\nflowjet up --config /etc/flowjet/flowjet.yaml", app.Everything)
}

// newParts are the commands that run one part in a process of its own, as many
// of each on as many hosts as wanted.
func newParts() []*cobra.Command {
	return []*cobra.Command{
		newRunner("bridge", "Run a bridge from hook events to NATS", "Run a bridge from OpenNebula's hook events to NATS JetStream.",
			"flowjet bridge --config /etc/flowjet/flowjet.yaml", only(app.PartBridge)),
		newRunner("worker", "Run a worker", "Run a worker. All workers share the services.",
			"flowjet worker --config /etc/flowjet/flowjet.yaml", only(app.PartWorker)),
		newRunner("api", "Run the OneFlow API", "Run the OneFlow API. Any number of APIs can serve the same services.",
			"flowjet api --config /etc/flowjet/flowjet.yaml --api-listen 0.0.0.0:2474", only(app.PartAPI)),
		addNATSCommands(newRunner("nats", "Run a NATS server, alone or in a cluster", "Run the NATS server that Flowjet embeds, alone or with --nats-cluster in a cluster.",
			"flowjet nats --config /etc/flowjet/nats.yaml", only(app.PartNATS))),
	}
}

func only(parts ...app.Part) func(app.Config) []app.Part {
	return func(app.Config) []app.Part { return parts }
}

// newSim is the command that runs the simulator by itself.
func newSim() *cobra.Command {
	return newRunner("sim", "Run the simulated OpenNebula", "Run the simulated OpenNebula alone, for other processes to use.",
		"flowjet sim --data-dir sim-data --sim-boot-delay 1s", only(app.PartSim))
}

func newRunner(use, short, long, example string, parts func(app.Config) []app.Part) *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:     use,
		Short:   short,
		Long:    long + "\n\n" + moreOptions,
		Example: terminal.Example(example),
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			read := func() (app.Config, error) { return readConfig(path, cmd) }
			config, err := read()
			if err != nil {
				return err
			}
			return runParts(cmd.Context(), config, parts(config), read)
		},
	}
	app.AddRunFlags(cmd.Flags())
	addConfigFlag(cmd, &path, false)
	return cmd
}

// runParts runs until ctx ends; on SIGHUP it reads the configuration again.
func runParts(ctx context.Context, config app.Config, parts []app.Part, read func() (app.Config, error)) error {
	log, err := app.NewLog(config, os.Stderr)
	if err != nil {
		return err
	}
	for _, line := range app.UnknownVariables() {
		log.Warn(line)
	}
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	flowjet := app.New(config, parts, version, os.Stdout, log.Logger)
	if err := flowjet.Start(ctx); err != nil {
		return err
	}
	flowjet.PrintWelcome()
	systemd.Ready("running")
	go systemd.Watch(ctx, flowjet.Alive, func(err error) { log.Error(err.Error()) })
	failed := serve(ctx, flowjet, func() { reload(flowjet, read, log) }, hangups)
	fmt.Println("Stopping.")
	systemd.Stopping()
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
	defer cancel()
	return errors.Join(failed, flowjet.Stop(stopping))
}

// serve returns when ctx ends, or with the reason why the app cannot go on.
func serve(ctx context.Context, flowjet *app.App, reload func(), hangups <-chan os.Signal) error {
	for {
		select {
		case <-hangups:
			reload()
		case <-flowjet.Lost():
			return app.ErrConnectionLost
		case err := <-flowjet.Failed():
			return err
		case <-ctx.Done():
			return nil
		}
	}
}

// reload leaves everything as it is where the new configuration has faults.
func reload(flowjet *app.App, read func() (app.Config, error), log app.Log) {
	systemd.Reloading()
	defer systemd.Ready("running")
	config, err := read()
	if err == nil {
		err = flowjet.Reload(config, log)
	}
	if err != nil {
		log.Error("the configuration was not applied: nothing was changed", "error", err)
		return
	}
	log.Warn("the configuration was reloaded")
}
