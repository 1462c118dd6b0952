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
	"github.com/flowjet/flowjet/pipeline"
)

// stopWithin bounds how long Ctrl-C takes if a part does not end: less than the 15 s for which systemd waits. Parts end
// within tenths of a second, but take seconds on a busy machine.
const stopWithin = 10 * time.Second

// newRunners returns the commands that run every part in one process, or one part in a process of its own, as many of each
// on as many hosts as wanted.
func newRunners() []*cobra.Command {
	nats := newRunner("nats", "Run a NATS server, alone or in a cluster", "Run the NATS server that Flowjet embeds, alone or with --nats-routes in a cluster.",
		"flowjet nats --config /etc/flowjet/nats.yaml", only(app.PartNATS))
	nats.AddCommand(newProvision(), newKeys())
	return []*cobra.Command{
		newRunner("up", "Run bridge, worker, API and NATS in one process",
			"Run bridge, worker, API and an embedded NATS server in one process. With --sim, also run a simulated OpenNebula, so that "+
				"nothing else is needed.",
			"flowjet up --sim\nflowjet up --config /etc/flowjet/flowjet.yaml", app.Everything),
		newRunner("bridge", "Run a bridge from hook events to NATS", "Run a bridge from OpenNebula's hook events to NATS JetStream.",
			"flowjet bridge --config /etc/flowjet/flowjet.yaml", only(app.PartBridge)),
		newRunner("worker", "Run a worker", "Run a worker. All workers share the services.",
			"flowjet worker --config /etc/flowjet/flowjet.yaml", only(app.PartWorker)),
		newRunner("api", "Run the OneFlow API", "Run the OneFlow API. Any number of APIs can serve the same services.",
			"flowjet api --config /etc/flowjet/flowjet.yaml --api-listen 0.0.0.0:2474", only(app.PartAPI)),
		nats,
	}
}

func only(parts ...app.Part) func(app.Config) []app.Part {
	return func(app.Config) []app.Part { return parts }
}

func newRunner(use, short, long, example string, parts func(app.Config) []app.Part) *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use: use, Short: short,
		Long:    long + "\n\n" + moreOptions,
		Example: terminal.Example(example), Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			read := func() (app.Config, error) { return readConfig(path, cmd) }
			config, err := read()
			if err != nil {
				return err
			}
			return runParts(cmd.Context(), config, parts(config), read)
		},
	}
	app.AddRunFlags(cmd.Flags(), use)
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
	if !errors.Is(failed, app.ErrRefused) { // run holds that one, and systemd kills what takes long to stop
		systemd.Stopping()
	}
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopWithin)
	defer cancel()
	return errors.Join(failed, flowjet.Stop(stopping))
}

// serve returns when ctx ends, or with the reason why the app cannot continue.
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

// reload changes nothing if the new configuration has errors.
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

// provisionWithin bounds how long a cluster may take to make the streams: its servers may have to find each other first.
const provisionWithin = time.Minute

func newProvision() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use: "provision", Short: "Create the streams and buckets on NATS, as an operator",
		Long: "Create missing streams and buckets, and extend those that are too small. Stored data is kept.\n" +
			"It is needed once, and after upgrades, if bridge, worker and API run with --nats-provision=false.",
		Example: terminal.Example("flowjet nats provision --config /etc/flowjet/flowjet.yaml"), Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, err := readConfig(path, cmd)
			if err != nil {
				return err
			}
			log, err := app.NewLog(config, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), provisionWithin)
			defer cancel()
			pipe, err := config.Open(ctx, pipeline.Config{Role: pipeline.RoleOperator, Name: "flowjet nats provision", Logger: log.Logger})
			if err != nil {
				return err
			}
			pipe.Close()
			fmt.Fprintln(cmd.OutOrStdout(), "All streams exist and are configured correctly.")
			return nil
		},
	}
	app.AddRunFlags(cmd.Flags(), "")
	addConfigFlag(cmd, &path, true)
	return cmd
}

func newKeys() *cobra.Command {
	var folder string
	var hosts []string
	cmd := &cobra.Command{
		Use: "keys", Short: "Create a NATS user for each role, the accounts file for the servers, and certificates",
		Long: "Create a NATS user (an nkey) for each role, with a seed file each, and " + app.AccountsFile + " for the servers, with the\n" +
			"permissions of each role. " + app.ClusterFile + " is the same for the servers of a cluster without TLS between them: it also has a\n" +
			"password with which they accept each other. " + app.ContextFile + " is a context for the `nats` command, as an operator.\n" +
			"Existing keys and passwords are kept; " + app.AccountsFile + " is written anew, with the permissions of this version.\n\n" +
			"With --hosts also create a certificate authority, and a folder with the files of each host: a certificate for its NATS server,\n" +
			"and copies of the accounts file and of the seeds of bridge, worker and API. The authority is kept, certificates are renewed.",
		Example: terminal.Example("flowjet nats keys --out nats-keys --hosts fe-1,fe-2,fe-3"), Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := app.CheckHosts(hosts); err != nil {
				return err
			}
			if err := app.MakeKeys(folder); err != nil {
				return err
			}
			if err := app.MakeContext(folder, hosts); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "Keys and %s are in %s, and keys that were there are kept. Each process gets its own .nk file and no other.\n", app.AccountsFile, folder)
			fmt.Fprintf(cmd.OutOrStdout(), "%s is a context for the nats command: copy it to ~/.config/nats/context, and `nats --context flowjet` is an operator.\n", app.ContextFile)
			if len(hosts) == 0 {
				return nil
			}
			if err := app.MakeHosts(folder, hosts); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s/hosts/HOST has the files for each host. Do not copy operator.nk, system.nk and ca.key to the hosts.\n", folder)
			return nil
		},
	}
	cmd.Flags().StringVar(&folder, "out", "/etc/flowjet/nats", "folder to write to")
	cmd.Flags().StringSliceVar(&hosts, "hosts", nil, "names of the hosts with a NATS server, as the other hosts resolve them, comma separated")
	return cmd
}
