package cluster

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/flowjet/flowjet/app"
	"github.com/flowjet/flowjet/internal/testlog"
)

// Every member's arguments are flags that flowjet takes, and no two listen on one address.
func TestMembersHaveConfigurationsThatFit(t *testing.T) {
	plan := Plan{
		FrontEnds: Loopback(3), Oneds: []string{"127.0.1.1", "127.0.1.2", "127.0.1.3"}, Ports: StandardPorts, DataDir: t.TempDir(),
		Common: []string{"--log-level", "info"}, Simulator: []string{"--sim-boot-delay", "1s"},
	}
	members := plan.Members()
	kinds, listens := map[string]int{}, map[string]string{}
	for _, member := range members {
		flags := pflag.NewFlagSet(member.Name, pflag.ContinueOnError)
		app.AddFlags(flags)
		if err := flags.Parse(member.Arguments[1:]); err != nil {
			t.Fatalf("%s: %v", member.Name, err)
		}
		config, err := app.ReadConfig("", flags)
		if err != nil {
			t.Fatalf("%s: %v", member.Name, err)
		}
		kind := member.Arguments[0]
		kinds[kind]++
		for _, address := range map[string][]string{
			"sim": config.Sim.Listen, "nats": {config.NATS.Listen, config.NATS.ClusterListen}, "api": {config.API.Listen},
		}[kind] {
			if other := listens[address]; other != "" {
				t.Errorf("%s and %s listen on %s", other, member.Name, address)
			}
			listens[address] = member.Name
		}
		switch kind {
		case "nats":
			if len(config.NATS.Routes) != 3 || config.NATS.ServerFile != filepath.Join(plan.Keys(), app.ClusterFile) {
				t.Errorf("%s has the file %q and the routes %v", member.Name, config.NATS.ServerFile, config.NATS.Routes)
			}
		case "worker", "bridge", "api":
			if strings.Count(config.NATS.URL, ",") != 2 || config.NATS.Replicas != 3 || len(config.One.XMLRPC) != 3 || len(config.One.Hooks) != 3 || config.Log.Level != "info" {
				t.Errorf("%s finds NATS at %s and oned at %v, %v", member.Name, config.NATS.URL, config.One.XMLRPC, config.One.Hooks)
			}
		}
	}
	if len(members) != 13 || kinds["sim"] != 1 || kinds["nats"] != 3 || kinds["worker"] != 3 || kinds["bridge"] != 3 || kinds["api"] != 3 {
		t.Errorf("the members are %v", kinds)
	}
}

// standIn is a program that takes flowjet's place: it provisions, or is ready and runs on.
func standIn(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "flowjet")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

// running runs a cluster of so many front-ends until stop, which returns once all its parts have ended.
func running(t *testing.T, frontEnds int, config Config) (plan Plan, out *testlog.Log, stop func()) {
	t.Helper()
	out = new(testlog.Log)
	config.Out, config.Plan = out, Plan{FrontEnds: Loopback(frontEnds), Oneds: Loopback(frontEnds), Ports: StandardPorts, DataDir: t.TempDir()}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, config) }()
	out.Await(t, "Ctrl-C stops everything.")
	return config.Plan, out, func() {
		t.Helper()
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

// TestAPartThatDiesStartsAgain: all parts start, one is killed and works again, and all end.
func TestAPartThatDiesStartsAgain(t *testing.T) {
	plan, out, stop := running(t, 3, Config{RestartAfter: time.Millisecond, Binary: standIn(t, `[ "$2" = provision ] && exit
echo "Ctrl-C stops."
exec tail -f /dev/null
`)})
	for _, want := range []string{"Flowjet runs on 3 front-ends.", plan.API(0), plan.OperatorFile(), plan.Control() + "/state", filepath.Join(plan.DataDir, "log", "bridge-3.log")} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the welcome lacks %q:\n%s", want, out.String())
		}
	}
	found := regexp.MustCompile(`(?m)^  worker-1 +(\d+) `).FindStringSubmatch(out.String())
	if found == nil {
		t.Fatalf("the welcome names no process of worker-1:\n%s", out.String())
	}
	pid, err := strconv.Atoi(found[1])
	if err == nil {
		err = syscall.Kill(pid, syscall.SIGKILL)
	}
	if err != nil {
		t.Fatal(err)
	}
	out.Await(t, "worker-1 runs again")
	stop()
	if !strings.HasSuffix(out.String(), "Stopping.\n") {
		t.Errorf("it ends with\n%s", out.String())
	}
}

