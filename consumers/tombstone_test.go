package consumers_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/pipeline"
)

var aliceIdentity = one.Identity{UID: 2, UName: "alice"}

// replaceRecord puts another record in the place of a service's.
func (w *world) replaceRecord(service int, record pipeline.Record) {
	w.t.Helper()
	_, revision, err := w.pipe.LoadRecord(w.t.Context(), service)
	must(w.t, err)
	_, err = w.pipe.SaveRecord(w.t.Context(), service, record, revision)
	must(w.t, err)
}

func tombstone(service int) pipeline.Record {
	return pipeline.Record{
		Deleted: true, Ended: time.Now().Add(time.Hour),
		State: flow.State{Service: spec.Service{ID: service, Owner: aliceIdentity}}, Outbox: pipeline.Outbox{First: 9},
	}
}

// oned gives out an id again after it was restored: what NATS holds of the service that had
// it before does not matter to the new one.
func TestRecordsOfAnotherTime(t *testing.T) {
	for name, old := range map[string]func(service int) pipeline.Record{
		"a tombstone": tombstone,
		"a running service": func(service int) pipeline.Record {
			running, role := spec.ServiceRunning, spec.RoleRunning
			body := spec.Body{Name: "old", State: &running, StartTime: 1000, Roles: []spec.Role{
				{Name: "Old", Type: spec.RoleTypeVM, Cardinality: 2, State: &role, Nodes: []spec.Node{spec.NewNode(one.VM{ID: 4711})}},
			}}
			return pipeline.Record{State: flow.State{
				Service:   spec.Service{ID: service, Owner: one.Identity{UID: 3, UName: "bob"}, Body: body},
				Intents:   []flow.Intent{{Key: "old", Role: "Old", Attempts: 1, Name: "old"}},
				Deadlines: map[string]time.Time{"look": time.Now()},
			}}
		},
		"a service that ends": func(service int) pipeline.Record {
			ending := spec.ServiceUndeploying
			return pipeline.Record{State: flow.State{Service: spec.Service{
				ID: service, Owner: aliceIdentity, Body: spec.Body{Name: "old", State: &ending, StartTime: 1000, Roles: []spec.Role{}},
			}}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			before := w.service(`{"name":"before","state":0,"roles":[]}`)
			_, err := w.pipe.SaveRecord(t.Context(), before+1, old(before+1), 0)
			must(t, err)
			w.startWorker("w", quick())
			w.hear()
			service := w.service(`{"name":"new","deployment":"none","state":0,"start_time":%d,"roles":[
				{"name":"Master","type":"vm","cardinality":2,"template_id":0,"state":0}]}`, time.Now().Unix())
			if service != before+1 {
				t.Fatalf("the new service has the id %d, not %d", service, before+1)
			}
			w.accepted(service, flow.VerbDeploy, nil)
			w.await(service, spec.ServiceRunning)
			w.exactly(service, 2)
			w.accepted(service, flow.VerbUndeploy, nil)
			w.gone(service)
		})
	}
}

// No VM of a service that lives is ended because NATS holds a tombstone of its id, whatever
// wakes the service.
func TestATombstoneOfALivingService(t *testing.T) {
	for name, wake := range map[string]func(*world, int, one.VM){
		"an event": func(w *world, service int, vm one.VM) {
			_, err := w.pipe.PublishWork(w.t.Context(), pipeline.Work{Service: service, Event: &pipeline.Event{
				Object: "vm", ID: vm.ID, State: "ACTIVE", LCMState: "RUNNING", VM: &vm,
			}}, "")
			must(w.t, err)
		},
		"trouble": func(w *world, service int, vm one.VM) {
			_, err := w.pipe.PublishWork(w.t.Context(), pipeline.Work{Service: service, Trouble: []pipeline.Trouble{
				{VM: vm.ID, State: one.VMPoweroff}, {VM: vm.ID, State: one.VMActive, LCMState: one.LCMRunning},
			}}, "")
			must(w.t, err)
		},
		"a bare wake-up": func(w *world, service int, _ one.VM) {
			_, err := w.pipe.PublishWork(w.t.Context(), pipeline.Work{Service: service, Reason: "test"}, "")
			must(w.t, err)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			stop := w.startWorker("first", quick())
			w.hear()
			service := w.deployed(masterSlave, 1, 1)
			stop()
			w.replaceRecord(service, tombstone(service))
			w.startWorker("second", quick())
			wake(w, service, w.vms(service)[0])
			w.accepted(service, flow.VerbScale, flow.ScaleArguments{Role: "Slave", Cardinality: 2})
			w.await(service, spec.ServiceRunning)
			w.exactly(service, 3)
		})
	}
}

// Of the VMs that name a service that has ended, only the owner's that were made for it
// before its end are ended.
func TestOnlyOrphansOfAnEndedServiceAreEnded(t *testing.T) {
	w := newWorld(t)
	w.startWorker("w", quick())
	w.hear()
	service := w.deployed(masterSlave, 1, 1)
	key := w.vms(service)[0].Key
	w.accepted(service, flow.VerbUndeploy, nil)
	w.gone(service)
	strangers := map[string]int{}
	for name, test := range map[string]struct{ user, key string }{
		"a made-up key":            {"alice", "made-up"},
		"a key of another service": {"alice", "99-Master-0-zzzzzzzz"},
		"a key from after the end": {"alice", fmt.Sprintf("%d-Master-0-zzzzzzzzzzz", service)},
		"the key, of another's VM": {"oneadmin", key},
		"no key":                   {"alice", ""},
	} {
		strangers[name] = w.forge(test.user, service, "Master", test.key)
	}
	orphan := w.forge("alice", service, "Master", key)
	w.settle(service, orphan)
	for name, vm := range strangers {
		found, err := w.oned.Server().VM(t.Context(), vm)
		must(t, err)
		if found.Ending() || found.Gone() {
			t.Errorf("%s: VM %d was ended", name, vm)
		}
	}
}

// forge makes a VM as a user that says of itself that it belongs to a service, and waits
// until it runs.
func (w *world) forge(user string, service int, role, key string) int {
	w.t.Helper()
	extra := fmt.Sprintf("SERVICE_ID=\"%d\"\nROLE_NAME=\"%s\"\nFLOWJET_KEY=\"%s\"\nREADY=\"YES\"\n", service, role, key)
	vm, err := w.oned.For(user).InstantiateTemplate(w.t.Context(), 0, "forged", false, extra)
	must(w.t, err)
	return vm
}

// settle waits until a VM has ended, and then until the workers have worked off what the
// events about it led to.
func (w *world) settle(service, vm int) {
	w.t.Helper()
	poll.Until(w.t, fmt.Sprintf("VM %d to have ended", vm), func() bool {
		found, err := w.oned.Server().VM(w.t.Context(), vm)
		return err == nil && found.Gone()
	})
	_ = w.command(service, flow.VerbRecover, nil)
}
