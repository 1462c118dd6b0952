package inspect

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/deliveries"
	"github.com/flowjet/flowjet/pipeline/feeds"
	"github.com/flowjet/flowjet/pipeline/history"
)

func vmEvent(vm, service int, resync bool) feeds.Event {
	event := pipeline.Event{
		Object: "vm", ID: vm, State: "ACTIVE", LCMState: "RUNNING", Heard: time.Now().UTC(), Resync: resync,
		VM: &one.VM{ID: vm, Service: service, State: one.VMActive, LCMState: one.LCMRunning},
	}
	return feeds.Event{Subject: pipeline.VMSubject(0, vm, event.State, event.LCMState), MessageID: fmt.Sprint("vm-", vm), Event: event}
}

func transition(service int, state string) pipeline.Transition {
	return pipeline.Transition{
		Service: service, Time: time.Now().UTC(), Change: flow.Change{Kind: "service", Old: "DEPLOYING", New: state},
		Cause: pipeline.Cause{Kind: "event", ID: "vm 21 ACTIVE/RUNNING"},
	}
}

// publishOneOfEach stores a message about a service on each stream that can be followed.
func publishOneOfEach(t *testing.T, p clients, service int) {
	t.Helper()
	ctx, all := limited(t), feeds.New(p.Pipeline)
	_, last, err := all.LastLease(ctx, "fe1")
	must(t, err)
	lease, err := all.Acquire(ctx, "fe1", "bridge", last)
	must(t, err)
	must(t, lease.Publish(ctx, []feeds.Event{vmEvent(service, service, false)}))
	must(t, history.New(p.Pipeline).PublishTransitions(ctx, []pipeline.Transition{transition(service, "RUNNING")}, 1))
	must(t, deliveries.New(p.Pipeline).QueueDeliveries(ctx, deliveries.Queued{Subject: pipeline.HookSubject("ops", service), Delivery: pipeline.Delivery{ID: "1", Service: service, Body: []byte("{}")}})[0])
	must(t, p.DeadLetter(ctx, pipeline.DeadLetter{Where: "work", Data: pipeline.Encode(pipeline.Work{Service: service})}))
}

var followed = []string{pipeline.StreamFlow, pipeline.StreamONE, pipeline.StreamHook, pipeline.StreamDead}

func TestStreamsAreTailedAndFollowed(t *testing.T) {
	p, ctx := single(t), limited(t)
	publishOneOfEach(t, p, 42)
	for stream, subject := range map[string]string{
		pipeline.StreamFlow: "flow.event.7.service.X", pipeline.StreamONE: "one.0.vm.1.ACTIVE.RUNNING", pipeline.StreamHook: "flow.hook.ops.7",
	} {
		for _, unreadable := range []string{"no JSON", `{"v":"3"}`} {
			_, err := p.JetStream().Publish(ctx, subject, []byte(unreadable))
			if err != nil {
				t.Fatalf("%s: %v", stream, err)
			}
		}
	}
	ends, err := p.Ends(ctx, followed)
	must(t, err)
	publishOneOfEach(t, p, 43)
	for _, stream := range followed {
		var services []int
		visit := func(entry Entry) { services = append(services, entry.Service()) }
		must(t, p.Tail(ctx, stream, 0, false, visit))
		if fmt.Sprint(services) != "[42 43]" {
			t.Errorf("stream %s tells of %v", stream, services)
		}
		following, stop := context.WithCancel(ctx)
		err := p.Tail(following, stream, ends[stream], true, func(entry Entry) {
			if entry.Service() != 43 || time.Since(entry.Time) > time.Minute {
				t.Errorf("behind its end stream %s has %+v", stream, entry)
			}
			stop()
		})
		if !errors.Is(err, context.Canceled) {
			t.Errorf("following stream %s ended with %v", stream, err)
		}
	}
	if service := (Entry{Event: &pipeline.Event{Object: "net"}}).Service(); service != -1 {
		t.Errorf("a network's event is about service %d", service)
	}
	if _, err := p.Ends(ctx, []string{"NONE"}); err == nil {
		t.Error("a stream that is not there has an end")
	}
}

func TestRecentEventsTellWhatZeroMQLost(t *testing.T) {
	p, ctx := single(t), limited(t)
	if recent, err := p.RecentEvents(ctx, 10); recent != (RecentEvents{}) || err != nil {
		t.Errorf("of nothing: %+v, %v", recent, err)
	}
	lease, err := feeds.New(p.Pipeline).Acquire(ctx, "fe1", "bridge", 0)
	must(t, err)
	var events []feeds.Event
	for vm := range 6 {
		events = append(events, vmEvent(vm, -1, vm%3 == 1))
	}
	must(t, lease.Publish(ctx, events))
	for most, want := range map[uint64]RecentEvents{100: {Count: 6, Resynced: 2}, 3: {Count: 3, Resynced: 1}, 1: {Count: 1}} {
		recent, err := p.RecentEvents(ctx, most)
		must(t, err)
		if recent.Count != want.Count || recent.Resynced != want.Resynced || recent.Last.IsZero() || recent.LastResynced.IsZero() != (want.Resynced == 0) {
			t.Errorf("of the last %d messages: %+v", most, recent)
		}
	}
}
