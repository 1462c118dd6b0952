package inspect

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/natstest"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/feeds"
	"github.com/flowjet/flowjet/pipeline/history"
)

// What others have put into the streams and buckets, or a newer Flowjet, makes no part of the overview fail, and counts for nothing.
func TestTheOverviewOfWhatStrangersLeft(t *testing.T) {
	p, ctx := single(t), limited(t)
	_, err := p.SaveRecord(ctx, 42, deploying(42, 21), 0)
	must(t, err)
	for bucket, values := range map[string]map[string]string{
		pipeline.BucketState:      {"43": "no JSON", "web": `{"v":1}`, "44": `{"v":1,"state":[]}`},
		pipeline.BucketHooks:      {"ops.42": "no JSON"},
		pipeline.BucketCheckpoint: {pipeline.MembersKey: "no JSON"},
	} {
		for key, value := range values {
			must(t, p.Client.Bucket(bucket).Put(ctx, key, []byte(value)))
		}
	}
	lease, err := feeds.New(p.Pipeline).Acquire(ctx, "fe1", "bridge-1", 0)
	must(t, err)
	for subject, text := range map[string]string{
		pipeline.LeaseSubject("fe2"): "no JSON", pipeline.VMSubject(0, 1, "X", "Y"): "<xml>", "flow.event.42.service.X": "no JSON", "flow.work.42": "no JSON", "flow.dlq.a.part.of.theirs": "",
	} {
		_, err := p.JetStream().Publish(ctx, subject, []byte(text))
		must(t, err)
	}
	for _, subject := range []string{pipeline.BridgeSubject("fe1"), pipeline.ProcessSubject("x"), pipeline.WorkerSubject("x")} {
		must(t, p.Conn().Publish(subject, []byte("no JSON")))
	}
	overview, err := p.Overview(ctx, nil)
	must(t, err)
	if len(overview.Services) != 1 || overview.Services["DEPLOYING"] != 1 || overview.Webhooks.Failing != 0 || len(overview.Members) != 0 || len(overview.Workers) != 0 {
		t.Errorf("counted are %v, %+v, %+v and %+v", overview.Services, overview.Webhooks, overview.Members, overview.Workers)
	}
	if len(overview.Feeds) != 1 || overview.Feeds[0].Feed != "fe1" || overview.Feeds[0].Alive {
		t.Errorf("the feeds are %+v", overview.Feeds)
	}
	if overview.DeadLetters["a.part.of.theirs"] != 1 {
		t.Errorf("the dead letters are %v", overview.DeadLetters)
	}
	if counts, err := CountServices(ctx, p.Pipeline); err != nil || counts.States[spec.ServiceDeploying] != 1 {
		t.Errorf("the services are %+v (%v)", counts, err)
	}
	must(t, lease.Release(ctx))
}

// Of a service whose record cannot be understood the reason is told, and it is not taken for one that there is not.
func TestWhyOfARecordThatCannotBeRead(t *testing.T) {
	p, ctx := single(t), limited(t)
	bucket := p.Bucket(pipeline.BucketState)
	must(t, bucket.Put(ctx, "42", []byte("no JSON")))
	must(t, bucket.Put(ctx, "43", []byte(`{"v":99}`)))
	for service, want := range map[int]string{42: "the record of service 42: it cannot be read", 43: pipeline.ErrNewer.Error()} {
		if _, err := p.Why(ctx, service, nil); err == nil || errors.Is(err, pipeline.ErrNotFound) || !strings.Contains(err.Error(), want) {
			t.Errorf("service %d: %v, want %q", service, err, want)
		}
	}
	for what, stream := range map[string]string{"the transitions": pipeline.StreamFlow, "dead letters": pipeline.StreamDead, "the pending inputs": pipeline.StreamWork} {
		p := single(t)
		_, err := p.SaveRecord(ctx, 7, deploying(7, 21), 0)
		must(t, err)
		must(t, history.New(p.Pipeline).PublishTransitions(ctx, []pipeline.Transition{transition(7, "DEPLOYING")}, 1))
		must(t, p.JetStream().DeleteStream(ctx, stream))
		short, cancel := context.WithTimeout(ctx, time.Second)
		if _, err := p.Why(short, 7, nil); err == nil || !strings.Contains(err.Error(), what) || !strings.Contains(err.Error(), "service 7") {
			t.Errorf("without stream %s: %v", stream, err)
		}
		cancel()
	}
}

