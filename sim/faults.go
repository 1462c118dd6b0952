package sim

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"time"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/sim/internal/xmlrpc"
)

// faultInjector changes VMs and hosts from outside of oned's API, as failing
// hosts, guests and administrators do.
type faultInjector struct{ db *database }

// PauseBoots keeps booting VMs in BOOT (and its like) until ResumeBoots.
func (f *faultInjector) PauseBoots() { f.db.locked(func() { f.db.bootsPaused = true }) }

// ResumeBoots lets paused boots go on.
func (f *faultInjector) ResumeBoots() {
	f.db.locked(func() {
		f.db.bootsPaused = false
		for _, v := range f.db.cloud.vms {
			if v.paused {
				v.paused = false
				f.db.scheduleStep(v)
			}
		}
	})
}

// FailBoots has the next n boots end in their failure state.
func (f *faultInjector) FailBoots(n int) { f.db.locked(func() { f.db.failBoots = n }) }

// changeByHand changes a VM from outside of oned's API, and waits until that is published,
// then stored.
func (f *faultInjector) changeByHand(id int, what string, change func(t *tx, v *vm) error) error {
	var failed error
	written := time.Now().Add(f.db.delays.write())
	wait := f.db.update(func(t *tx) {
		t.written = written
		v := t.cloud.vms[id]
		if v == nil || v.State == one.VMDone {
			failed = fmt.Errorf("%s VM %d: there is none that has not ended", what, id)
			return
		}
		failed = change(t, v)
	})
	if err := wait(); err != nil {
		return fmt.Errorf("%s VM %d: %w", what, id, err)
	}
	if failed == nil {
		<-time.After(time.Until(written))
	}
	return failed
}

func (f *faultInjector) enterByHand(id int, what string, to status) error {
	return f.changeByHand(id, what, func(t *tx, v *vm) error { t.enter(v, to); return nil })
}

// BreakVM puts a VM into a failed life-cycle state, such as BOOT_FAILURE.
func (f *faultInjector) BreakVM(id int, state string) error {
	lcm, known := opennebula.ParseLCMState(state)
	if !known {
		return fmt.Errorf("break VM %d: %q is no life-cycle state of OpenNebula", id, state)
	}
	return f.enterByHand(id, "break", active(lcm))
}

// LoseVM makes a VM UNKNOWN, as when its host no longer reports it.
func (f *faultInjector) LoseVM(id int) error { return f.enterByHand(id, "lose", unknown) }

// DeleteVM ends a VM at once, as when an administrator removes it by force.
func (f *faultInjector) DeleteVM(id int) error { return f.enterByHand(id, "delete", ended) }

// PoweroffVM powers a running VM off, as an administrator would.
func (f *faultInjector) PoweroffVM(id int) error { return f.actByHand(id, "poweroff") }

// ResumeVM brings a VM back: what was powered off, suspended, stopped or
// undeployed boots, what was lost is found running.
func (f *faultInjector) ResumeVM(id int) error { return f.actByHand(id, "resume") }

func (f *faultInjector) actByHand(id int, name string) error {
	return f.changeByHand(id, name, func(t *tx, v *vm) error {
		if name == "resume" && v.status() == unknown {
			t.enter(v, running)
			return nil
		}
		if refused := t.act(t.cloud.oneadmin(), name, v); refused != nil {
			return fmt.Errorf("%s VM %d: %s", name, id, refused.message)
		}
		return nil
	})
}

// SetMonitoring sets figures that a VM's monitoring shows while it runs, by
// their names such as CPU; those not named stay as they are.
func (f *faultInjector) SetMonitoring(id int, figures map[string]string) error {
	for name := range figures {
		if !attributeName.MatchString(name) || name == "ID" || name == "TIMESTAMP" {
			return fmt.Errorf("set the monitoring of VM %d: %q is no name of a figure, such as CPU", id, name)
		}
	}
	return f.changeByHand(id, "set the monitoring of", func(t *tx, v *vm) error {
		if v.Monitoring == nil {
			v.Monitoring = map[string]string{}
		}
		maps.Copy(v.Monitoring, figures)
		vms.save(t, v)
		return nil
	})
}

var attributeName = regexp.MustCompile(`^[A-Z][A-Z0-9_]*$`)

// ReadyVM reports READY=YES as the guest of a VM does: by one.vm.update, in
// the name of the VM's owner, with the event of that call.
func (f *faultInjector) ReadyVM(id int) error {
	return f.changeByHand(id, "report ready", func(t *tx, v *vm) error {
		v.setUserTemplate(v.UserTemplate.Set("READY", "YES"))
		vms.save(t, v)
		parameters := []xmlrpc.Value{
			{Kind: xmlrpc.String}, {Kind: xmlrpc.Int, Number: id}, {Kind: xmlrpc.String, Text: "READY=YES\n"}, {Kind: xmlrpc.Int, Number: 1},
		}
		t.emit(apiEvent("one.vm.update", parameters, nil, answer{value: id}, ""))
		return nil
	})
}

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
func (f *faultInjector) changeHost(id int, what string, from, to status) (changed int, err error) {
	f.db.mu.RLock()
	hosts := f.db.cloud.hosts.all
	if id < 0 || id >= len(hosts) {
		f.db.mu.RUnlock()
		return 0, fmt.Errorf("%s host %d: there are hosts 0 to %d", what, id, len(hosts)-1)
	}
	ids := slices.Sorted(maps.Keys(hosts[id].vms))
	f.db.mu.RUnlock()
	for some := range slices.Chunk(ids, hostFaultStep) {
		wait := f.db.update(func(t *tx) {
			for _, id := range some {
				if v := t.cloud.vms[id]; v != nil && v.status() == from {
					t.enter(v, to)
					changed++
				}
			}
		})
		if err := wait(); err != nil {
			return changed, fmt.Errorf("%s host %d: %w", what, id, err)
		}
	}
	return changed, nil
}
