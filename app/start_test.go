package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/internal/ports"
	"github.com/flowjet/flowjet/internal/testcert"
	"github.com/flowjet/flowjet/pipeline"
)

func recordOf(id int, state spec.ServiceState) pipeline.Record {
	return pipeline.Record{State: flow.State{Service: spec.Service{ID: id, Body: spec.Body{State: &state}}}}
}

// operatorOf is how an operator connects to an embedded server.
func operatorOf(running *App) pipeline.Config {
	return pipeline.Config{URL: running.server.URL(), Role: pipeline.RoleOperator}
}

// everything are the flags of a whole Flowjet with a simulator, but for the simulator's ports, on ports of the system's choice.
func everything(t *testing.T, more ...string) []string {
	t.Helper()
	return append([]string{
		"--sim", "--data-dir", t.TempDir(), "--nats-listen", "127.0.0.1:0", "--api-listen", "127.0.0.1:0", "--status-listen", "127.0.0.1:0",
	}, more...)
}

// starts tries to start an app and stops it with the test.
func starts(t *testing.T, ctx context.Context, parts []Part, flags ...string) (*App, error) { //nolint:revive // as testing has it
	t.Helper()
	config := configOf(t, flags...)
	if parts == nil {
		parts = Everything(config)
	}
	a := New(config, parts, "test", io.Discard, slog.New(slog.DiscardHandler))
	err := a.Start(ctx)
	t.Cleanup(func() { stopApp(t, a) })
	return a, err
}

// A port that is taken is named with the option that chooses another, and nothing is left
// running: the next start on the same folder succeeds.
func TestPortsThatAreTaken(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { taken.Close() })
	address := taken.Addr().String()
	const anyPort = "127.0.0.1:0"
	for name, given := range map[string][]string{
		"API": {"--api-listen", address}, "status": {"--status-listen", address}, "NATS": {"--nats-listen", address},
		"XML-RPC": {"--sim-listen", address + "," + anyPort + "," + anyPort}, "hooks": {"--sim-listen", anyPort + "," + address + "," + anyPort}, "control": {"--sim-listen", anyPort + "," + anyPort + "," + address},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			flags := everything(t)
			if given[0] != "--sim-listen" {
				given = append(given, "--sim-listen", anyPorts)
			}
			_, err := starts(t, t.Context(), nil, append(flags, given...)...)
			if err == nil || !strings.Contains(err.Error(), address) || !strings.Contains(err.Error(), given[0]) || strings.Contains(err.Error(), "\n") {
				t.Fatalf("a taken port of %s is told as %v", name, err)
			}
			if _, err := starts(t, t.Context(), nil, append(flags, "--sim-listen", anyPorts)...); err != nil {
				t.Errorf("the next start on the folder: %v", err)
			}
		})
	}
}

