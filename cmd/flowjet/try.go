package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/flowjet/flowjet/app"
	"github.com/flowjet/flowjet/app/cluster"
	"github.com/flowjet/flowjet/app/demo"
	"github.com/flowjet/flowjet/bridge"
	"github.com/flowjet/flowjet/internal/terminal"
)

type clusterOptions struct {
	dataDir, namespaces string
	frontEnds           int
	restartAfter, boot  time.Duration
}

func newCluster() *cobra.Command {
	var options clusterOptions
	cmd := &cobra.Command{
		Use: "cluster", Short: "Run Flowjet on three front-ends on this machine, to test failures",
		Long: "Run Flowjet on three front-ends on this machine, each part in a separate process, over a simulated OpenNebula\n" +
			"zone with one oned per front-end. With root, each front-end has a network namespace and can be cut off from the others.",
		Example: terminal.Example("flowjet cluster\nflowjet cluster --front-ends 5"), Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return runCluster(cmd.Context(), options) },
	}
	flags := cmd.Flags()
	flags.StringVar(&options.dataDir, "data-dir", "./flowjet-cluster", "folder for the data and logs of all processes")
	flags.StringVar(&options.namespaces, "namespaces", "auto", "network namespaces for the front-ends: yes, no, or auto (yes if root can create them)")
	flags.IntVar(&options.frontEnds, "front-ends", 3, "number of front-ends: 1, 3 or 5")
	flags.DurationVar(&options.restartAfter, "restart-after", 20*time.Second, "time after which a process that has ended is restarted; 0 for never")
	flags.DurationVar(&options.boot, "sim-boot-delay", 20*time.Millisecond, "duration of each step of a simulated VM")
	return cmd
}

func runCluster(ctx context.Context, options clusterOptions) error {
	if options.frontEnds != 1 && options.frontEnds != 3 && options.frontEnds != 5 {
		return fmt.Errorf("--front-ends is %d: it must be 1, 3 or 5, so that there can be a majority", options.frontEnds)
	}
	binary, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find the flowjet executable: %w", err)
	}
	folder, err := filepath.Abs(options.dataDir)
	if err != nil {
		return fmt.Errorf("find the data folder: %w", err)
	}
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return fmt.Errorf("create the folder for the cluster's data: %w: choose another with --data-dir", err)
	}
	if err := app.MakeKeys(cluster.Plan{DataDir: folder}.Keys()); err != nil {
		return err
	}
	config := cluster.Config{Binary: binary, RestartAfter: options.restartAfter, Out: os.Stdout}
	config.Plan = cluster.Plan{
		Ports: cluster.StandardPorts, DataDir: folder, Simulator: []string{
			"--sim-boot-delay", options.boot.String(), "--sim-time-percent", "100",
		},
	}
	if config.Network, err = options.network(ctx); err != nil {
		return err
	}
	if config.Network == nil {
		config.Plan.FrontEnds = cluster.Loopback(options.frontEnds)
		config.Plan.Oneds = config.Plan.FrontEnds
		return cluster.Run(ctx, config)
	}
	config.Plan.FrontEnds, config.Plan.Oneds = config.Network.FrontEnds(), config.Network.Oneds()
	return errors.Join(cluster.Run(ctx, config), config.Network.Close())
}

// network makes the namespaces, or returns nil if none are wanted.
func (o clusterOptions) network(ctx context.Context) (*cluster.Network, error) {
	switch o.namespaces {
	case "no":
		return nil, nil
	case "yes", "auto":
	default:
		return nil, fmt.Errorf("--namespaces is %q: it must be yes, no or auto", o.namespaces)
	}
	network, err := cluster.NewNetwork(ctx, o.frontEnds)
	if err != nil && o.namespaces == "auto" && errors.Is(err, cluster.ErrNoNamespaces) {
		fmt.Printf("All front-ends share this machine's network: %v.\n", err)
		return nil, nil
	}
	return network, err
}

func newDemo() *cobra.Command {
	var config demo.Config
	cmd := &cobra.Command{
		Use: "demo", Short: "Run a service through its whole life on a running `flowjet up --sim`",
		Example: terminal.Example("flowjet demo"), Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config.Out = cmd.OutOrStdout()
			return demo.Run(cmd.Context(), config)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&config.API, "api", "http://127.0.0.1:2474", "URL of the OneFlow API")
	flags.StringVar(&config.NATS, "nats", "nats://127.0.0.1:4222", "URL of the NATS server, for the timeline")
	flags.StringVar(&config.DataDir, "data-dir", "./flowjet-data", "data folder of the running Flowjet, with the key for its NATS server")
	flags.StringVar(&config.NkeyFile, "nats-nkey-file", "", "nkey seed file to use instead")
	flags.StringVar(&config.XMLRPC, "one-xmlrpc", "http://127.0.0.1:2633/RPC2", "oned's XML-RPC endpoint, for powering a VM off")
	flags.StringVar(&config.User, "user", "oneadmin", "OpenNebula user")
	flags.StringVar(&config.PasswordFile, "password-file", "", "file with the user's password (default: the simulator's)")
	flags.DurationVar(&config.Patience, "patience", 30*time.Second, "timeout of each step")
	return cmd
}

func newReplay() *cobra.Command {
	var options bridge.ReplayConfig
	cmd := &cobra.Command{
		Use: "replay FILE", Short: "Publish a recording of hook events over ZeroMQ, as oned would",
		Long: "Publish a recording of hook events over a ZeroMQ PUB socket, as oned would.\n" +
			"FILE has a JSON object per line: t (unix seconds), key, body_b64. Publishing starts\n" +
			"when a subscriber connects, because ZeroMQ drops messages without a subscriber.",
		Example: terminal.Example("flowjet replay events.jsonl --speed 10"), Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			options.File = args[0]
			options.Out = cmd.OutOrStdout()
			err := bridge.Replay(cmd.Context(), options)
			if _, unreadable := errors.AsType[*fs.PathError](err); unreadable {
				return terminal.ExitUsage.Because(err)
			}
			return err
		},
	}
	cmd.Flags().StringVar(&options.Listen, "listen", "127.0.0.1:2101", "host:port to publish on")
	cmd.Flags().Float64Var(&options.Speed, "speed", 0, "1 for the recorded pace, 10 for ten times it, 0 for as fast as possible")
	return cmd
}
