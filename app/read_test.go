package app

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"
	"github.com/spf13/pflag"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/policy"
	"github.com/flowjet/flowjet/pipeline"
)

// write puts a text into a file of the test's.
func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func flagsOf(t *testing.T, arguments ...string) *pflag.FlagSet {
	t.Helper()
	flags := pflag.NewFlagSet("test", pflag.ContinueOnError)
	AddFlags(flags)
	if err := flags.Parse(arguments); err != nil {
		t.Fatal(err)
	}
	return flags
}

func TestTheStrongerSourceWins(t *testing.T) {
	path := write(t, "flowjet.yaml", "zone: 1\napi:\n  action_period: 1s\n  action_number: 7\none:\n  hooks: [tcp://a:1, tcp://b:2]\nnats:\n  provision: false\n")
	t.Setenv("FLOWJET_API_ACTION_PERIOD", "2s")
	t.Setenv("FLOWJET_API_ACTION_NUMBER", "8")
	config, err := ReadConfig(path, flagsOf(t, "--api-action-number", "9"))
	if err != nil {
		t.Fatal(err)
	}
	if config.Zone != 1 || config.API.ActionPeriod != 2*time.Second || config.API.ActionNumber != 9 || config.NATS.Provision || len(config.One.Hooks) != 2 {
		t.Errorf("zone %d, action_period %s, action_number %d, provision %t, hooks %v", config.Zone, config.API.ActionPeriod, config.API.ActionNumber, config.NATS.Provision, config.One.Hooks)
	}
	if config.One.Connections != 8 {
		t.Errorf("what nobody sets is %d and not the default", config.One.Connections)
	}
}

func TestDeadlinesAreOfServicesOrOfVMs(t *testing.T) {
	config, err := ReadConfig("", flagsOf(t, "--deadlines", "pending=10m,scaling=90, then=shrink,boot=5m"))
	if err != nil {
		t.Fatal(err)
	}
	got := config.Settings()
	if want := (policy.Deadlines{Pending: 10 * time.Minute, Scaling: 90 * time.Second, Then: policy.ThenShrink}); got.Deadlines != want {
		t.Errorf("services have %+v, want %+v", got.Deadlines, want)
	}
	want := flow.DefaultVMDeadlines()
	want.Boot = 5 * time.Minute
	if got.VMDeadlines != want {
		t.Errorf("VMs have %+v, want %+v", got.VMDeadlines, want)
	}
}

// A process is known to NATS by a seed or by credentials, whatever the file is called.
func TestTheKeyForNATSIsASeedOrCredentials(t *testing.T) {
	user, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	seed, err := user.Seed()
	if err != nil {
		t.Fatal(err)
	}
	const credentials = "-----BEGIN NATS USER JWT-----\nx.y.z\n------END NATS USER JWT------\n\n-----BEGIN USER NKEY SEED-----\n%s\n------END USER NKEY SEED------\n"
	for name, text := range map[string]string{"seed": string(seed), "credentials": fmt.Sprintf(credentials, seed)} {
		config := Config{}
		config.NATS.NkeyFile = write(t, "{role}.key", text)
		path := strings.ReplaceAll(config.NATS.NkeyFile, roleMark, "worker")
		if err := os.Rename(config.NATS.NkeyFile, path); err != nil {
			t.Fatal(err)
		}
		options, err := config.natsOptions(pipeline.RoleWorker)
		if err != nil {
			t.Fatal(err)
		}
		var made nats.Options
		for _, option := range options {
			if err := option(&made); err != nil {
				t.Fatal(err)
			}
		}
		if (made.UserJWT != nil) != (name == "credentials") || (made.Nkey != "") != (name == "seed") {
			t.Errorf("%s: JWT %t, nkey %q", name, made.UserJWT != nil, made.Nkey)
		}
	}
	config := Config{}
	config.NATS.NkeyFile = write(t, "key", "neither\n")
	if _, err := config.natsOptions(pipeline.RoleWorker); err == nil || !strings.Contains(err.Error(), "a line that begins with SU") {
		t.Error(err)
	}
}

func TestAVariableThatSetsNothingAnyMoreIsRefused(t *testing.T) {
	t.Setenv("FLOWJET_BRIDGE_STANDBY", "2s")
	_, err := ReadConfig("", flagsOf(t))
	if want := "FLOWJET_BRIDGE_STANDBY can no longer be set: it is 1s"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %q", err, want)
	}
	if left := UnknownVariables(); len(left) > 0 {
		t.Errorf("it is named a second time: %q", left)
	}
}

