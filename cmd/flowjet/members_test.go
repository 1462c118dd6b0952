package main

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/flowjet/flowjet/internal/poll"
)

// TestAProcessThatIsKilledIsNamedOnce by status and doctor, until it is back or forgotten.
func TestAProcessThatIsKilledIsNamedOnce(t *testing.T) {
	c, folder := newCloud(t), filepath.Join(t.TempDir(), "second")
	c.up(t)
	o := newOperator(t, c)
	second := start(t, "worker", "--nats-url", "nats://"+c.nats, "--nats-nkey-file", c.key("worker"), "--one-auth-file", c.auth(),
		"--one-xmlrpc", "http://"+c.xmlrpc+"/RPC2", "--data-dir", folder)
	state := func() string {
		out, _, _ := o.types("status")
		for line := range strings.Lines(out) {
			if strings.Contains(line, " worker second ") {
				return line
			}
		}
		return ""
	}
	there := func() bool { return strings.Contains(state(), " ok") }
	poll.Until(t, "the second worker to be expected", there)
	second.kill()
	killed := time.Now()
	poll.Until(t, "status to miss it", func() bool { return strings.Contains(state(), "MISSING for ") })
	t.Logf("it was missed after %s", time.Since(killed).Round(time.Second))
	o.finds(func(out, _ string, err error) bool {
		return err != nil && strings.Count(out, "problem process ") == 1 && strings.Count(out, "problem ") == 1
	})
	second.again()
	poll.Until(t, "it to be back", there)
	second.kill()
	poll.Until(t, "status to miss it again", func() bool { return strings.Contains(state(), "MISSING for ") })
	name := strings.TrimSpace(strings.SplitN(state(), "  ", 2)[0])
	if _, failed, err := o.types("status", "--forget", name); err != nil {
		t.Fatal(failed)
	}
	o.finds(func(_, _ string, err error) bool { return err == nil && state() == "" })
}
