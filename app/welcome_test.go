package app

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/flowjet/flowjet/internal/testcert"
	"github.com/flowjet/flowjet/internal/testlog"
)

// welcomed starts an app and returns what it prints at the start.
func welcomed(t *testing.T, parts func(Config) []Part, flags ...string) (*App, string) {
	t.Helper()
	config := configOf(t, flags...)
	var out testlog.Log
	a := New(config, parts(config), "1.2.3", &out, slog.New(slog.DiscardHandler))
	must(t, a.Start(t.Context()))
	t.Cleanup(func() { stopApp(t, a) })
	a.PrintWelcome()
	return a, out.String()
}

// The welcome of `flowjet up --sim` has what a person copies: each address is the one that is listened on, each file is there,
// and commands get the flags without which they would look elsewhere.
func TestTheWelcomeOfEverything(t *testing.T) {
	t.Parallel()
	a, text := welcomed(t, Everything, everything(t, "--sim-listen", anyPorts)...)
	data, err := filepath.Abs(a.config.DataDir)
	must(t, err)
	for _, want := range []string{
		"Flowjet 1.2.3 is running.\n\n",
		"  OneFlow API  http://" + a.APIAddress() + "\n",
		"  live page    http://" + a.APIAddress() + "/flowjet/\n",
		"  metrics      http://" + a.statusAddress + "/metrics\n",
		"  NATS         " + a.server.URL() + "\n",
		"  oned         " + a.Sim().Endpoint() + " (simulated)\n",
		"  hook events  " + a.Sim().HooksEndpoint() + " (simulated)\n",
		"  simulator    " + a.Sim().ControlURL() + " (breaks VMs",
		"  NATS keys    " + filepath.Join(data, "nats") + "\n",
		"  data         " + data + "\n",
		"template create - --endpoint http://" + a.APIAddress() + " --auth-file " + filepath.Join(data, simulatedUserFile) + "\n",
		"template instantiate hello --wait --endpoint http://" + a.APIAddress(),
		"demo --api http://" + a.APIAddress() + " --nats " + a.server.URL() + " --data-dir " + filepath.Clean(a.config.DataDir) + " --one-xmlrpc " + a.Sim().Endpoint() + "\n",
		"status --nats-url " + a.server.URL() + " --data-dir " + filepath.Clean(a.config.DataDir) + "\n",
		"nats -s " + a.server.URL() + " --nkey " + filepath.Join(data, "nats", "operator.nk") + " sub 'flow.event.>'\n",
		"The services in a browser:   http://" + a.APIAddress() + "/flowjet/\n",
		"\nEvents follow, one per line. Ctrl-C stops.\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("it lacks %q:\n%s", want, text)
		}
	}
	user, err := os.ReadFile(filepath.Join(data, simulatedUserFile))
	if err != nil || string(user) != simulatedUser+"\n" || strings.Contains(text, strings.TrimPrefix(simulatedUser, "oneadmin:")) {
		t.Errorf("the user's file has %q (%v), or the welcome a password:\n%s", user, err, text)
	}
	key, err := nats.NkeyOptionFromSeed(filepath.Join(data, "nats", "operator.nk"))
	must(t, err)
	conn, err := nats.Connect(a.server.URL(), key)
	if err != nil {
		t.Fatalf("the key that it names does not open NATS: %v", err)
	}
	conn.Close()
}

// A part alone tells of what it has and of what it speaks to, and promises nothing of the rest.
func TestTheWelcomeOfAPart(t *testing.T) {
	t.Parallel()
	certificate, key, _ := testcert.SelfSigned(t)
	cloud, auth := newSim(t, anyPorts)
	open := write(t, "open.conf", "max_connections: 1000\n")
	server, serverText := welcomed(t, only(PartNATS), "--data-dir", t.TempDir(), "--nats-listen", "127.0.0.1:0", "--nats-server-file", open)
	other := []string{
		"--data-dir", t.TempDir(), "--nats-url", server.server.URL(), "--one-xmlrpc", cloud.Sim().Endpoint(), "--one-hooks", cloud.Sim().HooksEndpoint(), "--one-auth-file", auth,
	}
	_, bridge := welcomed(t, only(PartBridge), other...)
	api, apiText := welcomed(t, only(PartAPI), append(other, "--api-listen", "127.0.0.1:0", "--api-certificate-file", certificate, "--api-key-file", key)...)
	for name, test := range map[string]struct {
		text       string
		want, none []string
	}{
		"a server with a file of its own": {
			serverText, []string{"NATS         " + server.server.URL(), "data "}, []string{"NATS keys", "OneFlow API", "oned", "(external)", "Events follow", "template create"},
		},
		"a bridge": {
			bridge, []string{"NATS         " + server.server.URL() + " (external)\n", "oned         " + cloud.Sim().Endpoint() + "\n", "hook events  " + cloud.Sim().HooksEndpoint() + "\n"},
			[]string{"data ", "NATS keys", "(simulated)", "OneFlow API", "template create"},
		},
		"an API with a certificate": {
			apiText, []string{"OneFlow API  https://" + api.APIAddress() + "\n", "live page    https://" + api.APIAddress() + "/flowjet/\n"},
			[]string{"http://" + api.APIAddress(), "hook events", "template create"},
		},
	} {
		for _, want := range test.want {
			if !strings.Contains(test.text, want) {
				t.Errorf("%s: it lacks %q:\n%s", name, want, test.text)
			}
		}
		for _, none := range test.none {
			if strings.Contains(test.text, none) {
				t.Errorf("%s: it has %q:\n%s", name, none, test.text)
			}
		}
		if !strings.HasSuffix(test.text, "\nCtrl-C stops.\n") {
			t.Errorf("%s: it ends with %q", name, test.text)
		}
	}
}

func only(parts ...Part) func(Config) []Part { return func(Config) []Part { return parts } }

// Where everything is at its usual place, commands need no flags.
func TestFlagsThatAreNotNeeded(t *testing.T) {
	t.Parallel()
	if got := unless("nats://127.0.0.1:4222", "nats://127.0.0.1:4222", "--nats"); got != "" {
		t.Errorf("the default needs %q", got)
	}
	if got := unless("nats://127.0.0.1:4223", "nats://127.0.0.1:4222", "--nats"); got != " --nats nats://127.0.0.1:4223" {
		t.Errorf("another port needs %q", got)
	}
}
