package operate

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/natstest"
	"github.com/flowjet/flowjet/internal/terminal"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/inspect"
)

// desk is a NATS server with what workers and bridges have left there, and an operator.
type desk struct {
	t    *testing.T
	url  string
	pipe clients
	// around is what doctor looks at beside NATS, and look how oned shows a service; nil leaves it out.
	around Environment
	look   inspect.Refresh
	// unfit is why the surroundings cannot be told.
	unfit error
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	d := &desk{t: t, url: natstest.Server(t)}
	pipe, err := pipeline.Open(t.Context(), pipeline.Config{URL: d.url})
	d.must(err)
	t.Cleanup(pipe.Close)
	d.pipe = newClients(pipe)
	return d
}

func (d *desk) must(err error) {
	d.t.Helper()
	if err != nil {
		d.t.Fatal(err)
	}
}

// root is the program that the operator types commands of.
func (d *desk) root(out io.Writer, line ...string) *cobra.Command {
	services, others := Commands(func(*cobra.Command) {}, func(*cobra.Command) (Environment, error) {
		around := d.around
		around.Refresh = d.look
		around.Attach = func(ctx context.Context) (*pipeline.Pipeline, []string, error) {
			return pipeline.Attach(ctx, pipeline.Config{URL: d.url})
		}
		return around, d.unfit
	})
	root := &cobra.Command{Use: "flowjet", SilenceErrors: true, SilenceUsage: true}
	service := terminal.Group("service", "Services")
	service.AddCommand(services...)
	root.AddCommand(append(others, service)...)
	root.SetOut(out)
	root.SetErr(out)
	root.SetArgs(line)
	return root
}

// run types a command and returns what it writes.
func (d *desk) run(line ...string) (string, error) {
	d.t.Helper()
	var out bytes.Buffer
	err := d.root(&out, line...).ExecuteContext(d.t.Context())
	return out.String(), err
}

// shows runs a command and returns what it writes; everything wanted has to be in it.
func (d *desk) shows(line string, wanted ...string) string {
	d.t.Helper()
	out, err := d.run(strings.Fields(line)...)
	if err != nil {
		d.t.Errorf("%s: %v", line, err)
	}
	for _, want := range wanted {
		if !strings.Contains(out, want) {
			d.t.Errorf("%s lacks %q:\n%s", line, want, out)
		}
	}
	return out
}

// refuses runs a command that has to end with an exit status.
func (d *desk) refuses(want terminal.Exit, line string) {
	d.t.Helper()
	if out, err := d.run(strings.Fields(line)...); err == nil || ExitOf(err) != want {
		d.t.Errorf("%s: %v (exit %d), want exit %d\n%s", line, err, ExitOf(err), want, out)
	}
}

// keep stores the record of a service with a role and its history.
func (d *desk) keep(id int, name, owner string, state spec.ServiceState, nodes ...int) {
	d.t.Helper()
	role := spec.RoleRunning
	body := spec.Body{Name: name, Deployment: spec.DeploymentStraight, State: &state, Roles: []spec.Role{{Name: "web", Cardinality: 2, State: &role}}}
	for _, node := range nodes {
		body.Roles[0].Nodes = append(body.Roles[0].Nodes, spec.Node{DeployID: node})
	}
	body.Log = []spec.LogEntry{{Timestamp: time.Now().Add(-time.Hour).Unix(), Severity: "I", Message: "New state: " + state.String()}}
	record := pipeline.Record{Version: pipeline.Version, State: flow.State{Service: spec.Service{ID: id, Owner: one.Identity{UName: owner}, Body: body}}}
	record.State.Networks = []flow.Network{{Name: "Priv", ID: 70 + id, State: one.NetworkReady}}
	record.Timers = map[string]pipeline.TimerState{flow.DeadlineCooldown: {Due: time.Now().Add(time.Hour)}}
	_, err := d.pipe.SaveRecord(d.t.Context(), id, record, 0)
	d.must(err)
	d.must(d.pipe.PublishTransitions(d.t.Context(), []pipeline.Transition{{
		Service: id, Change: flow.Change{Kind: "service", Old: "PENDING", New: state.String()}, Cause: pipeline.Cause{Kind: "wake"}, Time: time.Now().UTC(),
	}}, 1))
}