// What a start needs and does not find is named with what mends it.
func TestStartsThatAreRefused(t *testing.T) {
	t.Parallel()
	certificate, _, _ := testcert.SelfSigned(t)
	_, otherKey, _ := testcert.SelfSigned(t)
	file := write(t, "file", "x")
	cloud, auth := newSim(t, anyPorts)
	alone := []string{"--data-dir", t.TempDir(), "--nats-listen", "127.0.0.1:0", "--one-xmlrpc", cloud.Sim().Endpoint(), "--one-hooks", cloud.Sim().HooksEndpoint(), "--api-listen", "127.0.0.1:0"}
	for name, test := range map[string]struct {
		parts []Part
		flags []string
		want  []string
	}{
		"a data folder that is a file":  {nil, everything(t, "--sim-listen", anyPorts, "--data-dir", file), []string{file, "--data-dir"}},
		"a certificate that is missing": {nil, everything(t, "--sim-listen", anyPorts, "--api-certificate-file", "/nowhere/api.pem", "--api-key-file", otherKey), []string{"/nowhere/api.pem"}},
		"another certificate's key":     {nil, everything(t, "--sim-listen", anyPorts, "--api-certificate-file", certificate, "--api-key-file", otherKey), []string{"certificate"}},
		"webhooks that are missing":     {nil, everything(t, "--sim-listen", anyPorts, "--webhooks-file", "/nowhere/webhooks.yaml"), []string{"/nowhere/webhooks.yaml", "--webhooks-file"}},
		"webhooks that are wrong":       {nil, everything(t, "--sim-listen", anyPorts, "--webhooks-file", write(t, "webhooks.yaml", "receivers: 5\n")), []string{"webhooks.yaml", "--webhooks-file"}},
		"no credentials":                {[]Part{PartNATS, PartWorker}, append(alone, "--one-auth-file", "/nowhere/auth"), []string{"/nowhere/auth", "--one-auth-file"}},
		"credentials of nothing":        {[]Part{PartNATS, PartWorker}, append(alone, "--one-auth-file", file), []string{file, "--one-auth-file"}},
		"credentials that oned refuses": {[]Part{PartNATS, PartWorker}, append(alone, "--one-auth-file", write(t, "auth", "serveradmin:wrong\n")), []string{"refuses the server user of", "--one-auth-file"}},
		"a key of NATS that is missing": {[]Part{PartWorker}, append(alone, "--one-auth-file", auth, "--nats-url", "nats://127.0.0.1:1", "--nats-nkey-file", "/nowhere/worker.nk"), []string{"/nowhere/worker.nk", "flowjet nats keys"}},
		"a server file that is missing": {[]Part{PartNATS}, append(alone, "--nats-server-file", "/nowhere/nats.conf"), []string{"/nowhere/nats.conf"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := starts(t, t.Context(), test.parts, test.flags...)
			if err == nil {
				t.Fatal("it starts")
			}
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "wrong") {
					t.Errorf("the error lacks %q, or has a password: %v", want, err)
				}
			}
		})
	}
}

// Two processes on one data folder would write over each other.
func TestADataFolderHasOneProcess(t *testing.T) {
	t.Parallel()
	flags := everything(t, "--sim-listen", anyPorts)
	first, err := starts(t, t.Context(), nil, flags...)
	must(t, err)
	if _, err := starts(t, t.Context(), nil, flags...); err == nil || !strings.Contains(err.Error(), "in use by another Flowjet") {
		t.Errorf("a second process: %v", err)
	}
	if status, _ := ask(t, http.MethodGet, "http://"+first.APIAddress()+"/service", ""); status != http.StatusOK {
		t.Errorf("the second has harmed the first: %d", status)
	}
	stopApp(t, first)
	stopApp(t, first) // nothing is left to stop
	if conn, err := net.Dial("tcp", first.APIAddress()); err == nil {
		conn.Close()
		t.Error("the API still listens after the stop")
	}
	if _, err := starts(t, t.Context(), nil, flags...); err != nil {
		t.Errorf("after the stop: %v", err)
	}
}

// The data of one zone are not used in another, where the same ids are other services.
func TestADataFolderBelongsToAZone(t *testing.T) {
	t.Parallel()
	flags := []string{"--data-dir", t.TempDir(), "--nats-listen", "127.0.0.1:0"}
	cloud, auth := newSim(t, anyPorts)
	flags = append(flags, "--one-xmlrpc", cloud.Sim().Endpoint(), "--one-hooks", cloud.Sim().HooksEndpoint(), "--one-auth-file", auth)
	first, err := starts(t, t.Context(), []Part{PartNATS, PartWorker}, flags...)
	must(t, err)
	stopApp(t, first)
	if _, err := starts(t, t.Context(), []Part{PartNATS, PartWorker}, append(flags, "--zone", "7")...); err == nil || !strings.Contains(err.Error(), "zone") {
		t.Errorf("in another zone: %v", err)
	}
}

