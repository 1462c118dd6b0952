package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/internal/terminal"
)

// operatePage is what an operator reads first; its commands are run here.
const operatePage = "../../docs/operate.md"

// operatePromises are what the page's commands show, on the page and when they
// are run.
var operatePromises = map[string][]string{
	"flowjet status":           {"PROCESS ", "bridge, worker, api ", "services      1 WARNING", "dead letters  none", "routes, scales", "zone0-", "router ", "ONE  ", "HOOK  "},
	"flowjet top":              {"services      1 WARNING", "3   hello  oneadmin  WARNING", "RUNNING -> WARNING (role Slave: VM 5 is in POWEROFF)", "router "},
	"flowjet doctor":           {"ok      workers: 1 running", "every feed (1) has a running bridge", "warning services: 1 of 1 need attention: 3 (WARNING)", "fix: ", "ok      processes: all that are expected (1) are running", "ok      oned: http://", "answers and accepts the server user", "ok      API: http://", "is ready"},
	"flowjet service records":  {"ID  NAME   OWNER     STATE", "3   hello  oneadmin  WARNING", "3/3"},
	"flowjet service why 3":    {"state        WARNING for ", "cause        VM 5 became POWEROFF", "reason       role Slave: VM 5 is in POWEROFF", "failed       VM 5 is in POWEROFF (role Slave)", "`oneflow recover 3`"},
	"flowjet service record 3": {"Master  RUNNING  1/1", "Slave   WARNING  2/2  Master   5 6", "timer look", "I  New state: WARNING"},
	"flowjet service look 3":   {"service 3: its worker checks it now"},
	"flowjet service watch 3 --until WARNING,RUNNING --timeout 5m": {"Service 3  hello  WARNING"},
	"flowjet events --service 3 -n 2": {
		"role Slave: RUNNING -> WARNING (VM 5 is in POWEROFF)  [event vm 5 POWEROFF/LCM_INIT]",
	},
	"flowjet events --service 3 --with opennebula,dead-letters -n 3": {
		"3     opennebula: vm 5 POWEROFF/LCM_INIT (role Slave)", "RUNNING -> WARNING (role Slave: VM 5 is in POWEROFF)  [event",
	},
	"flowjet events --kind service --since 24h -n 1 -o json": {`"new":"WARNING","reason":"role Slave: VM 5 is in POWEROFF"`},
	"flowjet commands":        {"undeploy  1        0    done", "deploy    3        0    done"},
	"flowjet dlq ls":          {"work   3        message ", "cannot be read"},
	"flowjet dlq show 1":      {"subject      flow.work.3", "`flowjet dlq retry 1`", "not a wake-up"},
	"flowjet dlq drop 1":      {"dead letter 1: dropped"},
	"flowjet completion bash": {"# bash completion V2 for flowjet"},
}

// operator types commands at a cloud.
type operator struct {
	t           *testing.T
	environment []string
}

func newOperator(t *testing.T, c cloud) operator {
	t.Helper()
	clean := slices.DeleteFunc(os.Environ(), func(variable string) bool { return strings.HasPrefix(variable, "FLOWJET_") })
	return operator{t: t, environment: append(clean, asCommand+"=1", "FLOWJET_DATA_DIR="+c.data, "FLOWJET_NATS_LISTEN="+c.nats, "FLOWJET_API_LISTEN="+c.api,
		"FLOWJET_ONE_XMLRPC=http://"+c.xmlrpc+"/RPC2", "FLOWJET_ONE_AUTH_FILE="+c.auth())}
}

// types runs a command and returns what it wrote to both outputs.
func (o operator) types(arguments ...string) (out, failed string, err error) {
	o.t.Helper()
	self, err := os.Executable()
	if err != nil {
		o.t.Fatal(err)
	}
	command := exec.CommandContext(o.t.Context(), self, arguments...)
	var stdout, stderr strings.Builder
	command.Env, command.Stdout, command.Stderr = o.environment, &stdout, &stderr
	err = command.Run()
	return stdout.String(), stderr.String(), err
}

