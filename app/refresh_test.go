package app

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/internal/ports"
	"github.com/flowjet/flowjet/internal/testcert"
	"github.com/flowjet/flowjet/pipeline/inspect"
	"github.com/flowjet/flowjet/pipeline/work"
)

// configOf is the configuration that a command line gives.
func configOf(t *testing.T, flags ...string) Config {
	t.Helper()
	config, err := ReadConfig("", flagsOf(t, flags...))
	must(t, err)
	return config
}

// anyPorts are three of the system's choice, for the simulator.
const anyPorts = "127.0.0.1:0,127.0.0.1:0,127.0.0.1:0"

// newSim starts a simulated OpenNebula and returns it with the file of its server user.
func newSim(t *testing.T, listen string) (cloud *App, auth string) {
	t.Helper()
	cloud = New(configOf(t, "--sim", "--data-dir", t.TempDir(), "--sim-listen", listen), []Part{PartSim}, "test", io.Discard, slog.New(slog.DiscardHandler))
	must(t, cloud.Start(t.Context()))
	t.Cleanup(func() { stopApp(t, cloud) })
	return cloud, filepath.Join(cloud.config.DataDir, SimulatedAuthFile)
}

// Doctor believes an API that is ready, and nothing else that answers on its port: OneFlow, which
// has the same, is no Flowjet.
func TestWhatAnswersOnTheAPIsPort(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		status  int
		body    string
		reasons int
		want    string
	}{
		"an API that is ready":       {http.StatusOK, `{"live":true,"ready":true,"reasons":[]}`, 0, ""},
		"an API that waits":          {http.StatusServiceUnavailable, `{"live":true,"ready":false,"reasons":["oned does not answer"]}`, 1, ""},
		"a page":                     {http.StatusOK, "<html>", 0, "is not Flowjet's API"},
		"OneFlow refusing":           {http.StatusUnauthorized, `{"error":{"message":"Authentication failure"}}`, 0, "is not Flowjet's API"},
		"another service's JSON":     {http.StatusNotFound, `{}`, 0, "is not Flowjet's API"},
		"a list":                     {http.StatusOK, `[]`, 0, "is not Flowjet's API"},
		"nothing":                    {http.StatusOK, "", 0, "is not Flowjet's API"},
		"ready with a reason not to": {http.StatusOK, `{"ready":true,"reasons":["?"]}`, 0, "is not Flowjet's API"},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/flowjet/v1/health" {
				t.Errorf("%s is asked for", r.URL)
			}
			w.WriteHeader(test.status)
			_, _ = io.WriteString(w, test.body)
		}))
		reasons, err := configOf(t, "--api-listen", server.Listener.Addr().String()).AskAPI(t.Context())
		server.Close()
		if len(reasons) != test.reasons && test.want == "" || (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %q, %v", name, reasons, err)
		}
	}
	config := configOf(t, "--api-listen", ports.Free(t, 1)[0])
	if _, err := config.AskAPI(t.Context()); err == nil || !strings.Contains(err.Error(), "the API does not answer on "+config.API.Listen) {
		t.Errorf("nobody: %v", err)
	}
}

