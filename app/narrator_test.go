package app

import (
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/internal/natstest"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/internal/testlog"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/history"
)

// The narrator tells of transitions, of events of services' VMs, and of dead letters, and not of what concerns no service;
// what is no message of Flowjet's is passed over, and after its release it writes nothing.
func TestTheNarratorTellsWhatHappens(t *testing.T) {
	t.Parallel()
	conn, err := nats.Connect(natstest.Server(t))
	must(t, err)
	t.Cleanup(conn.Close)
	var out testlog.Log
	release, err := startNarrator(conn, &out)
	must(t, err)
	at, ready, vm := time.Date(2026, 11, 28, 12, 0, 0, 7_000_000, time.Local), true, 21
	publish := func(subject string, message any) {
		t.Helper()
		text, err := json.Marshal(message)
		must(t, err)
		must(t, conn.Publish(subject, text))
	}
	publish("flow.event.42.role.web.WARNING", pipeline.Transition{
		Version: 1, Service: 42, Time: at, Change: flow.Change{Kind: "role", Role: "web", Old: "RUNNING", New: "WARNING", Reason: "VM 21 is in POWEROFF"},
		Cause: pipeline.Cause{Kind: "event", ID: "vm 21 POWEROFF/LCM_INIT"},
	})
	publish("flow.event.42.vm.21.created", pipeline.Transition{Version: 1, Service: 42, Time: at, Change: flow.Change{Kind: "vm", Role: "web", VM: &vm, New: "created"}, Cause: pipeline.Cause{Kind: "command", ID: "X"}})
	publish("one.0.vm.21.ACTIVE.RUNNING", pipeline.Event{Version: 1, Object: "vm", ID: 21, State: "ACTIVE", LCMState: "RUNNING", VM: &one.VM{ID: 21, Service: 42}, Heard: at})
	publish("one.0.vm.22.ACTIVE.RUNNING", pipeline.Event{Version: 1, Object: "vm", ID: 22, State: "ACTIVE", LCMState: "RUNNING", VM: &one.VM{ID: 22, Service: -1}, Heard: at})
	publish("one.0.host.1.ERROR", pipeline.Event{Version: 1, Object: "host", ID: 1, State: "ERROR", Heard: at})
	publish("one.0.api.vm.update.ok", pipeline.Event{Version: 1, Object: "api", ID: 21, Call: "one.vm.update", OK: true, Ready: &ready, Heard: at})
	publish("one.0.vm.23.DONE.LCM_INIT", "no event")
	publish("flow.event.43.service.DONE", map[string]any{"service": 43}) // of no version
	must(t, conn.PublishMsg(&nats.Msg{Subject: "flow.dlq.bridge", Header: nats.Header{pipeline.HeaderReason: {"it is no XML"}}, Data: []byte("<")}))
	out.Await(t, "dead letter flow.dlq.bridge: it is no XML\n")
	for want, count := range map[string]int{
		"12:00:00.007  service 42  role web: RUNNING -> WARNING (VM 21 is in POWEROFF)": 1, "[event vm 21 POWEROFF/LCM_INIT]\n": 1,
		"12:00:00.007  service 42  role web: VM 21 created": 1, "[command X]\n": 1,
		"12:00:00.007  event       vm 21 ACTIVE/RUNNING (service 42)\n": 1, "event       one.vm.update 21 READY=true\n": 1,
		"vm 22": 0, "host": 0, "vm 23": 0, "service 43": 0, "\n": 5,
	} {
		poll.Until(t, want, func() bool { return out.Count(want) >= count })
		if got := out.Count(want); got != count {
			t.Errorf("%q is written %d times, want %d:\n%s", want, got, count, out.String())
		}
	}
	must(t, release(t.Context()))
	publish("flow.event.42.service.DONE", pipeline.Transition{Version: 1, Service: 42, Time: at, Change: flow.Change{Kind: "service", New: "DONE"}})
	must(t, conn.Flush())
	if out.Count("DONE") > 0 {
		t.Errorf("after its release it writes:\n%s", out.String())
	}
	if err := release(t.Context()); err == nil || !strings.Contains(err.Error(), "stop watching ") {
		t.Errorf("a second release: %v", err)
	}
}

