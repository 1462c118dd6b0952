package operate

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/internal/terminal"
	"github.com/flowjet/flowjet/internal/testlog"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/deliveries"
	"github.com/flowjet/flowjet/pipeline/inspect"
)

// running is a command that goes on until it is stopped.
type running struct {
	*desk
	out   *testlog.Log
	stop  context.CancelFunc
	ended chan error
}

// begins types a command that goes on.
func (d *desk) begins(line string) running {
	d.t.Helper()
	r := running{d, &testlog.Log{}, nil, make(chan error, 1)}
	root := d.root(r.out, strings.Fields(line)...)
	var ctx context.Context
	ctx, r.stop = context.WithCancel(patient(d.t))
	d.t.Cleanup(r.stop)
	go func() { r.ended <- root.ExecuteContext(ctx) }()
	return r
}

// writes waits until the command has written a text.
func (r running) writes(text string) {
	r.t.Helper()
	poll.Until(r.t, "it to write "+text, func() bool { return strings.Contains(r.out.String(), text) || len(r.ended) > 0 })
	if out := r.out.String(); !strings.Contains(out, text) {
		r.t.Fatalf("it has ended without %q: %s", text, out)
	}
}

// turns has a service come to another state.
func (d *desk) turns(id int, first uint64, before, after string) {
	d.t.Helper()
	d.must(d.pipe.PublishTransitions(d.t.Context(), []pipeline.Transition{{
		Service: id, Change: flow.Change{Kind: "service", Old: before, New: after}, Cause: pipeline.Cause{Kind: "wake"}, Time: time.Now().UTC(),
	}}, first))
}

// Watching tells what happens to the service, and nothing of others, until Ctrl-C, which is no failure.
func TestWatchingAService(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.keep(3, "shop", "alice", spec.ServiceRunning)
	d.keep(4, "mail", "bob", spec.ServiceRunning)
	watch := d.begins("service watch 3")
	watch.writes("Service 3  shop  RUNNING")
	d.turns(4, 2, "RUNNING", "SCALING")
	d.turns(3, 2, "RUNNING", "WARNING")
	watch.writes("RUNNING -> WARNING")
	watch.stop()
	if err := <-watch.ended; err != nil || strings.Contains(watch.out.String(), "SCALING") {
		t.Errorf("it ends with %v: %s", err, watch.out)
	}
}

// How watching for a state ends, for scripts.
func TestWatchingForAState(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		line   string
		is     spec.ServiceState
		turns  []string
		status terminal.Exit
		say    string
	}{
		"it is there":                 {"--until RUNNING", spec.ServiceRunning, nil, 0, ""},
		"it comes there":              {"--until running", spec.ServiceDeploying, []string{"WARNING", "RUNNING"}, 0, ""},
		"to one of two":               {"--until RUNNING,WARNING", spec.ServiceDeploying, []string{"WARNING"}, 0, ""},
		"it has failed":               {"--until RUNNING", spec.ServiceFailedDeploying, nil, terminal.ExitTrouble, "service 3 is FAILED_DEPLOYING: `flowjet service why 3`"},
		"it fails":                    {"--until RUNNING", spec.ServiceDeploying, []string{"FAILED_DEPLOYING"}, terminal.ExitTrouble, "service 3 is FAILED_DEPLOYING"},
		"it fails, as is waited for":  {"--until FAILED_DEPLOYING", spec.ServiceDeploying, []string{"FAILED_DEPLOYING"}, 0, ""},
		"it ends instead":             {"--until RUNNING", spec.ServiceUndeploying, []string{pipeline.Deleted}, terminal.ExitTrouble, "service 3 is DELETED"},
		"it ends, as is waited for":   {"--until DELETED", spec.ServiceUndeploying, []string{"DONE", pipeline.Deleted}, 0, ""},
		"it has ended before":         {"--until DONE", spec.ServiceUndeploying, []string{pipeline.Deleted}, 0, ""},
		"the time is over":            {"--until RUNNING --timeout 200ms", spec.ServiceDeploying, nil, terminal.ExitTimeout, "service 3 did not reach RUNNING within 200ms"},
		"the time is over, no state":  {"--timeout 200ms", spec.ServiceDeploying, nil, terminal.ExitTimeout, "service 3 did not reach its end within 200ms"},
		"a state that there is not":   {"--until HAPPY", spec.ServiceRunning, nil, terminal.ExitUsage, `--until is "HAPPY"`},
		"it ends without being asked": {"", spec.ServiceUndeploying, []string{pipeline.Deleted}, 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newDesk(t)
			d.keep(3, "shop", "alice", test.is)
			watch := d.begins("service watch 3 " + test.line)
			if len(test.turns) > 0 {
				watch.writes("Service 3")
			}
			before := test.is.String()
			for i, state := range test.turns {
				d.turns(3, uint64(i+2), before, state)
				before = state
			}
			err := <-watch.ended
			if (err == nil) != (test.status == 0) || err != nil && (ExitOf(err) != test.status || !strings.Contains(err.Error(), test.say)) {
				t.Errorf("it ends with %v, want %d and %q:\n%s", err, test.status, test.say, watch.out)
			}
		})
	}
}

