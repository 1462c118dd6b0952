package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/internal/servertoken"
)

// TestClientSuite sends what each of OneFlow's clients sends to `up --sim`.
func TestClientSuite(t *testing.T) {
	c := newCloud(t)
	logs := filepath.Join(t.TempDir(), "oneflow")
	c.up(t, "--api-service-log-dir", logs)
	text, err := os.ReadFile(c.auth())
	if err != nil {
		t.Fatal(err)
	}
	user, password, _ := strings.Cut(strings.TrimSpace(string(text)), ":")
	err = runClients(t.Context(), suiteTarget{
		URL: "http://" + c.api, Admin: "oneadmin:opennebula", User: "alice:alice", Patience: 20 * time.Second,
		Server: func(target string) string {
			return servertoken.Session(user, password, target, time.Now().Add(time.Hour))
		},
	})
	if err != nil {
		t.Error(err)
	}
	poll.Until(t, "a service's log to tell its end", func() bool {
		found, err := filepath.Glob(filepath.Join(logs, "*.log"))
		if err != nil || len(found) == 0 {
			return false
		}
		text, err := os.ReadFile(found[0])
		return err == nil && strings.Contains(string(text), "[I]: [SER] PENDING -> DEPLOYING_NETS") && strings.Contains(string(text), "[SER] DELETED")
	})
}