// rename has the record of a service show that its document has another name.
func (d *desk) rename(service int, name string) {
	d.t.Helper()
	record, revision, err := d.pipe.LoadRecord(d.t.Context(), service)
	d.must(err)
	record.State.Service.Called = name
	_, err = d.pipe.SaveRecord(d.t.Context(), service, record, revision)
	d.must(err)
}

// hasPublished has the record of a service know that so many of its transitions were published.
func (d *desk) hasPublished(service int, count uint64) {
	d.t.Helper()
	record, revision, err := d.pipe.LoadRecord(d.t.Context(), service)
	d.must(err)
	record.Outbox.First = count + 1
	_, err = d.pipe.SaveRecord(d.t.Context(), service, record, revision)
	d.must(err)
}

func TestServicesAreListedAndShown(t *testing.T) {
	d := newDesk(t)
	d.keep(3, "shop", "alice", spec.ServiceRunning, 11, 12)
	d.keep(4, "mail", "bob", spec.ServiceFailedDeploying)
	d.shows("service records", "ID", "shop", "alice", "RUNNING", "2/2", "mail", "FAILED_DEPLOYING", "0/2")
	if out := d.shows("service records --state failed -o name"); out != "4\n" {
		t.Errorf("failed services are %q", out)
	}
	for owner, want := range map[string]string{"alice": "3\n", "bob": "4\n", "ali": ""} { // a user whose name only begins so is another
		if out := d.shows("service records -o name --owner " + owner); out != want {
			t.Errorf("%s's services are %q", owner, out)
		}
	}
	d.shows("service record 3", "shop", "straight", "web", "11 12", "Priv", "73", "READY", flow.DeadlineCooldown)
	var record pipeline.Record
	d.must(json.Unmarshal([]byte(d.shows("service record 3 -o json")), &record))
	if record.State.Service.Body.Name != "shop" {
		t.Errorf("the record is %+v", record)
	}
	d.refuses(terminal.ExitNotFound, "service record 5")
	d.rename(4, "post")
	d.shows("service records", "post", "FAILED_DEPLOYING")
	d.shows("service record post", "Service 4  post")
	d.shows("service why post", "Service 4  post")
	d.refuses(terminal.ExitUsage, "service record mail")
	d.rename(4, "shop")
	d.refuses(terminal.ExitUsage, "service record shop")
	d.refuses(terminal.ExitUsage, "service records --state HAPPY")
}

// A service that has ended has no record's contents, and its history stays.
func TestAServiceThatHasEnded(t *testing.T) {
	d := newDesk(t)
	d.keep(3, "shop", "alice", spec.ServiceRunning)
	_, revision, err := d.pipe.LoadRecord(t.Context(), 3)
	d.must(err)
	_, err = d.pipe.SaveRecord(t.Context(), 3, pipeline.Record{Version: pipeline.Version, Deleted: true}, revision)
	d.must(err)
	if out := d.shows("service records -o json"); strings.TrimSpace(out) != "[]" {
		t.Errorf("services are %s", out)
	}
	d.shows("service record 3", "flowjet events --service 3")
	d.shows("events --service 3", "RUNNING")
}

func TestAServiceIsLookedAt(t *testing.T) {
	d := newDesk(t)
	d.keep(3, "shop", "alice", spec.ServiceRunning)
	if out := d.shows("service look 3 -o json"); !strings.Contains(out, `"asked": true`) {
		t.Errorf("it writes %s", out)
	}
	d.refuses(terminal.ExitNotFound, "service look 4")
	if info, err := d.pipe.Overview(t.Context(), nil); err != nil || !hasWaiting(info.Readers) {
		t.Errorf("no wake-up waits: %+v, %v", info.Readers, err)
	}
}

