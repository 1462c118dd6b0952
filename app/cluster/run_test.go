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

// TestAPartThatDiesStartsAgain: all parts start, one is killed and works again, and all end.
func TestAPartThatDiesStartsAgain(t *testing.T) {
	plan := Plan{FrontEnds: Loopback(3), Oneds: Loopback(3), Ports: StandardPorts, DataDir: t.TempDir()}
	var out testlog.Log
	binary := standIn(t, `[ "$2" = provision ] && exit
echo "Ctrl-C stops."
exec tail -f /dev/null
`)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error, 1)
	go func() {
		ended <- Run(ctx, Config{Plan: plan, Binary: binary, RestartAfter: time.Millisecond, Out: &out})
	}()
	out.Await(t, "Ctrl-C stops everything.")
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
	if err := <-ended; err != nil {
		t.Error(err)
	}
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
