package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/flowjet/flowjet/app"
	"github.com/flowjet/flowjet/internal/terminal"
	"github.com/flowjet/flowjet/pipeline"
)

// provisionWithin bounds how long a cluster may take to make the streams: its
// servers may have to find each other first.
const provisionWithin = time.Minute

// addNATSCommands puts what prepares NATS under the command that runs it.
func addNATSCommands(parent *cobra.Command) *cobra.Command {
	parent.AddCommand(newProvision(), newKeys())
	return parent
}

func newProvision() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "provision",
		Short: "Create the streams and buckets on NATS, as an operator",
		Long: "Create missing streams and buckets, and extend those that are too small. Stored data is kept.\n" +
			"It is needed once, and after upgrades, if bridge, worker and API run with --nats-provision=false.",
		Example: terminal.Example("flowjet nats provision --config /etc/flowjet/flowjet.yaml"),
		Args:    cobra.NoArgs,
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
	app.AddRunFlags(cmd.Flags())
	addConfigFlag(cmd, &path, true)
	return cmd
}

func newKeys() *cobra.Command {
	var folder string
	var hosts []string
	cmd := &cobra.Command{
		Use:   "keys",
		Short: "Create a NATS user for each role, the accounts file for the servers, and certificates",
		Long: "Create a NATS user (an nkey) for each role, with a seed file each, and " + app.AccountsFile + " for the servers, with the\n" +
			"permissions of each role. " + app.ClusterFile + " is the same for the servers of a cluster without TLS between them: it also has a\n" +
			"password with which they accept each other. Existing files are kept. " + app.ContextFile + " is a context for the `nats` command, as an operator.\n\n" +
			"With --hosts also create a certificate authority, and a folder with the files of each host: a certificate for its NATS server,\n" +
			"and copies of the accounts file and of the seeds of bridge, worker and API. The authority is kept, certificates are renewed.",
		Example: terminal.Example("flowjet nats keys --out nats-keys --hosts fe-1,fe-2,fe-3"),
		Args:    cobra.NoArgs,
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
			fmt.Fprintf(cmd.OutOrStdout(), "Keys and %s are in %s. Each process gets its own .nk file and no other.\n", app.AccountsFile, folder)
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