func TestServiceLogsAreLaidOutAsOneFlows(t *testing.T) {
	folder := t.TempDir()
	at, vm := time.Date(2026, 11, 2, 22, 31, 30, 0, time.Local), 4
	for _, change := range []flow.Change{
		{Kind: "service", Old: "PENDING", New: "DEPLOYING"},
		{Kind: "vm", Role: "front", VM: &vm, New: "created"},
		{Kind: "role", Role: "front", Old: "DEPLOYING", New: "FAILED_DEPLOYING", Reason: "VM 4 is in\nBOOT_FAILURE"},
	} {
		if err := logTransition(folder, pipeline.Transition{Service: 7, Time: at, Change: change, Cause: pipeline.Cause{Kind: "event", ID: "x"}}); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(filepath.Join(folder, "7.log"))
	const want = "Mon Nov 02 22:31:30 2026 [I]: [SER] PENDING -> DEPLOYING [event x]\n" +
		"Mon Nov 02 22:31:30 2026 [I]: [LCM] role front: VM 4 created [event x]\n" +
		"Mon Nov 02 22:31:30 2026 [E]: [ROL] role front: DEPLOYING -> FAILED_DEPLOYING (VM 4 is in BOOT_FAILURE) [event x]\n"
	if err != nil || string(got) != want {
		t.Errorf("got %v\n%swant\n%s", err, got, want)
	}
}

// historian publishes transitions of services.
type historian struct {
	t    *testing.T
	pipe *pipeline.Pipeline
	next uint64
}

func newHistorian(t *testing.T) *historian {
	t.Helper()
	pipe, err := pipeline.Open(t.Context(), pipeline.Config{URL: natstest.Server(t)})
	must(t, err)
	t.Cleanup(pipe.Close)
	return &historian{t, pipe, 0}
}

// turns has a service come to a state.
func (h *historian) turns(service int, state string) {
	h.t.Helper()
	h.next++
	must(h.t, history.New(h.pipe).PublishTransitions(h.t.Context(), []pipeline.Transition{{
		Service: service, Time: time.Now(), Change: flow.Change{Kind: "service", New: state}, Cause: pipeline.Cause{Kind: "wake", ID: "test"},
	}}, h.next))
}

// Each service has a log of its own from the start on; a process that starts again goes on with what happens then, and repeats nothing. A log that
// cannot be written is told of, and keeps no other from being written.
func TestServiceLogsFollowTheHistory(t *testing.T) {
	t.Parallel()
	h, folder, log := newHistorian(t), filepath.Join(t.TempDir(), "below", "oneflow"), &testlog.Log{}
	h.turns(7, "PENDING") // before
	release, err := startServiceLogs(t.Context(), folder, h.pipe, log.Logger())
	must(t, err)
	must(t, os.Mkdir(filepath.Join(folder, "8.log"), 0o700))
	h.turns(8, "DEPLOYING")
	h.turns(7, "DEPLOYING")
	has := func(service, text string) func() bool {
		return func() bool {
			got, _ := os.ReadFile(filepath.Join(folder, service+".log"))
			return strings.Contains(string(got), text)
		}
	}
	poll.Until(t, "the log of service 7", has("7", "[SER] DEPLOYING [wake test]\n"))
	log.Await(t, `msg="a line of a service's log could not be written" service=8`)
	must(t, release(t.Context()))
	h.turns(7, "RUNNING") // while nobody writes
	release, err = startServiceLogs(t.Context(), folder, h.pipe, log.Logger())
	must(t, err)
	h.turns(7, "SCALING")
	poll.Until(t, "the log of service 7 to go on", has("7", "SCALING"))
	must(t, release(t.Context()))
	got, err := os.ReadFile(filepath.Join(folder, "7.log"))
	must(t, err)
	if text := string(got); strings.Count(text, "\n") != 2 || strings.Contains(text, "PENDING") || strings.Contains(text, "RUNNING") {
		t.Errorf("the log has\n%s", text)
	}
	info, err := os.Stat(filepath.Join(folder, "7.log"))
	must(t, err)
	if info.Mode().Perm()&0o007 != 0 {
		t.Errorf("everybody can read the log: %v", info.Mode())
	}
}

func TestServiceLogsThatCannotBegin(t *testing.T) {
	t.Parallel()
	h := newHistorian(t)
	file := write(t, "file", "x")
	if _, err := startServiceLogs(t.Context(), filepath.Join(file, "logs"), h.pipe, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "--api-service-log-dir") {
		t.Errorf("below a file: %v", err)
	}
	h.pipe.Close()
	if _, err := startServiceLogs(t.Context(), t.TempDir(), h.pipe, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("without NATS they begin")
	}
}
