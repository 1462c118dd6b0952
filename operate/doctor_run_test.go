package operate

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/idle"
	"github.com/flowjet/flowjet/internal/natstest"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/internal/terminal"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/feeds"
	"github.com/flowjet/flowjet/pipeline/inspect"
	"github.com/flowjet/flowjet/pipeline/presence"
	"github.com/flowjet/flowjet/pipeline/work"
)

// patient is a context for a whole test, which has to end before the test binary's limit.
func patient(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), poll.Limit)
	t.Cleanup(cancel)
	return ctx
}

// works has a worker run until the test ends.
func (d *desk) works(name string) *work.Membership {
	d.t.Helper()
	ctx := patient(d.t)
	pipe, err := pipeline.Open(ctx, pipeline.Config{URL: d.url})
	d.must(err)
	joined, err := work.Join(ctx, pipe, name)
	d.must(err)
	d.t.Cleanup(func() { joined.Leave(ctx); pipe.Close() })
	return joined
}

// bridges has a bridge run that holds a feed and has published an event.
func (d *desk) bridges(feed string) {
	d.t.Helper()
	ctx, cancel := context.WithCancel(patient(d.t))
	d.t.Cleanup(cancel)
	lease, err := feeds.New(d.pipe.Pipeline).Acquire(ctx, feed, "bridge-"+feed, 0)
	d.must(err)
	d.must(lease.Publish(ctx, []feeds.Event{eventOf(21, false)}))
	end, err := d.pipe.Ends(ctx, []string{pipeline.StreamONE})
	d.must(err)
	d.must(d.pipe.SaveCursor(ctx, pipeline.RouterKey, end[pipeline.StreamONE]))
	go func() {
		for ctx.Err() == nil {
			_ = lease.Beat(false, true) // the next is soon
			_ = idle.For(ctx, 100*time.Millisecond)
		}
	}()
}

// eventOf is an event of a VM, heard or found by comparing.
func eventOf(vm int, resync bool) feeds.Event {
	event := pipeline.Event{Version: 1, Object: "vm", ID: vm, State: "ACTIVE", LCMState: "RUNNING", Resync: resync, Heard: time.Now()}
	return feeds.Event{Subject: fmt.Sprintf("one.0.vm.%d.ACTIVE.RUNNING", vm), MessageID: fmt.Sprintf("%d-1", vm), Event: event}
}

// well is what surrounds a system without problems.
func well() Environment {
	return Environment{
		Oned:     func(context.Context) error { return nil },
		OnedTime: func(context.Context) (time.Time, error) { return time.Now().Truncate(time.Second), nil },
		API:      func(context.Context) ([]string, error) { return nil, nil },
		OnedAt:   "http://oned:2633/RPC2", APIAt: "http://127.0.0.1:2474",
	}
}

// doctor runs the command and returns what it finds by weight and check, and its exit status.
func (d *desk) doctor() (found map[string]finding, status terminal.Exit) {
	d.t.Helper()
	out, err := d.run("doctor", "-o", "json")
	if err != nil {
		status = ExitOf(err)
	}
	var findings []finding
	d.must(json.Unmarshal([]byte(out), &findings))
	found = map[string]finding{}
	for _, f := range findings {
		if _, twice := found[f.Check]; twice && f.Check != "services" {
			d.t.Errorf("%s is found twice:\n%s", f.Check, out)
		}
		found[f.Check] = f
	}
	return found, status
}

// wrong returns what is not well, by check.
func wrong(found map[string]finding) (checks []string) {
	for _, check := range slices.Sorted(maps.Keys(found)) {
		if f := found[check]; f.Weight != fine {
			checks = append(checks, f.Weight+" "+check)
		}
	}
	return checks
}

// A system without problems has none, and doctor names every part that it has looked at.
func TestDoctorOfASystemThatIsWell(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.around = well()
	d.works("fe1")
	d.bridges("fe1")
	d.keep(3, "shop", "alice", spec.ServiceRunning, 11, 12)
	found, status := d.doctor()
	if bad := wrong(found); status != 0 || len(bad) > 0 {
		t.Errorf("a system that is well has %v, exit %d: %+v", bad, status, found)
	}
	for _, check := range []string{"NATS", "streams", "workers", "bridges", "events", "readers", "timers", "services", "dead letters", "NATS's clock", "oned", "oned's clock", "API"} {
		if found[check].Weight != fine || found[check].Mend != "" {
			t.Errorf("%s: %+v", check, found[check])
		}
	}
}

