package cluster

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/spf13/pflag"

	"github.com/flowjet/flowjet/app"
	"github.com/flowjet/flowjet/internal/testlog"
)

// Each front-end has a namespace with an address of its own that the others reach, and nothing of them stays behind.
func TestNamespacesOfFrontEnds(t *testing.T) {
	network, err := NewNetwork(t.Context(), 3)
	if errors.Is(err, ErrNoNamespaces) {
		t.Skipf("no network namespaces here: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	closed := false
	defer func() {
		if !closed {
			_ = network.Close()
		}
	}()
	second, err := NewNetwork(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if second.bridge() == network.bridge() || second.FrontEnds()[0] == network.FrontEnds()[0] {
		t.Errorf("two clusters share %s", second.bridge())
	}
	if err := second.Close(); err != nil {
		t.Error(err)
	}
	// A cluster that was started in another network namespace of the machine has the number, but no bridge here.
	elsewhere := second.Namespace(0)
	if err := ip(t.Context(), "netns", "add", elsewhere); err != nil {
		t.Fatal(err)
	}
	third, err := NewNetwork(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if third.Namespace(0) == elsewhere {
		t.Errorf("%s is taken, although it was there", elsewhere)
	}
	if err := errors.Join(third.Close(), ip(t.Context(), "netns", "del", elsewhere)); err != nil {
		t.Error(err)
	}
	inside := func(i int, command ...string) error {
		return exec.CommandContext(t.Context(), "ip", append([]string{"netns", "exec", network.Namespace(i)}, command...)...).Run()
	}
	for i, address := range network.FrontEnds() {
		said, err := exec.CommandContext(t.Context(), "ip", "-n", network.Namespace(i), "address").CombinedOutput()
		if err != nil || !strings.Contains(string(said), address+"/24") || !strings.Contains(string(said), "127.0.0.1/8") {
			t.Errorf("front-end %d has not %s (%v):\n%s", i, address, err, said)
		}
		for j, other := range network.FrontEnds() {
			if err := inside(i, "ip", "route", "get", other); err != nil {
				t.Errorf("front-end %d has no way to %d: %v", i, j, err)
			}
		}
	}
	if oneds := network.Oneds(); len(oneds) != 3 || oneds[0] == network.FrontEnds()[0] {
		t.Errorf("the oneds are at %v", oneds)
	}
	closed = true
	if err := network.Close(); err != nil {
		t.Error(err)
	}
	said, err := exec.CommandContext(t.Context(), "ip", "netns", "list").CombinedOutput()
	if err != nil || strings.Contains(string(said), network.Namespace(0)) {
		t.Errorf("a namespace stays (%v):\n%s", err, said)
	}
	if err := network.Close(); err == nil || !strings.Contains(err.Error(), "ip netns del "+network.Namespace(2)) {
		t.Errorf("what is gone is removed again: %v", err)
	}
}

// Where the command ip is missing there are no namespaces, and the error names what is needed.
func TestWithoutTheCommandIP(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if _, err := NewNetwork(t.Context(), 3); !errors.Is(err, ErrNoNamespaces) || !strings.Contains(err.Error(), "iproute2") {
		t.Errorf("got %v", err)
	}
}

// The streams are made by flowjet itself, with the operator's key, before any part starts; no part may make them.
func TestStreamsAreMadeByTheOperator(t *testing.T) {
	plan := Plan{FrontEnds: Loopback(3), Oneds: Loopback(3), Ports: StandardPorts, DataDir: t.TempDir()}
	arguments := plan.Provision()
	flags := pflag.NewFlagSet("provision", pflag.ContinueOnError)
	app.AddFlags(flags)
	if err := flags.Parse(arguments[2:]); err != nil {
		t.Fatal(err)
	}
	config, err := app.ReadConfig("", flags)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Join(arguments[:2], " ") != "nats provision" || config.NATS.URL != plan.NATS() || config.NATS.Replicas != 3 || config.NATS.NkeyFile != filepath.Join(plan.Keys(), "operator.nk") {
		t.Errorf("it is %q", arguments)
	}
	log := filepath.Join(t.TempDir(), "calls")
	binary := standIn(t, "echo \"$1 $2\" >> "+log+"\n[ \"$2\" = provision ] && exit\necho 'Ctrl-C stops.'\nexec tail -f /dev/null\n")
	var out testlog.Log
	ended, stop := runs(t, Config{Plan: plan, Binary: binary, Out: &out})
	out.Await(t, "Ctrl-C stops everything.")
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	text, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	var order []string
	for line := range strings.Lines(string(text)) {
		if word := strings.Fields(line)[0]; len(order) == 0 || order[len(order)-1] != word {
			order = append(order, word)
		}
	}
	calls := string(text)
	if strings.Join(order[:2], " ") != "sim nats" || strings.Count(calls, "nats provision") != 1 || strings.Index(calls, "nats provision") > strings.Index(calls, "worker") {
		t.Errorf("they start in this order:\n%s", calls)
	}
}

// A part that is not to be restarted stays away, and the others stay.
func TestAPartThatStaysAway(t *testing.T) {
	plan := Plan{FrontEnds: Loopback(1), Oneds: Loopback(1), Ports: StandardPorts, DataDir: t.TempDir()}
	die := filepath.Join(t.TempDir(), "die") // the worker ends when somebody has written to it
	if err := syscall.Mkfifo(die, 0o600); err != nil {
		t.Fatal(err)
	}
	binary := standIn(t, "[ \"$2\" = provision ] && exit\necho 'Ctrl-C stops.'\n[ \"$1\" = worker ] || exec tail -f /dev/null\ncat "+die+"\necho it is broken >&2\nexit 7\n")
	var out testlog.Log
	ended, stop := runs(t, Config{Plan: plan, Binary: binary, Out: &out})
	out.Await(t, "Ctrl-C stops everything.")
	if !strings.Contains(out.String(), "a worker dies; it is not restarted") {
		t.Errorf("the welcome promises a restart:\n%s", out.String())
	}
	if err := os.WriteFile(die, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	out.Await(t, "worker-1 has exited: exit status 7")
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if out.Count("runs again") > 0 {
		t.Errorf("it was restarted:\n%s", out.String())
	}
	log, err := os.ReadFile(filepath.Join(plan.DataDir, "log", "worker-1.log"))
	if err != nil || !strings.Contains(string(log), "Ctrl-C stops.\nit is broken\n") {
		t.Errorf("its log has %q, %v", log, err)
	}
}

// A data folder that cannot be made is named with the flag that chooses another.
func TestADataFolderThatCannotBeMade(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	plan := Plan{FrontEnds: Loopback(1), Oneds: Loopback(1), Ports: StandardPorts, DataDir: filepath.Join(file, "data")}
	var out testlog.Log
	if err := Run(t.Context(), Config{Plan: plan, Binary: "/nowhere/flowjet", Out: &out}); err == nil || !strings.Contains(err.Error(), "choose another with --data-dir") {
		t.Errorf("got %v", err)
	}
	plan.DataDir = t.TempDir()
	if err := Run(t.Context(), Config{Plan: plan, Binary: "/nowhere/flowjet", Out: &out}); err == nil || !strings.Contains(err.Error(), "start sim: it exited: ") || !strings.Contains(err.Error(), "sim.log") {
		t.Errorf("without a program: %v", err)
	}
}

// The line that a part prints when it works is found however it is cut, once, and all that the part writes is passed on.
func TestTheLineOfAPartThatWorks(t *testing.T) {
	for name, pieces := range map[string][]string{
		"in one": {"Flowjet is running.\n\nCtrl-C stops.\n"}, "cut": {"Flowjet\nCtrl-", "C st", "ops.\n"}, "twice": {"Ctrl-C stops.\n", "Ctrl-C stops.\n"},
	} {
		var to bytes.Buffer
		seen := 0
		w := &watcher{to: &to, seen: func() { seen++ }}
		for _, piece := range pieces {
			if count, err := w.Write([]byte(piece)); err != nil || count != len(piece) {
				t.Errorf("%s: %d of %d are written: %v", name, count, len(piece), err)
			}
		}
		if seen != 1 || to.String() != strings.Join(pieces, "") {
			t.Errorf("%s: it is seen %d times, and passes on %q", name, seen, to.String())
		}
	}
	var to bytes.Buffer
	w := &watcher{to: &to, seen: func() { t.Error("it is seen in what is not searched") }}
	for range 2 * maxWatched / 100 {
		_, _ = w.Write(bytes.Repeat([]byte("x"), 100))
	}
	_, _ = w.Write([]byte("Ctrl-C stops.\n"))
	if w.text.Len() > maxWatched+100 {
		t.Errorf("%d bytes of a part's output are kept", w.text.Len())
	}
}

// runs runs a cluster until stop.
func runs(t *testing.T, config Config) (ended <-chan error, stop func()) {
	t.Helper()
	done := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { done <- Run(ctx, config) }()
	return done, cancel
}

// Front-ends have addresses of their own, and each part is told all of them.
func TestAddressesOfAPlan(t *testing.T) {
	plan := Plan{FrontEnds: Loopback(5), Oneds: Loopback(2), Ports: Ports{API: 1, NATS: 2, Route: 3, XMLRPC: 4, Hooks: 5, Control: 6}, DataDir: "/d"}
	for got, want := range map[string]string{
		plan.API(4): "http://127.0.0.5:1", plan.NATS(): "nats://127.0.0.1:2,nats://127.0.0.2:2,nats://127.0.0.3:2,nats://127.0.0.4:2,nats://127.0.0.5:2",
		plan.Control(): "http://127.0.0.1:6", plan.AuthFile(): "/d/zone/" + app.SimulatedAuthFile, plan.OperatorFile(): "/d/flowjet.yaml", plan.Keys(): "/d/nats",
	} {
		if got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
	members := plan.Members()
	if len(members) != 1+5*4 {
		t.Fatalf("there are %d parts", len(members))
	}
	if sim := strings.Join(members[0].Arguments, " "); !strings.Contains(sim, "--sim-listen 127.0.0.1:4,127.0.0.1:5,127.0.0.1:6,127.0.0.2:4,127.0.0.2:5") {
		t.Errorf("the simulator is %s", sim)
	}
	folders := map[string]bool{}
	for _, member := range members {
		for i, argument := range member.Arguments {
			if argument == "--data-dir" {
				if folders[member.Arguments[i+1]] {
					t.Errorf("two parts have the folder %s", member.Arguments[i+1])
				}
				folders[member.Arguments[i+1]] = true
			}
		}
	}
}
