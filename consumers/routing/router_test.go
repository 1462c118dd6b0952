package routing

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/pipeline"
)

// TestRouterGathersTrouble: several VMs in trouble of one service are one wake-up,
// at the place of the first; other events stay what they are.
func TestRouterGathersTrouble(t *testing.T) {
	event := func(sequence uint64, vm, service int, state one.LCMState) heard {
		known := one.VM{ID: vm, Service: service, State: one.VMActive, LCMState: state}
		return heard{sequence: sequence, event: pipeline.Event{Object: "vm", ID: vm, State: known.State.String(), LCMState: state.String(), VM: &known, Heard: time.UnixMicro(7)}}
	}
	batch := []heard{
		event(10, 1, 3, one.LCMRunning), event(11, 2, 3, one.LCMUnknown), event(12, 5, 4, one.LCMUnknown),
		event(13, 3, 3, one.LCMUnknown), event(14, 1, 3, one.LCMUnknown), event(15, 6, -1, one.LCMUnknown), event(16, 2, 3, one.LCMRunning),
		event(17, 4, 3, one.LCMUnknown),
	}
	wakes, routed, err := (&Router{owners: &owners{}}).wakesOf(t.Context(), newestOfEach(batch))
	if err != nil || routed != 5 {
		t.Errorf("%d events were routed: %v", routed, err)
	}
	var got []string
	for _, wake := range wakes {
		got = append(got, fmt.Sprintf("%s service %d %v event %t", wake.MessageID, wake.Work.Service, vmsIn(wake.Work), wake.Work.Event != nil))
	}
	want := []string{"one-12-12-7 service 4 [5] event true", "one-13-17-7 service 3 [3 1 4] event false", "one-16-16-7 service 3 [2] event true"}
	if !slices.Equal(got, want) {
		t.Errorf("%q\nwant\n%q", got, want)
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

// TestVMWithoutItsServiceID: events of a VM whose user template was replaced wake the service that it was known to be of.
func TestVMWithoutItsServiceID(t *testing.T) {
	router := &Router{owners: &owners{known: map[int]int{7: 3}}}
	for vm, want := range map[int]int{7: 3, 8: -1} {
		event := pipeline.Event{Object: "vm", ID: vm, VM: &one.VM{ID: vm, Service: -1, State: one.VMDone}}
		if got, err := router.serviceOf(t.Context(), event); err != nil || got != want {
			t.Errorf("the event of VM %d wakes service %d (%v), not %d", vm, got, err, want)
		}
	}
}