// What only warns ends with 0: scripts alarm for problems alone.
func TestDoctorWarnsWithoutAnAlarm(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.around = well()
	d.around.API = func(context.Context) ([]string, error) { return nil, errors.New("connection refused") }
	d.works("fe1")
	d.bridges("fe1")
	d.keep(4, "mail", "bob", spec.ServiceFailedDeploying)
	d.must(d.pipe.DeadLetter(t.Context(), pipeline.DeadLetter{Where: "bridge", Reason: "it is no JSON"}))
	found, status := d.doctor()
	if got, want := strings.Join(wrong(found), ", "), "warning API, warning dead letters, warning services"; status != 0 || got != want {
		t.Errorf("found %s, exit %d, want %s", got, status, want)
	}
	if !strings.Contains(found["services"].Message, "4 (FAILED_DEPLOYING)") {
		t.Errorf("the service that failed is not named: %+v", found["services"])
	}
}

// Each problem in the surroundings is one finding, ends with 6 and says what mends it.
func TestDoctorOfTheSurroundings(t *testing.T) {
	fails := func(text string) func(context.Context) error {
		return func(context.Context) error { return errors.New(text) }
	}
	for name, test := range map[string]struct {
		change           func(*Environment)
		check, say, mend string
	}{
		"oned is away": {func(s *Environment) { s.Oned = fails("connection refused") }, "oned", "connection refused", "start oned"},
		"oned hangs": {
			func(s *Environment) {
				s.Oned = func(context.Context) error { return fmt.Errorf("oned does not answer: %w", context.DeadlineExceeded) }
			}, "oned", "does not answer", "hold all its connections",
		},
		"oned refuses us": {func(s *Environment) { s.Oned = fails("oned refuses the server user") }, "oned", "refuses", "--one-auth-file"},
		"oned's clock":    {func(s *Environment) { s.OnedTime = clockAhead(time.Hour) }, "oned's clock", "off this host's", "NTP"},
		"oned's zone":     {func(s *Environment) { s.Oned = fails("oned at X serves zone 100, but --zone is 0") }, "oned", "zone 100", "set --zone here"},
		"unreadable documents": {func(s *Environment) {
			s.Unreadable = func(context.Context) ([]int, error) { return []int{12, 7}, nil }
		}, "documents", "2 services are left unchanged because their documents at oned cannot be read: 7, 12", "oneflow recover ID"},
		"the API waits":      {func(s *Environment) { s.API = reasons("oned does not answer", "NATS is away") }, "API", "oned does not answer; NATS is away", "other problems first"},
		"the disk is unread": {func(s *Environment) { s.DataDir = "/nowhere" }, "", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			around := well()
			test.change(&around)
			var d diagnosis
			d.checkOned(t.Context(), around)
			d.checkAPI(t.Context(), around)
			d.checkDisk(around.DataDir)
			var bad []finding
			for _, f := range d.findings {
				if f.Weight != fine {
					bad = append(bad, f)
				}
			}
			switch {
			case test.check == "" && len(bad) == 0:
			case len(bad) != 1 || bad[0].Check != test.check || bad[0].Weight != problem || !strings.Contains(bad[0].Message, test.say) || !strings.Contains(bad[0].Mend, test.mend):
				t.Errorf("found %+v, want a problem of %q with %q, mended by %q", bad, test.check, test.say, test.mend)
			}
		})
	}
}