// shows runs a command of the page until it shows what is promised.
func (o operator) shows(line string) string {
	o.t.Helper()
	var out, failed string
	var err error
	poll.Until(o.t, fmt.Sprintf("%s to show %q", line, operatePromises[line]), func() bool {
		out, failed, err = o.types(strings.Fields(line)[1:]...)
		done := err == nil && len(missingFrom(out, operatePromises[line])) == 0
		if !done {
			o.t.Logf("%s: %v %s\n%s", line, err, failed, out)
		}
		return done
	})
	return out
}

// TestOperatePage runs every command of docs/operate.md, in the page's order.
func TestOperatePage(t *testing.T) {
	examples := readCommands(t, operatePage, "flowjet ")
	documented := map[string]bool{}
	for _, example := range examples {
		documented[example.command] = true
		if missing := missingFrom(example.output, operatePromises[example.command]); operatePromises[example.command] == nil || len(missing) > 0 {
			t.Errorf("%s: the page does not show %q, or the test has no promise for it", example.command, missing)
		}
	}
	for command := range operatePromises {
		if !documented[command] {
			t.Errorf("%s does not document: %s", operatePage, command)
		}
	}
	c := newCloud(t)
	c.up(t)
	if demo := c.demo(t); demo.err != nil {
		t.Fatalf("the demo failed: %v\n%s", demo.err, demo.output.String())
	}
	c.warn(t)
	o := newOperator(t, c)
	for _, example := range examples {
		if example.command == "flowjet dlq ls" {
			c.publish(t, "flow.work.3", "not a wake-up")
		}
		o.shows(example.command)
	}
	o.checkEverythingSeen(c)
	o.checkFindsTheSimulator()
	o.checkJSON()
	o.checkErrors()
}

// warn starts the service that the page speaks of and powers off its VM 5.
func (c cloud) warn(t *testing.T) {
	t.Helper()
	service := c.instantiate(t, `{"name": "hello", "deployment": "straight", "roles": [
		{"name": "Master", "type": "vm", "cardinality": 1, "template_id": 0},
		{"name": "Slave", "type": "vm", "cardinality": 2, "template_id": 0, "parents": ["Master"]}]}`)
	const running, warning = 2, 4
	poll.Until(t, "the service to be RUNNING", func() bool { return c.state(t, service) == running })
	answer, err := http.Post("http://"+c.control+"/vms/5/poweroff", "application/json", http.NoBody) //nolint:noctx // a test's own server
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	poll.Until(t, "the service to be in WARNING", func() bool { return c.state(t, service) == warning })
}

