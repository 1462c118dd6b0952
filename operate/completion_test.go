package operate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/natstest"
	"github.com/flowjet/flowjet/internal/terminal"
	"github.com/flowjet/flowjet/pipeline"
)

// offers returns what a shell offers for the last word, and that it offers no files in their place.
func (d *desk) offers(words ...string) []string {
	d.t.Helper()
	out, err := d.run(append([]string{cobra.ShellCompRequestCmd}, words...)...)
	d.must(err)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	for i, line := range lines {
		if directive, is := strings.CutPrefix(line, ":"); is {
			if directive != fmt.Sprint(int(cobra.ShellCompDirectiveNoFileComp)) {
				d.t.Errorf("%q completes with the directive %s", words, directive)
			}
			return lines[:i]
		}
	}
	d.t.Fatalf("%q is completed by %q", words, out)
	return nil
}

// A shell offers the services and dead letters that there are, with what tells them apart, and the values of flags.
func TestWhatAShellOffers(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.keep(3, "shop", "alice", spec.ServiceRunning)
	d.keep(12, "mail", "bob", spec.ServiceFailedDeploying)
	d.keep(13, "old", "bob", spec.ServiceRunning)
	_, revision, err := d.pipe.LoadRecord(t.Context(), 13)
	d.must(err)
	_, err = d.pipe.SaveRecord(t.Context(), 13, pipeline.Record{Version: pipeline.Version, Deleted: true}, revision)
	d.must(err)
	letter := forService(3)
	letter.Reason = "it is no JSON: " + strings.Repeat("x", 100)
	number := d.deadLettered(letter)
	for line, want := range map[string]string{
		"service why ":      "3\tshop RUNNING\n12\tmail FAILED_DEPLOYING",
		"service record ":   "3\tshop RUNNING\n12\tmail FAILED_DEPLOYING",
		"service look ":     "3\tshop RUNNING\n12\tmail FAILED_DEPLOYING",
		"service watch 3 ":  "",
		"events --service ": "3\tshop RUNNING\n12\tmail FAILED_DEPLOYING",
		"events --kind ":    strings.Join(spec.WebhookKinds, "\n"),
		"events --with ":    "dead-letters\nopennebula\nwebhooks",
		"commands --state ": "queued\ndone\nrefused",
		"dlq show ":         number + "\tit is no JSON: " + strings.Repeat("x", 44) + "…",
		"dlq drop 7 ":       number + "\tit is no JSON: " + strings.Repeat("x", 44) + "…",
	} {
		got := d.offers(strings.Split(line, " ")...)
		if len(got) == 2 && strings.HasPrefix(got[0], "12") { // services come in any order
			got[0], got[1] = got[1], got[0]
		}
		if strings.Join(got, "\n") != want {
			t.Errorf("%q is completed by %q, want %q", line, got, want)
		}
	}
	if states := d.offers("service", "records", "--state", ""); len(states) != len(spec.ServiceStateNames()) {
		t.Errorf("there are the states %q", states)
	}
	away := &desk{t: t, url: "nats://127.0.0.1:1"}
	for _, line := range []string{"service why ", "events --service ", "dlq show "} {
		if got := away.offers(strings.Split(line, " ")...); len(got) > 0 {
			t.Errorf("without NATS %q is completed by %q", line, got)
		}
	}
}

