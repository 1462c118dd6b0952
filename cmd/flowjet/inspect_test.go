package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/internal/testlog"
)

// inspectPage is what an operator reads; the commands in it are run here.
const inspectPage = "../../docs/inspect.md"

// promises are what the commands of the page show, on the page and when they
// are run. The page speaks of the demo's service 1 and of service 3, which is
// started after it and scaled.
var promises = map[string][]string{
	// These two are started before the demo; they end by themselves.
	"nats sub 'one.>' --subjects-only --count=5":        {`Received on "one.0.vm.0.`},
	"nats sub 'flow.event.>' --subjects-only --count=9": {`Received on "flow.event.1.`},

	"nats stream ls": {"│ ONE ", "│ WORK ", "│ FLOW ", "│ DLQ "},
	"nats kv ls":     {"FLOW_STATE", "FLOW_CHECKPOINT", "FLOW_OWNERS", "FLOW_COMMANDS"},
	"nats sub 'flow.event.1.service.>' --stream FLOW --all --wait=1s --raw": {
		`"old":"DEPLOYING","new":"RUNNING"`, `"old":"RUNNING","new":"WARNING"`, `"new":"DELETED"`,
	},
	"nats stream get FLOW --last-for 'flow.event.3.service.>'": {
		"flow.event.3.service.COOLDOWN", `"new":"COOLDOWN"`, `"cause":{`,
	},
	"nats sub 'flow.event.1.service.WARNING' --stream FLOW --last --wait=1s": {
		"flow.event.1.service.WARNING", `"reason":"role Slave: VM 1 is in POWEROFF"`, `"cause":{"kind":"event","id":"vm 1 POWEROFF/LCM_INIT"`,
		"`oneflow recover 1`",
	},
	"nats sub 'flow.work.*.3' --stream WORK --all --wait=1s --raw": {
		`"verb":"deploy"`, `"verb":"scale"`, `"arguments":{"role_name":"Slave","cardinality":3`, `"event":{`,
	},
	"nats sub 'one.0.vm.4.>' --stream ONE --all --wait=1s --subjects-only": {
		"one.0.vm.4.PENDING.LCM_INIT", "one.0.vm.4.ACTIVE.BOOT", "one.0.vm.4.ACTIVE.RUNNING",
	},
	"nats stream get ONE --last-for one.0.vm.4.ACTIVE.RUNNING": {
		"Flowjet-Feed: ", `"name":"Master_0_(service_3)"`, `"service":3,"role":"Master"`,
	},
	"nats kv get FLOW_STATE 3 --raw":           {`"applied":`, `"name":"hello"`, `"timers":{"cooldown"`},
	"nats kv get FLOW_OWNERS vm-4 --raw":       {"3"},
	"nats stream subjects WORK 'flow.timer.>'": {"flow.timer.3.cooldown", "flow.timer.3.look"},
	"nats stream get WORK --last-for flow.timer.3.cooldown": {
		"Nats-Schedule: @at ", "Nats-Schedule-Target: flow.work.3", `"timer":{"name":"cooldown"`,
	},
	"nats sub '$KV.FLOW_COMMANDS.>' --stream KV_FLOW_COMMANDS --all --wait=1s --raw": {
		`"state":"done","verb":"undeploy","service":1`, `"state":"done","verb":"scale","service":3`,
	},
	"nats sub 'flow.worker.*' --count=2":   {`Received on "flow.worker.worker-`, `"state":"alive"`},
	"nats pub flow.work.3 'not a wake-up'": {`to "flow.work.3"`},
	"nats sub 'flow.dlq.>' --stream DLQ --all --wait=1s": {
		"subject: flow.dlq.work", "Flowjet-Reason: ", "on flow.work.2.3 cannot be read", "not a wake-up",
	},
	`nats pub flow.work.3 '{"v":1,"service":3,"reason":"requested by an operator"}'`: {`to "flow.work.3"`},
}

// TestInspectPage runs every nats command of docs/inspect.md, in the page's
// order, with the real CLI against a running Flowjet.
func TestInspectPage(t *testing.T) {
	examples := readExamples(t, inspectPage)
	checkPromises(t, examples)
	c := newCloud(t)
	shell := newShell(t, c)
	c.up(t)

	watching := shell.watch(examples[:2])
	demo := c.demo(t)
	if demo.err != nil {
		t.Fatalf("the demo failed: %v\n%s", demo.err, demo.output.String())
	}
	for _, watcher := range watching {
		watcher.finish()
	}
	c.prepareInspection(t)
	for _, example := range examples[2:] {
		shell.show(example)
	}
}

func (c cloud) demo(t *testing.T) *process {
	t.Helper()
	demo := start(t, "demo", "--api", "http://"+c.api, "--nats", "nats://"+c.nats, "--data-dir", c.data, "--one-xmlrpc", "http://"+c.xmlrpc+"/RPC2", "--patience", poll.Limit.String())
	demo.wait()
	return demo
}

