package consumers_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/kolo/xmlrpc"

	"github.com/flowjet/flowjet/consumers"
	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/spec"
)

// asAdmin makes a call to oned as its administrator.
func (w *world) asAdmin(method string, arguments ...any) {
	w.t.Helper()
	client, err := xmlrpc.NewClient(w.sim.Endpoint(), nil)
	must(w.t, err)
	defer client.Close()
	var result []any
	must(w.t, client.Call(method, append([]any{"oneadmin:opennebula"}, arguments...), &result))
	if len(result) == 0 || result[0] != true {
		w.t.Fatalf("%s: %v", method, result)
	}
}

// doubting starts a worker that asks for a service's owner at each call.
func (w *world) doubting() {
	w.t.Helper()
	w.start(consumers.Config{ID: "one", Settings: quick(), AwaitDocument: 2 * time.Second, TrustOwner: time.Nanosecond})
	w.hear()
}

// TestAServiceWhoseOwnerWasDeleted: the log says what mends that, and given to another user the service comes to its end.
func TestAServiceWhoseOwnerWasDeleted(t *testing.T) {
	w := newWorld(t)
	w.startWorker("one", quick())
	w.hear()
	service := w.deployed(masterSlave, 1, 1)
	w.asAdmin("one.user.delete", 2)
	w.accepted(service, flow.VerbUndeploy, nil)
	w.await(service, spec.ServiceFailedUndeploying)
	w.expectOwnerGone(service)
	w.endAsAnother(service)
}

// TestAServiceWhoseOwnersNameAnotherHas: oned knows the user for whom a server user acts by the name alone.
func TestAServiceWhoseOwnersNameAnotherHas(t *testing.T) {
	w := newWorld(t)
	w.doubting()
	service := w.deployed(masterSlave, 1, 1)
	w.asAdmin("one.user.delete", 2)
	w.asAdmin("one.user.allocate", "alice", "another", "core")
	w.accepted(service, flow.VerbScale, flow.ScaleArguments{Role: "Slave", Cardinality: 2})
	w.await(service, spec.ServiceFailedScaling)
	w.expectOwnerGone(service)
	if all := w.sim.VMs(); len(all) != 2 {
		t.Errorf("there are %d VMs: some were made as the other alice", len(all))
	}
	w.accepted(service, flow.VerbUndeploy, nil)
	w.await(service, spec.ServiceFailedUndeploying)
	w.expectOwnerGone(service)
	w.endAsAnother(service)
}

// TestARefusedCallAsksForItsOwnerOnce: who was just looked up for the call need not be asked for to explain its refusal.
func TestARefusedCallAsksForItsOwnerOnce(t *testing.T) {
	w := newWorld(t)
	w.doubting()
	service := w.service(`{"name":"svc","state":0,"roles":[{"name":"a","type":"vm","cardinality":1,"template_id":99,"state":0}]}`)
	w.sim.ClearCalls()
	w.command(service, flow.VerbDeploy, nil)
	w.await(service, spec.ServiceFailedDeploying)
	if asked := w.sim.CallCounts()["one.user.info"]; asked != 1 {
		t.Errorf("oned was asked %d times for the owner", asked)
	}
}

// TestACommandThatHasWaitedForLong: its user may have lost the right to manage the service since it was queued.
func TestACommandThatHasWaitedForLong(t *testing.T) {
	w := newWorld(t)
	w.start(consumers.Config{ID: "one", Settings: quick(), AwaitDocument: 2 * time.Second, TrustOwner: time.Nanosecond, RecheckAfter: time.Nanosecond})
	w.hear()
	service := w.deployed(masterSlave, 1, 1)
	scale := func(cardinality int, want string) {
		t.Helper()
		reply := w.command(service, flow.VerbScale, flow.ScaleArguments{Role: "Slave", Cardinality: cardinality})
		if want == "" && reply.Refused == "" {
			w.await(service, spec.ServiceRunning)
			return
		}
		if reply.Refused != flow.RefusedState || !strings.Contains(reply.Message, "its user may not manage service") || !strings.Contains(reply.Message, want) {
			t.Errorf("the answer is %+v, want %q", reply, want)
		}
	}
	scale(2, "")
	w.asAdmin("one.document.chown", service, 0, 0)
	scale(1, "Not authorized to perform MANAGE DOCUMENT")
	w.asAdmin("one.document.chown", service, 2, 1)
	scale(1, "")
	w.asAdmin("one.user.delete", 2)
	scale(2, "user alice does not exist any more")
}

func (w *world) expectOwnerGone(service int) {
	w.t.Helper()
	want := fmt.Sprintf("the service's owner alice (user 2) does not exist any more: `oneflow chown %d USER` gives it to another, then `oneflow recover %d`", service, service)
	if log := w.logged(service); !strings.Contains(log, want) || strings.Contains(log, want+";") {
		w.t.Errorf("the log is %q", log)
	}
	record, _, err := w.pipe.LoadRecord(w.t.Context(), service)
	must(w.t, err)
	if next := flow.Explain(record.State, nil, time.Now()).Next; len(next) != 1 || next[0] != want {
		w.t.Errorf("the advice is %q", next)
	}
}

// endAsAnother gives a service and its VMs to oneadmin, and recovers it: it comes to its end.
func (w *world) endAsAnother(service int) {
	w.t.Helper()
	vms := w.ids(service)
	must(w.t, w.oned.Server().ChownDocument(w.t.Context(), service, 0, 0))
	for _, vm := range vms {
		must(w.t, w.oned.Server().ChownVM(w.t.Context(), vm, 0, 0))
	}
	w.accepted(service, flow.VerbRecover, nil)
	w.gone(service)
}

// TestAnOwnerWhoLeavesAGroup: oned takes a server user's word for any group, so what only the group may use is not used any more, although
// the service stays in memory and in the group.
func TestAnOwnerWhoLeavesAGroup(t *testing.T) {
	w := newWorld(t)
	w.doubting()
	w.asAdmin("one.group.allocate", "devs")
	w.asAdmin("one.user.addgroup", 2, 100)
	service := w.deployed(masterSlave, 1, 1)
	must(t, w.oned.Server().ChownDocument(t.Context(), service, -1, 100))
	w.asAdmin("one.template.chmod", 0, -1, -1, -1, 1, -1, -1, 0, -1, -1)
	w.asAdmin("one.template.chown", 0, -1, 100)
	w.accepted(service, flow.VerbScale, flow.ScaleArguments{Role: "Slave", Cardinality: 2})
	w.await(service, spec.ServiceRunning)
	w.asAdmin("one.user.delgroup", 2, 100)
	w.accepted(service, flow.VerbScale, flow.ScaleArguments{Role: "Slave", Cardinality: 3})
	w.await(service, spec.ServiceFailedScaling)
	if log := w.logged(service); !strings.Contains(log, "Not authorized to perform USE TEMPLATE [0]") {
		t.Errorf("the log is %q", log)
	}
	w.asAdmin("one.user.addgroup", 2, 100)
	w.accepted(service, flow.VerbRecover, nil)
	w.await(service, spec.ServiceRunning)
	w.accepted(service, flow.VerbUndeploy, nil)
	w.gone(service)
}
