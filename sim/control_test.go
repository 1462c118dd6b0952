package sim_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/flowjet/flowjet/sim"
)

// control asks the control API; it gives the status and the body.
func control(t *testing.T, s *sim.Sim, method, path, body string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, s.ControlURL()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, strings.TrimSpace(string(text))
}

// told is control for requests that must succeed.
func told(t *testing.T, s *sim.Sim, method, path, body string) string {
	t.Helper()
	status, text := control(t, s, method, path, body)
	if status != http.StatusOK {
		t.Fatalf("%s %s %s: %d %s", method, path, body, status, text)
	}
	return text
}

func TestControlOfVMs(t *testing.T) {
	s := start(t, sim.Config{})
	id := runningVM(t, s)
	for _, one := range []struct{ what, body, state string }{
		{"break", `{"state":"EPILOG_FAILURE"}`, "EPILOG_FAILURE"}, {"lose", "", "UNKNOWN"}, {"resume", "", "RUNNING"},
		{"poweroff", "", "POWEROFF"}, {"resume", "{}", "RUNNING"}, {"ready", "", "RUNNING"}, {"delete", "", "DONE"},
	} {
		told(t, s, http.MethodPost, fmt.Sprintf("/vms/%d/%s", id, one.what), one.body)
		awaitState(t, s, id, one.state)
	}
	var vms []sim.VM
	if err := json.Unmarshal([]byte(told(t, s, http.MethodGet, "/vms", "")), &vms); err != nil {
		t.Fatal(err)
	}
	if len(vms) != 1 || vms[0].Ready != "YES" || vms[0].Service != "1" || vms[0].Role != "Master" {
		t.Errorf("the VMs are %+v", vms)
	}
}

func TestControlOfCalls(t *testing.T) {
	s := start(t, sim.Config{})
	told(t, s, http.MethodPost, "/faults/calls", `{"method":"one.vm.info","nth":1,"count":2,"code":8192,"message":"Later."}`)
	for range 2 {
		if r := call(t, s, "one.vm.info", oneadmin, 0); r.code != 8192 || r.text != "[one.vm.info] Later." {
			t.Errorf("a planned failure answered %s", r.raw)
		}
	}
	if r := call(t, s, "one.vm.info", oneadmin, 0); r.code != 1024 {
		t.Errorf("the third call answered %s", r.raw)
	}
	told(t, s, http.MethodPost, "/faults/answers", `{"method":"one.document.allocate"}`)
	if _, err := try(t, s, "one.document.allocate", oneadmin, "NAME=d", 100); err == nil {
		t.Error("a dropped answer came")
	}
	told(t, s, http.MethodPost, "/faults/calls", `{"method":"one.vm.info"}`)
	told(t, s, http.MethodDelete, "/faults", "")
	if r := call(t, s, "one.vm.info", oneadmin, 0); r.code != 1024 {
		t.Errorf("a fault that was taken back answered %s", r.raw)
	}
	var log struct {
		Counts map[string]int `json:"counts"`
		Calls  []sim.Call     `json:"calls"`
	}
	if err := json.Unmarshal([]byte(told(t, s, http.MethodGet, "/calls?method=one.vm.info", "")), &log); err != nil {
		t.Fatal(err)
	}
	if log.Counts["one.vm.info"] != 4 || len(log.Calls) != 4 || log.Calls[0].Code != 8192 || log.Calls[3].User != "oneadmin" {
		t.Errorf("the call log is %+v", log)
	}
	told(t, s, http.MethodDelete, "/calls", "")
	if len(s.Calls("", 0)) != 0 {
		t.Error("the call log was not forgotten")
	}
}

func TestControlOfDelaysEventsAndLeadership(t *testing.T) {
	s := start(t, sim.Config{})
	told(t, s, http.MethodPost, "/delays", `{"boot":"1ms","call":"2ms","methods":{"one.vm.info":"3ms"},"serialised":true}`)
	told(t, s, http.MethodPost, "/boots/pause", "")
	told(t, s, http.MethodPost, "/events", `{"drop":1}`)
	told(t, s, http.MethodPost, "/leadership/lose", "")
	var state sim.Summary
	if err := json.Unmarshal([]byte(told(t, s, http.MethodGet, "/state", "")), &state); err != nil {
		t.Fatal(err)
	}
	if state.Leader || !state.BootsPaused || state.BootDelay != "1ms" || state.CallDelay != "2ms" || len(state.Users) != 3 {
		t.Errorf("the state is %+v", state)
	}
	told(t, s, http.MethodPost, "/leadership/gain", "")
	told(t, s, http.MethodPost, "/boots/resume", "")
	told(t, s, http.MethodPost, "/boots/fail", `{"count":1}`)
	awaitLeader(t, s)
	awaitState(t, s, instantiate(t, s, "vm", ""), "BOOT_FAILURE")
	told(t, s, http.MethodPost, "/restart", `{"down":"1ms"}`)
	client.CloseIdleConnections()
	must(t, s, "one.system.version", oneadmin)
	if s.Events().Lost < 1 {
		t.Error("no event was dropped")
	}
}

func TestControlRefusesNonsense(t *testing.T) {
	s := start(t, sim.Config{})
	for path, body := range map[string]string{
		"/vms/x/break": "", "/vms/0/break": "", "/vms/0/explode": "", "/boots/hop": "", "/leadership/hop": "",
		"/delays": `{"boot":"soon"}`, "/events": `{"dorp":1}`, "/faults/calls": `{"method":"one.hop"}`,
		"/faults/answers": `{"method":"one.hop"}`, "/restart": `{"down":"-1s"}`,
	} {
		if status, text := control(t, s, http.MethodPost, path, body); status != http.StatusBadRequest || !strings.Contains(text, "error") {
			t.Errorf("%s %s: %d %s", path, body, status, text)
		}
	}
}

func TestCallsAreWatched(t *testing.T) {
	s := start(t, sim.Config{})
	seen := make(chan sim.Call, 8)
	s.OnCall(func(c sim.Call) { seen <- c })
	before := time.Now()
	id := instantiate(t, s, "vm", serviceText)
	c := <-seen
	if c.Method != "one.template.instantiate" || c.Code != 0 || c.ID != id || c.Received.Before(before) ||
		c.Took <= 0 || len(c.Arguments) != 5 || c.Arguments[3] != serviceText {
		t.Errorf("the call was seen as %+v", c)
	}
}
