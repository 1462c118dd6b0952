package consumers_test

import (
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/sim"
)

// TestServiceLivesFromDeployToUndeploy on events alone: a step that waited for the
// next look would wait for an hour.
func TestServiceLivesFromDeployToUndeploy(t *testing.T) {
	w := newWorld(t)
	settings := quick()
	settings.CheckInterval = time.Hour
	w.startWorker("one", settings)
	w.hear()
	service := w.deployed(masterSlave, 1, 2)
	w.exactly(service, 3)

	w.accepted(service, flow.VerbScale, flow.ScaleArguments{Role: "Slave", Cardinality: 4})
	w.await(service, spec.ServiceRunning)
	w.exactly(service, 5)
	w.accepted(service, flow.VerbScale, flow.ScaleArguments{Role: "Slave", Cardinality: 1})
	w.await(service, spec.ServiceRunning)
	w.exactly(service, 2)

	vm := w.vms(service)[0].ID
	must(t, w.sim.PoweroffVM(vm))
	w.await(service, spec.ServiceWarning)
	must(t, w.sim.ResumeVM(vm))
	w.await(service, spec.ServiceRunning)

	w.accepted(service, flow.VerbUndeploy, nil)
	w.gone(service)
}

func TestRefusalsChangeNothing(t *testing.T) {
	w := newWorld(t)
	w.startWorker("one", quick())
	w.hear()
	service := w.deployed(masterSlave, 1, 1)
	for name, c := range map[string]struct {
		verb      flow.Verb
		arguments any
		kind      flow.RefusalKind
	}{
		"recover in RUNNING":   {flow.VerbRecover, flow.RecoverArguments{}, flow.RefusedState},
		"scale unknown role":   {flow.VerbScale, flow.ScaleArguments{Role: "zz", Cardinality: 2}, flow.RefusedMissing},
		"scale to the same":    {flow.VerbScale, flow.ScaleArguments{Role: "Master", Cardinality: 1}, flow.RefusedState},
		"scale below nothing":  {flow.VerbScale, flow.ScaleArguments{Role: "Master", Cardinality: -1}, flow.RefusedInput},
		"an unknown verb":      {"dance", nil, flow.RefusedInput},
		"arguments of no form": {flow.VerbScale, []int{1}, flow.RefusedInput},
	} {
		if reply := w.command(service, c.verb, c.arguments); reply.Refused != c.kind || reply.Message == "" {
			t.Errorf("%s: refused %q (%s), want %q", name, reply.Refused, reply.Message, c.kind)
		}
	}
	if reply := w.command(4711, flow.VerbUndeploy, nil); reply.Refused != flow.RefusedMissing {
		t.Errorf("a service that does not exist: refused %q, want %q", reply.Refused, flow.RefusedMissing)
	}
	w.await(service, spec.ServiceRunning)
	w.exactly(service, 2)
}

func TestFailureIsToldAndRecovered(t *testing.T) {
	w := newWorld(t)
	w.startWorker("one", quick())
	w.hear()
	w.sim.FailBoots(1)
	service := w.service(masterSlave, 2, 1)
	w.command(service, flow.VerbDeploy, nil)
	w.await(service, spec.ServiceFailedDeploying)
	if reply := w.command(service, flow.VerbAddRole, flow.AddRoleArguments{Role: []byte(`{"name":"n","type":"vm","template_id":0}`)}); reply.Refused != flow.RefusedState {
		t.Errorf("adding a role to a failed service: refused %q, want %q", reply.Refused, flow.RefusedState)
	}
	w.accepted(service, flow.VerbRecover, flow.RecoverArguments{})
	w.await(service, spec.ServiceRunning)
	w.exactly(service, 3)
	w.sim.FailBoots(1)
	failed := w.service(masterSlave, 2, 1)
	w.command(failed, flow.VerbDeploy, nil)
	w.await(failed, spec.ServiceFailedDeploying)
	w.accepted(failed, flow.VerbUndeploy, nil)
	w.gone(failed)
}