// When NATS does not answer and most of its servers are away, doctor names those.
func TestDoctorNamesTheNATSServersThatAreAway(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // it only listens
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	here := listener.Addr().String()
	asked := errors.New("it is asked")
	for _, test := range []struct {
		servers   []string
		nats, api string
	}{
		{[]string{"nats://" + here, "127.0.0.1:1", "tls://[::1]:1/"}, "2 of 3 servers do not answer: 127.0.0.1:1, tls://[::1]:1/", "answers reads only"},
		{[]string{here, here, "127.0.0.1:1"}, asked.Error(), "is ready"},
		{[]string{"127.0.0.1:1"}, asked.Error(), "is ready"},
	} {
		around := well()
		around.Servers = test.servers
		around.Attach = func(context.Context) (*pipeline.Pipeline, []string, error) { return nil, nil, asked }
		var d diagnosis
		d.checkNATS(t.Context(), around)
		d.checkAPI(t.Context(), around)
		if len(d.findings) != 2 || !strings.Contains(d.findings[0].Message, test.nats) || !strings.Contains(d.findings[1].Message, test.api) {
			t.Errorf("with %q it finds %+v, want %q and %q", test.servers, d.findings, test.nats, test.api)
		}
	}
}

// An answer of NATS is not waited for once most of its servers are known to be away.
func TestDoctorDoesNotWaitForServersThatAreAway(t *testing.T) {
	t.Parallel()
	around := well()
	around.Servers = []string{"127.0.0.1:1", "127.0.0.2:1", "127.0.0.3:1"}
	var ended error
	around.Attach = func(ctx context.Context) (*pipeline.Pipeline, []string, error) {
		<-ctx.Done()
		ended = ctx.Err()
		return nil, nil, ended
	}
	var d diagnosis
	if d.checkNATS(t.Context(), around); !errors.Is(ended, context.Canceled) {
		t.Errorf("it waits for them until %v", ended)
	}
	if len(d.findings) != 1 || !strings.Contains(d.findings[0].Message, "3 of 3 servers do not answer") {
		t.Errorf("it finds %+v", d.findings)
	}
}

// Workers that oned refuses do not reach it, and are slow: what is wrong is said once.
func TestDoctorOfARefusedServerUser(t *testing.T) {
	d := diagnosis{}
	d.checkWorkers(inspect.Overview{Status: inspect.Status{Workers: []inspect.WorkerShare{{OnedUnreachable: true}}}})
	d.checkReads(pipeline.OnedReads{Reads: 40, Slow: 40})
	around := well()
	around.Oned = func(context.Context) error { return errors.New("oned at X refuses the server user of F") }
	d.checkOned(t.Context(), around)
	if len(d.findings) != 1 || d.findings[0].Check != "oned" || !strings.Contains(d.findings[0].Mend, "--one-auth-file, readable by you, and restart Flowjet's units") {
		t.Errorf("it finds %+v", d.findings)
	}
}

func clockAhead(by time.Duration) func(context.Context) (time.Time, error) {
	return func(context.Context) (time.Time, error) { return time.Now().Add(by), nil }
}

func reasons(all ...string) func(context.Context) ([]string, error) {
	return func(context.Context) ([]string, error) { return all, nil }
}

