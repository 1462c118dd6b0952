package operate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/terminal"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/inspect"
)

// A record shows all that a service has or is to have: roles without a state, networks and routers with and without an id, planned VMs, timers
// that are due or overdue, and the last entries of the log, errors among them.
func TestEverythingOfARecordIsShown(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	state, running, router := spec.ServiceDeploying, spec.RoleRunning, 31
	record := pipeline.Record{Version: pipeline.Version}
	record.State.Service = spec.Service{ID: 3, Owner: one.Identity{UName: "alice"}, Body: spec.Body{
		Name: "shop", Deployment: spec.DeploymentStraight, State: &state,
		Roles: []spec.Role{
			{Name: "db", Cardinality: 2, State: &running, Nodes: []spec.Node{{DeployID: 11}, {DeployID: 12}}},
			{Name: "gate", Cardinality: 1, State: &running, VRouterID: &router},
			{Name: "www", Cardinality: 40, Parents: []string{"db", "gate"}},
		},
	}}
	for i := range 12 {
		entry := spec.LogEntry{Timestamp: time.Now().Add(time.Duration(i-20) * time.Minute).Unix(), Severity: "I", Message: fmt.Sprintf("entry %d", i)}
		if i == 11 {
			entry.Severity, entry.Message = "E", "entry 11: VM 9 is in BOOT_FAILURE"
		}
		record.State.Service.Body.Log = append(record.State.Service.Body.Log, entry)
	}
	record.State.Networks = []flow.Network{{Name: "Priv", ID: 73, State: one.NetworkReady}, {Name: "Pub", ID: -1}}
	record.State.Intents = []flow.Intent{{Name: "www_0", Attempts: 2}}
	record.Timers = map[string]pipeline.TimerState{flow.DeadlineCooldown: {Due: time.Now().Add(time.Hour + time.Second)}, flow.DeadlineStay: {Due: time.Now().Add(-2 * time.Minute)}}
	_, err := d.pipe.SaveRecord(t.Context(), 3, record, 0)
	d.must(err)
	text := d.shows("service record 3",
		"Service 3  shop\n", "owner       alice\n", "state       DEPLOYING for ", "deployment  straight\n",
		"db    RUNNING  2/2   -        11 12\n", "gate  RUNNING  0/1   -        -\n", "www   PENDING  0/40  db,gate  -\n",
		"network     Priv   73  READY\n", "network     Pub    -   ", "router      gate   31  -\n", "VM planned  www_0  -   2 attempts without an answer\n",
		"timer "+flow.DeadlineCooldown, "due in 1h0m", "timer "+flow.DeadlineStay, "due 2m0s ago", "  E  entry 11: VM 9 is in BOOT_FAILURE\n", "  I  entry 4\n")
	if strings.Contains(text, "entry 3\n") || strings.Count(text, "\n\n") != 4 {
		t.Errorf("it has too much of the log, or other gaps than between its parts:\n%s", text)
	}
	many := record
	many.State.Service.ID, many.Timers, many.State.Networks, many.State.Intents = 4, nil, nil, nil
	many.State.Service.Body.Log = nil
	many.State.Service.Body.Roles = []spec.Role{{Name: "web", Cardinality: 100, State: &running}}
	for id := range 100 {
		many.State.Service.Body.Roles[0].Nodes = append(many.State.Service.Body.Roles[0].Nodes, spec.Node{DeployID: 1000 + id})
	}
	_, err = d.pipe.SaveRecord(t.Context(), 4, many, 0)
	d.must(err)
	if text := d.shows("service record 4", "100/100", "1000 1001 ", "…"); strings.Contains(text, "1099") || strings.Contains(text, "KIND") || strings.Contains(text, "timer") {
		t.Errorf("a hundred VMs are\n%s", text)
	}
}

// Why asks oned how VMs are now; while oned does not answer it says so and shows what was known, and a document that is unreadable is told as that.
func TestWhyWithAndWithoutOned(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.keep(3, "shop", "alice", spec.ServiceDeploying, 21)
	asked := 0
	d.look = func(_ context.Context, state flow.State) (flow.State, flow.Facts, error) {
		asked++
		return state, nil, errors.New("connection refused")
	}
	text := d.shows("service why 3", "Service 3  shop\n", "state        DEPLOYING", "note         oned does not answer, so VM states are the last known ones: connection refused\n",
		"next check   in ", ", when the cooldown is over\n", "What happened last:\n")
	if asked == 0 || strings.Contains(text, "waits for    nothing") {
		t.Errorf("oned was asked %d times:\n%s", asked, text)
	}
	var why inspect.Why
	d.must(json.Unmarshal([]byte(d.shows("service why 3 -o json")), &why))
	if why.OnedAway != "connection refused" || why.State != "DEPLOYING" || why.Service != 3 {
		t.Errorf("as JSON it is %+v", why)
	}
	d.look = func(_ context.Context, state flow.State) (flow.State, flow.Facts, error) {
		return state, nil, inspect.UnreadableError{Reason: errors.New("roles is no list")}
	}
	if text := d.shows("service why 3", "roles is no list"); strings.Contains(text, "oned does not answer") {
		t.Errorf("a document that is unreadable is told as\n%s", text)
	}
	d.keep(4, "mail", "bob", spec.ServiceRunning)
	d.look = nil
	d.shows("service why 4", "waits for    nothing\n")
	d.refuses(terminal.ExitNotFound, "service why 5")
	d.refuses(terminal.ExitUsage, "service why -- -4")
}

