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

func newUp() *cobra.Command {
	var path string
	up := &cobra.Command{
		Use:   "up",
		Short: "Run bridge, worker, API and NATS in one process",
		Long: "Run bridge, worker, API and an embedded NATS server in one process.\n" +
			"With --sim a simulated OpenNebula is started too, so that nothing else is needed.\n\n" +
			"Each flag can be set as the environment variable behind it, or in the file of --config.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, err := app.ReadConfig(path, cmd.Flags())
			if err != nil {
				return err
			}
			return runUp(cmd.Context(), config)
		},
	}
	app.AddFlags(up.Flags())
	up.Flags().StringVar(&path, "config", "", "YAML configuration file")
	return up
}

func runUp(ctx context.Context, config app.Config) error {
	logger, err := newLogger(config.Log.Level)
	if err != nil {
		return err
	}
	flowjet := app.New(config, version, os.Stdout, logger)
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
