package app

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/internal/testlog"
)

// A file that is wrong keeps no other from being read again: all are named.
func TestReloadReadsAllFiles(t *testing.T) {
	t.Parallel()
	hooks := write(t, "webhooks.yaml", "receivers: []\n")
	cloud, auth := newSim(t, anyPorts)
	running, err := starts(t, t.Context(), []Part{PartNATS, PartWorker}, "--data-dir", t.TempDir(), "--nats-listen", "127.0.0.1:0", "--one-xmlrpc", cloud.Sim().Endpoint(),
		"--one-hooks", cloud.Sim().HooksEndpoint(), "--one-auth-file", auth, "--webhooks-file", hooks)
	must(t, err)
	log, err := NewLog(running.config, io.Discard)
	must(t, err)
	must(t, running.Reload(running.config, log))
	must(t, os.WriteFile(hooks, []byte("receivers: 5\n"), 0o600))
	must(t, os.WriteFile(auth, nil, 0o600))
	if err := running.Reload(running.config, log); err == nil || !strings.Contains(err.Error(), hooks) || !strings.Contains(err.Error(), auth) {
		t.Errorf("%v, want both %s and %s to be named", err, hooks, auth)
	}
}

// The level of the log changes at once; every other option that has changed is named, each once, as one that waits for a restart.
func TestReloadAppliesTheLevelOfTheLog(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	before := configOf(t, "--log-level", "warn", "--log-format", "text")
	log, err := NewLog(before, &out)
	must(t, err)
	a := New(before, nil, "test", io.Discard, log.Logger)
	log.Info("before")
	must(t, a.Reload(configOf(t, "--log-level", "info", "--log-format", "text", "--zone", "7", "--one-hooks", "tcp://a:1"), log))
	log.Info("after")
	said := out.String()
	for _, want := range []string{`msg="a changed option was applied" option=log.level was=warn is=info`, `msg="changed options take effect after a restart" options="zone, one.hooks"`, "msg=after"} {
		if strings.Count(said, want) != 1 {
			t.Errorf("it lacks %q:\n%s", want, said)
		}
	}
	if strings.Contains(said, "msg=before") {
		t.Errorf("the level was info before:\n%s", said)
	}
	out.Reset()
	must(t, a.Reload(configOf(t, "--log-level", "info", "--log-format", "text"), log))
	if out.Len() > 0 {
		t.Errorf("nothing has changed, and it says\n%s", out.String())
	}
	wrong := configOf(t, "--log-format", "text")
	wrong.Log.Level = "loud"
	if err := a.Reload(wrong, log); err == nil || !strings.Contains(err.Error(), `reload log.level: log level "loud" is not one of debug, info, warn and error`) {
		t.Errorf("a level that there is not: %v", err)
	}
}

// A password that was changed at oned is applied without a restart, and not shown; another user's is refused. While oned refuses the server
// user, the file is read by itself.
func TestReloadAppliesTheServerUsersPassword(t *testing.T) {
	t.Parallel()
	cloud, auth := newSim(t, anyPorts)
	var log testlog.Log
	config := configOf(t, "--data-dir", t.TempDir(), "--nats-listen", "127.0.0.1:0", "--one-xmlrpc", cloud.Sim().Endpoint(), "--one-hooks", cloud.Sim().HooksEndpoint(), "--one-auth-file", auth)
	a := New(config, []Part{PartNATS, PartWorker}, "test", io.Discard, log.Logger())
	must(t, a.Start(t.Context()))
	t.Cleanup(func() { stopApp(t, a) })
	level, err := NewLog(config, io.Discard)
	must(t, err)
	must(t, a.Reload(config, level))
	const applied = "the server user's changed password was applied"
	if log.Count(applied) > 0 {
		t.Error("the same password is applied as a changed one")
	}
	right, err := os.ReadFile(auth)
	must(t, err)
	must(t, os.WriteFile(auth, []byte("serveradmin:PLANTED-new\n"), 0o600))
	must(t, a.Reload(config, level))
	if log.Count(applied) != 1 || log.Count("PLANTED-") > 0 {
		t.Errorf("the changed password is applied %d times, or shown:\n%s", log.Count(applied), log.String())
	}
	must(t, os.WriteFile(auth, []byte("PLANTED-alone\n"), 0o600))
	if err := a.Reload(config, level); err == nil || !strings.Contains(err.Error(), auth) || strings.Contains(err.Error(), "PLANTED-") {
		t.Errorf("a file of something else: %v", err)
	}
	must(t, os.WriteFile(auth, right, 0o600))
	poll.Until(t, "the right password to be applied", func() bool {
		_, err := a.oned.Server().User(t.Context(), -1)
		return err == nil
	})
}

