package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/sim"
)

func TestDemoRunsAgainstUp(t *testing.T) {
	c := newCloud(t)
	up := c.up(t)
	demo := start(t, "demo", "--api", "http://"+c.api, "--nats", "nats://"+c.nats, "--data-dir", c.data, "--one-xmlrpc", "http://"+c.xmlrpc+"/RPC2", "--patience", poll.Limit.String())
	demo.wait()
	if demo.err != nil {
		t.Fatalf("the demo failed: %v\n%s", demo.err, demo.output.String())
	}
	for _, line := range []string{"7/7", "DEPLOYING -> RUNNING", "SCALING -> COOLDOWN", "RUNNING -> WARNING", "DELETED"} {
		if !strings.Contains(demo.output.String(), line) {
			t.Errorf("the demo does not show %q:\n%s", line, demo.output.String())
		}
	}
	up.says("DELETED")
	for line := range strings.Lines(up.output.String()) {
		waits := strings.Contains(line, "again") || strings.Contains(line, "anew") // for a processor: the machine is busy
		if strings.Contains(line, "level=ERROR") || strings.Contains(line, "level=WARN") && !waits {
			t.Errorf("something is wrong while nothing is: %s", line)
		}
	}
	if took, err := up.interrupt(); err != nil || took > stopWithin {
		t.Errorf("Ctrl-C took %s and ended with %v, want at most %s and no error", took, err, stopWithin)
	}
}

// TestKillInTheMiddleOfADeploy kills everything with -9 at several moments of a
// deploy; a new start brings the service to RUNNING with exactly its VMs.
func TestKillInTheMiddleOfADeploy(t *testing.T) {
	for _, moment := range []int{1, 3, 5, 8} {
		t.Run(fmt.Sprintf("after %d VMs", moment), func(t *testing.T) {
			t.Parallel()
			c := newCloud(t)
			// Slow steps, so that the kill comes between them.
			slow := []string{"--sim-boot-delay", "20ms"}
			up := c.up(t, slow...)
			c.slow(t, 5*time.Millisecond)
			service := c.instantiate(t, `{"name": "kill", "deployment": "straight", "roles": [
				{"name": "Master", "type": "vm", "cardinality": 4, "template_id": 0},
				{"name": "Slave", "type": "vm", "cardinality": 4, "template_id": 0, "parents": ["Master"]}]}`)
			poll.Until(t, "the moment to kill", func() bool { return len(c.vms(t, service)) >= moment })
			up.kill()

			c.up(t, slow...)
			poll.Until(t, "the service to be RUNNING", func() bool { return c.state(t, service) == 2 })
			vms := c.vms(t, service)
			if len(vms) != 8 {
				t.Errorf("the service has %d VMs, want 8: %v", len(vms), vms)
			}
			keys := map[string]bool{}
			for _, vm := range vms {
				if vm.State != "RUNNING" || keys[vm.Key] {
					t.Errorf("VM %d (%s) is %s; its key was seen before: %t", vm.ID, vm.Key, vm.State, keys[vm.Key])
				}
				keys[vm.Key] = true
			}
		})
	}
}

func TestRestartCarriesOn(t *testing.T) {
	c := newCloud(t)
	up := c.up(t)
	service := c.instantiate(t, `{"name": "stay", "roles": [{"name": "a", "type": "vm", "cardinality": 2, "template_id": 0}]}`)
	poll.Until(t, "the service to be RUNNING", func() bool { return c.state(t, service) == 2 })
	if took, err := up.interrupt(); err != nil || took > stopWithin {
		t.Errorf("Ctrl-C took %s and ended with %v, want at most %s and no error", took, err, stopWithin)
	}
	c.up(t)
	if state := c.state(t, service); state != 2 {
		t.Errorf("after the restart the service is in state %d, want 2", state)
	}
	c.request(t, "DELETE", fmt.Sprintf("/service/%d", service), "", http.StatusNoContent)
	poll.Until(t, "the service to be gone", func() bool { return len(c.vms(t, service)) == 0 })
}