// A part that ends before it is ready, and streams that cannot be made, end the start.
func TestAStartThatFails(t *testing.T) {
	for program, want := range map[string]string{
		"exit 3\n": "start sim: it exited: exit status 3: see ",
		"if [ \"$2\" = provision ]; then echo no leader; exit 1; fi\necho 'Ctrl-C stops.'\nexec tail -f /dev/null\n": "create the streams: exit status 1: no leader",
	} {
		plan := Plan{FrontEnds: Loopback(1), Oneds: Loopback(1), Ports: StandardPorts, DataDir: t.TempDir()}
		var out testlog.Log
		err := Run(t.Context(), Config{Plan: plan, Binary: standIn(t, program), Out: &out})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", program, err, want)
		}
	}
}

// However many front-ends there are, no two members share a name, an address or a folder, and all know all servers.
func TestMembersOfClustersOfAnySize(t *testing.T) {
	for _, count := range []int{1, 3, 5} {
		plan := Plan{FrontEnds: Loopback(count), Oneds: Loopback(count), Ports: StandardPorts, DataDir: t.TempDir()}
		names, folders, listens, onFrontEnd := map[string]bool{}, map[string]string{}, map[string]string{}, map[int][]string{}
		for _, member := range plan.Members() {
			if names[member.Name] {
				t.Errorf("%d front-ends: two are %s", count, member.Name)
			}
			names[member.Name] = true
			onFrontEnd[member.FrontEnd] = append(onFrontEnd[member.FrontEnd], member.Arguments[0])
			given := flagsIn(t, member)
			if other, taken := folders[given["data-dir"]]; taken || given["data-dir"] == "" {
				t.Errorf("%d front-ends: %s and %q have the folder %q", count, member.Name, other, given["data-dir"])
			}
			folders[given["data-dir"]] = member.Name
			if other, taken := listens[member.Listens]; taken && member.Listens != "" {
				t.Errorf("%d front-ends: %s and %s listen on %s", count, member.Name, other, member.Listens)
			}
			listens[member.Listens] = member.Name
			for flag, value := range map[string]string{"nats-url": plan.NATS(), "nats-replicas": strconv.Itoa(count), "nats-routes": all(plan.FrontEnds, "nats://%s", plan.Ports.Route)} {
				if has, is := given[flag]; is && has != value {
					t.Errorf("%d front-ends: %s has --%s %s", count, member.Name, flag, has)
				}
			}
		}
		if got := strings.Join(onFrontEnd[0], " "); got != "sim" || len(onFrontEnd) != count+1 {
			t.Errorf("%d front-ends: %q run on none, and there are %d", count, got, len(onFrontEnd)-1)
		}
		for i := 1; i <= count; i++ {
			if got := strings.Join(onFrontEnd[i], " "); got != "nats worker bridge api" {
				t.Errorf("%d front-ends: on number %d run %q", count, i, got)
			}
		}
	}
}

// flagsIn are the flags that a member is given, by name.
func flagsIn(t *testing.T, member Member) map[string]string {
	t.Helper()
	flags := pflag.NewFlagSet(member.Name, pflag.ContinueOnError)
	app.AddFlags(flags)
	if err := flags.Parse(member.Arguments[1:]); err != nil {
		t.Fatalf("%s: %v", member.Name, err)
	}
	given := map[string]string{}
	flags.Visit(func(flag *pflag.Flag) { given[flag.Name] = strings.Trim(flag.Value.String(), "[]") })
	return given
}

// A part that is not to be restarted stays down, the others go on, and the end is as clean.
func TestAPartThatStaysDown(t *testing.T) {
	binary := standIn(t, `[ "$2" = provision ] && exit
echo "Ctrl-C stops."
echo started >> "$0.$1"
[ "$1" = bridge ] || exec tail -f /dev/null
while ! [ -e "$0.die" ]; do sleep 0.01; done
exit 7
`)
	_, out, stop := running(t, 1, Config{Binary: binary})
	if !strings.Contains(out.String(), "a worker dies; it is not restarted") {
		t.Errorf("what happens to a part that dies is told as\n%s", out.String())
	}
	if err := os.WriteFile(binary+".die", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	out.Await(t, "bridge-1 has exited: exit status 7")
	stop()
	for _, part := range []string{"bridge", "worker", "api"} {
		if text, err := os.ReadFile(binary + "." + part); err != nil || string(text) != "started\n" {
			t.Errorf("%s has started %q (%v)", part, text, err)
		}
	}
	if strings.Count(out.String(), "has exited") != 1 {
		t.Errorf("told is\n%s", out.String())
	}
}
