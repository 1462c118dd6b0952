package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/flowjet/flowjet/app"
	"github.com/flowjet/flowjet/internal/terminal"
	"github.com/flowjet/flowjet/migrate"
	"github.com/flowjet/flowjet/opennebula"
)

type migration struct {
	path, oneflow string
	back, yes     bool
	config        app.Config
	log           app.Log
	oned          *opennebula.Client
	out           io.Writer
}

func newMigrate() *cobra.Command {
	m := &migration{}
	cmd := &cobra.Command{
		Use:   "migrate",
		Short: "Take services over from OneFlow, or give them back",
		Long: "Check the requirements, show the result for each service, and with --yes take all services over from a stopped\n" +
			"OneFlow. With --back write pending changes into OpenNebula's documents, so that OneFlow can continue.\n" +
			"Without --yes nothing is changed.",
		Example: terminal.Example("flowjet migrate\nflowjet migrate --yes\nflowjet migrate --back --yes"),
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			m.out = cmd.OutOrStdout()
			if m.config, err = readConfig(m.path, cmd); err != nil {
				return err
			}
			if m.log, err = app.NewLog(m.config, cmd.ErrOrStderr()); err != nil {
				return err
			}
			if m.oned, err = m.config.Oned(m.log.Logger); err != nil {
				return err
			}
			defer m.oned.Close()
			if m.back {
				return m.giveBack(cmd.Context())
			}
			return m.takeOver(cmd.Context())
		},
	}
	app.AddRunFlags(cmd.Flags())
	addConfigFlag(cmd, &m.path, true)
	cmd.Flags().StringVar(&m.oneflow, "oneflow", "http://127.0.0.1:2474", "URL of OneFlow, to check that it is stopped")
	cmd.Flags().BoolVar(&m.back, "back", false, "give the services back to OneFlow")
	cmd.Flags().BoolVar(&m.yes, "yes", false, "apply the plan that is shown without it")
	return cmd
}

func (m *migration) takeOver(ctx context.Context) error {
	if err := m.preflight(ctx); err != nil {
		return err
	}
	services, err := migrate.Plan(ctx, m.oned, m.config.Settings(), time.Now())
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(m.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "SERVICE\tNAME\tOWNER\tSTATE\tFIRST")
	for _, service := range services {
		next := strings.Join(service.Next, "; ")
		if service.Unreadable != "" {
			next = "left unchanged: " + service.Unreadable
		}
		fmt.Fprintf(table, "%d\t%s\t%s\t%s\t%s\n", service.ID, service.Name, service.Owner, service.State, next)
	}
	_ = table.Flush() // an error of the output's shows on it
	fmt.Fprintln(m.out)
	if !m.yes {
		fmt.Fprintln(m.out, "Nothing was changed. With --yes they are taken over.")
		return nil
	}
	pipe, release, err := m.config.Store(ctx, m.log.Logger)
	if err != nil {
		return err
	}
	defer release()
	count, err := migrate.Adopt(ctx, pipe, services)
	if err != nil {
		return err
	}
	fmt.Fprintf(m.out, "%d services are taken over; workers continue with them as soon as they run (systemctl enable --now flowjet).\n", count)
	return nil
}

// preflight shows every check, and is an error if something has to be mended.
func (m *migration) preflight(ctx context.Context) error {
	hooks, err := m.config.HookEndpoints(ctx, m.oned)
	if err != nil {
		m.log.Warn("the hook endpoints are not known", "error", err)
	}
	look := migrate.Preflight{Oned: m.oned, XMLRPC: m.config.One.XMLRPC[0], Hooks: hooks, OneFlow: strings.TrimSuffix(m.oneflow, "/"), Now: time.Now}
	if m.config.NATS.URL != "" {
		look.ConnectNATS = m.config.Reach
	}
	checks := look.Run(ctx)
	for _, check := range checks {
		mark, mend := "ok", ""
		if check.Mend != "" {
			mark, mend = "FIX", ": "+check.Mend
		}
		if check.Doubt {
			mark = "note"
		}
		fmt.Fprintf(m.out, "%-5s %s: %s%s\n", mark, check.What, check.Found, mend)
	}
	fmt.Fprintln(m.out)
	if migrate.Failed(checks) {
		return errors.New("fix the items marked FIX above first; nothing was changed")
	}
	return nil
}

func (m *migration) giveBack(ctx context.Context) error {
	pipe, release, err := m.config.Store(ctx, m.log.Logger)
	if err != nil {
		return err
	}
	defer release()
	workers, err := migrate.StillRunning(ctx, pipe)
	if err != nil {
		return err
	}
	returns, err := migrate.PlanBack(ctx, m.oned, pipe)
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(m.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "SERVICE\tSTATE\tDOCUMENT")
	for _, one := range returns {
		fmt.Fprintf(table, "%d\t%s\t%s\n", one.ID, one.State, one.What)
	}
	_ = table.Flush() // an error of the output's shows on it
	fmt.Fprintln(m.out)
	switch {
	case len(workers) > 0 && m.yes:
		return fmt.Errorf("workers still run (%s): stop Flowjet on every front-end first (systemctl disable --now flowjet); nothing was changed", strings.Join(workers, ", "))
	case len(workers) > 0:
		fmt.Fprintf(m.out, "Workers still run (%s): stop Flowjet on every front-end before --yes.\n", strings.Join(workers, ", "))
		return nil
	case !m.yes:
		fmt.Fprintln(m.out, "Nothing was changed. With --yes the documents are written.")
		return nil
	}
	written, err := migrate.Flush(ctx, m.oned, returns)
	if err != nil {
		return err
	}
	fmt.Fprintf(m.out, "%d documents were written. OneFlow can be started (systemctl enable --now opennebula-flow).\n", written)
	return nil
}
