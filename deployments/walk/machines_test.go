package walk

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/flowjet/flowjet/app/cluster"
	"github.com/flowjet/flowjet/internal/idle"
	"github.com/flowjet/flowjet/internal/poll"
)

// began is when the walk did, for its log.
var began = time.Now()

// machine is a front-end with a systemd of its own: this machine's files under
// an overlay, and namespaces.
type machine struct {
	t       *testing.T
	name    string
	address string
	// root is where its files are seen from outside.
	root string
	boot *exec.Cmd
	// booting is what it said last while it booted.
	booting string
	err     error
	// systemd is its first process's number outside.
	systemd int
}

// site are three front-ends on a network, with the shared folder through which
// files are copied between them.
type site struct {
	network   *cluster.Network
	frontEnds []*machine
	// port is where clients find an API: HAProxy's, or the APIs' own without one.
	port string
	// serverUser is serveradmin's name and password, program a flowjet outside.
	serverUser, program string
}

// needed are the commands without which there are no machines.
var needed = []string{"unshare", "nsenter", "ip", "dpkg", "systemctl", "scp"}

func newSite(t *testing.T) *site {
	t.Helper()
	network, err := cluster.NewNetwork(t.Context(), 3)
	possible(t, err)
	t.Cleanup(func() { _ = network.Close() })
	s := &site{network: network}
	folder := t.TempDir()
	s.startOpenNebula(t, folder)
	for i, address := range network.FrontEnds() {
		m := &machine{t: t, name: fmt.Sprintf("front-end-%d", i+1), address: address}
		m.root = filepath.Join(folder, m.name, "root")
		m.lay(filepath.Join(folder, m.name))
		s.frontEnds = append(s.frontEnds, m)
	}
	for i, m := range s.frontEnds {
		m.furnish(s, i)
		m.start(network.Namespace(i))
	}
	for _, m := range s.frontEnds {
		m.await()
	}
	return s
}

// possible ends the walk, with the reason, where this machine cannot make others:
// that is no fault of the product.
func possible(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		fmt.Println("walk: SKIPPED: no front-ends can be made on this machine:", err)
		t.Skip(err)
	}
}

// startOpenNebula starts a simulated zone of three on the network.
func (s *site) startOpenNebula(t *testing.T, folder string) {
	t.Helper()
	oneds, zone := s.network.Oneds(), filepath.Join(folder, "opennebula")
	s.program = filepath.Join(folder, "flowjet")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", s.program, "../../cmd/flowjet")
	if said, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build flowjet: %v\n%s", err, said)
	}
	simulator := exec.Command(s.program, "sim", "--data-dir", zone, //nolint:noctx // the cleanup ends it
		"--sim-listen", fmt.Sprintf("%[1]s:2633,%[1]s:2101,%[1]s:2634,%[2]s:2633,%[2]s:2101,%[3]s:2633,%[3]s:2101", oneds[0], oneds[1], oneds[2]))
	var said bytes.Buffer
	simulator.Stdout, simulator.Stderr = &said, &said
	must(t, simulator.Start())
	t.Cleanup(func() {
		_ = simulator.Process.Kill()
		_ = simulator.Wait()
		if t.Failed() {
			t.Logf("the simulated OpenNebula said:\n%s", said.String())
		}
	})
	poll.Until(t, "the simulated OpenNebula", func() bool {
		text, err := os.ReadFile(filepath.Join(zone, "simulated-oneflow_auth"))
		s.serverUser = string(text)
		return err == nil && strings.HasSuffix(s.serverUser, "\n")
	})
}

// lay puts an overlay over this machine's files. Its upper half is on a file
// system of its own: an overlay cannot lie on another, as containers have it.
func (m *machine) lay(folder string) {
	m.t.Helper()
	must(m.t, os.MkdirAll(folder, 0o755))
	possible(m.t, syscall.Mount("tmpfs", folder, "tmpfs", 0, "mode=755"))
	m.t.Cleanup(func() { _ = syscall.Unmount(folder, syscall.MNT_DETACH) })
	for _, name := range []string{"upper", "work", "root"} {
		must(m.t, os.Mkdir(filepath.Join(folder, name), 0o755))
	}
	options := fmt.Sprintf("lowerdir=/,upperdir=%s,workdir=%s", filepath.Join(folder, "upper"), filepath.Join(folder, "work"))
	possible(m.t, syscall.Mount("overlay", m.root, "overlay", 0, options))
	m.t.Cleanup(func() { _ = syscall.Unmount(m.root, syscall.MNT_DETACH) })
}

// furnish gives it what a front-end has before Flowjet comes: names of the hosts,
// oned at its port, its credentials, and a OneFlow.
func (m *machine) furnish(s *site, number int) {
	m.t.Helper()
	var hosts strings.Builder
	hosts.WriteString("127.0.0.1 localhost\n")
	for i, address := range s.network.FrontEnds() {
		fmt.Fprintf(&hosts, "%s front-end-%d\n", address, i+1)
	}
	m.write("/etc/hosts", hosts.String(), 0o644)
	m.write("/etc/hostname", m.name+"\n", 0o644)
	m.write("/etc/one/oneflow-server.conf", oneflowConf, 0o644)
	m.write("/var/lib/one/.one/oneflow_auth", s.serverUser, 0o600)
	units := "/etc/systemd/system/"
	m.write(units+"walk.target", "[Unit]\nWants=opennebula.socket opennebula-flow.service\nAllowIsolate=yes\n", 0o644)
	m.write(units+"opennebula.socket", "[Socket]\nListenStream=127.0.0.1:2633\n", 0o644)
	m.write(units+"opennebula.service", fmt.Sprintf("[Service]\nExecStart=/lib/systemd/systemd-socket-proxyd %s:2633\n", s.network.Oneds()[number]), 0o644)
	m.write("/usr/lib/systemd/system/opennebula-flow.service", "[Service]\nExecStart=/usr/local/bin/oneflow\n[Install]\nWantedBy=walk.target\n", 0o644)
	m.write("/usr/local/bin/oneflow", someServer, 0o755)
	m.write("/usr/local/bin/scp", copyBetween, 0o755)
	for _, unit := range []string{"systemd-udevd.service", "systemd-udev-trigger.service", "systemd-timesyncd.service", "systemd-networkd.service", "dbus.socket", "avahi-daemon.socket"} {
		_ = os.Remove(m.root + units + unit)
		must(m.t, os.Symlink("/dev/null", m.root+units+unit))
	}
}