// oned knows its zone: whoever forgets --zone at a zone of a federation would work on another one's, which its database lists.
func TestAnotherZoneOfTheFederation(t *testing.T) {
	t.Parallel()
	cloud := New(configOf(t, "--sim", "--zone", "100", "--data-dir", t.TempDir(), "--sim-listen", anyPorts), []Part{PartSim}, "test", io.Discard, slog.New(slog.DiscardHandler))
	must(t, cloud.Start(t.Context()))
	t.Cleanup(func() { stopApp(t, cloud) })
	flags := []string{
		"--one-xmlrpc", "http://127.0.0.1:1/RPC2," + cloud.Sim().Endpoint(), "--one-hooks", cloud.Sim().HooksEndpoint(),
		"--one-auth-file", filepath.Join(cloud.config.DataDir, SimulatedAuthFile), "--nats-listen", "127.0.0.1:0",
	}
	const want = "serves zone 100, but --zone is 0: set --zone 100"
	for _, part := range []Part{PartWorker, PartBridge, PartAPI} {
		_, err := starts(t, t.Context(), []Part{PartNATS, part}, append(flags, "--data-dir", t.TempDir(), "--api-listen", "127.0.0.1:0")...)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s without --zone: %v, want %q", part, err, want)
		}
	}
	if err := configOf(t, flags...).AskOned(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("doctor: %v, want %q", err, want)
	}
	_, err := starts(t, t.Context(), []Part{PartNATS, PartWorker}, append(flags, "--data-dir", t.TempDir(), "--zone", "100")...)
	must(t, err)
}

// NATS that is away ends a start in the time it is given, with the address and its option, and
// does not hang.
func TestAStartWithoutNATS(t *testing.T) {
	t.Parallel()
	cloud, auth := newSim(t, anyPorts)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	nowhere := ports.Free(t, 1)[0]
	_, err := starts(t, ctx, []Part{PartWorker}, "--data-dir", t.TempDir(), "--one-xmlrpc", cloud.Sim().Endpoint(), "--one-hooks", cloud.Sim().HooksEndpoint(),
		"--one-auth-file", auth, "--nats-url", "nats://"+nowhere)
	if err == nil || !strings.Contains(err.Error(), nowhere) || !strings.Contains(err.Error(), "--nats-url") {
		t.Errorf("without NATS: %v", err)
	}
}

// A oned that is away is waited for: the process starts, is not ready and says why, and goes on
// by itself when oned answers.
func TestAStartWithoutOned(t *testing.T) {
	t.Parallel()
	xmlrpc := ports.Free(t, 1)[0]
	data := t.TempDir() // of the simulator, whose password stays
	auth := filepath.Join(data, SimulatedAuthFile)
	simFlags := []string{"--sim", "--data-dir", data, "--sim-listen"}
	cloud, err := starts(t, t.Context(), []Part{PartSim}, append(simFlags, xmlrpc+",127.0.0.1:0,127.0.0.1:0")...)
	must(t, err)
	hooks := cloud.Sim().HooksEndpoint()
	stopApp(t, cloud)
	a, err := starts(t, t.Context(), []Part{PartNATS, PartWorker, PartBridge, PartAPI}, "--data-dir", t.TempDir(), "--nats-listen", "127.0.0.1:0",
		"--api-listen", "127.0.0.1:0", "--status-listen", "127.0.0.1:0", "--one-xmlrpc", "http://"+xmlrpc+"/RPC2", "--one-hooks", hooks, "--one-auth-file", auth)
	must(t, err)
	config := configOf(t, "--api-listen", a.APIAddress())
	reasons, err := config.AskAPI(t.Context())
	must(t, err)
	if why := strings.Join(reasons, "\n"); !strings.Contains(why, "http://"+xmlrpc+"/RPC2") || !strings.Contains(why, "start oned, or set its endpoint with --one-xmlrpc") {
		t.Errorf("without oned it is held up by %q", reasons)
	}
	for path, want := range map[string]int{"/health": http.StatusServiceUnavailable, "/health/live": http.StatusOK, "/metrics": http.StatusOK} {
		answer, err := http.Get("http://" + a.statusAddress + path)
		must(t, err)
		answer.Body.Close()
		if answer.StatusCode != want {
			t.Errorf("%s is %d without oned, want %d", path, answer.StatusCode, want)
		}
	}
	must(t, a.Alive(t.Context()))
	_, err = starts(t, t.Context(), []Part{PartSim}, append(simFlags, xmlrpc+","+strings.TrimPrefix(hooks, "tcp://")+",127.0.0.1:0")...)
	must(t, err)
	poll.Until(t, "the API to be ready when oned is there", func() bool {
		reasons, err := config.AskAPI(t.Context())
		return err == nil && len(reasons) == 0
	})
	select {
	case err := <-a.Failed():
		t.Errorf("it fails: %v", err)
	default:
	}
}

