package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/flowjet/flowjet/app"
	"github.com/flowjet/flowjet/app/demo"
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
