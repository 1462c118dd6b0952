package main

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/flowjet/flowjet/internal/poll"
)

// manager stands in for systemd: it hears what a process notifies it of.
type manager struct {
	t    *testing.T
	conn *net.UnixConn
	// heard is everything until now.
	heard string
}

// newManager has processes that start from now on find it.
func newManager(t *testing.T) *manager {
	t.Helper()
	folder, err := os.MkdirTemp("", "notify") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(folder) })
	address := &net.UnixAddr{Name: filepath.Join(folder, "s"), Net: "unixgram"}
	conn, err := net.ListenUnixgram("unixgram", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	t.Setenv("NOTIFY_SOCKET", address.Name)
	t.Setenv("WATCHDOG_USEC", "400000")
	t.Setenv("JOURNAL_STREAM", "8:1")
	return &manager{t: t, conn: conn}
}

// hears waits for a notification that has the line.
func (m *manager) hears(line string) string {
	m.t.Helper()
	if err := m.conn.SetReadDeadline(time.Now().Add(poll.Limit)); err != nil {
		m.t.Fatal(err)
	}
	text := make([]byte, 4096)
	for {
		count, err := m.conn.Read(text)
		if err != nil {
			m.t.Fatalf("wait for the notification %s: %v", line, err)
		}
		said := string(text[:count])
		m.heard += said + "\n"
		if strings.Contains("\n"+said+"\n", "\n"+line+"\n") {
			return said
		}
	}
}

// TestUnderAServiceManager: ready when it is, the watchdog fed, reloaded on
// SIGHUP with what can be and an old configuration kept when the new one is
// wrong, and said to be stopping.
func TestUnderAServiceManager(t *testing.T) {
	systemd := newManager(t)
	c := newCloud(t)
	config := filepath.Join(t.TempDir(), "flowjet.yaml")
	set := func(text string) {
		t.Helper()
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	set("log:\n  level: warn\n")
	process := start(t, "up", "--sim", "--config", config, "--data-dir", c.data, "--api-listen", c.api, "--nats-listen", c.nats,
		"--sim-listen", c.simulator())
	systemd.hears("READY=1")
	systemd.hears("WATCHDOG=1")
	systemd.hears("WATCHDOG=1")

	set("log:\n  level: debug\napi:\n  action_number: 5\n")
	hangUp(t, process)
	if said := systemd.hears("RELOADING=1"); !strings.Contains(said, "MONOTONIC_USEC=") {
		t.Errorf("when the reload began is missing: %q", said)
	}
	systemd.hears("READY=1")
	process.says(`option=log.level was=warn is=debug`)
	process.says(`<4>msg="changed options take effect after a restart" options=api.action_number`)
	process.says("<7>")

	set("log:\n  level: loud\n")
	hangUp(t, process)
	process.says(`flowjet.yaml:2: log.level is \"loud\"`)
	systemd.hears("READY=1")
	if err := process.command.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	systemd.hears("STOPPING=1")
	process.wait()
	if process.err != nil {
		t.Errorf("SIGTERM ends it with %v", process.err)
	}
}

// TestARefusedStartIsHeld: with the reason in its status, and until it is stopped.
func TestARefusedStartIsHeld(t *testing.T) {
	systemd := newManager(t)
	c := newCloud(t)
	start(t, "sim", "--data-dir", c.data, "--sim-listen", c.simulator())
	systemd.hears("READY=1")
	wrong := filepath.Join(t.TempDir(), "auth")
	if err := os.WriteFile(wrong, []byte("serveradmin:wrong\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	process := start(t, "up", "--data-dir", t.TempDir(), "--api-listen", c.api, "--nats-listen", c.nats,
		"--one-xmlrpc", "http://"+c.xmlrpc+"/RPC2", "--one-auth-file", wrong)
	if status := systemd.hears("STATUS=oned at http://" + c.xmlrpc + "/RPC2 refuses the server user of " + wrong +
		": put serveradmin's name and password there, or set another file with --one-auth-file"); strings.Contains(status, "READY") {
		t.Errorf("it is ready: %q", status)
	}
	process.says("refuses the server user of " + wrong)
	process.stops(t)
}

// TestARefusalAfterTheStartIsHeld: without being stopping for systemd, which would kill it after a while.
func TestARefusalAfterTheStartIsHeld(t *testing.T) {
	systemd := newManager(t)
	c := newCloud(t)
	wrong := filepath.Join(t.TempDir(), "auth")
	if err := os.WriteFile(wrong, []byte("serveradmin:wrong\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	process := start(t, "up", "--data-dir", t.TempDir(), "--api-listen", c.api, "--nats-listen", c.nats,
		"--one-xmlrpc", "http://"+c.xmlrpc+"/RPC2", "--one-auth-file", wrong)
	systemd.hears("READY=1")
	t.Setenv("NOTIFY_SOCKET", "") // the simulator's notifications would be taken for the process's
	start(t, "sim", "--data-dir", c.data, "--sim-listen", c.simulator())
	systemd.hears("STATUS=oned at http://" + c.xmlrpc + "/RPC2 refuses the server user of " + wrong +
		": put serveradmin's name and password there, or set another file with --one-auth-file")
	if strings.Contains(systemd.heard, "STOPPING=1") {
		t.Errorf("it stops: %q", systemd.heard)
	}
	process.stops(t)
}

// stops ends a process that is held.
func (process *process) stops(t *testing.T) {
	t.Helper()
	if err := process.command.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if process.wait(); process.err == nil {
		t.Error("it ends as one that was not refused")
	}
}

func hangUp(t *testing.T, process *process) {
	t.Helper()
	if err := process.command.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
}
