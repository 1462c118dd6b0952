package consumers_test

import (
	"context"
	"sync"
	"testing"

	"github.com/flowjet/flowjet/internal/poll"
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