// As JSON each transition is an object on its own line, and no other line is written.
func TestWatchingAsJSON(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.keep(3, "shop", "alice", spec.ServiceDeploying)
	watch := d.begins("service watch 3 --until RUNNING -o json")
	number := uint64(1)
	poll.Until(t, "the transition to be read", func() bool { // published until it is: nothing tells that the reader stands
		number++
		d.turns(3, number, "DEPLOYING", "RUNNING")
		return len(watch.ended) > 0
	})
	if err := <-watch.ended; err != nil {
		t.Error(err)
	}
	for _, line := range strings.Split(strings.TrimSpace(watch.out.String()), "\n") {
		var transition pipeline.Transition
		if line != "" && (json.Unmarshal([]byte(line), &transition) != nil || transition.New != "RUNNING") {
			t.Errorf("it writes %q", line)
		}
	}
	d.refuses(terminal.ExitNotFound, "service watch 5")
	d.refuses(terminal.ExitUsage, "service watch mail")
}

// Following events tells of what comes to all streams that are asked for.
func TestFollowingEvents(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.keep(3, "shop", "alice", spec.ServiceRunning, 21)
	follow := d.begins("events -f --with opennebula,dead-letters,webhooks")
	follow.writes("PENDING -> RUNNING")
	d.turns(3, 2, "RUNNING", "SCALING")
	follow.writes("RUNNING -> SCALING")
	d.bridges("fe1")
	follow.writes("opennebula: vm 21 ACTIVE/RUNNING")
	d.deadLettered(forService(3))
	follow.writes("it is no JSON")
	d.must(d.pipe.QueueDeliveries(t.Context(), deliveries.Queued{Subject: pipeline.HookSubject("ops", 3), Delivery: pipeline.Delivery{ID: "3-1", Service: 3, Receiver: "ops"}})[0])
	follow.writes("webhook: 3-1 waits for receiver ops")
	follow.stop()
	if err := <-follow.ended; err != nil {
		t.Errorf("Ctrl-C ends it with %v", err)
	}
}

// A call belongs to a service by what it was made for: other objects have the same ids.
func TestCallsOfAService(t *testing.T) {
	t.Parallel()
	filter := eventFilter{service: 3, vms: []int{21}, networks: []int{7}}
	for call, wanted := range map[string][]int{
		"one.vm.update": {21}, "one.vn.chown": {7}, "one.document.update": nil, "one.user.chgrp": nil, "one.group.update": nil, "one.acl.addrule": nil, "one": nil,
	} {
		for _, id := range []int{3, 7, 21} {
			event := pipeline.Event{Version: pipeline.Version, Object: "api", ID: id, Call: call, OK: true}
			if shown := filter.wants(inspect.Entry{Event: &event}, time.Now()); shown != slices.Contains(wanted, id) {
				t.Errorf("%s of %d is shown with service 3: %t", call, id, shown)
			}
		}
	}
}

// A VM's events belong to its service, also where they do not name it, and another's do not.
func TestEventsOfAServicesVMs(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.keep(3, "shop", "alice", spec.ServiceRunning, 21)
	d.keep(4, "mail", "bob", spec.ServiceRunning, 22)
	d.bridges("fe1")
	d.shows("events --service 3 --with opennebula", "vm 21 ACTIVE/RUNNING")
	if out := d.shows("events --service 4 --with opennebula"); strings.Contains(out, "vm 21") {
		t.Errorf("another service's VM is shown: %s", out)
	}
	if out := d.shows("events --with opennebula --kind role"); strings.Contains(out, "RUNNING -> ") || !strings.Contains(out, "vm 21") {
		t.Errorf("of the kind role are %s", out)
	}
	var seen map[string]any
	lines := strings.Split(strings.TrimSpace(d.shows("events --with opennebula -o json")), "\n")
	d.must(json.Unmarshal([]byte(lines[len(lines)-1]), &seen))
	if seen["kind"] != "opennebula" || seen["opennebula"] == nil || seen["service"] != -1.0 {
		t.Errorf("as JSON an event is %v", seen)
	}
	if out := d.shows("events --since 1ns"); out != "There are no such events.\n" {
		t.Errorf("without any it says %q", out)
	}
	if out := d.shows("events --since 1ns -o json"); out != "" {
		t.Errorf("for scripts it says %q", out)
	}
}

