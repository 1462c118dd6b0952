package sim

import (
	"fmt"
	"maps"
	"regexp"
	"time"

	"github.com/flowjet/flowjet/opennebula"
)

// vmFaults are what VMs are told to do; the cloud's lock guards them.
type vmFaults struct {
	bootsPaused bool
	failBoots   int
}

// bootFails uses up one planned failure of a boot.
func (f *vmFaults) bootFails() bool {
	if f.failBoots == 0 {
		return false
	}
	f.failBoots--
	return true
}

// faultInjector changes VMs and hosts from outside of oned's API, as failing
// hosts, guests and administrators do.
type faultInjector struct{ db *database }

// PauseBoots keeps booting VMs in BOOT (and its like) until ResumeBoots.
func (f *faultInjector) PauseBoots() {
	f.db.mu.Lock()
	defer f.db.mu.Unlock()
	f.db.faults.bootsPaused = true
}

// ResumeBoots lets paused boots go on.
func (f *faultInjector) ResumeBoots() {
	f.db.mu.Lock()
	defer f.db.mu.Unlock()
	f.db.faults.bootsPaused = false
	for _, v := range f.db.cloud.vms {
		if v.paused {
			v.paused = false
			f.db.scheduleStep(v)
		}
	}
}

// FailBoots has the next n boots end in their failure state.
func (f *faultInjector) FailBoots(n int) {
	f.db.mu.Lock()
	defer f.db.mu.Unlock()
	f.db.faults.failBoots = n
}

// changeByHand changes a VM from outside of oned's API, and waits until that is published,
// then stored.
func (f *faultInjector) changeByHand(id int, what string, change func(t *tx, v *vm) error) error {
	var failed error
	written := time.Now().Add(f.db.delays.write())
	wait := f.db.update(func(t *tx) {
		t.written = written
		v := t.cloud.vms[id]
		if v == nil || v.State == vmDone {
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

// BreakVM puts a VM into a failed life-cycle state, such as BOOT_FAILURE.
func (f *faultInjector) BreakVM(id int, state string) error {
	lcm, known := opennebula.ParseLCMState(state)
	if !known {
		return fmt.Errorf("break VM %d: %q is no life-cycle state of OpenNebula", id, state)
	}
	return f.changeByHand(id, "break", func(t *tx, v *vm) error {
		t.enter(v, active(lcm))
		return nil
	})
}

// LoseVM makes a VM UNKNOWN, as when its host no longer reports it.
func (f *faultInjector) LoseVM(id int) error {
	return f.changeByHand(id, "lose", func(t *tx, v *vm) error {
		t.enter(v, unknown)
		return nil
	})
}

// DeleteVM ends a VM at once, as when an administrator removes it by force.
func (f *faultInjector) DeleteVM(id int) error {
	return f.changeByHand(id, "delete", func(t *tx, v *vm) error {
		t.enter(v, ended)
		return nil
	})
}

// PoweroffVM powers a running VM off, as an administrator would.
func (f *faultInjector) PoweroffVM(id int) error { return f.actByHand(id, "poweroff") }

// ResumeVM brings a VM back: what was powered off, suspended, stopped or
// undeployed boots, what was lost is found running.
func (f *faultInjector) ResumeVM(id int) error {
	var lost bool
	err := f.changeByHand(id, "resume", func(t *tx, v *vm) error {
		if lost = v.status() == unknown; lost {
			t.enter(v, running)
		}
		return nil
	})
	if err != nil || lost {
		return err
	}
	return f.actByHand(id, "resume")
}

func (f *faultInjector) actByHand(id int, name string) error {
	return f.changeByHand(id, name, func(t *tx, v *vm) error {
		if refused := t.act(scheduler(t.cloud), name, v); refused != nil {
			return fmt.Errorf("%s VM %d: %w", name, id, refused)
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
		t.keepVM(v)
		return nil
	})
}

var attributeName = regexp.MustCompile(`^[A-Z][A-Z0-9_]*$`)

// ReadyVM reports READY=YES as the guest of a VM does: by one.vm.update, in
// the name of the VM's owner, with the event of that call.
func (f *faultInjector) ReadyVM(id int) error {
	return f.changeByHand(id, "report ready", func(t *tx, v *vm) error {
		v.setUserTemplate(v.UserTemplate.set("READY", "YES"))
		t.keepVM(v)
		parameters := []value{
			{text: hidden}, {kind: kindInt, number: id}, {text: "READY=YES\n"}, {kind: kindInt, number: 1},
		}
		t.emit(apiEvent("one.vm.update", parameters, nil, idAnswer(id), ""))
		return nil
	})
}