// An API with TLS is known by this host's own certificate, whatever name is in it.
func TestAnAPIWithACertificate(t *testing.T) {
	t.Parallel()
	certificate, key, _ := testcert.SelfSigned(t)
	other, _, _ := testcert.SelfSigned(t)
	cloud, auth := newSim(t, anyPorts)
	data := t.TempDir()
	flags := []string{
		"--data-dir", data, "--nats-listen", "127.0.0.1:0", "--one-xmlrpc", cloud.Sim().Endpoint(), "--one-auth-file", auth,
		"--api-listen", ports.Free(t, 1)[0], "--api-key-file", key, "--api-certificate-file",
	}
	config := configOf(t, append(flags, certificate)...)
	a := New(config, []Part{PartNATS, PartWorker, PartAPI}, "test", io.Discard, slog.New(slog.DiscardHandler))
	must(t, a.Start(t.Context()))
	t.Cleanup(func() { stopApp(t, a) })
	if config.APIAddress() != "https://"+a.APIAddress() {
		t.Errorf("its address is %s", config.APIAddress())
	}
	poll.Until(t, "the API to be ready", func() bool {
		reasons, err := config.AskAPI(t.Context())
		must(t, err)
		return len(reasons) == 0
	})
	if _, err := configOf(t, append(flags, other)...).AskAPI(t.Context()); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("another's certificate: %v", err)
	}
	if _, err := configOf(t, append(flags, "/nowhere/api.pem")...).AskAPI(t.Context()); err == nil || !strings.Contains(err.Error(), "read the API's certificate") {
		t.Errorf("no certificate: %v", err)
	}
	if _, err := configOf(t, "--api-listen", a.APIAddress()).AskAPI(t.Context()); err == nil {
		t.Error("without TLS it is asked all the same")
	}
}

// Asking oned tells a oned that is away from one that refuses, and names the file that was used.
func TestAskingOned(t *testing.T) {
	t.Parallel()
	cloud, auth := newSim(t, anyPorts)
	simulated := filepath.Join(cloud.config.DataDir, SimulatedAuthFile)
	wrong := write(t, "wrong", "serveradmin:wrong\n")
	garbage := write(t, "garbage", "PLANTED-text without a colon\n")
	at := []string{"--one-xmlrpc", cloud.Sim().Endpoint()}
	for name, test := range map[string]struct {
		flags []string
		want  string
	}{
		"the right file":               {append(at, "--one-auth-file", auth), ""},
		"the simulator's":              {append(at, "--data-dir", cloud.config.DataDir), ""},
		"a wrong password":             {append(at, "--one-auth-file", wrong), "refuses the server user of " + wrong},
		"no file":                      {append(at, "--one-auth-file", "/nowhere/auth"), "set the right file with --one-auth-file"},
		"a file of something else":     {append(at, "--one-auth-file", garbage), "credentials file " + garbage},
		"nobody there":                 {[]string{"--one-auth-file", auth, "--one-xmlrpc", "http://127.0.0.1:1/RPC2"}, "oned at http://127.0.0.1:1/RPC2 does not answer"},
		"the second endpoint of two":   {[]string{"--one-auth-file", auth, "--one-xmlrpc", "http://127.0.0.1:1/RPC2," + cloud.Sim().Endpoint()}, ""},
		"no file and no simulator":     {append(at, "--data-dir", t.TempDir()), "--one-auth-file"},
		"the simulator's, now changed": {append(at, "--data-dir", folderWith(t, SimulatedAuthFile, "serveradmin:old\n")), "of "},
	} {
		config := configOf(t, test.flags...)
		if _, err := os.Stat(config.One.AuthFile); err == nil && config.origins["one.auth_file"] == "the default" {
			continue // this host has an OpenNebula of its own, whose file is taken
		}
		ctx, cancel := context.WithTimeout(t.Context(), poll.Limit)
		err := config.AskOned(ctx)
		cancel()
		if (err == nil) != (test.want == "") || err != nil && (!strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "PLANTED-")) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
		if name == "the simulator's, now changed" && !strings.Contains(err.Error(), filepath.Join(config.DataDir, SimulatedAuthFile)) {
			t.Errorf("the file that oned refuses is not named: %v", err)
		}
	}
	if info, err := os.Stat(simulated); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("others can read the simulator's credentials: %v, %v", info.Mode(), err)
	}
}

// folderWith is a folder with one file.
func folderWith(t *testing.T, name, text string) string {
	t.Helper()
	return filepath.Dir(write(t, name, text))
}