// A running server takes over users that were added to its file, and keeps those it has where the file is wrong.
func TestReloadReadsTheServersFile(t *testing.T) {
	t.Parallel()
	conf := write(t, "server.conf", "authorization { user: anna, password: one }\n")
	a, err := starts(t, t.Context(), []Part{PartNATS}, "--data-dir", t.TempDir(), "--nats-listen", "127.0.0.1:0", "--nats-server-file", conf)
	must(t, err)
	log, err := NewLog(a.config, io.Discard)
	must(t, err)
	lets := func(password string) bool {
		conn, err := nats.Connect(a.server.URL(), nats.UserInfo("anna", password))
		if err == nil {
			conn.Close()
		}
		return err == nil
	}
	must(t, os.WriteFile(conf, []byte("authorization { user: anna, password: two }\n"), 0o600))
	must(t, a.Reload(a.config, log))
	if lets("one") || !lets("two") {
		t.Error("the changed password is not the server's")
	}
	must(t, os.WriteFile(conf, []byte("authorization {\n"), 0o600))
	if err := a.Reload(a.config, log); err == nil || !strings.Contains(err.Error(), conf) {
		t.Errorf("a file that is wrong: %v", err)
	}
	if !lets("two") {
		t.Error("a file that is wrong has changed the users")
	}
}

// A process that is stuck is told by the watchdog's question, in the time that it has; what waits for oned or NATS is not stuck.
func TestAProcessThatIsStuck(t *testing.T) {
	t.Parallel()
	a := New(Config{}, nil, "test", io.Discard, slog.New(slog.DiscardHandler))
	must(t, a.Alive(t.Context()))
	a.contact.set("oned does not answer")
	must(t, a.Alive(t.Context()))
	a.contact.mutex.Lock()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := a.Alive(ctx); err == nil || !strings.Contains(err.Error(), "the process does not respond to its own check") {
		t.Errorf("a process that holds its lock: %v", err)
	}
	a.contact.mutex.Unlock()
	must(t, a.Alive(t.Context()))
}

// A process has a name that it keeps over restarts, by which it is missed when it is away; a pod, which never comes back under its name, has none.
func TestNamesOfProcesses(t *testing.T) {
	host, err := os.Hostname()
	must(t, err)
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	must(t, os.Unsetenv("KUBERNETES_SERVICE_HOST"))
	for want, test := range map[string]struct {
		parts  []Part
		folder string
	}{
		host + " up":             {[]Part{PartNarrator, PartWorker, PartBridge, PartAPI, PartNATS}, standardDataDir},
		host + " worker":         {[]Part{PartWorker}, "/var/lib/flowjet/worker"},
		host + " bridge":         {[]Part{PartBridge}, "/var/lib/flowjet"},
		host + " api":            {[]Part{PartAPI}, "flowjet-data/"},
		host + " worker second":  {[]Part{PartWorker}, "/srv/second"},
		host + " up two":         {[]Part{PartWorker, PartAPI}, filepath.Join(t.TempDir(), "two")},
		host + " worker flowjet": {[]Part{PartWorker}, "/data/flowjet"},
	} {
		a := New(Config{DataDir: test.folder}, test.parts, "1.2.3", io.Discard, slog.New(slog.DiscardHandler))
		first, second := identityOf(a), identityOf(a)
		if first.Name != want || first.Host != host || first.Release != "1.2.3" || second.Name != first.Name || second.ID == first.ID {
			t.Errorf("%v in %s is %+v, then %+v, want the name %q", test.parts, test.folder, first, second, want)
		}
	}
	t.Setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
	pod := identityOf(New(Config{DataDir: standardDataDir}, []Part{PartBridge, PartWorker}, "1.2.3", io.Discard, slog.New(slog.DiscardHandler)))
	if pod.Name != "" || pod.Host != "" || pod.ID == "" || strings.Join(pod.Parts, " ") != "bridge worker" {
		t.Errorf("a pod is %+v", pod)
	}
}