// A member that is gone for good is forgotten, and the others stay.
func TestForgettingAProcess(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.must(d.pipe.Bucket(pipeline.BucketCheckpoint).Put(t.Context(), pipeline.MembersKey, []byte(`[{"name":"fe1 up","host":"fe1","parts":["worker"],"release":"1"},{"name":"fe2 up","host":"fe2","parts":["worker"],"release":"1"},{"name":"fe3","host":"fe3","parts":["worker"],"release":"1"}]`)))
	out, err := d.run("status", "--forget", "fe2 up")
	if err != nil || !strings.Contains(out, "fe2 up: removed from the expected processes") {
		t.Errorf("%q, %v", out, err)
	}
	if out, err := d.run("status", "--forget", "fe2 up"); ExitOf(err) != terminal.ExitNotFound {
		t.Errorf("a second time: %q, %v", out, err)
	}
	var forgotten map[string]any
	out = d.shows("status --forget fe3 -o json")
	if err := json.Unmarshal([]byte(out), &forgotten); err != nil || forgotten["name"] != "fe3" || forgotten["forgotten"] != true {
		t.Errorf("for scripts it says %q", out)
	}
	var overview inspect.Overview
	d.must(json.Unmarshal([]byte(d.shows("status -o json")), &overview))
	if len(overview.Members) != 1 || overview.Members[0].Name != "fe1 up" || overview.Members[0].Missing.IsZero() {
		t.Errorf("the members are %+v", overview.Members)
	}
	// Nothing has stored since when it is missing.
	if out := d.shows("status", "fe1 up", "MISSING", "No worker is running: services make no progress.", "No bridge has ever published: no events are received."); strings.Contains(out, "MISSING for") {
		t.Errorf("it claims to know since when a process is missing:\n%s", out)
	}
	since := time.Now().Add(-2 * time.Hour).UTC().Format(time.RFC3339)
	d.must(d.pipe.Bucket(pipeline.BucketCheckpoint).Put(t.Context(), pipeline.MembersKey, []byte(`[{"name":"fe1 up","host":"fe1","parts":["worker"],"release":"1","missing":"`+since+`"}]`)))
	d.shows("status", "fe1 up", "MISSING for 2h", "No worker is running: services make no progress.", "No bridge has ever published: no events are received.")
}

// Commands of the last day, by service and state.
func TestCommandsAreFiltered(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	d.keep(3, "shop", "alice", spec.ServiceRunning)
	d.keep(4, "mail", "bob", spec.ServiceRunning)
	for _, command := range []flow.Command{{ID: "A", Verb: flow.VerbScale, Service: 3}, {ID: "B", Verb: flow.VerbUndeploy, Service: 4}} {
		_, _ = d.pipe.SubmitCommand(t.Context(), command, time.Millisecond) // no worker answers
	}
	ended := time.Now()
	input := pipeline.Input{Work: pipeline.Work{Command: &flow.Command{ID: "B", Verb: flow.VerbUndeploy, Service: 4}}, Published: ended}
	d.must(d.pipe.FinishCommand(t.Context(), input, pipeline.Reply{Command: "B", Refused: "conflict", Message: "it is DEPLOYING", Time: ended}))
	for line, want := range map[string]string{
		"commands -o name --state queued": "A\n", "commands -o name --state refused": "B\n", "commands -o name --state done": "",
		"commands -o name --service 3": "A\n", "commands -o name --service 4 --state queued": "",
	} {
		if out := d.shows(line); out != want {
			t.Errorf("%s lists %q, want %q", line, out, want)
		}
	}
	d.shows("commands --service 4", "undeploy", "refused")
	d.refuses(terminal.ExitNotFound, "commands --service 5")
	d.refuses(terminal.ExitUsage, "commands --service x")
}
