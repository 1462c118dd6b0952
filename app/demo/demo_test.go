package demo

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/flowjet/flowjet/app"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/internal/ports"
	"github.com/flowjet/flowjet/sim"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// running starts a whole Flowjet over a simulator, and returns the demo's configuration for it and what the demo prints.
func running(t *testing.T) (cloud *sim.Sim, config Config, printed *bytes.Buffer) {
	t.Helper()
	folder, natsAddress := t.TempDir(), ports.Free(t, 1)[0]
	flags := pflag.NewFlagSet(t.Name(), pflag.ContinueOnError)
	app.AddFlags(flags)
	must(t, flags.Parse([]string{
		"--sim", "--data-dir", folder, "--api-listen", "127.0.0.1:0", "--nats-listen", natsAddress, "--sim-listen", "127.0.0.1:0,127.0.0.1:0,127.0.0.1:0",
	}))
	settings, err := app.ReadConfig("", flags)
	must(t, err)
	whole := app.New(settings, []app.Part{app.PartNATS, app.PartSim, app.PartWorker, app.PartBridge, app.PartAPI}, "test", io.Discard, slog.New(slog.DiscardHandler))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), poll.Limit)
		defer cancel()
		must(t, whole.Stop(ctx))
	})
	must(t, whole.Start(t.Context()))
	printed = &bytes.Buffer{}
	return whole.Sim(), Config{
		API: "http://" + whole.APIAddress(), NATS: "nats://" + natsAddress, XMLRPC: whole.Sim().Endpoint(), User: "oneadmin", DataDir: folder,
		Patience: poll.Limit, Out: printed,
	}, printed
}

// Each step is printed with its time, then the service's states in order; nothing is left at oned.
func TestTheWholeLifeOfAService(t *testing.T) {
	cloud, config, printed := running(t)
	must(t, Run(t.Context(), config))
	text := printed.String()
	if steps := regexp.MustCompile(`(?m)^\d/7 .* +\d+ ms$`).FindAllString(text, -1); len(steps) != 7 {
		t.Errorf("%d of 7 steps have a time:\n%s", len(steps), text)
	}
	_, timeline, _ := strings.Cut(text, "The timeline of service ")
	at := 0
	for _, state := range []string{"DEPLOYING", "RUNNING", "SCALING", "COOLDOWN", "RUNNING", "SCALING", "COOLDOWN", "RUNNING", "WARNING", "RUNNING", "UNDEPLOYING", "DONE"} {
		found := strings.Index(timeline[at:], state)
		if found < 0 {
			t.Fatalf("the timeline lacks %s after %q:\n%s", state, timeline[:at], timeline)
		}
		at += found + len(state)
	}
	for _, vm := range cloud.VMs() {
		if vm.StateText != "DONE" {
			t.Errorf("VM %d is %s", vm.ID, vm.StateText)
		}
	}
	if left := cloud.State().Documents; len(left) != 0 {
		t.Errorf("documents are left, by type: %v", left)
	}
}

// The first step that goes wrong ends the demo, and the error names the step and what to look at.
func TestStepsThatFail(t *testing.T) {
	cloud, config, printed := running(t)
	cloud.PauseBoots()
	waits := config
	waits.Patience = 500 * time.Millisecond
	err := Run(t.Context(), waits)
	if err == nil || !strings.HasPrefix(err.Error(), "demo: instantiate it and wait for RUNNING: service ") || !strings.Contains(err.Error(), "did not reach RUNNING") {
		t.Errorf("a VM that does not boot: %v", err)
	}
	if text := printed.String(); !strings.Contains(text, "2/7") || strings.Contains(text, "3/7") || !strings.HasSuffix(text, "failed\n") {
		t.Errorf("printed is %q", text)
	}
	cloud.ResumeBoots()
	nobody := ports.Free(t, 1)[0]
	password := func(text string) string {
		path := filepath.Join(t.TempDir(), "password")
		must(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	for name, test := range map[string]struct {
		change func(*Config)
		want   []string
	}{
		"no API":                  {func(c *Config) { c.API = "http://" + nobody }, []string{"demo: create the template", nobody, "is `flowjet up --sim` running?"}},
		"no NATS":                 {func(c *Config) { c.NATS = "nats://" + nobody }, []string{nobody, "is `flowjet up --sim` running"}},
		"another data folder":     {func(c *Config) { c.DataDir = t.TempDir() }, []string{"is --data-dir its data folder?"}},
		"a URL of nothing":        {func(c *Config) { c.API = "://" }, []string{"://"}},
		"a wrong password":        {func(c *Config) { c.PasswordFile = password("wrong") }, []string{"demo: create the template", http.MethodPost}},
		"a password file missing": {func(c *Config) { c.PasswordFile = "/nowhere/password" }, []string{"read the password file", "/nowhere/password"}},
		"oned is elsewhere":       {func(c *Config) { c.XMLRPC = "http://" + nobody + "/RPC2" }, []string{"demo: power off a VM", nobody}},
	} {
		wrong := config
		wrong.Out = io.Discard
		test.change(&wrong)
		err := Run(t.Context(), wrong)
		if err == nil {
			t.Errorf("%s: it goes on", name)
			continue
		}
		for _, want := range test.want {
			if !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%s: %q lacks %q, or is not one line", name, err, want)
			}
		}
	}
	printed.Reset()
	config.PasswordFile = password("opennebula\n")
	if err := Run(t.Context(), config); err != nil {
		t.Errorf("with the right password in a file: %v", err)
	}
}
