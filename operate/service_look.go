package operate

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/work"
)

func serviceLook(t tool) *cobra.Command {
	return t.aboutService(help{
		"look ID", "Have a service checked now",
		"Its worker reads the document, the VMs and the networks from oned again and decides what to do next. Workers also check\n" +
			"services regularly; this command saves the wait. It is always safe.",
		"flowjet service look 3",
	}, func(ctx context.Context, c *console, pipe clients, id int) error {
		if err := serviceFlag(id).check(ctx, pipe); err != nil {
			return err
		}
		asked := pipeline.Work{Version: pipeline.Version, Service: id, Reason: "requested by an operator"}
		if _, err := work.NewQueue(pipe.Pipeline).PublishWork(ctx, asked, ""); err != nil {
			return err
		}
		if c.Structured() {
			return c.Show(map[string]any{"service": id, "asked": true})
		}
		c.Say("service %d: its worker checks it now; `flowjet service why %d` shows what it waits for", id, id)
		return nil
	})
}
