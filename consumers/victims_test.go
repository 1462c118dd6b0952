package consumers_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/opennebula"
)

const threeOfARole = `{"name":"svc","state":0,"roles":[{"name":"a","type":"vm","cardinality":3,"template_id":0,"cooldown":0,"state":0}]}`

// protect writes the attribute into a VM's user template, as its owner does.
func (w *world) protect(vm int) {
	w.t.Helper()
	must(w.t, w.oned.Server().UpdateVM(w.t.Context(), vm, "FLOWJET_PROTECT=YES", true))
}

// TestProtectedVMsAreNotEndedByScaling: nobody is woken by the attribute, and it is seen all
// the same.
func TestProtectedVMsAreNotEndedByScaling(t *testing.T) {
	w := newWorld(t)
	w.startWorker("one", quick())
	w.hear()
	service := w.deployed(threeOfARole)
	vms := w.nodes(service)
	w.protect(vms[0])
	w.accepted(service, flow.VerbScale, flow.ScaleArguments{Role: "a", Cardinality: 2})
	poll.Until(t, "the oldest that is not protected to end", func() bool {
		return slices.Equal(w.nodes(service), []int{vms[0], vms[2]})
	})
	w.await(service, spec.ServiceRunning)
	w.protect(vms[2])
	reply := w.command(service, flow.VerbScale, flow.ScaleArguments{Role: "a", Cardinality: 1, Force: true})
	if reply.Refused != flow.RefusedState || !strings.Contains(reply.Message, "protected") {
		t.Errorf("the answer is %+v", reply)
	}
	w.exactly(service, 2)
}

// TestVMProtectedAtTheLastMomentIsKept: what a policy was measured for says nothing of
// protection.
func TestVMProtectedAtTheLastMomentIsKept(t *testing.T) {
	w := newWorld(t)
	w.startWorker("one", brisk())
	w.hear()
	service := w.deployed("%s", strings.Replace(threeOfARole, `"type"`,
		`"min_vms":0,"max_vms":5,"elasticity_policies":[{"type":"CHANGE","adjust":-1,"expression":"LOAD < 20"}],"type"`, 1))
	vms := w.nodes(service)
	w.protect(vms[0])
	w.protect(vms[1])
	w.load(service, map[string]string{"LOAD": "1"}) // which no VM has of itself
	poll.Until(t, "the scaling to end the one that is not protected", func() bool {
		return slices.Equal(w.nodes(service), vms[:2])
	})
	w.exactly(service, 2)
}

// TestServiceThatWasRefusedVMsGoesBack to what it has, and on.
func TestServiceThatWasRefusedVMsGoesBack(t *testing.T) {
	w := newWorld(t)
	w.startWorker("one", quick())
	w.hear()
	service := w.deployed(masterSlave, 1, 1)
	w.failing("one.template.instantiate", forever, opennebula.CodeAuthorization, "limit of 2 reached for quota on VMS")
	w.accepted(service, flow.VerbScale, flow.ScaleArguments{Role: "Slave", Cardinality: 3})
	w.await(service, spec.ServiceFailedScaling)
	w.accepted(service, flow.VerbScale, flow.ScaleArguments{Role: "Slave", Cardinality: 1})
	w.await(service, spec.ServiceRunning)
	w.exactly(service, 2)
	w.accepted(service, flow.VerbAddRole, flow.AddRoleArguments{Role: []byte(`{"name":"Extra","type":"vm","cardinality":1,"template_id":0}`)})
	w.await(service, spec.ServiceFailedDeploying)
	w.accepted(service, flow.VerbRemoveRole, flow.RemoveRoleArguments{Role: "Extra"})
	w.await(service, spec.ServiceRunning)
	w.exactly(service, 2)
}
