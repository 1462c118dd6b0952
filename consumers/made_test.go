package consumers_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/pipeline"
)

// nameless are settings under which a VM's name does not tell its service.
func nameless() flow.Settings {
	settings := quick()
	settings.VMNameTemplate = "$ROLE_NAME-$VM_NUMBER"
	return settings
}

// strip replaces a VM's user template as its owner does with `onevm update`.
func (w *world) strip(vm int) {
	w.t.Helper()
	must(w.t, w.oned.For("alice").UpdateVM(w.t.Context(), vm, "NOTE=mine", false))
}

// made are the VMs that the service's record has as its own.
func (w *world) made(service int) spec.VMs {
	w.t.Helper()
	record, _, err := w.pipe.LoadRecord(w.t.Context(), service)
	must(w.t, err)
	return record.State.Service.Made
}

// keepsTrack reports whether the record has these VMs and no others.
func (w *world) keepsTrack(service int, vms []int) bool {
	w.t.Helper()
	return slices.Equal(w.made(service), spec.VMsOf(slices.Clone(vms)))
}

// threeNameless is a service with three VMs, which the worker "one" has made.
func (w *world) threeNameless() (stop func(), service int, vms []int) {
	w.t.Helper()
	stop = w.startWorker("one", nameless())
	w.hear()
	service = w.deployed(threeOfARole)
	return stop, service, w.nodes(service)
}

func (w *world) awaitGone(vms ...int) {
	w.t.Helper()
	for _, id := range vms {
		poll.Until(w.t, fmt.Sprintf("VM %d to end", id), func() bool { return w.vm(id).Gone() })
	}
}

// TestAVMThatTellsNothingStaysInItsService: neither its user template nor its name says whose the VM is, and another
// worker than the one that has made it sees its trouble, scales it away and ends it.
func TestAVMThatTellsNothingStaysInItsService(t *testing.T) {
	w := newWorld(t)
	stop, service, vms := w.threeNameless()
	if !w.keepsTrack(service, vms) {
		t.Errorf("the record has the VMs %v, not %v", w.made(service), vms)
	}
	w.strip(vms[2])
	stop()
	w.startWorker("two", nameless())
	must(t, w.oned.For("alice").ActOnVM(t.Context(), "poweroff-hard", vms[2]))
	w.await(service, spec.ServiceWarning)
	w.accepted(service, flow.VerbScale, flow.ScaleArguments{Role: "a", Cardinality: 2})
	w.awaitGone(vms[2])
	w.await(service, spec.ServiceRunning)
	if !w.keepsTrack(service, vms[:2]) {
		t.Errorf("the record has the VMs %v, not %v", w.made(service), vms[:2])
	}
	w.strip(vms[0])
	w.undeployed(service)
	w.awaitGone(vms...)
}

// TestARecordOfBeforeIsCompleted: a version that did not note the service's VMs has written the record.
func TestARecordOfBeforeIsCompleted(t *testing.T) {
	w := newWorld(t)
	stop, service, vms := w.threeNameless()
	stop()
	record, _, err := w.pipe.LoadRecord(t.Context(), service)
	must(t, err)
	record.State.Service.Made = nil
	w.replaceRecord(service, record)
	w.startWorker("two", nameless())
	_, err = w.pipe.PublishWork(t.Context(), pipeline.Work{Service: service, Reason: "a test"}, "")
	must(t, err)
	poll.Until(t, "the record to have the VMs", func() bool { return w.keepsTrack(service, vms) })
	w.strip(vms[1])
	w.undeployed(service)
	w.awaitGone(vms...)
}

// TestWithoutItsRecordNothingIsBelieved: whoever writes a document, the VMs that it names are the service's only by what oned says
// of them. A VM that was its own, too, is left alone, since nobody can tell it from one that was written into the document.
func TestWithoutItsRecordNothingIsBelieved(t *testing.T) {
	w := newWorld(t)
	stop, service, vms := w.threeNameless()
	private, err := w.oned.For("alice").InstantiateTemplate(t.Context(), 0, "private", false, "")
	must(t, err)
	w.awaitRunning(private)
	body, _ := w.body(service)
	body.Roles[0].Nodes = append(body.Roles[0].Nodes, spec.NewNode(one.VM{ID: private, Name: "x"}))
	must(t, w.oned.For("alice").UpdateDocument(t.Context(), service, encode(t, body)))
	w.accepted(service, flow.VerbScale, flow.ScaleArguments{Role: "a", Cardinality: 5})
	w.await(service, spec.ServiceRunning)
	if w.made(service).Has(private) {
		t.Errorf("the record has a VM that the document names only: %v", w.made(service))
	}
	w.strip(vms[0])
	stop()
	stream, err := w.pipe.JetStream().Stream(t.Context(), pipeline.StreamOf(pipeline.BucketState))
	must(t, err)
	must(t, stream.Purge(t.Context()))
	w.startWorker("two", nameless())
	w.undeployed(service)
	w.awaitGone(vms[1:]...)
	w.untouched(vms[0], private)
}
