package consumers_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/feeds"
)

// tell publishes events of the zone, as a bridge would.
func (w *world) tell(events ...pipeline.Event) {
	w.t.Helper()
	lease, err := w.pipe.acquire(w.t.Context(), "told-"+nuid.Next(), "test")
	must(w.t, err)
	for _, event := range events {
		event.Heard = time.Now()
		subject := pipeline.ObjectSubject(0, event.Object, event.ID, event.State)
		if event.Object == "api" {
			subject = pipeline.CallSubject(0, event.Call, event.OK)
		}
		must(w.t, lease.Publish(w.t.Context(), []feeds.Event{{Subject: subject, MessageID: nuid.Next(), Event: event}}))
	}
}

func ready(vm int) pipeline.Event {
	yes := true
	return pipeline.Event{Object: "api", ID: vm, Call: "one.vm.update", OK: true, Ready: &yes}
}

func readyNetwork(id int) pipeline.Event {
	return pipeline.Event{Object: "net", ID: id, State: "READY"}
}

// routed counts the events of an object that have become work of a service.
func (w *world) routed(service int, object string, id int) int {
	w.t.Helper()
	stream, err := w.pipe.JetStream().Stream(w.t.Context(), pipeline.StreamWork)
	must(w.t, err)
	info, err := stream.Info(w.t.Context())
	must(w.t, err)
	count := 0
	for sequence := info.State.FirstSeq; sequence <= info.State.LastSeq; sequence++ {
		message, err := stream.GetMsg(w.t.Context(), sequence)
		if err != nil {
			continue // deleted, or a timer that has fired
		}
		var work pipeline.Work
		if json.Unmarshal(message.Data, &work) == nil && work.Service == service && work.Event != nil && work.Event.Object == object && work.Event.ID == id {
			count++
		}
	}
	return count
}

func (w *world) awaitRouted(service int, object string, id, count int) {
	w.t.Helper()
	poll.Until(w.t, fmt.Sprintf("%d events of %s %d to reach service %d", count, object, id, service), func() bool {
		return w.routed(service, object, id) >= count
	})
}

// purgeOwners loses the bucket's content, and returns how much that was.
func (w *world) purgeOwners() {
	w.t.Helper()
	stream, err := w.pipe.JetStream().Stream(w.t.Context(), pipeline.StreamOf(pipeline.BucketOwners))
	must(w.t, err)
	must(w.t, stream.Purge(w.t.Context()))
}

// Which VM and which network is whose is noted in a bucket. Without the notes a
// worker that starts anew still finds out, from oned: events reach the service.
func TestOwnersAreRebuiltFromOned(t *testing.T) {
	w := newWorld(t)
	stop := w.startWorker("one", quick())
	w.hear()
	service := w.deployed(netsService)
	vm, networks := w.vms(service)[0].ID, w.networks()
	w.awaitOwners(map[string][]int{"vm": {vm}, "net": {networks[0].ID, networks[1].ID}}, service)
	stop()
	w.purgeOwners()
	if owners, err := w.pipe.Owners(t.Context()); err != nil || len(owners) > 0 {
		t.Fatalf("the bucket was not purged: %v, %v", owners, err)
	}
	w.startWorker("two", quick())
	w.awaitOwners(map[string][]int{"vm": {vm}, "net": {networks[0].ID, networks[1].ID}}, service)
	w.tell(ready(vm), readyNetwork(networks[0].ID), readyNetwork(networks[1].ID))
	w.awaitRouted(service, "api", vm, 1)
	w.awaitRouted(service, "net", networks[0].ID, 1)
	w.awaitRouted(service, "net", networks[1].ID, 1)
	w.undeployed(service)
	poll.Until(t, "the notes to go with what they are about", func() bool {
		owners, err := w.pipe.Owners(t.Context())
		must(t, err)
		return len(owners["vm"]) == 0 && len(owners["net"]) == 0
	})
}

