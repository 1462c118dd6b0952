package app

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const wholeFile = `# a comment
data_dir: /var/lib/flowjet
zone: 3
one: {xmlrpc: [http://a:2633/RPC2, http://b:2633/RPC2], auth_file: /etc/auth}
api:
  listen: 0.0.0.0:2475
  action_period: 90s
nats:
  url: tls://a:4222,tls://b:4222
  replicas: 3
  nkey_file: "/etc/flowjet/{role}.nk"
  provision: false
worker:
  deadlines:
    - pending=10m
    - then=shrink
log:
  level: info
`

// A file that is cut off anywhere, as by a full disk or an editor that dies, is read as far as it goes or refused with its place; it never ends
// the process, and what it says is not repeated where it may be a secret.
func TestAFileThatIsHalfWritten(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "flowjet.yaml")
	refused := 0
	for end := range len(wholeFile) + 1 {
		must(t, os.WriteFile(path, []byte(wholeFile[:end]), 0o600))
		_, err := ReadConfig(path, flagsOf(t))
		if err == nil {
			continue
		}
		refused++
		for line := range strings.Lines(err.Error()) {
			if !strings.HasPrefix(line, "flowjet.yaml:") && !strings.HasPrefix(line, path+": ") && !strings.HasPrefix(line, "the default: ") {
				t.Errorf("cut off after %d bytes, the fault has no place: %s", end, line)
			}
		}
	}
	if refused == 0 {
		t.Error("no half of the file is refused")
	}
	config, err := ReadConfig(write(t, "flowjet.yaml", wholeFile), flagsOf(t))
	if err != nil || config.Zone != 3 || len(config.One.XMLRPC) != 2 || config.API.ActionPeriod != 90*time.Second || config.NATS.NkeyFile != "/etc/flowjet/{role}.nk" || strings.Join(config.Worker.Deadlines, " ") != "pending=10m then=shrink" {
		t.Errorf("the whole file is %+v, %v", config, err)
	}
}