func TestOnedsClock(t *testing.T) {
	t.Parallel()
	now := time.Now().Add(-time.Hour).Truncate(time.Second)
	date := now.UTC().Format(http.TimeFormat)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Date", date) }))
	defer server.Close()
	config := configOf(t, "--one-xmlrpc", server.URL)
	if theirs, err := config.OnedTime(t.Context()); err != nil || !theirs.Equal(now) {
		t.Errorf("oned's time is %v, %v, want %v", theirs, err, now)
	}
	date = "yesterday"
	if _, err := config.OnedTime(t.Context()); err == nil {
		t.Error("a clock that cannot be read is believed")
	}
	if _, err := configOf(t, "--one-xmlrpc", "http://127.0.0.1:1").OnedTime(t.Context()); err == nil || !strings.Contains(err.Error(), "ask oned for its time") {
		t.Errorf("without oned: %v", err)
	}
}

// The endpoints of hook events are those configured, or port 2101 of each server of the zone.
func TestEndpointsOfHookEvents(t *testing.T) {
	t.Parallel()
	cloud, auth := newSim(t, anyPorts)
	config := configOf(t, "--one-xmlrpc", cloud.Sim().Endpoint(), "--one-auth-file", auth)
	client, err := config.Oned(slog.New(slog.DiscardHandler))
	must(t, err)
	defer client.Close()
	if endpoints, err := config.HookEndpoints(t.Context(), client); err != nil || strings.Join(endpoints, ",") != "tcp://127.0.0.1:2101" {
		t.Errorf("of a oned alone: %v, %v", endpoints, err)
	}
	config.One.Hooks = []string{"tcp://a:1", "tcp://b:2"}
	if endpoints, err := config.HookEndpoints(t.Context(), client); err != nil || strings.Join(endpoints, ",") != "tcp://a:1,tcp://b:2" {
		t.Errorf("those configured: %v, %v", endpoints, err)
	}
}

// Commands open what a data folder holds, whether Flowjet runs on it or not, and leave it to its
// owner: the service could not read root's files.
func TestTheStoreOfADataFolder(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	owner := os.Geteuid()
	if owner == 0 {
		owner = 12345
		must(t, os.Chown(data, owner, owner))
	}
	config := configOf(t, "--data-dir", data, "--nats-listen", ports.Free(t, 1)[0])
	pipe, release, err := config.Store(t.Context(), slog.New(slog.DiscardHandler))
	must(t, err)
	state := spec.ServiceRunning
	_, err = work.NewRecords(pipe).SaveRecord(t.Context(), 7, recordOf(7, state), 0)
	must(t, err)
	release()
	must(t, filepath.WalkDir(data, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if uid := info.Sys().(*syscall.Stat_t).Uid; int(uid) != owner {
			t.Errorf("%s is user %d's, want %d", path, uid, owner)
		}
		return nil
	}))
	running := New(config, []Part{PartNATS}, "test", io.Discard, slog.New(slog.DiscardHandler))
	must(t, running.Start(t.Context()))
	t.Cleanup(func() { stopApp(t, running) })
	beside, release, err := config.Store(t.Context(), slog.New(slog.DiscardHandler))
	must(t, err)
	if _, revision, err := work.NewRecords(beside).LoadRecord(t.Context(), 7); err != nil || revision == 0 {
		t.Errorf("beside the running server the record is not there: %d, %v", revision, err)
	}
	release()
	if again, err := config.Open(t.Context(), operatorOf(running)); err != nil {
		t.Errorf("a command has ended the running server: %v", err)
	} else {
		again.Close()
	}
}

// A service's document that is unreadable is told apart from a oned that is away.
func TestLookingAtAService(t *testing.T) {
	t.Parallel()
	cloud, auth := newSim(t, anyPorts)
	config := configOf(t, "--one-xmlrpc", cloud.Sim().Endpoint(), "--one-auth-file", auth)
	state := flow.State{Service: spec.Service{ID: 4711, Body: spec.Body{Roles: []spec.Role{{Name: "web", Nodes: []spec.Node{{DeployID: 99}}}}}}}
	seen, facts, err := config.Refresh(t.Context(), state)
	if err != nil || seen.Service.ID != 4711 || len(facts) == 0 {
		t.Errorf("a service that has ended: %+v, %v, %v", seen.Service, facts, err)
	}
	config.One.XMLRPC = []string{"http://127.0.0.1:" + strconv.Itoa(1) + "/RPC2"}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if _, _, err := config.Refresh(ctx, state); err == nil {
		t.Error("without oned there is an answer")
	}
	if _, _, err := config.Refresh(ctx, flow.State{Service: spec.Service{ID: 4711}}); err == nil {
		t.Error("a service without VMs counts as seen at oned, which is down")
	}
	config.origins = map[string]string{}
	config.One.AuthFile = "/nowhere/auth"
	if _, _, err := config.Refresh(t.Context(), state); err == nil || !strings.Contains(err.Error(), "--one-auth-file") {
		t.Errorf("without credentials: %v", err)
	}
}