func (w *world) awaitOwners(want map[string][]int, service int) {
	w.t.Helper()
	poll.Until(w.t, fmt.Sprintf("%v to be noted as service %d's", want, service), func() bool {
		owners, err := w.pipe.Owners(w.t.Context())
		must(w.t, err)
		for kind, ids := range want {
			for _, id := range ids {
				if noted, known := owners[kind][id]; !known || noted != service {
					return false
				}
			}
		}
		return true
	})
}

// READY names a VM only. Of one that was made before anybody listened, and that
// no document names, oned is asked, once.
func TestReadyOfAVMThatNobodyKnows(t *testing.T) {
	w := newWorld(t)
	const service = 4711
	vm, err := w.oned.For("alice").InstantiateTemplate(t.Context(), 0, "web", false, fmt.Sprintf("SERVICE_ID=%d\nROLE_NAME=web\n", service))
	must(t, err)
	foreign, err := w.oned.For("alice").InstantiateTemplate(t.Context(), 0, "other", false, "")
	must(t, err)
	w.startWorker("one", quick())
	poll.Until(t, "the bucket to be read", func() bool { return w.sim.CallCounts()["one.documentpool.info"] > 0 })
	w.tell(ready(99_999), ready(foreign), ready(vm), ready(vm))
	w.awaitRouted(service, "api", vm, 2)
	w.awaitOwners(map[string][]int{"vm": {vm}}, service)
	if _, known, err := w.pipe.Owner(context.Background(), "vm", foreign); err != nil || known {
		t.Errorf("a VM of no service is noted as one's: %v", err)
	}
	asked := 0
	for _, call := range w.sim.Calls("one.vm.info", 0) {
		if call.Method == "one.vm.info" {
			asked++
		}
	}
	if asked > 8 {
		t.Errorf("oned was asked %d times", asked)
	}
}

// The bucket is no truth: a note that cannot be read is left out.
func TestOwnersThatCannotBeRead(t *testing.T) {
	w := newWorld(t)
	bucket, err := w.pipe.JetStream().KeyValue(t.Context(), pipeline.BucketOwners)
	must(t, err)
	for key, value := range map[string]string{"vm-1": "7", "vm-2": "seven", "vm": "7", "net-3": "8"} {
		_, err := bucket.PutString(t.Context(), key, value)
		must(t, err)
	}
	must(t, bucket.Purge(t.Context(), "net-3", jetstream.PurgeTTL(time.Hour)))
	owners, err := w.pipe.Owners(t.Context())
	must(t, err)
	if len(owners) != 1 || len(owners["vm"]) != 1 || owners["vm"][1] != 7 {
		t.Errorf("owners %v", owners)
	}
}

// A VM that a stranger has written into his document stays noted as whose its events say it is, and
// one that two documents name is noted for neither.
func TestDocumentsThatNameOthersVMs(t *testing.T) {
	w := newWorld(t)
	stop := w.startWorker("one", quick())
	w.hear()
	victim := w.deployed(masterSlave, 1, 1)
	vms := w.ids(victim)
	w.awaitOwners(map[string][]int{"vm": {vms[0]}}, victim)
	stop()
	must(t, w.pipe.ForgetOwner(t.Context(), "vm", vms[1])) // as where the bucket was lost
	w.service(`{"name":"theft","state":2,"roles":[{"name":"a","type":"vm","template_id":0,"cardinality":2,"state":2,"nodes":[{"deploy_id":%d},{"deploy_id":%d},{"deploy_id":4711}]}]}`, vms[0], vms[1])
	w.startWorker("two", patient())
	poll.Until(t, "the notes to be put back", func() bool {
		_, known, err := w.pipe.Owner(t.Context(), "vm", 4711)
		return err == nil && known
	})
	if service, known, err := w.pipe.Owner(t.Context(), "vm", vms[0]); err != nil || !known || service != victim {
		t.Errorf("VM %d is noted for service %d (%t, %v)", vms[0], service, known, err)
	}
	if service, known, err := w.pipe.Owner(t.Context(), "vm", vms[1]); err != nil || known && service != victim {
		t.Errorf("VM %d is noted for service %d (%v)", vms[1], service, err)
	}
}