// YAML has several forms of the same.
func TestFormsOfYAML(t *testing.T) {
	t.Parallel()
	for name, text := range map[string]string{
		"a list in a line":         "one: {hooks: [tcp://a:1, tcp://b:1]}\nzone: 4\n",
		"a list of lines":          "one:\n  hooks:\n  - tcp://a:1\n  - tcp://b:1\nzone: 4\n",
		"a list as a text":         "one:\n  hooks: tcp://a:1, tcp://b:1\nzone: 4\n",
		"an alias of a list":       "bridge:\n  events: [vm]\none:\n  hooks: &h [tcp://a:1, tcp://b:1]\nzone: 4\n",
		"quotes":                   "one:\n  hooks: [\"tcp://a:1\", 'tcp://b:1']\nzone: '4'\n",
		"Windows' ends of lines":   "one:\r\n  hooks: [tcp://a:1, tcp://b:1]\r\nzone: 4\r\n",
		"a mark of the byte order": "\uFEFFone:\n  hooks: [tcp://a:1, tcp://b:1]\nzone: 4\n",
		"JSON":                     `{"one": {"hooks": ["tcp://a:1", "tcp://b:1"]}, "zone": 4}`,
		"empty sections":           "api:\nnats: ~\none:\n  hooks: [tcp://a:1, tcp://b:1]\nlog: null\nzone: 4\n",
		"a beginning of documents": "---\none:\n  hooks: [tcp://a:1, tcp://b:1]\nzone: 4\n",
		"a hexadecimal number":     "one:\n  hooks: [tcp://a:1, tcp://b:1]\nzone: 4 # not 0x4\n",
	} {
		config, err := ReadConfig(write(t, "flowjet.yaml", text), flagsOf(t))
		if err != nil || strings.Join(config.One.Hooks, " ") != "tcp://a:1 tcp://b:1" || config.Zone != 4 {
			t.Errorf("%s: zone %d, hooks %q, %v", name, config.Zone, config.One.Hooks, err)
		}
	}
	for name, text := range map[string]string{"nothing": "", "an empty section": "webhooks:\n", "comments": "# all is as it was\n", "a beginning": "---\n"} {
		if config, err := ReadConfig(write(t, "flowjet.yaml", text), flagsOf(t)); err != nil || config.API.Listen != "127.0.0.1:2474" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What the file has in the wrong form is named with its line, each fault on its own.
func TestFormsThatAreRefused(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ text, want string }{
		"keys below a value":     {"zone:\n  id: 3\n", "flowjet.yaml:2: zone has keys or a list below it, but takes one value: a whole number"},
		"a list of lists":        {"one:\n  hooks: [[tcp://a:1]]\n", "flowjet.yaml:2: one.hooks has keys or a list below it, but takes one value: a list such as [a, b]"},
		"an anchor to a mapping": {"worker: &w {look_again: 3s}\napi:\n  listen: *w\n", "flowjet.yaml:3: api.listen has keys or a list below it"},
		"a list of sections":     {"api: [listen]\n", "flowjet.yaml:1: api must be a mapping of keys to values, as in docs/configuration.md"},
		"a text alone":           {"hello\n", "flowjet.yaml:1: a configuration file must be a mapping of keys to values"},
		"no value":               {"zone:\n", `flowjet.yaml:1: zone is "": it must be a whole number`},
		"a fraction":             {"zone: 1.5\n", `flowjet.yaml:1: zone is "1.5": it must be a whole number`},
		"seconds without a unit": {"api:\n  action_period: 90\n", `flowjet.yaml:2: api.action_period is "90": it must be a duration such as 300ms, 30s or 5m`},
		"yes":                    {"nats:\n  provision: yes\n", `flowjet.yaml:2: nats.provision is "yes": it must be true or false`},
		"too deep":               {"api:\n  listen:\n    host: a\n", "flowjet.yaml:3: api.listen has keys or a list below it, but takes one value: a string"},
		"a section twice":        {"api:\n  listen: a:1\napi:\n  listen: b:1\n", "flowjet.yaml:4: api.listen is set a second time, after line 2: keep one of them"},
		"a token":                {"api:\n  Token: x\n", `flowjet.yaml:2: "api.Token" looks like a secret, which is only read from a file`},
		"a secret of no section": {"serveradmin_passwd: x\n", `flowjet.yaml:1: "serveradmin_passwd" looks like a secret`},
		"a number as a key":      {"7: 8\n", `flowjet.yaml:1: "7" does not exist`},
		"an open bracket":        {"one: {hooks: [tcp://a:1\n", "it must be YAML, indented with spaces, not tabs"},
		"a colon in a value":     {"api:\n  listen: a: b\n", "it must be YAML"},
		"an unknown alias":       {"zone: *unknown\n", "it must be YAML"},
	} {
		_, err := ReadConfig(write(t, "flowjet.yaml", test.text), flagsOf(t))
		if err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: got %v, want %q on one line", name, err, test.want)
		}
	}
	_, err := ReadConfig(write(t, "flowjet.yaml", "zone: x\napi:\n  listn: a:1\n  action_number: 0\n"), flagsOf(t))
	if err == nil || strings.Count(err.Error(), "\n") != 2 {
		t.Errorf("three faults are told as %v", err)
	}
}

// A file that is none is not read on and on.
func TestFilesThatAreNoConfiguration(t *testing.T) {
	t.Parallel()
	for name, path := range map[string]string{
		"a folder": t.TempDir(), "a device": "/dev/zero", "a large file": write(t, "flowjet.yaml", "# "+strings.Repeat("x", maxFileSize)),
	} {
		if _, err := ReadConfig(path, flagsOf(t)); err == nil || !strings.Contains(err.Error(), "it is not a regular file of at most 1048576 bytes") || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v", name, err)
		}
	}
	below := filepath.Join(write(t, "file", "x"), "flowjet.yaml")
	if _, err := ReadConfig(below, flagsOf(t)); err == nil || !strings.Contains(err.Error(), "run as a user who may, or set another with --config") {
		t.Errorf("below a file: %v", err)
	}
}