func TestFaultsAreNamedWithTheirLineAndWhatMendsThem(t *testing.T) {
	cases := map[string]struct{ text, want string }{
		"a mistyped key":      {"api:\n  listn: 127.0.0.1:1\n", `flowjet.yaml:2: "api.listn" does not exist; did you mean api.listen?`},
		"a mistyped section":  {"zone: 0\n\nwroker:\n  look_again: 3s\n", `flowjet.yaml:3: "wroker" does not exist; did you mean worker?`},
		"no section":          {"look_again: 3s\n", `flowjet.yaml:1: "look_again" does not exist; did you mean worker.look_again?`},
		"nothing like it":     {"colour_of_the_sky: blue\n", `"colour_of_the_sky" does not exist; `},
		"no time":             {"api:\n\n  action_period: 5 sec\n", `flowjet.yaml:3: api.action_period is "5 sec": it must be a duration such as 300ms, 30s or 5m`},
		"no number":           {"zone: first\n", `flowjet.yaml:1: zone is "first": it must be a whole number`},
		"no yes or no":        {"sim:\n  enabled: maybe\n", `flowjet.yaml:2: sim.enabled is "maybe": it must be true or false`},
		"too many":            {"nats:\n  url: nats://a:1\n  replicas: 9\n", "flowjet.yaml:3: nats.replicas is 9: it must be 1 to 5"},
		"a list for one":      {"api:\n  listen: [a, b]\n", "flowjet.yaml:2: api.listen has keys or a list below it"},
		"a value for keys":    {"api: 127.0.0.1:2474\n", "flowjet.yaml:1: api must be a mapping of keys"},
		"no mapping":          {"- a\n- b\n", "a configuration file must be a mapping of keys"},
		"a password":          {"nats:\n  password: hunter2\n", `flowjet.yaml:2: "nats.password" looks like a secret`},
		"a password in a URL": {"nats:\n  url: nats://joe:hunter2@h:4222\n", "flowjet.yaml:2: nats.url is an address with a user: it contains a user or password: remove it"},
		"one of oned's":       {"one:\n  xmlrpc: http://joe:hunter2@h:2633/RPC2\n", "flowjet.yaml:2: one.xmlrpc is a list with a user in an address"},
		"no port":             {"api:\n  listen: localhost\n", "flowjet.yaml:2: api.listen is \"localhost\": it must be host:port"},
		"another scheme":      {"one:\n  hooks: [http://h:2101]\n", "it must be tcp://host:port"},
		"no option any more":  {"api:\n  max_body: 5\n", "flowjet.yaml:2: api.max_body can no longer be set: a body has at most 1 MiB; remove it"},
		"a script for a link": {"api:\n  vm_link: javascript:alert({id})\n", "it must be an http or https address with {id}"},
		"a link to nothing":   {"api:\n  vm_link: https://sunstone/vm\n", "it must be an http or https address with {id}"},
		"a level":             {"log:\n  level: warning\n", `flowjet.yaml:2: log.level is "warning": it must be one of debug, info, warn, error; did you mean warn?`},
		"alone":               {"nats:\n  replicas: 3\n", "flowjet.yaml:2: nats.replicas is 3, but the embedded server is not part of a cluster"},
		"half a pair":         {"api:\n  certificate_file: a.pem\n", "api.certificate_file and api.key_file belong together"},
		"half a server":       {"sim:\n  listen: [127.0.0.1:1, 127.0.0.1:2]\n", "sim.listen is [127.0.0.1:1 127.0.0.1:2]: it must name XML-RPC, hook events and control API"},
		"no such deadline":    {"worker:\n  deadlines: lunch=1h\n", `it has "lunch"; it can have pending, deploying, scaling, undeploying or then, or of VMs: it has "lunch"; it can have boot`},
		"half a second":       {"worker:\n  deadlines: pending=1500ms\n", "it must be a whole number of seconds"},
		"a VM's for too long": {"worker:\n  deadlines: [pending=60, boot=long]\n", "it must be a duration such as boot=10m"},
		"twice":               {"zone: 0\nzone: 1\n", "flowjet.yaml:2: zone is set a second time, after line 1"},
		"a tab":               {"api:\n\tlisten: x\n", "line 2"},
		"a second document":   {"zone: 0\n---\nzone: 1\n", "flowjet.yaml: it has a second document, which nothing would read"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			_, err := ReadConfig(write(t, "flowjet.yaml", c.text), flagsOf(t))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v\nwant %s", err, c.want)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error repeats a secret: %v", err)
			}
		})
	}
}