// oned is given a bounded time, and sees the service under its own id whatever the record says.
func TestHowOnedIsAsked(t *testing.T) {
	p, ctx := single(t), limited(t)
	_, err := p.SaveRecord(ctx, 42, deploying(7, 21), 0) // a record that a person has copied
	must(t, err)
	why, err := p.Why(ctx, 42, func(asking context.Context, state flow.State) (flow.State, flow.Facts, error) {
		if until, limited := asking.Deadline(); !limited || time.Until(until) > fetchWithin {
			t.Errorf("oned may take until %s", until)
		}
		if state.Service.ID != 42 {
			t.Errorf("service %d is asked for", state.Service.ID)
		}
		state.Service.Body.Name = "as oned has it"
		return state, flow.Facts{21: {ID: 21, Service: 42, State: one.VMActive, LCMState: one.LCMBootFailure}}, nil
	})
	if must(t, err); why.Service != 42 || why.Name != "as oned has it" || why.OnedAway != "" || !strings.Contains(strings.Join(messagesOf(why), " "), "BOOT_FAILURE") {
		t.Errorf("it says %+v", why)
	}
	why, err = p.Why(ctx, 42, func(context.Context, flow.State) (flow.State, flow.Facts, error) {
		return flow.State{}, nil, fmt.Errorf("read it: %w", context.DeadlineExceeded)
	})
	if must(t, err); why.Name != "web" || why.OnedAway != "read it: context deadline exceeded" {
		t.Errorf("where oned was too slow it says %+v", why)
	}
}

// Only VMs of roles that are in trouble are looked up, and not without end.
func TestWhichVMsAreLookedUp(t *testing.T) {
	p, ctx := single(t), limited(t)
	state, running, warning := spec.ServiceWarning, spec.RoleRunning, spec.RoleWarning
	record := pipeline.Record{State: flow.State{Service: spec.Service{ID: 42, Body: spec.Body{Name: "web", State: &state, Roles: []spec.Role{
		{Name: "well", Cardinality: 1, State: &running, Nodes: []spec.Node{spec.NewNode(one.VM{ID: 1})}},
		{Name: "new", Cardinality: 1, Nodes: []spec.Node{spec.NewNode(one.VM{ID: 2})}},
		{Name: "ill", Cardinality: 300, State: &warning},
	}}}}}
	var events []feeds.Event
	for vm := range 303 {
		event := vmEvent(vm, 42, false)
		event.Event.VM.LCMState, event.Event.LCMState = one.LCMUnknown, "UNKNOWN"
		events = append(events, event)
		if vm > 2 {
			record.State.Service.Body.Roles[2].Nodes = append(record.State.Service.Body.Roles[2].Nodes, spec.NewNode(one.VM{ID: vm}))
		}
	}
	lease, err := feeds.New(p.Pipeline).Acquire(ctx, "fe1", "bridge", 0)
	must(t, err)
	must(t, lease.Publish(ctx, events))
	facts, err := p.heardVMs(ctx, record.State)
	must(t, err)
	_, well := facts[1]
	_, stateless := facts[2]
	if len(facts) != maxVMs || well || stateless || facts[3].LCMState != one.LCMUnknown {
		t.Errorf("%d VMs are looked up, of a role that is well %v, of one without a state %v", len(facts), well, stateless)
	}
}

// Following goes on through a restart of the server, and ends with the pipeline.
func TestFollowingThroughARestart(t *testing.T) {
	node, ctx := natstest.NewNode(t), limited(t)
	p, writer := open(t, node.URL()), open(t, node.URL())
	told, ended := make(chan Entry), make(chan error, 1)
	go func() {
		ended <- p.Tail(ctx, pipeline.StreamFlow, 0, true, func(entry Entry) { told <- entry })
	}()
	for round := range 3 {
		must(t, history.New(writer.Pipeline).PublishTransitions(ctx, []pipeline.Transition{transition(round, "RUNNING")}, 1))
		if entry := <-told; entry.Service() != round || entry.Transition.MessageID != fmt.Sprintf("%d-1", round) {
			t.Errorf("in round %d it tells of %+v", round, entry.Transition)
		}
		node.Stop()
		poll.Until(t, "the loss of the server", func() bool { return !writer.State().Connected && !p.State().Connected })
		node.Start()
		poll.Until(t, "the server", func() bool { return writer.State().Connected && p.State().Connected })
	}
	p.Close()
	if err := <-ended; !errors.Is(err, pipeline.ErrClosed) {
		t.Errorf("it ends with %v", err)
	}
	for _, stream := range followed {
		if err := p.Tail(ctx, stream, 0, false, func(Entry) {}); err == nil {
			t.Errorf("stream %s is read without a connection", stream)
		}
	}
}