func TestBadStartsSayWhatToMend(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { taken.Close() })
	address := taken.Addr().String()
	folder := t.TempDir()
	broken := filepath.Join(folder, "broken.yaml")
	unknown := filepath.Join(folder, "unknown.yaml")
	auth, empty := filepath.Join(folder, "auth"), filepath.Join(folder, "empty")
	for path, text := range map[string]string{
		broken: "api: [", unknown: "api:\n  lisen: 127.0.0.1:1\n", auth: "serveradmin:wrong\n", empty: "serveradmin\n",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, running := newCloud(t), newCloud(t)
	running.up(t)
	sim := func(more ...string) []string {
		return append([]string{
			"up", "--sim", "--data-dir", t.TempDir(), "--api-listen", "127.0.0.1:0", "--nats-listen", "127.0.0.1:0",
			"--sim-listen", "127.0.0.1:0,127.0.0.1:0,127.0.0.1:0",
		}, more...)
	}
	for name, bad := range map[string]struct {
		arguments []string
		says      []string
	}{
		"an unknown flag":         {[]string{"up", "--simm"}, []string{"unknown flag: --simm"}},
		"an unknown command":      {[]string{"upp"}, []string{"unknown command"}},
		"a missing configuration": {sim("--config", "/nowhere.yaml"), []string{"/nowhere.yaml", "does not exist"}},
		"a broken configuration":  {sim("--config", broken), []string{broken}},
		"an unknown key":          {sim("--config", unknown), []string{"api.lisen"}},
		"a wrong value":           {sim("--look-again", "soon"), []string{"--look-again", `"soon"`, "30s"}},
		"a wrong number":          {sim("--zone", "x"), []string{"--zone", `"x"`, "whole number"}},
		"a taken API port":        {sim("--api-listen", address), []string{address, "--api-listen"}},
		"a taken NATS port":       {sim("--nats-listen", address), []string{address, "--nats-listen"}},
		"a taken XML-RPC port":    {sim("--sim-listen", address+",127.0.0.1:0,127.0.0.1:0"), []string{address, "--sim-listen"}},
		"a taken hooks port":      {sim("--sim-listen", "127.0.0.1:0,"+address+",127.0.0.1:0"), []string{address, "--sim-listen"}},
		"a taken control port":    {sim("--sim-listen", "127.0.0.1:0,127.0.0.1:0,"+address), []string{address, "--sim-listen"}},
		"a missing auth file": {
			[]string{"up", "--data-dir", t.TempDir(), "--api-listen", c.api, "--nats-listen", "127.0.0.1:0", "--one-auth-file", "/nowhere"},
			[]string{"/nowhere", "--one-auth-file"},
		},
		"refused credentials": {
			[]string{"up", "--data-dir", t.TempDir(), "--api-listen", "127.0.0.1:0", "--nats-listen", "127.0.0.1:0",
				"--one-auth-file", auth, "--one-xmlrpc", "http://" + running.xmlrpc + "/RPC2"},
			[]string{auth, "--one-auth-file"},
		},
		"an auth file without a password": {
			[]string{"up", "--data-dir", t.TempDir(), "--api-listen", "127.0.0.1:0", "--nats-listen", "127.0.0.1:0", "--one-auth-file", empty},
			[]string{empty, "--one-auth-file"},
		},
		"no NATS":      {sim("--nats-url", "nats://"+c.nats), []string{c.nats, "--nats-url"}},
		"no recording": {[]string{"replay", "/nowhere.jsonl"}, []string{"/nowhere.jsonl"}},
		"no server":    {[]string{"demo", "--nats", "nats://" + c.nats}, []string{c.nats, "flowjet up --sim"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := start(t, bad.arguments...)
			p.wait()
			if p.err == nil {
				t.Error("it ended without an error")
			}
			said := withoutLog(p.output.String())
			if lines := strings.Count(strings.TrimSpace(said), "\n") + 1; lines != 1 {
				t.Errorf("it said %d lines, want one:\n%s", lines, said)
			}
			for _, part := range bad.says {
				if !strings.Contains(said, part) {
					t.Errorf("it does not name %q: %s", part, said)
				}
			}
		})
	}
}