func (c cloud) publish(t *testing.T, subject, text string) {
	t.Helper()
	key, err := nats.NkeyOptionFromSeed(c.key("operator"))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := nats.Connect("nats://"+c.nats, key, nats.Timeout(poll.Limit))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.Publish(subject, []byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := conn.Flush(); err != nil {
		t.Fatal(err)
	}
}

// checkEverythingSeen has all that can be told of told, past and coming.
func (o operator) checkEverythingSeen(c cloud) {
	o.t.Helper()
	following := start(o.t, "events", "--data-dir", c.data, "--nats-listen", c.nats, "--with", "opennebula,dead-letters", "-f", "-n", "0", "-o", "json")
	following.says(`"kind":"opennebula"`)
	following.says(`"kind":"service"`)
	c.publish(o.t, "flow.work.3", "nonsense that comes now")
	following.says(`"reason":"message`)
	if _, err := following.interrupt(); err != nil {
		o.t.Errorf("Ctrl-C ends it with %v", err)
	}
	out, failed, err := o.types("events", "--service", "3", "--with", "opennebula", "-n", "0", "-o", "json")
	for line := range strings.Lines(out) {
		if !strings.Contains(line, `"service":3`) && !strings.Contains(line, `"id":5`) && !strings.Contains(line, `"id":4`) && !strings.Contains(line, `"id":6`) {
			o.t.Errorf("this is not service 3's: %v %s %s", err, failed, line)
		}
	}
	if _, failed, err := o.types("dlq", "drop", "--all"); err != nil {
		o.t.Error(failed)
	}
}

// checkFindsTheSimulator: who has typed `make run` has no credentials of a real oned.
func (o operator) checkFindsTheSimulator() {
	o.t.Helper()
	o.environment = slices.DeleteFunc(slices.Clone(o.environment), func(v string) bool { return strings.HasPrefix(v, "FLOWJET_ONE_AUTH_FILE=") })
	o.finds(func(out, _ string, err error) bool { return err == nil && strings.Contains(out, "ok      oned: ") })
}

// finds runs doctor until it finds what it has to, and nothing that a busy machine makes it find.
func (o operator) finds(wanted func(out, failed string, err error) bool, arguments ...string) {
	o.t.Helper()
	poll.Until(o.t, fmt.Sprintf("doctor %v to find what it has to", arguments), func() bool {
		out, failed, err := o.types(append([]string{"doctor"}, arguments...)...)
		found := wanted(out, failed, err)
		if !found {
			o.t.Logf("doctor %v ends with %v: %s\n%s", arguments, err, failed, out)
		}
		return found
	})
}

// checkJSON holds the shapes that scripts rely on.
func (o operator) checkJSON() {
	o.t.Helper()
	for line, fields := range map[string][]string{
		"status -o json":           {"members", "servers", "workers", "unowned", "feeds", "readers", "services", "timers", "dead_letters", "webhooks", "streams", "missing"},
		"doctor -o json":           {"check", "weight", "message"},
		"service records -o json":  {"id", "name", "owner", "state", "since", "roles", "vms", "wanted"},
		"service record 3 -o json": {"applied", "state", "timers"},
		"service why 3 -o json":    {"service", "state", "since", "summary", "reason", "cause", "failed", "waits", "next", "roles", "path"},
		"commands -o json":         {"id", "verb", "service", "state", "uid", "queued"},
	} {
		out, failed, err := o.types(strings.Fields(line)...)
		if err != nil {
			o.t.Errorf("%s: %v %s", line, err, failed)
			continue
		}
		var value any
		if err := json.Unmarshal([]byte(out), &value); err != nil {
			o.t.Errorf("%s is no JSON: %v\n%s", line, err, out)
			continue
		}
		if list, is := value.([]any); is && len(list) > 0 {
			value = list[0]
		}
		for _, field := range fields {
			if object, is := value.(map[string]any); !is || object[field] == nil {
				o.t.Errorf("%s has no %s: %s", line, field, out)
			}
		}
		if strings.Contains(out, "\x1b[") {
			o.t.Errorf("%s has colours", line)
		}
	}
	if out, _, _ := o.types("dlq", "ls", "-o", "json"); strings.TrimSpace(out) != "[]" {
		o.t.Errorf("no dead letters are %q in JSON, want an empty array", out)
	}
	if out, _, _ := o.types("__complete", "service", "why", ""); !strings.Contains(out, "3\thello WARNING") {
		o.t.Errorf("the completion of service why is %q", out)
	}
}

// checkErrors holds that an error is one line that says what to do, and a failure.
func (o operator) checkErrors() {
	o.t.Helper()
	for line, want := range map[string]string{
		"servce":                                       "did you mean `flowjet service`?",
		"service records --state foo":                  "--state is \"foo\": there are PENDING, ",
		"commands --state foo":                         "there are queued, done, refused",
		"commands --service 999":                       "there is no service 999",
		"events --service 999":                         "there is no service 999",
		"events --service -7":                          "is not the id of a service",
		"events --last many":                           "it must be a whole number",
		"events --since yesterday":                     "it must be a time with its unit",
		"dlq ls --service 999":                         "there is no service 999",
		"service shw":                                  "did you mean `flowjet service show`?",
		"service why abc":                              "`flowjet service records` lists them",
		"service why 999":                              "there is no service 999",
		"service records -o xml":                       "\"xml\" is not one of table, wide, name, json, yaml",
		"dlq show 77":                                  "`flowjet dlq ls` lists them",
		"dlq retry":                                    "or --all",
		"events --kind all":                            "there are service, role",
		"events --since -1h":                           "--since is -1h0m0s: it must be 0s or more",
		"events -n -1":                                 "--last is -1: it must be 0 or more",
		"service watch 3 --timeout -1s":                "--timeout is -1s: it must be 0s or more",
		"events --with all":                            "there are dead-letters, opennebula, webhooks",
		"status --nats-listen 127.0.0.1:1":             "`flowjet doctor` has more",
		"service watch 3 --until HOLD --timeout 200ms": "`flowjet service why 3`",
		"service watch 3 --until HAPPY":                "--until is \"HAPPY\": there are PENDING, ",
		"doctor --nats-listen 127.0.0.1:1":             "doctor found ",
	} {
		out, failed, err := o.types(strings.Fields(line)...)
		if err == nil || !strings.Contains(failed, want) || strings.Count(failed, "\n") != 1 || strings.Contains(failed, "strconv") {
			o.t.Errorf("flowjet %s: %v, want one line with %q:\n%s\n%s", line, err, want, failed, out)
		}
	}
	for _, arguments := range [][]string{{"--one-auth-file", "/nowhere", "--log-level", "debug"}, {"--one-xmlrpc", "http://127.0.0.1:1/RPC2"}} {
		o.finds(func(_, failed string, err error) bool {
			return err != nil && strings.Contains(failed, "doctor found problems: 1 of ") && strings.Count(failed, "\n") == 1
		}, arguments...)
	}
	for line, want := range map[string]terminal.Exit{
		"servce": terminal.ExitUsage, "status --nonsense": terminal.ExitUsage, "service record": terminal.ExitUsage, "service records --state foo": terminal.ExitUsage,
		"events --last many": terminal.ExitUsage, "status --zone many": terminal.ExitUsage, "service why 999": terminal.ExitNotFound, "service look 999": terminal.ExitNotFound, "status --forget nobody": terminal.ExitNotFound, "dlq show 77": terminal.ExitNotFound,
		"status --nats-listen 127.0.0.1:1": terminal.ExitUnreachable, "service watch 3 --until HOLD --timeout 200ms": terminal.ExitTimeout,
		"doctor --nats-listen 127.0.0.1:1": terminal.ExitTrouble,
	} {
		_, failed, err := o.types(strings.Fields(line)...)
		var ended *exec.ExitError
		if !errors.As(err, &ended) || ended.ExitCode() != int(want) {
			o.t.Errorf("flowjet %s: %v, want exit status %d: %s", line, err, want, failed)
		}
	}
}

// readCommands finds the commands in a page's sh blocks that begin so, with the
// text block behind each.
func readCommands(t *testing.T, path, prefix string) []example {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var examples []example
	block := ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimRight(line, "\n")
		language, fence := strings.CutPrefix(line, "```")
		switch {
		case fence && block != "":
			block = ""
		case fence:
			block = language
		case block == "sh" && strings.HasPrefix(line, prefix):
			examples = append(examples, example{command: line})
		case block == "text" && len(examples) > 0:
			examples[len(examples)-1].output += line + "\n"
		}
	}
	return examples
}