func hasWaiting(readers []inspect.ReaderStatus) bool {
	for _, reader := range readers {
		if strings.HasPrefix(reader.Reader, pipeline.PartitionKeyPrefix) && reader.Lag > 0 {
			return true
		}
	}
	return false
}

func TestEventsAreFiltered(t *testing.T) {
	d := newDesk(t)
	d.keep(3, "shop", "alice", spec.ServiceRunning)
	d.keep(4, "mail", "bob", spec.ServiceRunning)
	d.must(d.pipe.PublishTransitions(t.Context(), []pipeline.Transition{
		{Service: 3, Change: flow.Change{Kind: "role", Role: "web", Old: "RUNNING", New: "WARNING", Reason: "VM 11 is in POWEROFF"}, Cause: pipeline.Cause{Kind: "wake"}, Time: time.Now().UTC()},
	}, 2))
	d.shows("events", "PENDING -> RUNNING", "role web: RUNNING -> WARNING (VM 11 is in POWEROFF)")
	for line, want := range map[string]int{
		"events -o json": 3, "events --service 3 -o json": 2, "events --kind role -o json": 1, "events -n 1 -o json": 1, "events --since 1h -o json": 3,
	} {
		if out := d.shows(line); strings.Count(out, "\n") != want {
			t.Errorf("%s lists %q, want %d", line, out, want)
		}
	}
	d.refuses(terminal.ExitUsage, "events --kind weather")
	d.refuses(terminal.ExitUsage, "events --with rumours")
	d.refuses(terminal.ExitNotFound, "events --service 5")
}

// TestWrongFlagsAreRefusedUnread: NATS is asked about a service only if all else is right.
func TestWrongFlagsAreRefusedUnread(t *testing.T) {
	d := newDesk(t)
	records, err := d.pipe.Conn().SubscribeSync("$JS.API.STREAM.MSG.GET." + pipeline.StreamOf(pipeline.BucketState))
	d.must(err)
	for line, want := range map[string]bool{
		"events --service 5": true, "events --service 5 --kind weather": false, "events --service 5 --last -1": false,
		"commands --service 5": true, "commands --service 5 --state lost": false,
	} {
		if _, err := d.run(strings.Fields(line)...); err == nil {
			t.Errorf("%s succeeds", line)
		}
		d.must(d.pipe.Conn().Flush())
		asked, _, err := records.Pending()
		d.must(err)
		if asked > 0 != want {
			t.Errorf("%s: the service's record is read %d times", line, asked)
		}
		for range asked {
			_, err := records.NextMsg(time.Second)
			d.must(err)
		}
	}
}

func TestDeadLettersAreListedShownAndDropped(t *testing.T) {
	d := newDesk(t)
	d.shows("dlq ls")
	for _, reason := range []string{"it is no JSON", "it is too long"} {
		d.must(d.pipe.DeadLetter(t.Context(), pipeline.DeadLetter{Where: "worker", Reason: reason, Origin: "flow.work.3", Data: []byte(`{"service": 3}`), Time: time.Now()}))
	}
	d.shows("dlq ls", "NUMBER", "it is no JSON", "it is too long", "worker")
	number := strings.Fields(d.shows("dlq ls -o name"))[0]
	d.shows("dlq show "+number, "it is no JSON", "flow.work.3", `{"service":3}`)
	d.shows("dlq drop " + number)
	if left := strings.Fields(d.shows("dlq ls -o name")); len(left) != 1 || left[0] == number {
		t.Errorf("left are %v", left)
	}
	d.refuses(terminal.ExitNotFound, "dlq show "+number)
	d.refuses(terminal.ExitUsage, "dlq show first")
}

// On a server without streams commands say what is missing; without a server they end as unreachable.
func TestNATSThatIsNotFlowjets(t *testing.T) {
	d := &desk{t: t, url: natstest.Server(t)}
	d.refuses(terminal.ExitNotFound, "service records")
	d.url = "nats://127.0.0.1:1"
	d.refuses(terminal.ExitUnreachable, "service records")
}

