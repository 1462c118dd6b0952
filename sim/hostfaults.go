package sim

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
)

// hostFaultStep is how many VMs change under one hold of the lock, so that
// calls are answered meanwhile.
const hostFaultStep = 64

// FailHost makes all running VMs of a host UNKNOWN, as when the host no longer
// reports; it returns how many.
func (s *Sim) FailHost(id int) (int, error) { return s.changeHost(id, "fail", running, unknown) }

// RecoverHost finds the UNKNOWN VMs of a host running; it returns how many.
func (s *Sim) RecoverHost(id int) (int, error) { return s.changeHost(id, "recover", unknown, running) }

// changeHost takes the VMs of a host from one state to another.
func (s *Sim) changeHost(id int, what string, from, to status) (int, error) {
	s.mu.RLock()
	if id < 0 || id >= len(s.cloud.hosts) {
		s.mu.RUnlock()
		return 0, fmt.Errorf("%s host %d: there are hosts 0 to %d", what, id, len(s.cloud.hosts)-1)
	}
	ids := slices.Sorted(maps.Keys(s.cloud.hosts[id].vms))
	s.mu.RUnlock()
	changed := 0
	for len(ids) > 0 {
		some := ids[:min(hostFaultStep, len(ids))]
		ids = ids[len(some):]
		wait := s.update(func(t *tx) { changed += t.changeAll(some, from, to) })
		if err := wait(); err != nil {
			return changed, fmt.Errorf("%s host %d: %w", what, id, err)
		}
	}
	return changed, nil
}

func (t *tx) changeAll(ids []int, from, to status) int {
	changed := 0
	for _, id := range ids {
		if v := t.cloud.vms[id]; v != nil && v.status() == from {
			t.enter(v, to)
			changed++
		}
	}
	return changed
}

func (s *Sim) controlHost(r *http.Request) error {
	id, err := strconv.Atoi(r.PathValue("id"))
	if err != nil {
		return fmt.Errorf("%q is no host id", r.PathValue("id"))
	}
	switch what := r.PathValue("what"); what {
	case "fail":
		_, err = s.FailHost(id)
	case "recover":
		_, err = s.RecoverHost(id)
	default:
		err = fmt.Errorf("%q is nothing to do to a host: fail or recover", what)
	}
	return err
}