// TestAStartWaitsForOned: it is not ready meanwhile, says so once, and goes on by itself;
// credentials that oned refuses when it answers at last end it.
func TestAStartWaitsForOned(t *testing.T) {
	c := newCloud(t)
	simulated, err := sim.New(sim.Config{XMLRPCListen: c.xmlrpc})
	if err == nil {
		err = simulated.Start(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stopping, cancel := context.WithTimeout(context.Background(), poll.Limit)
		defer cancel()
		_ = simulated.Stop(stopping)
	})
	if err := simulated.StopServer(0); err != nil {
		t.Fatal(err)
	}
	auth := filepath.Join(t.TempDir(), "auth")
	if err := os.WriteFile(auth, []byte(simulated.ServerCredentials()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	wrong := filepath.Join(t.TempDir(), "auth")
	if err := os.WriteFile(wrong, []byte("serveradmin:wrong\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	up := func(api, auth string) *process {
		return start(t, "up", "--data-dir", t.TempDir(), "--api-listen", api, "--nats-listen", "127.0.0.1:0", "--one-auth-file", auth,
			"--one-xmlrpc", "http://"+c.xmlrpc+"/RPC2", "--one-hooks", "tcp://127.0.0.1:1", "--log-level", "info")
	}
	good, bad := up(c.api, auth), up("127.0.0.1:0", wrong)
	good.says("oned does not answer, retrying")
	bad.says("oned does not answer, retrying")
	poll.Until(t, "its API to say that it waits for oned", func() bool {
		ready, reasons := health(t, c.api)
		return !ready && strings.Contains(reasons, c.xmlrpc)
	})
	if err := simulated.StartServer(0); err != nil {
		t.Fatal(err)
	}
	good.says("oned answers")
	poll.Until(t, "it to be ready", func() bool { ready, _ := health(t, c.api); return ready })
	bad.wait()
	if said := bad.output.String(); bad.err == nil || !strings.Contains(said, "refuses the server user") {
		t.Errorf("with refused credentials it ended with %v: %s", bad.err, said)
	}
	if times := strings.Count(good.output.String(), "oned does not answer"); times != 1 {
		t.Errorf("it said %d times that it waits:\n%s", times, good.output.String())
	}
}

// health asks whether the API is ready, and why not.
func health(t *testing.T, api string) (ready bool, reasons string) {
	t.Helper()
	answer, err := http.Get("http://" + api + "/flowjet/v1/health")
	if err != nil {
		return false, err.Error()
	}
	defer answer.Body.Close()
	var found struct {
		Ready   bool     `json:"ready"`
		Reasons []string `json:"reasons"`
	}
	if err := json.NewDecoder(answer.Body).Decode(&found); err != nil {
		t.Fatal(err)
	}
	return found.Ready, strings.Join(found.Reasons, "; ")
}

// withoutLog leaves out the lines of the log, which say what is waited for.
func withoutLog(output string) string {
	var lines []string
	for line := range strings.Lines(output) {
		if !strings.HasPrefix(line, "time=") {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "")
}

// instantiate registers a template and starts a service of it.
func (c cloud) instantiate(t *testing.T, template string) int {
	t.Helper()
	id := c.id(t, c.request(t, "POST", "/service_template", template, http.StatusCreated))
	path := fmt.Sprintf("/service_template/%d/action", id)
	return c.id(t, c.request(t, "POST", path, `{"action": {"perform": "instantiate"}}`, http.StatusCreated))
}

func (c cloud) request(t *testing.T, method, path, body string, want int) []byte {
	t.Helper()
	status, text := c.try(t, method, "http://"+c.api+path, body)
	late := want == http.StatusNoContent && status == http.StatusAccepted // the worker has not answered within 5 s, and will
	if status != want && !late {
		t.Fatalf("%s %s answered %d, want %d: %s", method, path, status, want, text)
	}
	return text
}

func (c cloud) try(t *testing.T, method, url, body string) (int, []byte) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	return send(t, request)
}

// send returns the answer to a request of oneadmin's; status 0 is no answer.
func send(t *testing.T, request *http.Request) (int, []byte) {
	t.Helper()
	request.SetBasicAuth("oneadmin", "opennebula")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, []byte(err.Error())
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, []byte(err.Error())
	}
	return response.StatusCode, text
}

func (c cloud) id(t *testing.T, answer []byte) int {
	t.Helper()
	var document struct {
		Document struct {
			ID int `json:"ID,string"`
		} `json:"DOCUMENT"`
	}
	if err := json.Unmarshal(answer, &document); err != nil {
		t.Fatal(err)
	}
	return document.Document.ID
}

// state is the service's, -1 while it cannot be read.
func (c cloud) state(t *testing.T, service int) int {
	t.Helper()
	status, answer := c.try(t, "GET", fmt.Sprintf("http://%s/service/%d", c.api, service), "")
	if status != http.StatusOK {
		return -1
	}
	var document struct {
		Document struct {
			Template struct {
				Body struct {
					State int `json:"state"`
				} `json:"BODY"`
			} `json:"TEMPLATE"`
		} `json:"DOCUMENT"`
	}
	if err := json.Unmarshal(answer, &document); err != nil {
		t.Fatal(err)
	}
	return document.Document.Template.Body.State
}

type vm struct {
	ID      int    `json:"id"`
	State   string `json:"state"`
	Service string `json:"service"`
	Key     string `json:"key"`
}

// vms are the service's VMs that have not ended, as the simulator sees them.
func (c cloud) vms(t *testing.T, service int) []vm {
	t.Helper()
	_, answer := c.try(t, "GET", "http://"+c.control+"/vms", "")
	var all []vm
	if err := json.Unmarshal(answer, &all); err != nil {
		t.Fatalf("%v: %s", err, answer)
	}
	var ours []vm
	for _, one := range all {
		if one.Service == fmt.Sprint(service) && one.State != "DONE" {
			ours = append(ours, one)
		}
	}
	return ours
}