func TestFaultsOfVariablesAndFlagsAreNamed(t *testing.T) {
	t.Setenv("FLOWJET_ZONE", "one")
	_, err := ReadConfig("", flagsOf(t, "--nats-replicas", "7", "--nats-url", "nats://h:1"))
	for _, want := range []string{`FLOWJET_ZONE: is "one": it must be a whole number`, "--nats-replicas: nats.replicas is 7: it must be 1 to 5"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestAFileThatIsNotThereIsNamed(t *testing.T) {
	_, err := ReadConfig(filepath.Join(t.TempDir(), "none.yaml"), flagsOf(t))
	if err == nil || !strings.Contains(err.Error(), "none.yaml does not exist: create it or omit --config") {
		t.Error(err)
	}
}

func TestCheckLooksAtTheFilesThatAreNamed(t *testing.T) {
	seed, auth := write(t, "seed", "SU…"), write(t, "auth", "serveradmin:x")
	if err := os.Chmod(seed, 0o604); err != nil {
		t.Fatal(err)
	}
	t.Setenv("FLOWJET_ZOEN", "0")
	wrong, doubtful := CheckConfig("", flagsOf(t, "--nats-nkey-file", seed, "--one-auth-file", auth, "--nats-ca-file", auth+".pem", "--status-listen", "0.0.0.0:0"))
	if len(wrong) != 1 || !strings.Contains(wrong[0], "--nats-ca-file: nats.ca_file is "+auth+".pem, which does not exist") {
		t.Errorf("wrong: %q", wrong)
	}
	all := strings.Join(doubtful, "\n")
	for _, want := range []string{"nats.nkey_file: everybody on this host can read", "FLOWJET_ZOEN: no option has this environment variable; did you mean FLOWJET_ZONE?", "--status-listen: status.listen is 0.0.0.0:0: it is accessible without a password"} {
		if !strings.Contains(all, want) {
			t.Errorf("got %s\nwant %s", all, want)
		}
	}
	if strings.Contains(all, "one.auth_file") {
		t.Errorf("a file for one user is doubted: %s", all)
	}
}

// Root reads everything, and asks for the user as whom the packages run the service; other users ask for themselves.
func TestCheckAsksForTheServicesUser(t *testing.T) {
	secret := write(t, "secret", "0123456789abcdef")
	hooks := write(t, "webhooks.yaml", "receivers:\n- name: ops\n  url: https://example.com\n  secret_file: "+secret+"\n")
	open := write(t, "open.pem", "x")
	for _, public := range []string{open, hooks, filepath.Dir(open), filepath.Dir(hooks), filepath.Dir(secret), filepath.Dir(filepath.Dir(open))} {
		must(t, os.Chmod(public, 0o755))
	}
	must(t, os.Chmod(secret, 0o600))
	config, err := ReadConfig("", flagsOf(t, "--sim", "--webhooks-file", hooks, "--nats-ca-file", open, "--nats-nkey-file", open+".away"))
	must(t, err)
	found := config.unreadable(hooks, "nobody")
	if os.Geteuid() != 0 {
		if len(found) > 0 {
			t.Errorf("without being root it asks for another: %q", found)
		}
		return
	}
	want := "the secret of webhook receiver ops: the user nobody, as whom the packages run Flowjet, cannot read " + secret + ": `chgrp nobody " + secret + " && chmod g+r " + secret + "`"
	if len(found) != 1 || !strings.HasPrefix(found[0], want) {
		t.Errorf("it finds %q, want %q", found, want)
	}
	must(t, os.Chmod(filepath.Dir(hooks), 0o700))
	if found = config.unreadable(hooks, "nobody"); len(found) != 3 {
		t.Errorf("in a closed folder it finds %q", found)
	}
	if found = config.unreadable(hooks, "no such user"); found != nil {
		t.Errorf("without packages it finds %q", found)
	}
}

// Every option's default is allowed.
func TestDefaultsAreAllowed(t *testing.T) {
	for _, o := range options {
		if complaint := o.complaint(o.standard); complaint != "" {
			t.Errorf("the default of %s is refused: %s", o.key, complaint)
		}
	}
}
