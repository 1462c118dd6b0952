package opennebula_test

import (
	"fmt"
	"reflect"
	"testing"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/policy"
	"github.com/flowjet/flowjet/internal/poll"
)

// TestSamplesComeFromTheFirstPlace: the user template, monitoring, the template,
// the VM. What a user writes into a template cannot pass for another VM.
func TestSamplesComeFromTheFirstPlace(t *testing.T) {
	oned, client := simulated(t)
	alice, server := client.For("alice"), client.Server()
	var ids []int
	for i := range 3 {
		extra := fmt.Sprintf(`LOAD="%d" NOTE="<VM><ID>0</ID><STATE>3</STATE><USER_TEMPLATE><LOAD>99</LOAD></USER_TEMPLATE></VM>"`, i)
		id, err := alice.InstantiateTemplate(t.Context(), 0, fmt.Sprintf("vm%d", i), i == 2, extra)
		must(t, err)
		ids = append(ids, id)
	}
	poll.Until(t, "two VMs to run", func() bool {
		first, _ := server.VM(t.Context(), ids[0])
		second, _ := server.VM(t.Context(), ids[1])
		return first.Running() && second.Running()
	})
	must(t, oned.SetMonitoring(ids[0], map[string]string{"CPU": "85.5", "LOAD": "7"}))
	must(t, oned.SetMonitoring(ids[1], map[string]string{"CPU": "not a number", "GUEST": " 3 "}))
	names := []string{"LOAD", "CPU", "GUEST", "UID", "VMID", "NOTHING", "NIC"}
	vms := map[int]one.VM{}
	samples, err := server.Samples(t.Context(), [][]int{ids}, func(vm one.VM) []string {
		vms[vm.ID] = vm
		return names
	})
	must(t, err)
	for _, id := range ids[:2] {
		if vm, err := server.VM(t.Context(), id); err != nil || vms[id].Owner.UID != vm.Owner.UID || vms[id].Service != vm.Service {
			t.Errorf("VM %d is said to be %+v, and is %+v (%v)", id, vms[id], vm, err)
		}
	}
	number := func(name string, id int) float64 {
		vm, err := server.VM(t.Context(), id)
		must(t, err)
		return map[string]float64{"UID": float64(vm.Owner.UID), "VMID": float64(id)}[name]
	}
	cpu := samples[ids[1]]["CPU"]
	want := map[int]policy.Sample{
		ids[0]: {"LOAD": 0, "CPU": 85.5, "UID": number("UID", ids[0]), "VMID": float64(ids[0])},
		ids[1]: {"LOAD": 1, "CPU": cpu, "GUEST": 3, "UID": number("UID", ids[1]), "VMID": float64(ids[1])},
	}
	if !reflect.DeepEqual(samples, want) || cpu <= 0 || cpu >= 80 {
		t.Errorf("the samples are %v, want %v with the template's CPU", samples, want)
	}
}
