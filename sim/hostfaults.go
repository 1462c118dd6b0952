package sim

import (
	"fmt"
	"maps"
	"slices"
)

// hostFaultStep is how many VMs change under one hold of the lock, so that
// calls are answered meanwhile.
const hostFaultStep = 64

// FailHost makes all running VMs of a host UNKNOWN, as when the host no longer
// reports; it returns how many.
func (f *faultInjector) FailHost(id int) (int, error) {
	return f.changeHost(id, "fail", running, unknown)
}

// RecoverHost finds the UNKNOWN VMs of a host running; it returns how many.
func (f *faultInjector) RecoverHost(id int) (int, error) {
	return f.changeHost(id, "recover", unknown, running)
}

// changeHost takes the VMs of a host from one state to another.
func (f *faultInjector) changeHost(id int, what string, from, to status) (int, error) {
	f.db.mu.RLock()
	if id < 0 || id >= len(f.db.cloud.hosts.all) {
		f.db.mu.RUnlock()
		return 0, fmt.Errorf("%s host %d: there are hosts 0 to %d", what, id, len(f.db.cloud.hosts.all)-1)
	}
	ids := slices.Sorted(maps.Keys(f.db.cloud.hosts.all[id].vms))
	f.db.mu.RUnlock()
	changed := 0
	for len(ids) > 0 {
		some := ids[:min(hostFaultStep, len(ids))]
		ids = ids[len(some):]
		wait := f.db.update(func(t *tx) { changed += changeAll(t, some, from, to) })
		if err := wait(); err != nil {
			return changed, fmt.Errorf("%s host %d: %w", what, id, err)
		}
	}
	return changed, nil
}

func changeAll(t *tx, ids []int, from, to status) int {
	changed := 0
	for _, id := range ids {
		if v := t.cloud.vms[id]; v != nil && v.status() == from {
			t.enter(v, to)
			changed++
		}
	}
	return changed
}
