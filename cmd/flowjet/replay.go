package main

import (
	"github.com/spf13/cobra"

	"github.com/flowjet/flowjet/bridge"
	"github.com/flowjet/flowjet/internal/terminal"
)

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