// Credentials that oned refuses when it answers at last end the process, which cannot work.
func TestAOnedThatRefusesAtLast(t *testing.T) {
	t.Parallel()
	xmlrpc := ports.Free(t, 1)[0]
	wrong := write(t, "auth", "serveradmin:wrong\n")
	a, err := starts(t, t.Context(), []Part{PartNATS, PartWorker}, "--data-dir", t.TempDir(), "--nats-listen", "127.0.0.1:0",
		"--one-xmlrpc", "http://"+xmlrpc+"/RPC2", "--one-hooks", "tcp://127.0.0.1:1", "--one-auth-file", wrong)
	must(t, err)
	newSim(t, xmlrpc+",127.0.0.1:0,127.0.0.1:0")
	select {
	case err := <-a.Failed():
		if !strings.Contains(err.Error(), "refuses the server user of "+wrong) {
			t.Errorf("it fails with %v", err)
		}
	case <-time.After(poll.Limit):
		t.Error("it goes on with credentials that oned refuses")
	}
}

// What was acquired is released in reverse, all of it, also where one does not end well.
func TestStopReleasesInReverse(t *testing.T) {
	t.Parallel()
	a := New(Config{}, nil, "test", io.Discard, slog.New(slog.DiscardHandler))
	var order []string
	release := func(name string, err error) {
		a.onStop(func(context.Context) error { order = append(order, name); return err })
	}
	release("first", errors.New("it hangs"))
	release("second", nil)
	must(t, a.keep(func(context.Context) error { order = append(order, "kept"); return errors.New("it is gone") }, nil))
	if err := a.keep(nil, os.ErrExist); !errors.Is(err, os.ErrExist) {
		t.Errorf("what could not be started is %v", err)
	}
	err := a.Stop(t.Context())
	if got := strings.Join(order, " "); got != "kept second first" || fmt.Sprint(err) != "it is gone\nit hangs" {
		t.Errorf("released are %s, %v", got, err)
	}
	if err := a.Stop(t.Context()); err != nil || len(order) != 3 {
		t.Errorf("a second stop releases again: %v, %v", order, err)
	}
	if a.Lost() != nil || a.APIAddress() != "" || a.Sim() != nil {
		t.Error("an app without parts has some")
	}
}

// Which parts a process has decides who it is to NATS: with more than one it needs all rights.
func TestTheRoleOfAProcess(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		parts []Part
		want  pipeline.Role
	}{
		{[]Part{PartWorker}, pipeline.RoleWorker},
		{[]Part{PartBridge}, pipeline.RoleBridge},
		{[]Part{PartAPI}, pipeline.RoleAPI},
		{[]Part{PartNarrator, PartAPI}, pipeline.RoleAPI},
		{[]Part{PartWorker, PartAPI}, pipeline.RoleAll},
		{[]Part{PartWorker, PartNATS}, pipeline.RoleAll},
		{nil, pipeline.RoleAll},
	} {
		if got := (&App{parts: test.parts}).role(); got != test.want {
			t.Errorf("%v is %s, want %s", test.parts, got, test.want)
		}
	}
}

