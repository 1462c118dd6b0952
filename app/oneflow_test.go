package app

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

// oneflowServer has every key of OneFlow 7.4's configuration file, with the values
// of an installation that has changed all it could.
const oneflowServer = `# comments stay behind
---
:one_xmlrpc: http://oned.example:2633/RPC2
:subscriber_endpoint: tcp://oned.example:2101
:host: 0.0.0.0
:port: 2475
:force_deletion: true
:retries: 6
:page_size: 20
:wait_timeout: 20
:concurrency: 15
:default_cooldown: 100
:autoscaler_interval: 60
:shutdown_action: 'terminate-hard'
:action_number: 2
:action_period: 90
:vm_name_template: '$SERVICE_NAME-$ROLE_NAME-$VM_NUMBER'
:vr_name_template: '$SERVICE_NAME-router'
:core_auth: cipher
:log:
  :level: 3
  :system: syslog
`

func TestOneFlowsConfigurationIsTakenOver(t *testing.T) {
	var made, report bytes.Buffer
	if err := Import(strings.NewReader(oneflowServer), nil, &made, &report); err != nil {
		t.Fatal(err)
	}
	config, err := ReadConfig(write(t, "flowjet.yaml", made.String()), flagsOf(t))
	if err != nil {
		t.Fatalf("%v\n%s", err, made.String())
	}
	if config.One.XMLRPC[0] != "http://oned.example:2633/RPC2" || config.One.Hooks[0] != "tcp://oned.example:2101" ||
		config.API.ActionNumber != 2 || config.API.ActionPeriod != 90*time.Second || config.API.Listen != "0.0.0.0:2475" || config.Log.Level != "debug" {
		t.Errorf("addresses or log level are lost:\n%s", made.String())
	}
	if w := config.Worker; w.Cooldown != 100*time.Second || w.ShutdownAction != "terminate-hard" || w.CheckInterval != 20*time.Second ||
		w.VMNameTemplate != "$SERVICE_NAME-$ROLE_NAME-$VM_NUMBER" || w.VRNameTemplate != "$SERVICE_NAME-router" {
		t.Errorf("the worker's settings are lost:\n%s", made.String())
	}
	for line := range strings.Lines(oneflowServer) {
		key, _, is := strings.Cut(strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(line), ":")), ":")
		if is && !strings.Contains(report.String(), key) {
			t.Errorf("nothing is said of :%s:\n%s", key, report.String())
		}
	}
	if strings.Contains(report.String(), "unknown") {
		t.Errorf("a key of OneFlow's is unknown:\n%s", report.String())
	}
}

func TestWhatCannotBeTakenOverIsNamed(t *testing.T) {
	cases := map[string]struct{ text, fails, says string }{
		"an unknown key":  {":colour: blue\n:retries: 5\n", "", ":colour  ignored: OneFlow 7.4 has no such key"},
		"no number":       {":default_cooldown: long\n", `key :default_cooldown: of OneFlow's configuration is "long": it must be a whole number of seconds`, ""},
		"a strange level": {":log:\n  :level: 9\n", "it must be 0 (errors) to 3 (debug)", ""},
		"an action":       {":shutdown_action: explode\n", "it must be terminate or terminate-hard", ""},
		"no YAML":         {"a: [\n", "it must be YAML", ""},
		"a bad port":      {":port: many\n", "api.listen", ""},
		"another file":    {"log: {levl: info}\n", "none of its keys (log.levl) is a key of OneFlow", ""},
		"nothing":         {"", "it has no keys: is it oneflow-server.conf?", ""},
	}
	for name, c := range cases {
		var made, report bytes.Buffer
		err := Import(strings.NewReader(c.text), nil, &made, &report)
		if (c.fails == "") != (err == nil) || (err != nil && !strings.Contains(err.Error(), c.fails)) {
			t.Errorf("%s: got %v, want %q", name, err, c.fails)
		}
		if !strings.Contains(report.String(), c.says) {
			t.Errorf("%s: reported %q, want %q", name, report.String(), c.says)
		}
	}
}

// TestTheRestOfAConfigurationStays with its comments, and the result is good.
func TestTheRestOfAConfigurationStays(t *testing.T) {
	const base = "# ours\ndata_dir: /var/lib/flowjet\n\napi:\n  listen: 127.0.0.1:2474 # for this host\nlog:\n  level: info\n\nworker:\n\n# the end\nzone: 3\n"
	var made, report bytes.Buffer
	if err := Import(strings.NewReader(oneflowServer), []byte(base), &made, &report); err != nil {
		t.Fatal(err)
	}
	for _, kept := range []string{"# ours", "data_dir: /var/lib/flowjet", "# the end", "zone: 3"} {
		if !strings.Contains(made.String(), kept) {
			t.Errorf("%q is lost:\n%s", kept, made.String())
		}
	}
	config, err := ReadConfig(write(t, "flowjet.yaml", made.String()), flagsOf(t))
	if err != nil {
		t.Fatalf("%v\n%s", err, made.String())
	}
	if config.API.Listen != "0.0.0.0:2475" || config.Log.Level != "debug" || config.Zone != 3 || config.DataDir != "/var/lib/flowjet" || config.Worker.Cooldown != 100*time.Second {
		t.Errorf("a value is lost:\n%s", made.String())
	}
	if err := Import(strings.NewReader(oneflowServer), []byte("a: [\n"), &made, &report); err == nil || !strings.Contains(err.Error(), "the configuration to change") {
		t.Error(err)
	}
}
