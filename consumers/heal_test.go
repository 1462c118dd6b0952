package consumers_test

import (
	"slices"
	"testing"

	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/poll"
)

const healingService = `{"name":"svc","state":0,"roles":[{"name":"a","type":"vm","cardinality":2,"template_id":0,"cooldown":0,"state":0,
 "heal":{"action":"%s","after":"1s","max":3}}]}`

// nodes are the ids of role a's VMs as the service's document shows them.
func (w *world) nodes(service int) []int {
	w.t.Helper()
	body, _ := w.body(service)
	return (spec.Service{Body: body}).RoleNodes("a")
}

// TestBrokenVMsAreReplaced, whether they failed or their host is silent; what
// oned was told to end is ended.
func TestBrokenVMsAreReplaced(t *testing.T) {
	w := newWorld(t)
	stop := w.startWorker("one", quick())
	w.hear()
	service := w.deployed(healingService, "recreate")
	broken := w.nodes(service)[0]
	must(t, w.sim.BreakVM(broken, "BOOT_FAILURE"))
	w.await(service, spec.ServiceWarning)
	stop()
	w.startWorker("two", quick()) // which finds the timer that the first one set
	whole := func() bool {
		body, _ := w.body(service)
		ids := w.nodes(service)
		return len(ids) == 2 && !slices.Contains(ids, broken) && (spec.Service{Body: body}).State() == spec.ServiceRunning
	}
	poll.Until(t, "another VM in the place of the one that failed", whole)
	broken = w.nodes(service)[0]
	must(t, w.sim.LoseVM(broken))
	poll.Until(t, "another VM in the place of the one that was lost", whole)
	poll.Until(t, "the old VMs to end", func() bool { return len(w.vms(service)) == 2 })
	w.exactly(service, 2)
}

func TestBrokenVMsAreRecovered(t *testing.T) {
	w := newWorld(t)
	w.startWorker("one", quick())
	w.hear()
	w.sim.FailBoots(1)
	service := w.deployed(healingService, "recover")
	before := w.nodes(service)
	must(t, w.sim.LoseVM(before[1]))
	w.await(service, spec.ServiceWarning)
	w.await(service, spec.ServiceRunning)
	if after := w.nodes(service); !slices.Equal(before, after) {
		t.Errorf("VMs %v became %v", before, after)
	}
	w.exactly(service, 2)
}