// A clock that cannot be asked, and what is not looked at from this host, are no findings.
func TestDoctorLeavesOutWhatIsNotThere(t *testing.T) {
	var d diagnosis
	d.checkOned(t.Context(), Environment{})
	d.checkAPI(t.Context(), Environment{})
	if len(d.findings) > 0 {
		t.Errorf("of nothing it finds %s", d.said())
	}
	around := well()
	around.Unreadable = func(context.Context) ([]int, error) { return nil, nil }
	around.OnedTime = func(context.Context) (time.Time, error) { return time.Time{}, errors.New("it has no Date") }
	d.checkOned(t.Context(), around)
	if d.said() != "ok oned: http://oned:2633/RPC2 answers and accepts the server user\n" {
		t.Errorf("without oned's clock it finds %s", d.said())
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	ended := diagnosis{}
	around.API = func(ctx context.Context) ([]string, error) { return nil, ctx.Err() }
	ended.checkAPI(ctx, around)
	if len(ended.findings) > 0 {
		t.Errorf("Ctrl-C is no finding: %s", ended.said())
	}
}

// NATS that cannot be used is one problem, whatever stands in it.
func TestDoctorOfNATSThatIsAway(t *testing.T) {
	t.Parallel()
	d := &desk{t: t, url: "nats://127.0.0.1:1", around: well()}
	found, status := d.doctor()
	if got := strings.Join(wrong(found), ", "); status != terminal.ExitTrouble || got != "problem NATS" {
		t.Errorf("found %s, exit %d", got, status)
	}
}

// Oned is asked while NATS is: if neither answers doctor waits for one of them.
func TestDoctorAsksAtTheSameTime(t *testing.T) {
	t.Parallel()
	var asked sync.WaitGroup
	asked.Add(2)
	both := make(chan struct{})
	go func() { asked.Wait(); close(both) }()
	meet := func(ctx context.Context) error {
		asked.Done()
		select {
		case <-both:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	around := well()
	around.Oned = soon(t.Context(), meet)
	around.Attach = func(ctx context.Context) (*pipeline.Pipeline, []string, error) {
		return nil, nil, cmp.Or(meet(ctx), errors.New("there is none"))
	}
	d := diagnosis{}
	d.checkNATS(t.Context(), around)
	d.checkOned(t.Context(), around)
	if got := d.said(); !strings.HasPrefix(got, "problem NATS: there is none\nok oned") {
		t.Errorf("it says %s", got)
	}
}

// TestFullDisksAreNamedWithoutJetStream: servers that cannot write do not answer, but the processes still report their disks.
func TestFullDisksAreNamedWithoutJetStream(t *testing.T) {
	t.Parallel()
	node := natstest.NewNode(t)
	d := &desk{t: t, url: node.URL(), around: well()}
	pipe, err := pipeline.Open(t.Context(), pipeline.Config{URL: d.url, Name: "fe2"})
	d.must(err)
	process, err := presence.Announce(pipe, func() pipeline.Process {
		return pipeline.Process{ID: "one", Name: "fe2 worker", Host: "fe2", Disk: &pipeline.Disk{Folder: "/data", Used: 1}}
	})
	d.must(err)
	t.Cleanup(func() { process.Leave(patient(t)); pipe.Close() })
	reader, _, err := pipeline.Attach(t.Context(), pipeline.Config{URL: d.url, Role: pipeline.RoleOperator, Name: "doctor"})
	d.must(err)
	t.Cleanup(reader.Close)
	node.Stop()
	node.Change(func(options *server.Options) { options.JetStream = false })
	node.Start()
	asked := newClients(reader)
	for away, reason := range []string{"", ": 2 of 2 servers do not answer: 127.0.0.1:1, 127.0.0.1:1"} { // with the second, an answer is not waited for
		asked.servers = slices.Repeat([]string{"127.0.0.1:1"}, 2*away)
		var overview inspect.Overview
		poll.Until(t, "the process to report its disk again", func() bool {
			overview, err = asked.overview(t.Context())
			return len(overview.Disks) > 0 && overview.Server != ""
		})
		want := "JetStream does not answer" + cmp.Or(reason, " at "+d.url+": "+nats.ErrNoResponders.Error()) + "; on fe2 100 % of the disk of /data are used, 0 B are free: free some space there"
		if err == nil || err.Error() != want || ExitOf(err) != terminal.ExitUnreachable {
			t.Errorf("the disks are %+v, and the error %v, want %s", overview.Disks, err, want)
		}
	}
}

// TestDoctorNamesVMsThatOutliveTheirServices: those that do not end and those that Flowjet made, whose service has ended.
func TestDoctorNamesVMsThatOutliveTheirServices(t *testing.T) {
	t.Parallel()
	desk := newDesk(t)
	ctx, now := patient(t), time.Now()
	desk.keep(8, "shop", "alice", spec.ServiceRunning)
	_, err := desk.pipe.SaveRecord(ctx, 7, pipeline.Record{Version: pipeline.Version, Deleted: true}, 0)
	desk.must(err)
	var events []feeds.Event
	for vm, is := range map[int]struct {
		service int
		state   one.LCMState
		since   time.Duration
	}{
		21: {7, one.LCMEpilog, time.Hour}, 22: {7, one.LCMEpilog, time.Minute}, 23: {7, one.LCMRunning, time.Hour}, 24: {8, one.LCMShutdown, time.Hour},
		25: {7, one.LCMRunning, time.Hour},
	} {
		event := eventOf(vm, false)
		event.Subject, event.Event.LCMState, event.Event.Heard = pipeline.VMSubject(0, vm, "ACTIVE", is.state.String()), is.state.String(), now.Add(-is.since)
		event.Event.VM = &one.VM{ID: vm, State: one.VMActive, LCMState: is.state, Service: is.service}
		if vm == 25 {
			event.Event.VM.Key = "7-1-x"
		}
		events = append(events, event)
	}
	lease, err := feeds.New(desk.pipe.Pipeline).Acquire(ctx, "fe1", "bridge-1", 0)
	desk.must(err)
	desk.must(lease.Publish(ctx, events))
	d := diagnosis{now: now}
	d.checkLeftVMs(ctx, desk.pipe)
	at := now.Add(-time.Hour).UTC().Format(time.RFC3339)
	want := fmt.Sprintf("warning VMs: 2 were not terminated with their services: vm 21 ACTIVE/EPILOG of service 7 since %[1]s, vm 25 ACTIVE/RUNNING of service 7 since %[1]s\n", at)
	if d.said() != want {
		t.Errorf("it says %q, want %q", d.said(), want)
	}
}

func TestDoctorSaysWhatMendsNATS(t *testing.T) {
	for text, want := range map[string]string{
		"open nats/operator.nk: permission denied":               "owner of the data folder",
		"nats: Authorization Violation":                          "--nats-nkey-file",
		"nats: Permissions Violation for Publish":                "--nats-nkey-file",
		"tls: failed to verify certificate: x509: unknown":       "--nats-ca-file",
		"nats: secure connection required: TLS":                  "--nats-ca-file",
		"nats: JetStream not enabled for account":                "enable JetStream",
		"dial tcp 127.0.0.1:4222: connect: connection refused":   "--nats-url",
		"nats: no servers available for connection":              "--nats-url",
		"context deadline exceeded while looking for the server": "--nats-url",
	} {
		if mend := mendNATS(errors.New(text)); !strings.Contains(mend, want) {
			t.Errorf("%q is mended by %q, want %q", text, mend, want)
		}
	}
}

// Streams that are missing are one problem, and what is left is still looked at.
func TestDoctorOfNATSOnWhichFlowjetNeverRan(t *testing.T) {
	t.Parallel()
	d := &desk{t: t, url: natstest.Server(t), around: well()}
	found, status := d.doctor()
	if status != terminal.ExitTrouble || found["streams"].Weight != problem || found["workers"].Weight != problem || found["oned"].Weight != fine {
		t.Errorf("found %v, exit %d", wrong(found), status)
	}
	if !strings.Contains(found["streams"].Message, pipeline.StreamWork) || !strings.Contains(found["streams"].Mend, "flowjet nats provision") {
		t.Errorf("the streams: %+v", found["streams"])
	}
}

// Without a worker everything that workers read waits: that is one problem, not one of each reader.
func TestDoctorNamesMissingWorkersOnce(t *testing.T) {
	now := time.Now()
	old := now.Add(-time.Hour)
	overview := inspect.Overview{Timers: inspect.TimerCount{Set: 3, Overdue: 2}}
	for _, key := range []string{pipeline.RouterKey, pipeline.WebhooksCursor, pipeline.PartitionKey(0), pipeline.PartitionKey(1), pipeline.PartitionKey(15)} {
		overview.Readers = append(overview.Readers, inspect.ReaderStatus{Reader: key, Lag: 7, Oldest: old})
	}
	diagnose := func(workers ...inspect.WorkerShare) string {
		d := diagnosis{now: now}
		overview.Workers = workers
		d.checkWorkers(overview)
		d.checkReaders(overview)
		d.checkTimers(overview)
		return strings.Join(wrongOf(d.findings), ", ")
	}
	if got, want := diagnose(), "problem workers"; got != want {
		t.Errorf("without a worker: %s, want %s", got, want)
	}
	if got, want := diagnose(inspect.WorkerShare{Worker: "fe1", OnedUnreachable: true}), "problem workers"; got != want {
		t.Errorf("with a worker that cannot reach oned: %s, want %s", got, want)
	}
	// A worker that hangs owns many partitions: the reader of work is late once.
	if got, want := diagnose(inspect.WorkerShare{Worker: "fe1"}), "problem reader router, problem reader webhooks, problem reader workers, problem timers"; got != want {
		t.Errorf("with a worker that hangs: %s, want %s", got, want)
	}
}

func wrongOf(findings []finding) (bad []string) {
	for _, f := range findings {
		if f.Weight != fine {
			bad = append(bad, f.Weight+" "+f.Check)
		}
	}
	slices.Sort(bad)
	return bad
}

// A front-end is gone since the last of its processes was heard.
func TestDoctorTellsSinceWhenAFrontEndIsGone(t *testing.T) {
	now := time.Now()
	hour, minute := now.Add(-time.Hour), now.Add(-time.Minute)
	d := diagnosis{now: now}
	d.checkMembers(inspect.Overview{Status: inspect.Status{Members: []presence.Member{
		{Name: "fe2 api", Host: "fe2", Missing: hour}, {Name: "fe2 bridge", Host: "fe2", Missing: minute}, {Name: "fe2 worker", Host: "fe2", Missing: hour},
	}}})
	if want := "problem front-end fe2: none of its processes has reported for 1m0s: fe2 api, fe2 bridge, fe2 worker\n"; d.said() != want {
		t.Errorf("it says %swant %s", d.said(), want)
	}
}

// While another worker takes over nothing is wrong for long enough to be told.
func TestDoctorWaitsForATakeOver(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.bridges("fe1")
	looked, conn := make(chan struct{}), d.pipe.Conn()
	before := conn.NumSubscriptions()
	type result struct {
		overview inspect.Overview
		err      error
	}
	settles := make(chan result, 1)
	go func() {
		overview, err := settled(patient(t), d.pipe, nil, time.NewTimer(poll.Limit))
		settles <- result{overview, err}
	}()
	go func() {
		defer close(looked)
		poll.Until(t, "the first look", func() bool { return conn.NumSubscriptions() > before+1 })
		poll.Until(t, "its end", func() bool { return conn.NumSubscriptions() <= before+1 })
	}()
	<-looked
	d.works("fe2")
	got := <-settles
	if got.err != nil || len(got.overview.Workers) != 1 || unsettled(got.overview) {
		t.Errorf("after the take-over: %+v, %v", got.overview.Workers, got.err)
	}
}

// Doctor's own checks of what NATS holds: each once with its finding, and once without.
func TestDoctorOfWhatNATSHolds(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		harm  func(*desk)
		check func(*diagnosis, context.Context, clients)
		want  string
		say   []string
	}{
		"work whose end is lost": {
			func(d *desk) { d.must(d.pipe.SaveCursor(d.t.Context(), pipeline.PartitionKey(3), 900)) },
			(*diagnosis).checkDamage, "problem damage", []string{"ends at 0", "up to 900"},
		},
		"data that did not match oned": {
			func(d *desk) { d.must(d.pipe.NoteMismatch(d.t.Context(), "VM 21 is another")) },
			(*diagnosis).checkDamage, "warning data", []string{"VM 21 is another"},
		},
		"a record that is lost": {
			func(d *desk) {
				d.keep(1, "a", "alice", spec.ServiceRunning)
				d.keep(42, "b", "alice", spec.ServiceRunning)
				d.must(d.pipe.Bucket(pipeline.BucketState).Purge(d.t.Context(), "42"))
			},
			(*diagnosis).checkLost, "warning lost records", []string{"no record in FLOW_STATE", "according to stream FLOW: services 42"},
		},
		"a history whose end is lost": {
			func(d *desk) {
				d.keep(42, "a", "alice", spec.ServiceRunning)
				d.hasPublished(42, 3)
				d.must(d.pipe.PublishTransitions(d.t.Context(), []pipeline.Transition{{Service: 42, Change: flow.Change{Kind: "service", New: "DEPLOYING"}}}, 2))
			},
			(*diagnosis).checkLost, "warning lost history", []string{"stream FLOW lacks the last transitions of services 42"},
		},
		"a state that OneFlow has set meanwhile": {
			func(d *desk) {
				d.keep(42, "a", "alice", spec.ServiceRunning)
				d.hasPublished(42, 2)
				d.must(d.pipe.PublishTransitions(d.t.Context(), []pipeline.Transition{{Service: 42, Change: flow.Change{Kind: "service", New: "COOLDOWN"}}}, 2))
			},
			(*diagnosis).checkLost, "", nil,
		},
		"a history that is lost as a whole": {
			func(d *desk) {
				d.keep(1, "a", "alice", spec.ServiceRunning)
				d.hasPublished(1, 0) // as a worker has one of OneFlow's
				d.keep(42, "b", "alice", spec.ServiceRunning)
				d.hasPublished(42, 2)
				d.must(d.pipe.Stream(pipeline.StreamFlow).Purge(d.t.Context()))
			},
			(*diagnosis).checkLost, "warning lost history", []string{"stream FLOW lacks the last transitions of services 42"},
		},
		"a service that OneFlow drives, too": {
			func(d *desk) {
				d.keep(42, "a", "alice", spec.ServiceRunning)
				record, revision, err := d.pipe.LoadRecord(d.t.Context(), 42)
				d.must(err)
				record.State.LeftAlone = &flow.LeftAlone{VMs: []int{7}}
				_, err = d.pipe.SaveRecord(d.t.Context(), 42, record, revision)
				d.must(err)
			},
			(*diagnosis).checkServices, "problem services", []string{"another program, such as OneFlow, drives them, too", "alone: 42"},
		},
		"a service that ended, with its record gone": {
			func(d *desk) {
				d.must(d.pipe.PublishTransitions(d.t.Context(), []pipeline.Transition{{Service: 42, Change: flow.Change{Kind: "service", New: pipeline.Deleted}}}, 1))
			},
			(*diagnosis).checkLost, "", nil,
		},
		"a receiver that fails": {
			func(d *desk) {
				d.must(d.pipe.SaveAttempts(d.t.Context(), pipeline.HookSubject("ops", 42), pipeline.Attempts{Count: 3, Error: "502 Bad Gateway"}))
			},
			(*diagnosis).checkWebhooks, "warning webhooks", []string{"ops", "3 times: 502 Bad Gateway"},
		},
		"a receiver that failed once": {
			func(d *desk) {
				d.must(d.pipe.SaveAttempts(d.t.Context(), pipeline.HookSubject("ops", 42), pipeline.Attempts{Count: 1, Error: "502"}))
			},
			(*diagnosis).checkWebhooks, "", nil,
		},
		"no event ever": {func(*desk) {}, (*diagnosis).checkEvents, "warning events", []string{"none has ever been received"}},
		"an event":      {func(d *desk) { d.bridges("fe1") }, (*diagnosis).checkEvents, "", nil},
		"many events that ZeroMQ lost": {
			func(d *desk) { d.resyncs(1, resyncsTolerated+1) },
			(*diagnosis).checkEvents, "warning events", []string{"101 of the last 102 were missed"},
		},
		"as many as a start finds": {func(d *desk) { d.resyncs(1, resyncsTolerated) }, (*diagnosis).checkEvents, "", nil},
		"the first start of all":   {func(d *desk) { d.resyncs(0, resyncsTolerated+1) }, (*diagnosis).checkEvents, "", nil},
		"a stream that cannot be read": {
			func(d *desk) { d.must(d.pipe.JetStream().DeleteStream(d.t.Context(), pipeline.StreamONE)) },
			(*diagnosis).checkEvents, "warning events", []string{"they cannot be read"},
		},
		"records that cannot be read": {
			func(d *desk) {
				d.must(d.pipe.JetStream().DeleteStream(d.t.Context(), pipeline.StreamOf(pipeline.BucketState)))
			},
			(*diagnosis).checkServices, "warning services", []string{"they cannot be read"},
		},
		"a record whose text is damaged": {
			func(d *desk) {
				d.keep(1, "a", "alice", spec.ServiceRunning)
				d.must(d.pipe.Bucket(pipeline.BucketState).Put(d.t.Context(), "42", []byte(`{"v":`)))
			},
			(*diagnosis).checkServices, "problem services", []string{"1 wait", "cannot be read: 42"},
		},
		"services in a failover": {
			func(d *desk) { d.keep(1, "a", "alice", spec.ServiceCooldown) }, // for an hour, as its policy has it
			(*diagnosis).checkServices, "", nil,
		},
		"a service that has ended": {
			func(d *desk) {
				_, err := d.pipe.SaveRecord(d.t.Context(), 1, pipeline.Record{Version: pipeline.Version, Deleted: true}, 0)
				d.must(err)
			},
			(*diagnosis).checkServices, "", nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t)
			found := diagnosis{now: time.Now()}
			test.harm(d)
			test.check(&found, t.Context(), d.pipe)
			if got := strings.Join(wrongOf(found.findings), ", "); got != test.want {
				t.Fatalf("found %q, want %q: %s", got, test.want, found.said())
			}
			for _, say := range test.say {
				if !strings.Contains(found.said(), say) {
					t.Errorf("%q is not said: %s", say, found.said())
				}
			}
		})
	}
}

