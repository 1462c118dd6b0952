package consumers_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/pipeline"
)

// asOneFlow creates a VM for a service as OneFlow does, which notes it in the document only afterwards.
func (w *world) asOneFlow(service int, role, name string) int {
	w.t.Helper()
	vm, err := w.oned.For("alice").InstantiateTemplate(w.t.Context(), 0, name, false, fmt.Sprintf("SERVICE_ID=\"%d\"\nROLE_NAME=\"%s\"\n", service, role))
	must(w.t, err)
	return vm
}

// noteAsOneFlow adds VMs to a role and writes the document, in whose log it notes the state.
func (w *world) noteAsOneFlow(service int, state spec.ServiceState, cardinality int, vms ...int) {
	w.t.Helper()
	body, _ := w.body(service)
	body.Log = append(body.Log, spec.LogEntry{Timestamp: time.Now().Unix() + 1, Severity: "I", Message: "New state: " + state.String()})
	role := &body.Roles[0]
	for _, vm := range vms {
		role.Nodes = append(role.Nodes, spec.NewNode(w.vm(vm)))
	}
	body.State, role.State, role.Cardinality = &state, new(spec.RoleState(state)), cardinality
	must(w.t, w.oned.For("alice").UpdateDocument(w.t.Context(), service, encode(w.t, body)))
}

// driven returns a world whose worker drives a running service of masterSlave.
func driven(t *testing.T) (w *world, service int) {
	t.Helper()
	w = newWorld(t)
	w.startWorker("one", quick())
	w.hear()
	return w, w.deployed(masterSlave, 1, 1)
}

// leftAlone returns why a service is left alone.
func (w *world) leftAlone(service int) *flow.LeftAlone {
	w.t.Helper()
	record, _, err := w.pipe.LoadRecord(w.t.Context(), service)
	must(w.t, err)
	return record.State.LeftAlone
}

// TestAServiceThatOneFlowCreates: both run, and no VM is created twice. The events of OneFlow's VMs come before it notes them.
func TestAServiceThatOneFlowCreates(t *testing.T) {
	w := newWorld(t)
	w.startWorker("one", quick())
	w.hear()
	service := w.service(`{"name":"svc","state":11,"roles":[{"name":"a","type":"vm","cardinality":2,"template_id":0,"state":0}]}`)
	vms := []int{w.asOneFlow(service, "a", "a_0"), w.asOneFlow(service, "a", "a_1")}
	poll.Until(t, "the service to be met", func() bool { return w.leftAlone(service) != nil })
	w.noteAsOneFlow(service, spec.ServiceDeploying, 2, vms...)
	poll.Until(t, "that to be noticed", func() bool { return w.leftAlone(service).Until.IsZero() })
	w.accepted(service, flow.VerbRecover, nil)
	w.await(service, spec.ServiceRunning)
	if all := w.sim.VMs(); len(all) != 2 {
		t.Errorf("there are %d VMs, want OneFlow's two", len(all))
	}
	w.untouched(vms...)
	w.undeployed(service)
}

// TestAServiceThatOneFlowScales while a worker drives it is left alone until a user recovers it.
func TestAServiceThatOneFlowScales(t *testing.T) {
	w, service := driven(t)
	vm := w.asOneFlow(service, "Master", "Master_1")
	w.awaitRunning(vm)
	w.noteAsOneFlow(service, spec.ServiceScaling, 2, vm)
	must(t, w.oned.For("alice").ActOnVM(t.Context(), "poweroff", vm)) // its next event
	poll.Until(t, "that to be noticed", func() bool { return w.leftAlone(service) != nil })
	reply := w.command(service, flow.VerbScale, flow.ScaleArguments{Role: "Slave", Cardinality: 3})
	if reply.Refused != flow.RefusedState || !strings.Contains(reply.Message, fmt.Sprintf("has added VM %d", vm)) {
		t.Errorf("the answer is %+v", reply)
	}
	if body, _ := w.body(service); (spec.Service{Body: body}).State() != spec.ServiceScaling {
		t.Errorf("the service that OneFlow drives is changed: %s", encode(t, body))
	}
	w.accepted(service, flow.VerbRecover, nil)
	w.await(service, spec.ServiceWarning)
	if all := w.vms(service); len(all) != 3 {
		t.Errorf("there are %d VMs, want three", len(all))
	}
	w.undeployed(service)
}