func TestStatusOfNothing(t *testing.T) {
	d := newDesk(t)
	d.keep(3, "shop", "alice", spec.ServiceRunning)
	var overview inspect.Overview
	d.must(json.Unmarshal([]byte(d.shows("status -o json")), &overview))
	if len(overview.Workers) != 0 || len(overview.Unowned) != len(pipeline.Keys()) || overview.Services["RUNNING"] != 1 || overview.Timers.Set != 1 {
		t.Errorf("the overview is %+v", overview)
	}
	d.refuses(terminal.ExitNotFound, "status --forget nobody")
}

// The tables of status, of an overview in which each part has something to tell.
func TestStatusTables(t *testing.T) {
	now := time.Now()
	ago := func(length time.Duration) time.Time { return now.Add(-length) }
	overview := inspect.Overview{
		Server:   "nats://fe1:4222",
		Services: map[string]int{"RUNNING": 3, "WARNING": 1, "DONE": 0}, Timers: inspect.TimerCount{Set: 4, Overdue: 1},
		Webhooks: inspect.WebhookCount{Waiting: 7, Failing: 1},
		Status: inspect.Status{
			DeadLetters: map[string]uint64{"worker": 2},
			Workers: []inspect.WorkerShare{
				{Worker: "fe1", Router: true, Autoscaler: true, Partitions: []int{0, 1, 2}}, {Worker: "fe2", OnedUnreachable: true},
			},
			Readers: []inspect.ReaderStatus{
				{Reader: "router", Lag: 5, Oldest: ago(2 * time.Second)}, {Reader: pipeline.PartitionKey(0), Lag: 2, Oldest: ago(time.Minute)}, {Reader: pipeline.PartitionKey(1), Lag: 3},
			},
			Servers: []inspect.ServerStatus{{Name: "n1"}, {Name: "n2", Away: true}},
		},
		Feeds:   []inspect.FeedStatus{{Feed: "0.fe1", Holder: "bridge@fe1", Alive: true, Since: ago(time.Hour)}, {Feed: "0.fe2", Holder: "bridge@fe2", Since: ago(time.Minute)}},
		Streams: []inspect.StreamStatus{{Name: "ONE", Messages: 10, Bytes: 2048, MaxBytes: 1 << 30, Replicas: 3, Last: now}, {Name: "FLOW", Replicas: 1, Trouble: "it is smaller than it should be"}},
	}
	var out strings.Builder
	writeOverview(terminal.New(&out, terminal.Table), overview)
	for _, want := range []string{
		"3 RUNNING, 1 WARNING\n", "4 set, 1 overdue\n", "2 worker\n", "n2           AWAY\n", "fe1     3           routes, scales\n", "fe2     0           cannot reach oned\n",
		"0.fe1  bridge@fe1  ok", "0.fe2  bridge@fe2  silent", "workers  5", "router   5", "2 KiB", "1.0 GiB", "it is smaller than it should be",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the status lacks %q:\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "DONE") {
		t.Errorf("states without a service are listed:\n%s", out.String())
	}
}