// copyBetween stands in for scp, which takes modes along and not owners.
const copyBetween = `#!/bin/sh
[ "$1" = -p ] && shift
for last; do :; done
host=${last%%:*}
while [ $# -gt 1 ]; do cp --preserve=mode "$1" "/walk/${host#root@}/root${last#*:}" || exit 1; shift; done
`

// someServer stands in for OneFlow: it answers HTTP at its address.
const someServer = `#!/usr/bin/perl
use IO::Socket::INET;
my $server = IO::Socket::INET->new(LocalAddr => "127.0.0.1:2474", Listen => 5, ReuseAddr => 1) or die $!;
while (my $client = $server->accept) {
  sysread $client, my $request, 4096;
  print $client "HTTP/1.0 404 Not Found\r\nContent-Length: 0\r\n\r\n";
  close $client;
}
`

// write writes a file of the machine's.
func (m *machine) write(path, text string, mode os.FileMode) {
	m.t.Helper()
	at := filepath.Join(m.root, path)
	must(m.t, os.MkdirAll(filepath.Dir(at), 0o755))
	must(m.t, os.WriteFile(at, []byte(text), mode))
	must(m.t, os.Chmod(at, mode))
}

// start boots it.
func (m *machine) start(namespace string) {
	m.t.Helper()
	shared := filepath.Join(m.root, "walk")
	must(m.t, os.MkdirAll(shared, 0o755))
	possible(m.t, syscall.Mount(filepath.Dir(filepath.Dir(m.root)), shared, "", syscall.MS_BIND|syscall.MS_REC, ""))
	m.t.Cleanup(func() { _ = syscall.Unmount(shared, syscall.MNT_DETACH) })
	m.boot = exec.Command("sh", "enter.sh", namespace, "ip", "netns", "exec", namespace, "unshare", "--fork", "--pid", "--mount", "--uts", "--ipc", "--cgroup", "--kill-child", //nolint:noctx // its end is stop's
		"sh", "boot.sh", m.root, m.name)
	var said bytes.Buffer
	m.boot.Stdout, m.boot.Stderr = &said, &said
	must(m.t, m.boot.Start())
	m.t.Cleanup(func() {
		_ = m.boot.Process.Kill()
		_ = m.boot.Wait()
		_ = exec.Command("sh", "leave.sh", namespace).Run() //nolint:noctx // the test is over
		if m.t.Failed() {
			m.t.Logf("%s said:\n%s%s%v", m.name, said.String(), m.booting, m.err)
		}
	})
}

// await waits until it has booted.
func (m *machine) await() {
	m.t.Helper()
	for deadline := time.Now().Add(poll.Limit); !m.running(); {
		if m.err != nil && time.Now().After(deadline) {
			possible(m.t, fmt.Errorf("%s has not booted: %w", m.name, m.err))
		}
		if idle.For(m.t.Context(), 50*time.Millisecond) != nil {
			m.t.Fatal(m.t.Context().Err())
		}
	}
}

// running reports whether its systemd takes orders, and if not err says why.
func (m *machine) running() bool {
	if m.systemd == 0 {
		m.err = errors.New("systemd has not started")
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", m.boot.Process.Pid, m.boot.Process.Pid))
		if err != nil {
			return false
		}
		child := strings.TrimSpace(string(text))
		if name, err := os.ReadFile("/proc/" + child + "/comm"); err != nil || string(name) != "systemd\n" {
			return false // a script on its way there
		}
		m.systemd, _ = strconv.Atoi(child)
	}
	m.booting, m.err = m.try("systemctl is-active walk.target")
	return m.err == nil
}

// commandLimit bounds one command of a page: some wait until all is well again.
const commandLimit = 3 * time.Minute

// try has its root's shell run a line.
func (m *machine) try(line string) (string, error) {
	ctx, cancel := context.WithTimeout(m.t.Context(), commandLimit)
	defer cancel()
	command := exec.CommandContext(ctx, "nsenter", "--target", strconv.Itoa(m.systemd), "--all",
		"/usr/bin/env", "-i", "--chdir=/", "PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "sh", "-c", line)
	command.WaitDelay = time.Second // what the shell has started may hold its output open
	said, err := command.CombinedOutput()
	return string(said), err
}

// runs is try for what has to succeed.
func (m *machine) runs(line string) string {
	m.t.Helper()
	said, err := m.try(line)
	m.t.Logf("[%s] %s# %s\n%s", time.Since(began).Round(time.Second), m.name, line, said)
	if err != nil {
		m.t.Fatalf("%s: %s: %v\n%s\n%s", m.name, line, err, said, m.journal())
	}
	return said
}

// journal is what its services have said last.
func (m *machine) journal() string {
	said, _ := m.try("journalctl --no-pager -n 60 -u 'flowjet*'")
	return said
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// missing says why there can be no machines here.
func missing() error {
	if os.Geteuid() != 0 {
		return errors.New("it needs root")
	}
	for _, name := range needed[:5] {
		if _, err := exec.LookPath(name); err != nil {
			return err
		}
	}
	return nil
}