// resyncs stores events that were received, and then those that a comparison with oned has found.
func (d *desk) resyncs(received, count int) {
	d.t.Helper()
	lease, err := feeds.New(d.pipe.Pipeline).Acquire(d.t.Context(), "fe1", "bridge", 0)
	d.must(err)
	events := make([]feeds.Event, received+count)
	for i := range events {
		events[i] = eventOf(i, i >= received)
	}
	d.must(lease.Publish(d.t.Context(), events))
}

// A limit of the account is told before it is reached.
func TestDoctorOfJetStreamsStorage(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	without := diagnosis{}
	without.checkStorage(t.Context(), d.pipe)
	if len(without.findings) > 0 {
		t.Errorf("an account without a limit has %s", without.said())
	}
	found := diagnosis{}
	found.checkStreams(inspect.Overview{Streams: []inspect.StreamStatus{{Name: "DLQ", Trouble: "it is full to nine tenths"}}})
	if got := strings.Join(wrongOf(found.findings), ", "); got != "warning stream DLQ" {
		t.Errorf("a stream that is nearly full is %s", got)
	}
	damaged := diagnosis{}
	damaged.checkStreams(inspect.Overview{Streams: []inspect.StreamStatus{{Name: "KV_FLOW_STATE", Lost: 2, Trouble: "2 are lost"}}})
	if mend := damaged.findings[0].Mend; !strings.Contains(mend, "check the disk") {
		t.Errorf("a damaged stream is mended by %q", mend)
	}
}