// Each check of doctor: what it looks at, and how bad what it finds is.
func TestDoctorWeighsWhatItFinds(t *testing.T) {
	now := time.Now()
	old, due := now.Add(-time.Hour), now.Add(-time.Second)
	worker := inspect.WorkerShare{Worker: "fe1"}
	unreachable := inspect.WorkerShare{Worker: "fe2", OnedUnreachable: true}
	for name, test := range map[string]struct {
		check func(*diagnosis)
		want  string
	}{
		"no worker": {func(d *diagnosis) { d.checkWorkers(inspect.Overview{}) }, "problem workers"},
		"no worker reaches oned": {func(d *diagnosis) {
			d.checkWorkers(inspect.Overview{Status: inspect.Status{Workers: []inspect.WorkerShare{unreachable}}})
		}, "problem workers"},
		"one worker does not": {func(d *diagnosis) {
			d.checkWorkers(inspect.Overview{Status: inspect.Status{Workers: []inspect.WorkerShare{worker, unreachable}}})
		}, "warning workers"},
		"workers": {func(d *diagnosis) {
			d.checkWorkers(inspect.Overview{Status: inspect.Status{Workers: []inspect.WorkerShare{worker}}})
		}, "ok workers"},
		"slow reads":            {func(d *diagnosis) { d.checkReads(pipeline.OnedReads{Reads: 40, Slow: 10}) }, "warning oned"},
		"few slow reads":        {func(d *diagnosis) { d.checkReads(pipeline.OnedReads{Reads: 4, Slow: 4}) }, ""},
		"slow reads among many": {func(d *diagnosis) { d.checkReads(pipeline.OnedReads{Reads: 1000, Slow: 20}) }, ""},
		"missing streams":       {func(d *diagnosis) { d.checkStreams(inspect.Overview{Missing: []string{"WORK"}}) }, "problem streams"},
		"streams":               {func(d *diagnosis) { d.checkStreams(inspect.Overview{Streams: []inspect.StreamStatus{{Name: "ONE"}}}) }, "ok streams"},
		"a stream that is small": {func(d *diagnosis) {
			d.checkStreams(inspect.Overview{Streams: []inspect.StreamStatus{{Name: "ONE", Trouble: "small"}}})
		}, "warning stream ONE"},
		"a reader that is late": {func(d *diagnosis) {
			d.checkReaders(inspect.Overview{Status: inspect.Status{Workers: []inspect.WorkerShare{worker}, Readers: []inspect.ReaderStatus{{Reader: "router", Lag: 3, Oldest: old}}}})
		}, "problem reader router"},
		"a reader that is late for a reason": {func(d *diagnosis) {
			blocked := inspect.WorkerShare{Worker: "fe1", Blocked: "servers have different data"}
			d.checkReaders(inspect.Overview{Status: inspect.Status{Workers: []inspect.WorkerShare{blocked}, Readers: []inspect.ReaderStatus{{Reader: pipeline.PartitionKey(3), Lag: 3, Oldest: old}}}})
			d.findings[0].Check += " " + d.findings[0].Message
		}, "problem reader workers 3 messages wait, the oldest for 1h0m; fe1: servers have different data"},
		"webhooks that nobody delivers": {func(d *diagnosis) {
			d.checkReaders(inspect.Overview{Status: inspect.Status{Workers: []inspect.WorkerShare{worker}, Readers: []inspect.ReaderStatus{{Reader: "webhooks", Lag: 3, Oldest: old}}}})
			_, d.findings[0].Check, _ = strings.Cut(d.findings[0].Mend, "; or ")
		}, "problem no worker has `webhooks.file`: set it, or, if webhooks are no longer wanted, `nats kv del FLOW_CHECKPOINT webhooks`"},
		"a reader that has to do": {func(d *diagnosis) {
			d.checkReaders(inspect.Overview{Status: inspect.Status{Workers: []inspect.WorkerShare{worker}, Readers: []inspect.ReaderStatus{{Reader: "router", Lag: 3, Oldest: due}}}})
		}, "ok readers"},
		"overdue timers": {func(d *diagnosis) {
			d.checkTimers(inspect.Overview{Status: inspect.Status{Workers: []inspect.WorkerShare{worker}}, Timers: inspect.TimerCount{Set: 2, Overdue: 1}})
		}, "problem timers"},
		"timers": {func(d *diagnosis) { d.checkTimers(inspect.Overview{Timers: inspect.TimerCount{Set: 2}}) }, "ok timers"},
		"dead letters": {func(d *diagnosis) {
			d.checkDeadLetters(inspect.Overview{Status: inspect.Status{DeadLetters: map[string]uint64{"bridge": 1}}})
		}, "warning dead letters"},
		"no dead letters": {func(d *diagnosis) { d.checkDeadLetters(inspect.Overview{}) }, "ok dead letters"},
		"a clock that is right": {func(d *diagnosis) {
			d.compareClocks("oned's clock", now, now.Add(time.Second), now.Add(time.Second), 2*time.Second)
		}, "ok oned's clock"},
		"a clock told late": {func(d *diagnosis) {
			d.compareClocks("NATS's clock", now, old, now.Add(time.Millisecond), time.Second)
		}, "ok NATS's clock"},
		"a clock behind, told late": {func(d *diagnosis) {
			d.compareClocks("NATS's clock", old, now, now.Add(time.Minute), time.Second)
		}, "problem NATS's clock"},
		"a clock that is wrong": {func(d *diagnosis) { d.compareClocks("oned's clock", now, old, old, 2*time.Second) }, "problem oned's clock"},
		"a folder on a disk":    {func(d *diagnosis) { d.checkDisk("") }, ""},
	} {
		d := diagnosis{now: now}
		test.check(&d)
		found := ""
		for _, f := range d.findings {
			found += f.Weight + " " + f.Check
			if f.Message == "" || f.Mend == "" && f.Weight != fine {
				t.Errorf("%s: nothing is said, or nothing mends it: %+v", name, f)
			}
		}
		if found != test.want {
			t.Errorf("%s: found %q, want %q", name, found, test.want)
		}
	}
}