// Each trouble stands on its own line under its label, with the role where a VM of it is meant.
func TestTroublesAreListed(t *testing.T) {
	t.Parallel()
	vm := 21
	var out strings.Builder
	c := terminal.New(&out, terminal.Table)
	c.Lines(12, "failed", terminal.Findings([]flow.Finding{{Message: "VM 21 is in BOOT_FAILURE", Role: "web", VM: &vm}, {Message: "role web failed", Role: "web"}, {Message: "it is late"}})...)
	c.Lines(12, "waits for")
	if want := "failed       VM 21 is in BOOT_FAILURE (role web)\n             role web failed\n             it is late\n"; out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}

// What an event of OpenNebula reads as.
func TestEventsAreDescribed(t *testing.T) {
	t.Parallel()
	ready, notReady := true, false
	for want, event := range map[string]pipeline.Event{
		"vm 21 ACTIVE/RUNNING":                                 {Object: "vm", ID: 21, State: "ACTIVE", LCMState: "RUNNING"},
		"vm 21 ACTIVE/RUNNING (role web)":                      {Object: "vm", ID: 21, State: "ACTIVE", LCMState: "RUNNING", VM: &one.VM{ID: 21, Role: "web"}},
		"vm 21 DONE/LCM_INIT, found by comparing":              {Object: "vm", ID: 21, State: "DONE", LCMState: "LCM_INIT", VM: &one.VM{ID: 21}, Resync: true},
		"net 7 READY":                                          {Object: "net", ID: 7, State: "READY"},
		"one.vm.update 21 succeeded, READY=true":               {Object: "api", ID: 21, Call: "one.vm.update", OK: true, Ready: &ready},
		"one.vm.update 21 failed, READY=false":                 {Object: "api", ID: 21, Call: "one.vm.update", Ready: &notReady},
		"one.document.chown 4 succeeded":                       {Object: "api", ID: 4, Call: "one.document.chown", OK: true},
		"host 1 ERROR, found by comparing":                     {Object: "host", ID: 1, State: "ERROR", Resync: true},
		"vm 21 POWEROFF/LCM_INIT (role a), found by comparing": {Object: "vm", ID: 21, State: "POWEROFF", LCMState: "LCM_INIT", VM: &one.VM{Role: "a"}, Resync: true},
	} {
		if got := describeEvent(event); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// Without a terminal top prints once and ends; what it shows is as status and events have it.
func TestTopWithoutATerminal(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.keep(3, "shop", "alice", spec.ServiceRunning)
	d.keep(4, "mail", "bob", spec.ServiceFailedDeploying)
	for number := range uint64(20) {
		d.turns(4, number+2, "FAILED_DEPLOYING", fmt.Sprintf("STATE_%d", number))
	}
	text := d.shows("top", "Flowjet on ", "services      1 FAILED_DEPLOYING, 1 RUNNING\n", "timers        2 set, 0 overdue\n", "dead letters  none\n", "4   mail  bob    FAILED_DEPLOYING", "STATE_19", "STATE_5")
	if strings.Contains(text, "shop") || strings.Contains(text, "STATE_4 ") || strings.Contains(text, "\n\n\n") || strings.HasSuffix(text, "\n\n") {
		t.Errorf("it has too much, or wide gaps:\n%s", text)
	}
	d.refuses(terminal.ExitUsage, "top --interval 10ms")
	d.refuses(terminal.ExitFailed, "top -o json")
}

// A process that is missing, and a NATS server of a cluster that is away, stand where they are looked for first.
func TestProcessesAndServersOfAStatus(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	writeProcesses(terminal.New(&out, terminal.Table), inspect.Overview{Status: inspect.Status{Servers: []inspect.ServerStatus{{Name: "n1"}}}})
	if text := out.String(); !strings.HasSuffix(text, "dead letters  none\n\n") || strings.Contains(text, "STATE") {
		t.Errorf("of one server and nobody expected it tells %q", text)
	}
	writeReaders(terminal.New(&out, terminal.Table), inspect.Overview{Status: inspect.Status{Readers: []inspect.ReaderStatus{
		{Reader: "router", Lag: 2}, {Reader: pipeline.PartitionKey(0), Lag: 3}, {Reader: pipeline.PartitionKey(15), Lag: 4},
	}}})
	if text := out.String(); !strings.Contains(text, "router   2        -\n") || !strings.Contains(text, "workers  7        -\n") {
		t.Errorf("the readers are\n%s", text)
	}
}

// TestDue: a timer that has just fired is on its way, and not late.
func TestDue(t *testing.T) {
	now := time.Date(2026, 11, 29, 4, 0, 0, 0, time.UTC)
	console := &terminal.Console{Now: func() time.Time { return now }}
	for left, want := range map[time.Duration]string{
		30 * time.Second: "in 30s", 0: "now", -500 * time.Millisecond: "now", -10 * time.Second: "10s ago",
	} {
		if got := due(console, now.Add(left)); got != want {
			t.Errorf("what is due in %s is due %q, want %q", left, got, want)
		}
	}
}
