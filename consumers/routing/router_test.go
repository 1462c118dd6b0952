package routing

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/internal/natstest"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/work"
	"github.com/prometheus/client_golang/prometheus"
)

// TestRouterGathersTrouble: several VMs in trouble of one service are one wake-up,
// at the place of the first; other events stay what they are. One whose user template was
// replaced is among them.
func TestRouterGathersTrouble(t *testing.T) {
	event := func(sequence uint64, vm, service int, state one.LCMState) heard {
		known := one.VM{ID: vm, Service: service, State: one.VMActive, LCMState: state}
		return heard{sequence: sequence, event: pipeline.Event{Object: "vm", ID: vm, State: known.State.String(), LCMState: state.String(), VM: &known, Heard: time.UnixMicro(7)}}
	}
	batch := []heard{
		event(10, 1, 3, one.LCMRunning), event(11, 2, 3, one.LCMUnknown), event(12, 5, 4, one.LCMUnknown),
		event(13, 3, 3, one.LCMUnknown), event(14, 1, 3, one.LCMUnknown), event(15, 6, -1, one.LCMUnknown), event(16, 2, 3, one.LCMRunning),
		event(17, 4, 3, one.LCMUnknown), event(18, 7, -1, one.LCMUnknown),
	}
	wakes, routed, err := (&Router{owners: &owners{known: map[int]int{6: -1, 7: 3}}}).wakesOf(t.Context(), newestOfEach(batch))
	if err != nil || routed != 6 {
		t.Errorf("%d events were routed: %v", routed, err)
	}
	var got []string
	for _, wake := range wakes {
		got = append(got, fmt.Sprintf("%s service %d %v event %t", wake.MessageID, wake.Work.Service, vmsIn(wake.Work), wake.Work.Event != nil))
	}
	want := []string{"one-12-12-7 service 4 [5] event true", "one-13-18-7 service 3 [3 1 4 7] event false", "one-16-16-7 service 3 [2] event true"}
	if !slices.Equal(got, want) {
		t.Errorf("%q\nwant\n%q", got, want)
	}
}

// TestAPassingStateTakesNoOthersPlace: a VM that is powered off and starts again wakes its service, which would not know else where it
// gets stuck on its way.
func TestAPassingStateTakesNoOthersPlace(t *testing.T) {
	event := func(sequence uint64, state one.VMState, lcm one.LCMState) heard {
		return heard{sequence: sequence, event: pipeline.Event{Object: "vm", ID: 1, VM: &one.VM{ID: 1, Service: 3, State: state, LCMState: lcm}}}
	}
	batch := []heard{
		event(10, one.VMActive, one.LCMShutdownPoweroff), event(11, one.VMPoweroff, one.LCMInit), event(12, one.VMActive, one.LCMBootPoweroff),
	}
	wakes, _, err := (&Router{owners: &owners{}}).wakesOf(t.Context(), newestOfEach(batch))
	if err != nil || len(wakes) != 1 || wakes[0].Work.Event.VM.State != one.VMPoweroff {
		t.Errorf("%+v: %v", wakes, err)
	}
}

// TestAVMThatIsHeardOfWithItsTrouble: its first event names the service, and the trouble that follows in the same batch, after its user
// template was replaced, does not. FLOW_OWNERS does not know the VM yet.
func TestAVMThatIsHeardOfWithItsTrouble(t *testing.T) {
	pipe, err := pipeline.Open(t.Context(), pipeline.Config{URL: natstest.NewNode(t).URL(), Name: t.Name()})
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	event := func(sequence uint64, vm, service int, lcm one.LCMState) heard {
		return heard{sequence: sequence, event: pipeline.Event{Object: "vm", ID: vm, VM: &one.VM{ID: vm, Service: service, State: one.VMActive, LCMState: lcm}}}
	}
	router := &Router{
		Pipe: Clients{Pipeline: pipe, Objects: work.NewObjects(pipe), Queue: work.NewQueue(pipe)}, order: &work.WakeOrder{},
		owners: &owners{known: map[int]int{}, notes: make(chan ownerNote, maxNotes)}, Routed: prometheus.NewCounter(prometheus.CounterOpts{}),
	}
	if err := router.passAll(t.Context(), []heard{event(10, 1, 3, one.LCMRunning), event(11, 1, -1, one.LCMUnknown)}); err != nil {
		t.Fatal(err)
	}
	waiting, err := pipe.JetStream().Stream(t.Context(), pipeline.StreamWork)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := waiting.Info(t.Context()); err != nil || info.State.Msgs != 1 {
		t.Errorf("%d wake-ups wait for the service: %v", info.State.Msgs, err)
	}
}

// vmsIn are the VMs that work tells of.
func vmsIn(work pipeline.Work) []int {
	if work.Event != nil {
		return []int{work.Event.ID}
	}
	var vms []int
	for _, told := range work.Trouble {
		vms = append(vms, told.VM)
	}
	return vms
}

// Events that are numbered as others were before their stream was damaged are others.
func TestNumbersThatAreUsedAgain(t *testing.T) {
	before, after := heard{sequence: 5}, heard{sequence: 5, event: pipeline.Event{Heard: time.Now()}}
	if messageID(before, 5) == messageID(after, 5) {
		t.Error("NATS takes one for a repetition of the other")
	}
}

// TestVMWithoutItsServiceID: the end of a VM whose user template was replaced wakes the service that it is known to be
// of, by the router or in FLOW_OWNERS only, and is forgotten there.
func TestVMWithoutItsServiceID(t *testing.T) {
	pipe, err := pipeline.Open(t.Context(), pipeline.Config{URL: natstest.NewNode(t).URL(), Name: t.Name()})
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	router := &Router{Pipe: Clients{Pipeline: pipe, Objects: work.NewObjects(pipe)}}
	router.owners = &owners{known: map[int]int{7: 3}, notes: make(chan ownerNote, maxNotes)}
	if err := router.Pipe.PutOwners(t.Context(), work.Owner{Kind: work.OwnedVM, ID: 9, Service: 4}); err != nil {
		t.Fatal(err)
	}
	for vm, want := range map[int]int{7: 3, 8: -1, 9: 4} {
		ended := pipeline.Event{Object: "vm", ID: vm, VM: &one.VM{ID: vm, Service: -1, State: one.VMDone}}
		if got, err := router.serviceOf(t.Context(), ended); err != nil || got != want {
			t.Errorf("the event of VM %d wakes service %d (%v), not %d", vm, got, err, want)
		}
		router.owners.forget([]heard{{event: ended}})
	}
	if len(router.owners.known) != 0 || len(router.owners.notes) != 2 {
		t.Errorf("%v is still known, and %d are forgotten", router.owners.known, len(router.owners.notes))
	}
}
