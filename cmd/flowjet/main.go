// Command flowjet runs Flowjet: `flowjet up` everything in one process,
// `flowjet demo` a tour of it, `flowjet replay` a recording of hook events.
package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/flowjet/flowjet/internal/terminal"
	"github.com/flowjet/flowjet/operate"
)

// version is set by the build.
var version = "dev"

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := newRoot()
	cmd, err := root.ExecuteContextC(ctx)
	if err = helpful(cmd, err); err != nil && !errors.Is(err, context.Canceled) {
		terminal.Error(os.Stderr, err)
		return int(operate.ExitOf(err))
	}
	return 0
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:           "flowjet",
		Short:         "Flowjet runs OpenNebula's multi-VM services on NATS JetStream",
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
		// An error is one line.
		DisableSuggestions: true,
	}
	ofServices, ofOperators := newOperatorCommands()
	addGroup(root, "tenant", "Over the API, as yourself:", newTenantCommands(ofServices)...)
	addGroup(root, "operate", "Over NATS, for operators:", ofOperators...)
	addGroup(root, "run", "To run Flowjet:", append(newParts(), newUp())...)
	addGroup(root, "install", "To set it up:", newConfig(), newMigrate())
	addGroup(root, "try", "To try it, with a simulated OpenNebula:", newDemo(), newCluster(), newSim(), newReplay())
	root.AddCommand(newMan(), newOptionsTopic())
	refuseStrangers(root)
	dress(root)
	return root
}