// The seeds of a host's parts may be read by the group of the folder, those of operators by nobody else.
func TestModesOfKeys(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	must(t, os.Chmod(folder, 0o2750|os.ModeSetgid))
	must(t, MakeKeys(folder))
	for name, want := range map[string]os.FileMode{
		"bridge.nk": 0o640, "worker.nk": 0o640, "api.nk": 0o640, ClusterFile: 0o640,
		"operator.nk": 0o600, "reader.nk": 0o600, "system.nk": 0o600, AccountsFile: 0o644,
	} {
		info, err := os.Stat(filepath.Join(folder, name))
		must(t, err)
		if info.Mode().Perm() != want {
			t.Errorf("%s has the mode %v, want %v", name, info.Mode().Perm(), want)
		}
	}
}

// The files of hosts: an authority that stays, a certificate for each host that it has signed,
// and no key that a host does not need.
func TestFilesOfHosts(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	must(t, MakeKeys(folder))
	must(t, MakeHosts(folder, []string{"fe-1", "10.0.0.2"}))
	before, err := os.ReadFile(filepath.Join(folder, authorityFile))
	must(t, err)
	must(t, MakeHosts(folder, []string{"fe-3"}))
	after, err := os.ReadFile(filepath.Join(folder, authorityFile))
	must(t, err)
	if string(before) != string(after) {
		t.Error("a further host gets another authority: the others would not know it")
	}
	for _, host := range []string{"fe-1", "10.0.0.2", "fe-3"} {
		entries, err := os.ReadDir(filepath.Join(folder, "hosts", host))
		must(t, err)
		var names []string
		for _, entry := range entries {
			names = append(names, entry.Name())
		}
		if got := strings.Join(names, " "); got != "accounts.conf api.nk bridge.nk ca.pem server.key server.pem worker.nk" {
			t.Errorf("%s gets %s", host, got)
		}
	}
	for _, host := range []string{"", "..", "../fe-1", "a/b", "-rf", "fe 1", "fe.", "fe\n1"} {
		if err := MakeHosts(folder, []string{"fe-1", host}); err == nil || !strings.Contains(err.Error(), "is not a host name") {
			t.Errorf("%q is taken for a host: %v", host, err)
		}
	}
	must(t, os.Remove(filepath.Join(folder, authorityKeyFile)))
	if err := MakeHosts(folder, []string{"fe-4"}); err == nil || !strings.Contains(err.Error(), "create certificates on the host that has it") {
		t.Errorf("without the authority's key: %v", err)
	}
	must(t, os.WriteFile(filepath.Join(folder, authorityKeyFile), []byte("garbage"), 0o600))
	if err := MakeHosts(folder, []string{"fe-4"}); err == nil || !strings.Contains(err.Error(), "to create a new one") {
		t.Errorf("with a key of something else: %v", err)
	}
}

// A check beforehand finds what would end a start, and doubts nothing that is closed.
func TestCheckOfAnInstallation(t *testing.T) {
	wrong, doubtful := CheckConfig("", flagsOf(t, "--sim", "--nats-listen", "0.0.0.0:4222", "--webhooks-file", "/nowhere/webhooks.yaml"))
	if len(wrong) != 1 || !strings.Contains(wrong[0], "--webhooks-file: webhooks.file is /nowhere/webhooks.yaml, which does not exist") {
		t.Errorf("wrong: %q", wrong)
	}
	for _, doubt := range doubtful {
		if strings.Contains(doubt, "nats.listen") {
			t.Errorf("the embedded server lets in nobody without a key: %s", doubt)
		}
	}
	folder := t.TempDir()
	wrong, _ = CheckConfig("", flagsOf(t, "--sim", "--nats-ca-file", folder))
	if len(wrong) != 1 || !strings.Contains(wrong[0], "is a folder: set a file") {
		t.Errorf("a folder for a file: %q", wrong)
	}
	must(t, MakeKeys(folder))
	if wrong, _ = CheckConfig("", flagsOf(t, "--sim", "--nats-nkey-file", filepath.Join(folder, "{role}.nk"))); len(wrong) > 0 {
		t.Errorf("a file for each role: %q", wrong)
	}
}
