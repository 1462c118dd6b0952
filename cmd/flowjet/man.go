package main

import (
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// newMan is for packages: `make man` calls it.
func newMan() *cobra.Command {
	return &cobra.Command{
		Use:    "man FOLDER",
		Short:  "Write a man page for each command",
		Args:   cobra.ExactArgs(1),
		Hidden: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return fmt.Errorf("create the folder for man pages: %w: choose another", err)
			}
			root := cmd.Root()
			root.DisableAutoGenTag = true
			// The day is not today's, so that the same source gives the same pages.
			day := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
			header := doc.GenManHeader{Section: "1", Source: "Flowjet", Manual: "Flowjet", Date: &day}
			if err := doc.GenManTree(root, &header, args[0]); err != nil {
				return fmt.Errorf("write the man pages: %w", err)
			}
			return nil
		},
	}
}