// prepareInspection starts and scales the service that the page speaks of.
func (c cloud) prepareInspection(t *testing.T) {
	t.Helper()
	service := c.instantiate(t, `{"name": "hello", "deployment": "straight", "roles": [
		{"name": "Master", "type": "vm", "cardinality": 1, "template_id": 0},
		{"name": "Slave", "type": "vm", "cardinality": 2, "template_id": 0, "parents": ["Master"]}]}`)
	if service != 3 {
		t.Fatalf("the service after the demo's has the id %d, the page speaks of 3", service)
	}
	const running, cooldown = 2, 10
	poll.Until(t, "the service to be RUNNING", func() bool { return c.state(t, service) == running })
	c.request(t, "POST", fmt.Sprintf("/service/%d/scale", service), `{"role_name": "Slave", "cardinality": 3}`, http.StatusNoContent)
	poll.Until(t, "the service to be in COOLDOWN", func() bool { return c.state(t, service) == cooldown })
}

// example is a command of a page and the output that the page shows for it.
type example struct{ command, output string }

// readExamples finds the nats commands in a page's sh blocks. The text block
// that follows such a block is its output.
func readExamples(t *testing.T, path string) []example {
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
		case block == "sh" && strings.HasPrefix(line, "nats "):
			examples = append(examples, example{command: line})
		case block == "text" && len(examples) > 0:
			examples[len(examples)-1].output += line + "\n"
		}
	}
	return examples
}

// checkPromises holds the page and the promises against each other.
func checkPromises(t *testing.T, examples []example) {
	t.Helper()
	documented := map[string]bool{}
	for _, example := range examples {
		documented[example.command] = true
		promised, known := promises[example.command]
		if !known {
			t.Errorf("%s documents a command without a promise in this test: %s", inspectPage, example.command)
		}
		for _, text := range promised {
			if !strings.Contains(example.output, text) {
				t.Errorf("%s does not show %q as output of: %s", inspectPage, text, example.command)
			}
		}
	}
	for command := range promises {
		if !documented[command] {
			t.Errorf("%s does not document: %s", inspectPage, command)
		}
	}
	if t.Failed() {
		t.FailNow()
	}
}

// shell is where an operator of a cloud types commands.
type shell struct {
	t           *testing.T
	environment []string
}

// newShell builds the nats command from tools/nats, which takes minutes the
// first time and seconds afterwards.
func newShell(t *testing.T, c cloud) shell {
	t.Helper()
	programs, home := t.TempDir(), t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-modfile=../../tools/nats/go.mod",
		"-o", filepath.Join(programs, "nats"), "github.com/nats-io/natscli/nats")
	if said, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the nats command: %v\n%s", err, said)
	}
	// The CLI keeps its contexts at home, and NATS_ variables would change what it does.
	environment := slices.DeleteFunc(os.Environ(), func(variable string) bool { return strings.HasPrefix(variable, "NATS_") })
	return shell{t: t, environment: append(environment, "HOME="+home, "XDG_CONFIG_HOME="+home,
		"PATH="+programs+string(os.PathListSeparator)+os.Getenv("PATH"), "NATS_URL=nats://"+c.nats, "NATS_NKEY="+c.key("operator"))}
}

func (s shell) command(ctx context.Context, line string) *exec.Cmd {
	command := exec.CommandContext(ctx, "sh", "-c", "exec "+line)
	command.Env = s.environment
	return command
}

// show runs a command until it shows what is promised: what it asks for may
// be on its way still.
func (s shell) show(example example) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), poll.Limit)
	defer cancel()
	for {
		said, err := s.command(ctx, example.command).CombinedOutput()
		missing := missingFrom(string(said), promises[example.command])
		switch {
		case err == nil && len(missing) == 0:
			return
		case ctx.Err() != nil:
			s.t.Errorf("%s\nended with %v and did not show %q:\n%s", example.command, err, missing, said)
			return
		}
	}
}

func missingFrom(said string, promised []string) []string {
	return slices.DeleteFunc(slices.Clone(promised), func(text string) bool { return strings.Contains(said, text) })
}

// watcher is a command that waits for what is still to come.
type watcher struct {
	t       *testing.T
	example example
	command *exec.Cmd
	output  *testlog.Log
	cancel  context.CancelFunc
}

// watch starts commands and returns when they watch.
func (s shell) watch(examples []example) []*watcher {
	s.t.Helper()
	var watching []*watcher
	for _, example := range examples {
		ctx, cancel := context.WithTimeout(s.t.Context(), 2*poll.Limit)
		s.t.Cleanup(cancel)
		w := &watcher{t: s.t, example: example, command: s.command(ctx, example.command), output: &testlog.Log{}, cancel: cancel}
		w.command.Stdout, w.command.Stderr = w.output, w.output
		if err := w.command.Start(); err != nil {
			s.t.Fatal(err)
		}
		watching = append(watching, w)
		poll.Until(s.t, example.command, func() bool { return strings.Contains(w.output.String(), "Subscribing on") })
	}
	return watching
}

// finish waits until the command has seen enough.
func (w *watcher) finish() {
	w.t.Helper()
	defer w.cancel()
	err := w.command.Wait()
	if missing := missingFrom(w.output.String(), promises[w.example.command]); err != nil || len(missing) > 0 {
		w.t.Errorf("%s\nended with %v and did not show %q:\n%s", w.example.command, err, missing, w.output.String())
	}
}