func TestRefusedCreationFailsTheRole(t *testing.T) {
	w := newWorld(t)
	w.startWorker("one", quick())
	w.hear()
	service := w.service(`{"name":"x","deployment":"none","state":0,"roles":[{"name":"a","type":"vm","cardinality":2,"template_id":777,"state":0}]}`)
	w.command(service, flow.VerbDeploy, nil)
	w.await(service, spec.ServiceFailedDeploying)
	body, _ := w.body(service)
	last := body.Log[len(body.Log)-2]
	if last.Severity != "E" {
		t.Errorf("the log does not say why: %+v", body.Log)
	}
	w.accepted(service, flow.VerbRecover, flow.RecoverArguments{Delete: true})
	poll.Until(t, "the document to be gone", func() bool { _, exists := w.body(service); return !exists })
}

// TestANewOwnerIsActedFor: after chown the service goes on as its new owner's.
func TestANewOwnerIsActedFor(t *testing.T) {
	w := newWorld(t)
	w.startWorker("one", quick())
	w.hear()
	service := w.deployed(masterSlave, 1, 1)
	must(t, w.oned.Server().ChownDocument(t.Context(), service, 0, 0))
	for _, vm := range w.vms(service) {
		must(t, w.oned.Server().ChownVM(t.Context(), vm.ID, 0, 0))
	}
	_, err := w.pipe.PublishWork(t.Context(), pipeline.Work{Service: service, Reason: "its owner was changed"}, "")
	must(t, err)
	w.accepted(service, flow.VerbScale, flow.ScaleArguments{Role: "Slave", Cardinality: 2})
	w.await(service, spec.ServiceRunning)
	body, _ := w.body(service)
	for _, role := range body.Roles {
		for _, node := range role.Nodes {
			if node.VMInfo.VM.UName != "oneadmin" {
				t.Errorf("VM %d of role %s is shown as %s's", node.DeployID, role.Name, node.VMInfo.VM.UName)
			}
		}
	}
	for _, vm := range w.vms(service) {
		if vm.Owner.UName != "oneadmin" {
			t.Errorf("VM %d is %s's, not the new owner's", vm.ID, vm.Owner.UName)
		}
	}
}

// TestOperatorsSeeTheNewNameOfAService: its document has it, and the body keeps the former one.
func TestOperatorsSeeTheNewNameOfAService(t *testing.T) {
	w := newWorld(t)
	w.startWorker("one", quick())
	w.hear()
	service := w.deployed(masterSlave, 1, 1)
	for _, name := range []string{"shop", "svc"} { // and back
		must(t, w.oned.Server().RenameDocument(t.Context(), service, name))
		_, err := w.pipe.PublishWork(t.Context(), pipeline.Work{Service: service, Reason: "requested by an operator"}, "")
		must(t, err)
		poll.Until(t, "the name "+name, func() bool {
			record, _, err := w.pipe.LoadRecord(t.Context(), service)
			must(t, err)
			return record.State.Service.Name() == name
		})
	}
}

// TestDocumentsAreWrittenAtRestAndInTime: a service that deploys costs a write when it rests,
// and one for each second before; nobody reads its document.
func TestDocumentsAreWrittenAtRestAndInTime(t *testing.T) {
	w := newWorld(t)
	w.hear()
	w.startWorker("one", quick())
	updates := func() int { return w.sim.CallCounts()["one.document.update"] }
	service := w.service(masterSlave, 1, 1)
	began, before := time.Now(), updates()
	w.accepted(service, flow.VerbDeploy, nil)
	w.await(service, spec.ServiceRunning)
	if made, most := updates()-before, 1+int(time.Since(began)/(850*time.Millisecond)); made > most {
		t.Errorf("%d writes on the way to RUNNING, want at most %d", made, most)
	}

	w.sim.PauseBoots()
	slow := w.service(masterSlave, 1, 1)
	w.accepted(slow, flow.VerbDeploy, nil)
	poll.Until(t, "the document of a service on its way to be written", func() bool {
		body, known := w.body(slow)
		return known && (spec.Service{Body: body}).State() == spec.ServiceDeploying && len(body.Roles[0].Nodes) == 1
	})
	w.sim.ResumeBoots()
	w.await(slow, spec.ServiceRunning)
}

