package routing

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/internal/natstest"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/feeds"
	"github.com/flowjet/flowjet/pipeline/work"
)

// TestWhenAVMCameToItsState: an event that was found by comparing comes minutes later, and must not begin its deadline anew.
func TestWhenAVMCameToItsState(t *testing.T) {
	leader := time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)
	at := func(minutes float64) time.Time { return leader.Add(time.Duration(minutes * float64(time.Minute))) }
	for what, test := range map[string]struct {
		event      pipeline.Event
		seen, want time.Time
	}{
		"heard":                                 {pipeline.Event{Heard: at(5)}, at(1), at(5)},
		"found right after a change of leader":  {pipeline.Event{Heard: at(0.5), Resync: true}, time.Time{}, leader.Add(-time.Second)},
		"found later, seen by nobody before":    {pipeline.Event{Heard: at(5), Resync: true}, time.Time{}, at(5)},
		"found later than the service saw it":   {pipeline.Event{Heard: at(5), Resync: true}, at(1), at(1)},
		"found before the service looked at it": {pipeline.Event{Heard: at(5), Resync: true}, at(7), at(5)},
	} {
		if got := EnteredAt(test.event, leader, test.seen); !got.Equal(test.want) {
			t.Errorf("%s: got %s, want %s", what, got, test.want)
		}
	}
}

// TestVMsLeftByALeaderWakeTheirServices: those that were up, and those of which it told that they run and did not store it, which a comparison
// finds. Of other new VMs the services wait anyway.
func TestVMsLeftByALeaderWakeTheirServices(t *testing.T) {
	pipe, err := pipeline.Open(t.Context(), pipeline.Config{URL: natstest.NewNode(t).URL(), Name: t.Name()})
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	lease, err := feeds.New(pipe).Acquire(t.Context(), "fe1", "bridge", 0)
	if err != nil {
		t.Fatal(err)
	}
	leads := time.Now()
	var events []feeds.Event
	for vm, state := range []one.LCMState{one.LCMBoot, one.LCMBootPoweroff, one.LCMBoot, one.LCMRunning, one.LCMBootPoweroff} {
		heard := leads.Add(-time.Second)
		if vm == 4 {
			heard = leads.Add(time.Second)
		}
		event := pipeline.Event{
			Version: pipeline.Version, Object: "vm", ID: vm, State: "ACTIVE", LCMState: state.String(), Resync: vm == 0, Heard: heard,
			VM: &one.VM{ID: vm, Service: 10 + vm, State: one.VMActive, LCMState: state},
		}
		events = append(events, feeds.Event{Subject: pipeline.VMSubject(0, vm, "ACTIVE", state.String()), MessageID: fmt.Sprint(vm), Event: event})
	}
	if err := lease.Publish(t.Context(), events); err != nil {
		t.Fatal(err)
	}
	queue := work.NewQueue(pipe)
	if err := (&Router{Pipe: Clients{Pipeline: pipe, Queue: queue}}).wakeLeftBehind(t.Context(), 4, leads); err != nil {
		t.Fatal(err)
	}
	waiting, err := pipe.JetStream().Stream(t.Context(), pipeline.StreamWork)
	if err != nil {
		t.Fatal(err)
	}
	info, err := waiting.Info(t.Context(), jetstream.WithSubjectFilter(">"))
	if err != nil {
		t.Fatal(err)
	}
	var woken []string
	for subject := range info.State.Subjects {
		woken = append(woken, subject[strings.LastIndex(subject, ".")+1:])
	}
	if slices.Sort(woken); !slices.Equal(woken, []string{"10", "11"}) {
		t.Errorf("the services %v are woken", woken)
	}
}