// A server that was cut off until just now reports an end of a stream that the others have passed.
func TestDoctorWaitsForTheEndOfWork(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.must(d.pipe.SaveCursor(t.Context(), pipeline.PartitionKey(3), 900))
	stream, err := d.pipe.JetStream().Stream(t.Context(), pipeline.StreamWork)
	d.must(err)
	asked, err := d.pipe.Conn().SubscribeSync("$JS.API.STREAM.INFO." + pipeline.StreamWork)
	d.must(err)
	d.must(d.pipe.Conn().Flush())
	caughtUp := make(chan error, 1)
	go func() {
		if _, err := asked.NextMsg(poll.Limit); err != nil {
			caughtUp <- err
			return
		}
		caughtUp <- stream.Purge(t.Context(), jetstream.WithPurgeSequence(902))
	}()
	found := diagnosis{now: time.Now()}
	found.checkDamage(t.Context(), d.pipe)
	if err := <-caughtUp; err != nil || len(found.findings) != 0 {
		t.Errorf("of a stream that is whole it says %s%v", found.said(), err)
	}
}

// A bridge that runs and hears nothing, because its port is closed, is told of, and is a problem where no feed is heard.
func TestDoctorOfBridgesThatAreNotConnected(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.bridges("fe1")
	heard, unheard := inspect.FeedStatus{Feed: "0.fe1", Alive: true}, inspect.FeedStatus{Feed: "0.fe2", Alive: true, Disconnected: true}
	silent := inspect.FeedStatus{Feed: "0.fe3"}
	for want, seen := range map[string][]inspect.FeedStatus{
		"": {heard}, "warning hook events": {heard, unheard}, "problem hook events": {unheard},
		"problem hook events, warning bridges": {unheard, silent},
	} {
		found := diagnosis{now: time.Now()}
		overview := inspect.Overview{Status: inspect.Status{}, Feeds: seen}
		found.checkFeeds(t.Context(), d.pipe, overview)
		if got := strings.Join(wrongOf(found.findings), ", "); got != want || (want != "") != strings.Contains(found.said(), "0.fe2") {
			t.Errorf("of %+v it says %s", seen, found.said())
		}
	}
}
