package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/flowjet/flowjet/app"
	"github.com/flowjet/flowjet/internal/terminal"
)

func newConfigCheck() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Check a configuration file, the FLOWJET_ variables and flags",
		Long: "Check a configuration file, the FLOWJET_ variables and flags together, as at a start:\n" +
			"unknown keys, invalid values, conflicting settings and missing files.\n" +
			"The exit status is 2 if something is wrong; each message has the line and a fix.",
		Example: terminal.Example("flowjet config check --config /etc/flowjet/flowjet.yaml"),
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			wrong, doubtful := app.CheckConfig(path, cmd.Flags())
			for _, line := range doubtful {
				fmt.Fprintln(cmd.OutOrStdout(), "perhaps:", line)
			}
			for _, line := range wrong {
				fmt.Fprintln(cmd.OutOrStdout(), "wrong:", line)
			}
			if len(wrong) > 0 {
				return terminal.ExitUsage.Because(fmt.Errorf("the configuration cannot be used; wrong settings: %d", len(wrong)))
			}
			fmt.Fprintln(cmd.OutOrStdout(), "The configuration is valid.")
			return nil
		},
	}
	app.AddRunFlags(cmd.Flags())
	addConfigFlag(cmd, &path, false)
	return cmd
}

func newConfigImport() *cobra.Command {
	var out, into string
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Convert OneFlow's oneflow-server.conf",
		Long: "Read OneFlow's /etc/one/oneflow-server.conf and write a configuration file for --config, or with --into change\n" +
			"an existing one. The result for each key is printed on standard error.",
		Example: terminal.Example("flowjet config import /etc/one/oneflow-server.conf --out flowjet.yaml"),
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if out != "" && into != "" {
				return errors.New("--out creates a file and --into changes one: use one of them")
			}
			file, err := os.Open(args[0])
			if err != nil {
				return fmt.Errorf("read OneFlow's configuration: %w: the default of OneFlow is /etc/one/oneflow-server.conf", err)
			}
			defer file.Close()
			switch {
			case into != "":
				return importInto(into, file, cmd.ErrOrStderr())
			case out != "":
				return importAs(out, file, cmd.ErrOrStderr())
			}
			return app.Import(file, nil, cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "file to write instead of standard output; it must not exist")
	cmd.Flags().StringVar(&into, "into", "", "existing configuration file to change; its other settings are kept, and the old file is saved with the suffix .before")

	return cmd
}

// importInto changes a file in its place, so that its owner and mode stay.
func importInto(path string, conf io.Reader, report io.Writer) error {
	was, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read the configuration to change: %w: --out creates one", err)
	}
	var text bytes.Buffer
	if err := app.Import(conf, was, &text, report); err != nil {
		return err
	}
	if err := os.WriteFile(path+".before", was, 0o600); err != nil {
		return fmt.Errorf("save %s: %w", path, err)
	}
	if err := os.WriteFile(path, text.Bytes(), 0o600); err != nil {
		return fmt.Errorf("write the configuration: %w: the old file is %s.before", err, path)
	}
	return nil
}

// importAs never writes over a file: it may have been edited.
func importAs(path string, conf io.Reader, report io.Writer) (err error) {
	made, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, os.ErrExist) {
		return fmt.Errorf("%s exists already: remove it or choose another file", path)
	}
	if err != nil {
		return fmt.Errorf("write the configuration: %w", err)
	}
	defer func() {
		if closed := made.Close(); err == nil && closed != nil {
			err = fmt.Errorf("write the configuration: %w", closed)
		}
		if err != nil {
			_ = os.Remove(path)
		}
	}()
	return app.Import(conf, nil, made, report)
}