// TestAServiceWhoseStateOneFlowChanges is left alone: the document is read before it is written.
func TestAServiceWhoseStateOneFlowChanges(t *testing.T) {
	w, service := driven(t)
	record, _, err := w.pipe.LoadRecord(t.Context(), service)
	must(t, err)
	poll.Until(t, "the document not to be trusted any more", func() bool { return time.Since(record.Written) > time.Second })
	w.noteAsOneFlow(service, spec.ServiceUndeploying, 1)
	must(t, w.oned.For("alice").ActOnVM(t.Context(), "poweroff", record.State.Service.RoleNodes("Master")[0]))
	poll.Until(t, "that to be noticed", func() bool { return w.leftAlone(service) != nil })
	reply := w.command(service, flow.VerbUndeploy, nil)
	if reply.Refused != flow.RefusedState || !strings.Contains(reply.Message, `has logged "New state: UNDEPLOYING"`) {
		t.Errorf("the answer is %+v", reply)
	}
	if body, _ := w.body(service); (spec.Service{Body: body}).State() != spec.ServiceUndeploying {
		t.Errorf("the service that OneFlow drives is changed: %s", encode(t, body))
	}
	w.accepted(service, flow.VerbRecover, flow.RecoverArguments{Delete: true})
	w.gone(service)
}

// TestAServiceThatOneFlowContinues as the server user, which notes its VMs only when all are created, is left alone.
func TestAServiceThatOneFlowContinues(t *testing.T) {
	w, service := driven(t)
	vm, err := w.oned.For("serveradmin").InstantiateTemplate(t.Context(), 0, "Master_1", true, fmt.Sprintf("SERVICE_ID=\"%d\"\nROLE_NAME=\"Master\"\n", service))
	must(t, err)
	poll.Until(t, "that to be noticed", func() bool { return w.leftAlone(service) != nil })
	if left := w.leftAlone(service); !slices.Equal(left.VMs, []int{vm}) {
		t.Errorf("it is left alone because of %v, want VM %d", left.VMs, vm)
	}
}

// TestAVMThatOneFlowDrops from the document, which it read before the VM was created, is not forgotten.
func TestAVMThatOneFlowDrops(t *testing.T) {
	w, service := driven(t)
	older, _ := w.body(service)
	w.accepted(service, flow.VerbScale, flow.ScaleArguments{Role: "Slave", Cardinality: 2})
	w.await(service, spec.ServiceRunning)
	must(t, w.oned.For("alice").UpdateDocument(t.Context(), service, encode(t, older)))
	w.noteAsOneFlow(service, spec.ServiceRunning, 1)
	must(t, w.pipe.PublishWakes(t.Context(), []pipeline.Wake{{Work: pipeline.Work{Service: service, Reason: "test"}}}, nil))
	poll.Until(t, "that to be noticed", func() bool { return w.leftAlone(service) != nil })
	w.accepted(service, flow.VerbRecover, nil)
	w.exactly(service, 3)
	w.undeployed(service)
}

// TestWhoEditsADocumentDrivesNoService: a user who edits a document at oned, or writes an older one again, changes no log.
func TestWhoEditsADocumentDrivesNoService(t *testing.T) {
	w, service := driven(t)
	older, _ := w.body(service)
	w.accepted(service, flow.VerbScale, flow.ScaleArguments{Role: "Slave", Cardinality: 2})
	w.await(service, spec.ServiceRunning)
	for name, body := range map[string]spec.Body{"older": older, "edited": older} {
		body.Description, body.Name = &name, name
		must(t, w.oned.For("alice").UpdateDocument(t.Context(), service, encode(t, body)))
		w.accepted(service, flow.VerbUpdate, flow.UpdateArguments{Append: true, Template: []byte(`{"shutdown_action":"terminate"}`)})
		if found, _ := w.body(service); *found.Description != name || w.leftAlone(service) != nil {
			t.Errorf("the document that a user edited is %s, and left alone: %+v", encode(t, found), w.leftAlone(service))
		}
	}
}

// TestAServiceThatIsTakenOver goes on at once: OneFlow was found stopped.
func TestAServiceThatIsTakenOver(t *testing.T) {
	w := newWorld(t)
	settings := quick()
	settings.CheckInterval = time.Hour
	w.startWorker("one", settings)
	w.hear()
	service := w.service(`{"name":"svc","state":11,"roles":[{"name":"a","type":"vm","cardinality":1,"template_id":0,"state":0}]}`)
	must(t, w.pipe.PublishWakes(t.Context(), []pipeline.Wake{{Work: pipeline.Work{Service: service, Taken: true}}}, nil))
	w.await(service, spec.ServiceRunning)
}
