package embedded

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What the server reports only in its log is acted on.
func TestTheServersLogIsUnderstood(t *testing.T) {
	var text bytes.Buffer
	l := newLogger(slog.New(slog.NewTextHandler(&text, &slog.HandlerOptions{Level: slog.LevelDebug})))
	l.Noticef("starting %d", 1)
	l.Debugf("debug")
	l.Tracef("trace")
	l.Warnf("slow disk")
	l.Errorf("some error")
	if len(l.broken) != 0 {
		t.Error("any error counts as a failed write")
	}
	l.Errorf("Critical write error: no space left on device")
	l.Errorf("JetStream resource limits exceeded, JetStream will be DISABLED")
	if len(l.broken) != 1 {
		t.Error("failed writes are not reported")
	}
	l.Fatalf("cannot listen on %s", "4222")
	l.Fatalf("a second one")
	if reason := <-l.fatal; reason != "cannot listen on 4222" {
		t.Errorf("it did not start because %q", reason)
	}
	for line, level := range map[string]string{"starting 1": "DEBUG", "slow disk": "WARN", "some error": "ERROR", "a second one": "ERROR"} {
		if !strings.Contains(text.String(), "level="+level) || !strings.Contains(text.String(), line) {
			t.Errorf("%q is not logged at level %s:\n%s", line, level, text.String())
		}
	}
}

func TestAServersOptionsComeFromItsConfigAndFile(t *testing.T) {
	for listen, want := range map[string]struct {
		host string
		port int
	}{"": {"127.0.0.1", -1}, "0.0.0.0:0": {"0.0.0.0", -1}, "[::1]:4222": {"::1", 4222}} {
		options, err := serverOptions(Config{StoreDir: t.TempDir(), Listen: listen, MaxStore: 7})
		must(t, err)
		if options.Host != want.host || options.Port != want.port || options.JetStreamMaxStore != 7 || !options.SyncAlways || !options.NoSigs || options.MaxPayload != MaxPayload || options.ServerName != "flowjet" {
			t.Errorf("listening on %q: %+v", listen, options)
		}
	}
	if _, err := serverOptions(Config{StoreDir: t.TempDir(), File: "/nowhere/server.conf"}); err == nil || !strings.Contains(err.Error(), "/nowhere/server.conf") {
		t.Errorf("a file that is not there: %v", err)
	}
	if _, err := serverOptions(Config{StoreDir: t.TempDir(), Cluster: &Cluster{Listen: "nowhere"}}); err == nil {
		t.Error("a cluster that listens nowhere was configured")
	}
	file := filepath.Join(t.TempDir(), "server.conf")
	for interval, always := range map[string]bool{"always": true, "1m": false} {
		must(t, os.WriteFile(file, []byte("jetstream { sync_interval: "+interval+" }\n"), 0o600))
		options, err := serverOptions(Config{StoreDir: t.TempDir(), File: file})
		must(t, err)
		if options.SyncAlways != always {
			t.Errorf("with the interval %s in the file it writes at once: %t", interval, options.SyncAlways)
		}
	}
	if shareOfDisk(t.TempDir()) <= 0 || shareOfDisk("/no/such/folder") != 0 {
		t.Error("the share of the disk is not three quarters of it")
	}
}