// TestDocumentsAreWrittenInTimeWhileNoCursorCanBeSaved: each is in a stream of its own, which may have no leader for a while.
func TestDocumentsAreWrittenInTimeWhileNoCursorCanBeSaved(t *testing.T) {
	w := newWorld(t)
	stopHearing := w.hear()
	w.startWorker("one", patient())
	before := w.deployed(masterSlave, 1, 1)
	stopHearing() // no event has the document written
	slow := w.service(masterSlave, 1, 1)
	for pipeline.Partition(slow) != pipeline.Partition(before) {
		slow = w.service(masterSlave, 1, 1)
	}
	must(t, w.pipe.JetStream().DeleteStream(t.Context(), pipeline.StreamOf(pipeline.BucketCheckpoint)))
	w.accepted(before, flow.VerbUpdate, flow.UpdateArguments{Append: true, Template: []byte(`{"description":"d"}`)})
	time.Sleep(2 * pipeline.SaveCursorEvery) // by now the cursor is being saved
	began := time.Now()
	w.accepted(slow, flow.VerbDeploy, nil)
	poll.Until(t, "the document to say that the service deploys", func() bool {
		body, known := w.body(slow)
		return known && (spec.Service{Body: body}).State() == spec.ServiceDeploying
	})
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("the document was written after %s, want a second", took)
	}
}

// TestDocumentsAreNotWrittenForEachVM: of a service whose VMs take long, whose state others
// know, the document is written when it rests, and not at all where it is deleted.
func TestDocumentsAreNotWrittenForEachVM(t *testing.T) {
	w := newWorld(t)
	w.hear()
	w.sim.SetBootDelay(400 * time.Millisecond) // four steps
	w.startWorker("one", quick())
	updates := func() int { return w.sim.CallCounts()["one.document.update"] }
	service, before := w.service(masterSlave, 1, 1), updates()
	w.accepted(service, flow.VerbDeploy, nil)
	w.await(service, spec.ServiceRunning)
	if made := updates() - before; made > 2 {
		t.Errorf("%d writes on the way to RUNNING, want 2", made)
	}
	before = updates()
	w.undeployed(service)
	if made := updates() - before; made > 1 {
		t.Errorf("%d writes to the service's end, want 1", made)
	}
}

// TestStopWritesDocuments: whoever stops Flowjet to put OneFlow back finds what was decided.
func TestStopWritesDocuments(t *testing.T) {
	w := newWorld(t)
	w.hear()
	w.sim.PauseBoots()
	stop := w.startWorker("one", quick())
	service := w.service(masterSlave, 1, 1)
	w.accepted(service, flow.VerbDeploy, nil)
	poll.Until(t, "the VM to be known", func() bool {
		record, _, err := w.pipe.LoadRecord(t.Context(), service)
		return err == nil && len(record.State.Service.Body.Roles) > 0 && len(record.State.Service.Body.Roles[0].Nodes) == 1
	})
	stop()
	if body, _ := w.body(service); len(body.Roles[0].Nodes) != 1 {
		t.Errorf("the document says %+v after the stop, and a VM was made", body.Roles)
	}
}

// TestDeathBeforeTheDocumentIsWritten: the next worker finds it behind, and writes it.
func TestDeathBeforeTheDocumentIsWritten(t *testing.T) {
	w := newWorld(t)
	w.hear()
	w.sim.PauseBoots()
	must(t, w.sim.FailCall(sim.CallFailure{Method: "one.document.update", Nth: 1, Count: 1000, Code: opennebula.CodeInternal, Message: "[one.document.update] Error updating the document."}))
	stop := w.startWorker("one", quick())
	service := w.service(masterSlave, 1, 1)
	w.accepted(service, flow.VerbDeploy, nil)
	poll.Until(t, "the VM to be known", func() bool {
		record, _, err := w.pipe.LoadRecord(t.Context(), service)
		return err == nil && len(record.State.Service.Body.Roles) > 0 && len(record.State.Service.Body.Roles[0].Nodes) == 1
	})
	stop()
	w.sim.ClearFaults()
	w.startWorker("two", quick())
	poll.Until(t, "the document to be written", func() bool {
		body, known := w.body(service)
		return known && len(body.Roles[0].Nodes) == 1
	})
	w.sim.ResumeBoots()
	w.await(service, spec.ServiceRunning)
	w.exactly(service, 2)
}