// Of services whose documents cannot be read only the ids are told, the newest first, however many services there are.
func TestServicesWithUnreadableDocuments(t *testing.T) {
	t.Parallel()
	cloud, auth := newSim(t, anyPorts)
	config := configOf(t, "--one-xmlrpc", cloud.Sim().Endpoint(), "--one-auth-file", auth)
	if ids, err := config.UnreadableServices(t.Context()); len(ids) > 0 || err != nil {
		t.Errorf("without services: %v, %v", ids, err)
	}
	client, err := config.Oned(slog.New(slog.DiscardHandler))
	must(t, err)
	defer client.Close()
	allocate := func(documentType int, body string) int {
		t.Helper()
		id, err := client.For("oneadmin").AllocateDocument(t.Context(), documentType, "a", []byte(body))
		must(t, err)
		return id
	}
	first := allocate(spec.DocumentTypeService, "no JSON")
	const readable = `{"name":"a","state":2,"roles":[{"name":"web","cardinality":1,"state":2}]}`
	for range documentsPage {
		allocate(spec.DocumentTypeService, readable)
	}
	second := allocate(spec.DocumentTypeService, `{"name":"a","roles":"web"}`)
	allocate(spec.DocumentTypeServiceTemplate, "no JSON") // is no service
	if ids, err := config.UnreadableServices(t.Context()); err != nil || !slices.Equal(ids, []int{second, first}) {
		t.Errorf("unreadable are %v, want %d and %d (%v)", ids, second, first, err)
	}

	state := flow.State{Service: spec.Service{ID: second}}
	_, _, err = config.Refresh(t.Context(), state)
	if unreadable, is := errors.AsType[inspect.UnreadableError](err); !is || unreadable.Reason == nil {
		t.Errorf("looking at such a service: %v", err)
	}
	state.Service.ID = first + 1
	if _, _, err := config.Refresh(t.Context(), state); err != nil {
		t.Errorf("looking at one that can be read: %v", err)
	}
	config.One.XMLRPC = []string{"http://127.0.0.1:1/RPC2"}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if ids, err := config.UnreadableServices(ctx); err == nil || len(ids) > 0 {
		t.Errorf("without oned: %v, %v", ids, err)
	}
	config.origins, config.One.AuthFile = map[string]string{}, "/nowhere/auth"
	if _, err := config.UnreadableServices(t.Context()); err == nil || !strings.Contains(err.Error(), "--one-auth-file") {
		t.Errorf("without credentials: %v", err)
	}
}

// The command line of users finds the administrator of a simulator in the data folder that the environment names.
func TestTheSimulatorsAdministrator(t *testing.T) {
	t.Setenv("FLOWJET_DATA_DIR", "")
	if standard := SimulatedUser(); standard != filepath.Join(standardDataDir, simulatedUserFile) {
		t.Errorf("without a folder it is %s", standard)
	}
	cloud, _ := newSim(t, anyPorts)
	t.Setenv("FLOWJET_DATA_DIR", cloud.config.DataDir)
	text, err := os.ReadFile(SimulatedUser())
	must(t, err)
	if strings.TrimSpace(string(text)) != simulatedUser {
		t.Errorf("%s has %q", SimulatedUser(), text)
	}
	if info, err := os.Stat(SimulatedUser()); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("others can read it: %v, %v", info, err)
	}
}