// How a command ends that cannot connect: as unreachable however that shows, but for a wrong command line, and with where there is more to read.
func TestCommandsThatCannotConnect(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		err  error
		want terminal.Exit
	}{
		{errors.New("connection refused"), terminal.ExitUnreachable},
		{context.DeadlineExceeded, terminal.ExitUnreachable},
		{fmt.Errorf("read the key: %w", errors.New("permission denied")), terminal.ExitUnreachable},
		{terminal.ExitUsage.Because(errors.New("zone must be a number")), terminal.ExitUsage},
	} {
		asked := 0
		services, others := Commands(func(*cobra.Command) {}, func(*cobra.Command) (Environment, error) {
			return Environment{Attach: func(ctx context.Context) (*pipeline.Pipeline, []string, error) {
				asked++
				if _, limited := ctx.Deadline(); !limited {
					t.Error("a command may wait for NATS for ever")
				}
				return nil, nil, test.err
			}}, nil
		})
		root := &cobra.Command{Use: "flowjet", SilenceErrors: true, SilenceUsage: true}
		service := terminal.Group("service", "Services")
		service.AddCommand(services...)
		root.AddCommand(append(others, service)...)
		root.SetOut(io.Discard)
		for i, line := range []string{"status", "service records", "service why 3", "events", "dlq ls", "commands", "top"} {
			root.SetArgs(strings.Fields(line))
			err := root.ExecuteContext(t.Context())
			if err == nil || ExitOf(err) != test.want || strings.HasSuffix(err.Error(), "; `flowjet doctor` has more") != (test.want == terminal.ExitUnreachable) || asked != i+1 {
				t.Errorf("%s: %v, exit %d, want %d", line, err, ExitOf(err), test.want)
			}
		}
	}
	d := &desk{t: t, url: natstest.Server(t)}
	if _, err := d.run("status"); err == nil || !strings.Contains(err.Error(), "this NATS server lacks ") || !strings.Contains(err.Error(), pipeline.StreamWork) || !strings.Contains(err.Error(), "flowjet nats provision") {
		t.Errorf("on a server without streams: %v", err)
	}
}

// Times, sizes and lists as operators read them.
func TestHowFiguresAreWritten(t *testing.T) {
	t.Parallel()
	for size, want := range map[uint64]string{0: "0 B", 1023: "1023 B", 1024: "1 KiB", 1536 << 10: "2 MiB", 48 << 20: "48 MiB", 1 << 30: "1.0 GiB", 1536 << 20: "1.5 GiB"} {
		if got := bytesText(size); got != want {
			t.Errorf("%d is %q, want %q", size, got, want)
		}
	}
	for want, all := range map[string][]string{
		"": nil, "a": {"a"}, "vm 9 DONE, vm 10 DONE": {"vm 10 DONE", "vm 9 DONE"}, "a, b, c, d, e": {"e", "d", "c", "b", "a"}, "a, b, c, d, e and 2 more": {"g", "e", "d", "f", "c", "b", "a"},
	} {
		if got := few(all); got != want {
			t.Errorf("%q are %q, want %q", all, got, want)
		}
	}
	for text, want := range map[string]string{"": "", "abc": "abc", "abcde": "abcde", "abcdef": "abcd…", "äöüßéà": "äöüß…"} {
		if got := terminal.Abridged(text, 5); got != want {
			t.Errorf("%q is cut to %q, want %q", text, got, want)
		}
	}
	if got := counts(map[string]int{"RUNNING": 2, "DONE": 0, "FAILED_SCALING": 1}, "none"); got != "1 FAILED_SCALING, 2 RUNNING" {
		t.Errorf("they are %q", got)
	}
	if got := counts(map[string]uint64{"worker": 0}, "none"); got != "none" {
		t.Errorf("of none there are %q", got)
	}
	noon := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	for offset, want := range map[time.Duration]string{-time.Minute: "1m0s off", 3 * time.Second: "same", time.Minute: "-50s off"} {
		var d diagnosis
		if d.compareClocks("", noon.Add(offset), noon, noon.Add(10*time.Second), 0); !strings.Contains(d.said(), want) {
			t.Errorf("a clock that is told %s from noon within ten seconds is %s, want %s", offset, d.said(), want)
		}
	}
	c := terminal.New(io.Discard, terminal.Table)
	c.Now = func() time.Time { return noon }
	if got := due(c, noon.Add(90*time.Second)); got != "in 1m30s" {
		t.Errorf("a timer is due %s", got)
	}
	if got := due(c, noon.Add(-5*time.Second)); got != "5s ago" {
		t.Errorf("a timer was due %s", got)
	}
}
