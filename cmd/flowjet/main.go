// Command flowjet runs Flowjet: `flowjet up` everything in one process,
// `flowjet demo` a tour of it, `flowjet replay` a recording of hook events.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// version is set by the build.
var version = "dev"

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := newRoot()
	if err := helpful(root, root.ExecuteContext(ctx)); err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "flowjet:", err)
		return 1
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
	root.AddCommand(newUp(), newConfig(), newMigrate(), newDemo(), newReplay(), newCluster())
	root.AddGroup(operators)
	root.AddCommand(newMan())
	root.AddCommand(newOperatorCommands()...)
	root.AddCommand(newParts()...)
	return root
}

// helpful adds to the error about an unknown command what was perhaps meant.
func helpful(root *cobra.Command, err error) error {
	if err == nil || !strings.HasPrefix(err.Error(), "unknown command") {
		return err
	}
	root.SuggestionsMinimumDistance = 2
	if quoted := strings.Split(err.Error(), `"`); len(quoted) > 1 {
		if meant := root.SuggestionsFor(quoted[1]); len(meant) > 0 {
			return fmt.Errorf("%w; did you mean `flowjet %s`?", err, meant[0])
		}
	}
	return fmt.Errorf("%w; `flowjet --help` lists all", err)
}
