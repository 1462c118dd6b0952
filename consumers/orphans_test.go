package consumers_test

import (
	"context"
	"sync"
	"testing"

	"github.com/flowjet/flowjet/consumers"
	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/internal/testlog"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/sim"
)

// endBehindTheBack makes a service end, for another worker, while this one's
// first call of a method is on its way.
func (w *world) endBehindTheBack(service int, method string) {
	var once sync.Once
	w.sim.OnCall(func(call sim.Call) {
		if call.Method != method {
			return
		}
		once.Do(func() {
			record, revision, err := w.pipe.LoadRecord(context.Background(), service)
			if err == nil {
				record.Deleted = true
				_, err = w.pipe.SaveRecord(context.Background(), service, record, revision)
			}
			if err == nil {
				err = w.oned.Server().DeleteDocument(context.Background(), service)
			}
			if err != nil {
				w.t.Errorf("end service %d: %v", service, err)
			}
		})
	})
}

func TestNetworkMadeTooLateIsDeleted(t *testing.T) {
	w := newWorld(t)
	service := w.service(netsService)
	w.endBehindTheBack(service, "one.vntemplate.instantiate")
	w.startWorker("one", quick())
	w.hear()
	poll.Until(t, "the network to have been made", func() bool { return len(w.sim.Calls("one.vn.delete", 0)) > 0 })
	w.awaitNoNetworks()
}

func TestRouterMadeTooLateIsDeleted(t *testing.T) {
	w := newWorld(t)
	service := w.service(routerService)
	w.endBehindTheBack(service, "one.vrouter.allocate")
	w.startWorker("one", quick())
	w.hear()
	poll.Until(t, "the router to be gone", func() bool {
		if len(w.sim.Calls("one.vrouter.allocate", 0)) == 0 {
			return false
		}
		_, err := w.oned.Server().Router(t.Context(), 0)
		return opennebula.IsCode(err, opennebula.CodeNoExists)
	})
	if len(w.vms(service)) > 0 {
		t.Error("VMs were made after the end")
	}
}

// The VMs of a service whose document somebody deletes run on: the log names those that do.
func TestVMsOfADeletedDocumentAreReported(t *testing.T) {
	w := newWorld(t)
	w.hear()
	var log testlog.Log
	worker := consumers.New(consumers.Config{ID: "one", Settings: quick(), Logger: log.Logger()}, w.pipe.Pipeline, w.oned)
	must(t, worker.Start(t.Context()))
	t.Cleanup(func() { must(t, worker.Stop(context.Background())) })
	deleted, ended := w.deployed(masterSlave, 1, 1), w.deployed(masterSlave, 1, 1)
	must(t, w.oned.Server().DeleteDocument(t.Context(), deleted))
	vms := w.nodes(ended)
	must(t, w.oned.Server().ActOnVM(t.Context(), "terminate-hard", w.vms(deleted)[0].ID))
	poll.Until(t, "the VM that runs on to be reported", func() bool { return log.Count("its VMs run on") == 1 })
	w.accepted(ended, flow.VerbUndeploy, nil)
	w.gone(ended)
	w.awaitGone(vms...)
	if log.Count("its VMs run on") != 1 {
		t.Errorf("VMs that a service has ended are reported:\n%s", log.String())
	}
}