// What doctor reads of NATS by itself.
func TestDoctorLooksThroughServices(t *testing.T) {
	d := newDesk(t)
	look := func() string {
		found := diagnosis{now: time.Now()}
		found.checkServices(t.Context(), d.pipe)
		var weights []string
		for _, f := range found.findings {
			weights = append(weights, f.Weight+" "+f.Check)
		}
		return strings.Join(weights, ", ")
	}
	d.keep(1, "shop", "alice", spec.ServiceRunning)
	if got := look(); got != "ok services" {
		t.Errorf("with a service that runs: %s", got)
	}
	d.keep(2, "mail", "bob", spec.ServiceFailedDeploying)
	if got := look(); got != "warning services" {
		t.Errorf("with one that failed: %s", got)
	}
	d.keep(3, "slow", "bob", spec.ServiceDeploying) // for an hour
	if got := look(); got != "warning services, warning services" {
		t.Errorf("with one that is on its way for long, too: %s", got)
	}
	found := diagnosis{now: time.Now()}
	found.checkDamage(t.Context(), d.pipe)
	found.checkWebhooks(t.Context(), d.pipe)
	if len(found.findings) != 0 {
		t.Errorf("nothing is damaged, and no webhook is there: %+v", found.findings)
	}
	found.checkClock(t.Context(), d.pipe)
	found.checkFeeds(t.Context(), d.pipe, inspect.Overview{})
	if said := found.said(); !strings.HasPrefix(said, "ok NATS's clock") || !strings.Contains(said, "problem bridges") {
		t.Errorf("it says %s", said)
	}
}

func TestCommandsAreListed(t *testing.T) {
	d := newDesk(t)
	if out := d.shows("commands -o json"); strings.TrimSpace(out) != "[]" {
		t.Errorf("commands are %s", out)
	}
	ended := time.Now()
	found := []pipeline.CommandStatus{
		{ID: "A", Verb: flow.VerbScale, Service: 3, State: pipeline.CommandDone, Queued: ended.Add(-2 * time.Second), Ended: ended},
		{ID: "B", Verb: flow.VerbUndeploy, Service: 4, State: pipeline.CommandQueued, Queued: ended},
	}
	var out strings.Builder
	if err := writeCommands(terminal.New(&out, terminal.Table), found); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"scale", strconv.Itoa(3), "done", "2s", "undeploy", "queued"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the list lacks %q:\n%s", want, out.String())
		}
	}
	d.refuses(terminal.ExitUsage, "commands --state lost")
}