func TestManPagesAndCompletion(t *testing.T) {
	folder := t.TempDir()
	o := operator{t: t, environment: append(os.Environ(), asCommand+"=1")}
	if _, failed, err := o.types("man", folder); err != nil {
		t.Fatalf("%v %s", err, failed)
	}
	for _, name := range []string{"flowjet.1", "flowjet-up.1", "flowjet-status.1", "flowjet-service-why.1", "flowjet-dlq-retry.1", "flowjet-doctor.1"} {
		page, err := os.ReadFile(filepath.Join(folder, name))
		if err != nil || !strings.HasPrefix(string(page), ".nh\n.TH \"FLOWJET") {
			t.Errorf("%s: %v %.60q", name, err, page)
		}
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		out, failed, err := o.types("completion", shell)
		if err != nil || !strings.Contains(out, "completion") || !strings.Contains(out, "flowjet") {
			t.Errorf("completion %s: %v %s", shell, err, failed)
		}
		if program, err := exec.LookPath(shell); err == nil {
			script := filepath.Join(folder, shell)
			if err := os.WriteFile(script, []byte(out), 0o600); err != nil {
				t.Fatal(err)
			}
			if said, err := exec.CommandContext(t.Context(), program, "-n", script).CombinedOutput(); err != nil {
				t.Errorf("%s does not read its completion: %v %s", shell, err, said)
			}
		}
	}
	if out, _, _ := o.types("__complete", "dlq", ""); !strings.Contains(out, "retry") {
		t.Errorf("the completion of dlq is %q", out)
	}
}
