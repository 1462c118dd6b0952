package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/flowjet/flowjet/app"
	"github.com/flowjet/flowjet/internal/terminal"
	"github.com/flowjet/flowjet/migrate"
	"github.com/flowjet/flowjet/opennebula"
)

func newConfigCheck() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use: "check", Short: "Check a configuration file, the FLOWJET_ variables and flags",
		Long: "Check a configuration file, the FLOWJET_ variables and flags together, as at a start:\n" +
			"unknown keys, invalid values, conflicting settings, missing files, and errors in the webhooks file.\n" +
			"The exit status is 2 if something is wrong; each message has the line and a fix.",
		Example: terminal.Example("flowjet config check --config /etc/flowjet/flowjet.yaml"), Args: cobra.NoArgs,
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
	app.AddRunFlags(cmd.Flags(), "")
	addConfigFlag(cmd, &path, false)
	return cmd
}

func newConfigImport() *cobra.Command {
	var out, into string
	cmd := &cobra.Command{
		Use: "import FILE", Short: "Convert OneFlow's oneflow-server.conf",
		Long: "Read OneFlow's /etc/one/oneflow-server.conf and write a configuration file for --config, or with --into change\n" +
			"an existing one. The result for each key is printed on standard error.",
		Example: terminal.Example("flowjet config import /etc/one/oneflow-server.conf --out flowjet.yaml"), Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if out != "" && into != "" {
				return terminal.ExitUsage.Because(errors.New("--out creates a file and --into changes one: use one of them"))
			}
			file, err := os.Open(args[0])
			if err != nil {
				return terminal.ExitUsage.Because(fmt.Errorf("read OneFlow's configuration: %w: the default of OneFlow is /etc/one/oneflow-server.conf", err))
			}
			defer file.Close()
			switch {
			case into != "":
				return importInto(into, file, cmd.ErrOrStderr())
			case out != "":
				return importAs(out, file, cmd.ErrOrStderr())
			}
			return terminal.ExitUsage.Because(app.Import(file, nil, cmd.OutOrStdout(), cmd.ErrOrStderr()))
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
		return terminal.ExitUsage.Because(err)
	}
	if err := os.WriteFile(path+".before", was, 0o600); err != nil {
		return fmt.Errorf("save %s: %w", path, err)
	}
	if err := os.WriteFile(path, text.Bytes(), 0o600); err != nil {
		return fmt.Errorf("write the configuration: %w: the old file is %s.before", err, path)
	}
	return nil
}

// importAs never overwrites a file: it may have been edited.
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
	return terminal.ExitUsage.Because(app.Import(conf, nil, made, report))
}

type migration struct {
	path, oneflow string
	back, yes     bool
	config        app.Config
	log           app.Log
	oned          *opennebula.Client
	out           *terminal.Console
}

func newMigrate() *cobra.Command {
	m := &migration{}
	cmd := &cobra.Command{
		Use: "migrate", Short: "Take services over from OneFlow, or give them back",
		Long: "Check the requirements, show the result for each service, and with --yes take all services over from a stopped\n" +
			"OneFlow. With --back write pending changes into OpenNebula's documents, so that OneFlow can continue.\n" +
			"Without --yes nothing is changed.",
		Example: terminal.Example("flowjet migrate\nflowjet migrate --yes\nflowjet migrate --back --yes"), Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			m.out = terminal.New(cmd.OutOrStdout(), terminal.Table)
			if m.config, err = readConfig(m.path, cmd); err != nil {
				return err
			}
			if !cmd.Flags().Changed("log-level") { // the file's level is for the parts, which run unattended: this output is read at once
				m.config.Log.Level = "warn"
			}
			if m.log, err = app.NewLog(m.config, cmd.ErrOrStderr()); err != nil {
				return err
			}
			if m.oned, err = m.config.Oned(m.log.Logger); err != nil {
				return terminal.ExitUsage.Because(err)
			}
			defer m.oned.Close()
			if m.back {
				return m.giveBack(cmd.Context())
			}
			return m.takeOver(cmd.Context())
		},
	}
	app.AddRunFlags(cmd.Flags(), "")
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
	var rows [][]string
	for _, service := range services {
		next := strings.Join(service.Next, "; ")
		if service.Unreadable != "" {
			next = "left unchanged: " + service.Unreadable
		}
		rows = append(rows, []string{strconv.Itoa(service.ID), service.Name, service.Owner, service.State, next})
	}
	if _ = m.out.List(terminal.Listing{Head: []string{"SERVICE", "NAME", "OWNER", "STATE", "FIRST"}, Rows: rows, None: "There are no services yet."}); !m.yes {
		m.out.Say("\nNothing was changed. With --yes all services are taken over.")
		return nil
	}
	pipe, release, err := m.config.Store(ctx, m.log.Logger)
	if err != nil {
		return err
	}
	defer release()
	if err := migrate.Complete(ctx, m.oned, services); err != nil {
		return err
	}
	count, err := migrate.Adopt(ctx, pipe, services)
	if err != nil {
		return err
	}
	m.out.Say("Services taken over: %d. Workers continue with them as soon as they run (systemctl enable --now flowjet).", count)
	return nil
}

// preflight shows every check, and returns an error if one requires action.
func (m *migration) preflight(ctx context.Context) error {
	hooks, err := m.config.HookEndpoints(ctx, m.oned)
	if err != nil {
		m.log.Warn("the hook endpoints are not known", "error", err)
	}
	preflight := migrate.Preflight{Oned: m.oned, Zone: m.config.Zone, XMLRPC: m.config.One.XMLRPC[0], Hooks: hooks, OneFlow: strings.TrimSuffix(m.oneflow, "/"), Now: time.Now}
	if m.config.NATS.URL != "" {
		preflight.ConnectNATS = m.config.Reach
	}
	checks := preflight.Run(ctx)
	for _, check := range checks {
		mark, mend := "ok", ""
		if check.Mend != "" {
			mark, mend = "FIX", ": "+check.Mend
		}
		if check.Doubt {
			mark = "note"
		}
		m.out.Say("%-5s %s: %s%s", mark, check.What, check.Found, mend)
	}
	m.out.Say("")
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
	workers, apis, err := migrate.StillRunning(ctx, pipe)
	if err != nil {
		return err
	}
	returns, err := migrate.PlanBack(ctx, m.oned, pipe)
	if err != nil {
		return err
	}
	var rows [][]string
	for _, one := range returns {
		rows = append(rows, []string{strconv.Itoa(one.ID), one.State, one.What})
	}
	m.out.Table([]string{"SERVICE", "STATE", "DOCUMENT"}, rows)
	m.out.Say("")
	running, still := workers, "Flowjet's workers still run"
	if len(workers) == 0 { // an API would accept commands that nothing carries out
		running, still = apis, "Flowjet's API still runs"
	}
	switch {
	case len(running) > 0 && m.yes:
		return fmt.Errorf("%s (%s): stop Flowjet on every front-end first (systemctl disable --now flowjet); nothing was changed", still, strings.Join(running, ", "))
	case len(running) > 0:
		m.out.Say("%s (%s): stop Flowjet on every front-end before --yes.", still, strings.Join(running, ", "))
		return nil
	case !m.yes:
		m.out.Say("Nothing was changed. With --yes the documents are written.")
		return nil
	}
	written, err := migrate.Flush(ctx, m.oned, pipe, returns)
	if err != nil {
		return err
	}
	m.out.Say("Documents written: %d. OneFlow can be started (systemctl enable --now opennebula-flow).", written)
	return nil
}
