package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/flowjet/flowjet/app"
	"github.com/flowjet/flowjet/app/demo"
	"github.com/flowjet/flowjet/bridge"
	"github.com/flowjet/flowjet/internal/terminal"
)

func newDemo() *cobra.Command {
	var config demo.Config
	var folder string
	cmd := &cobra.Command{
		Use:     "demo",
		Short:   "Run a service through its whole life on a running `flowjet up --sim`",
		Example: terminal.Example("flowjet demo"),
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config.Out = cmd.OutOrStdout()
			if config.NkeyFile == "" {
				key, err := app.OperatorKey(folder)
				if err != nil {
					return err
				}
				config.NkeyFile = key
			}
			return demo.Run(cmd.Context(), config)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&config.API, "api", "http://127.0.0.1:2474", "URL of the OneFlow API")
	flags.StringVar(&config.NATS, "nats", "nats://127.0.0.1:4222", "URL of the NATS server, for the timeline")
	flags.StringVar(&folder, "data-dir", "./flowjet-data", "data folder of the running Flowjet, with the key for its NATS server")
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
		Use:   "replay FILE",
		Short: "Publish a recording of hook events over ZeroMQ, as oned would",
		Long: "Publish a recording of hook events over a ZeroMQ PUB socket, as oned would.\n" +
			"FILE has a JSON object per line: t (unix seconds), key, body_b64. Publishing starts\n" +
			"when a subscriber connects, because ZeroMQ drops messages without a subscriber.",
		Example: terminal.Example("flowjet replay events.jsonl --speed 10"),
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			options.File = args[0]
			options.Out = cmd.OutOrStdout()
			return bridge.Replay(cmd.Context(), options)
		},
	}
	cmd.Flags().StringVar(&options.Listen, "listen", "127.0.0.1:2101", "host:port to publish on")
	cmd.Flags().Float64Var(&options.Speed, "speed", 0, "1 for the recorded pace, 10 for ten times it, 0 for as fast as possible")
	return cmd
}