// OneFlow's file, cut off anywhere, is taken over as far as it goes or refused, and what is taken over is a configuration.
func TestAOneFlowFileThatIsHalfWritten(t *testing.T) {
	t.Parallel()
	taken, path := 0, filepath.Join(t.TempDir(), "flowjet.yaml")
	for end := range len(oneflowServer) + 1 {
		var made, report bytes.Buffer
		if Import(strings.NewReader(oneflowServer[:end]), nil, &made, &report) != nil {
			continue
		}
		taken++
		must(t, os.WriteFile(path, made.Bytes(), 0o600))
		if _, err := ReadConfig(path, flagsOf(t)); err != nil && !strings.Contains(err.Error(), "host:port") { // an address may be cut off
			t.Errorf("cut off after %d bytes it becomes %q: %v", end, made.String(), err)
		}
	}
	if taken == 0 {
		t.Error("no part of it is taken over")
	}
}

// Forms of OneFlow's file that there have been, and what becomes of each.
func TestFormsOfOneFlowsFile(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ text, made, report string }{
		"only a port":          {":port: 2475\n", "listen: 127.0.0.1:2475\n", ":host, :port  -> api.listen: 127.0.0.1:2475\n"},
		"only a host":          {":host: 10.0.0.1\n", "listen: 10.0.0.1:2474\n", "-> api.listen: 10.0.0.1:2474"},
		"IPv6":                 {":host: '::1'\n:port: 80\n", "listen: '[::1]:80'\n", "-> api.listen: [::1]:80"},
		"an old name":          {":shutdown_action: shutdown-hard\n", "shutdown_action: terminate-hard\n", ":shutdown_action  -> worker.shutdown_action: terminate-hard\n"},
		"a level's name":       {":log:\n  :level: WARN\n", "level: warn\n", ":log.level  -> log.level: warn\n"},
		"before 5.12":          {":debug_level: 1\n:retries: 5\n", "level: warn\n", ":debug_level  -> log.level: warn\n"},
		"a wait":               {":wait_timeout: 30\n", "look_again: 30s\n", ":wait_timeout  -> worker.look_again: 30s (it only limits the delay when an event is lost)\n"},
		"a list":               {":retries: [1, 2]\n:port: 2474\n", "listen: 127.0.0.1:2474\n", ":retries  ignored: "},
		"a log of one word":    {":log: syslog\n:port: 2474\n", "listen: 127.0.0.1:2474\n", ":log  see log.level\n"},
		"a symbol as a value":  {":core_auth: :cipher\n:shutdown_action: :terminate\n", "shutdown_action: terminate\n", ":core_auth  ignored: "},
		"a key without value":  {":one_xmlrpc:\n:port: 2475\n", "listen: 127.0.0.1:2475\n", ":one_xmlrpc  ignored: it has no value\n"},
		"nothing to take over": {":retries: 5\n", "", ":retries  ignored: temporary errors are retried automatically\n"},
		"without its colons":   {"port: 2475\n", "listen: 127.0.0.1:2475\n", "-> api.listen"},
	} {
		var made, report bytes.Buffer
		err := Import(strings.NewReader(test.text), nil, &made, &report)
		if err != nil || !strings.Contains(made.String(), test.made) || test.made == "" && made.Len() > 0 || !strings.Contains(report.String(), test.report) {
			t.Errorf("%s: %v\n%s\n%s", name, err, made.String(), report.String())
		}
	}
	for name, test := range map[string]struct{ text, want string }{
		"a duration":  {":default_cooldown: 5m\n", "it must be a whole number of seconds"},
		"an XML-RPC":  {":one_xmlrpc: localhost\n", "one.xmlrpc is \"localhost\": it must be http:// or https://host:port"},
		"too few":     {":action_number: 0\n", "api.action_number is \"0\": it must be 1 or more"},
		"no number":   {":action_number: few\n", "api.action_number is \"few\": it must be a whole number"},
		"no cooldown": {":action_period: 0\n", "api.action_period is \"0s\": it must be 1s or more"},
	} {
		var made, report bytes.Buffer
		if err := Import(strings.NewReader(test.text), nil, &made, &report); err == nil || !strings.Contains(err.Error(), test.want) || made.Len() > 0 {
			t.Errorf("%s: got %v, want %q; %q was written", name, err, test.want, made.String())
		}
	}
}
