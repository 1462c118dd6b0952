package sim

import (
	"fmt"
	"maps"
	"regexp"

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

// PauseBoots keeps booting VMs in BOOT (and its like) until ResumeBoots.
func (s *Sim) PauseBoots() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults.bootsPaused = true
}

// ResumeBoots lets paused boots go on.
func (s *Sim) ResumeBoots() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults.bootsPaused = false
	for _, v := range s.cloud.vms {
		if v.paused {
			v.paused = false
			s.scheduleStep(v)
		}
	}
}

// FailBoots has the next n boots end in their failure state.
func (s *Sim) FailBoots(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults.failBoots = n
}

// changeByHand changes a VM from outside of oned's API, and waits until that
// is stored and published.
func (s *Sim) changeByHand(id int, what string, change func(t *tx, v *vm) error) error {
	var failed error
	wait := s.update(func(t *tx) {
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
	return failed
}

// BreakVM puts a VM into a failed life-cycle state, such as BOOT_FAILURE.
func (s *Sim) BreakVM(id int, state string) error {
	lcm, known := opennebula.ParseLCMState(state)
	if !known {
		return fmt.Errorf("break VM %d: %q is no life-cycle state of OpenNebula", id, state)
	}
	return s.changeByHand(id, "break", func(t *tx, v *vm) error {
		t.enter(v, active(lcm))
		return nil
	})
}

// LoseVM makes a VM UNKNOWN, as when its host no longer reports it.
func (s *Sim) LoseVM(id int) error {
	return s.changeByHand(id, "lose", func(t *tx, v *vm) error {
		t.enter(v, unknown)
		return nil
	})
}

// DeleteVM ends a VM at once, as when an administrator removes it by force.
func (s *Sim) DeleteVM(id int) error {
	return s.changeByHand(id, "delete", func(t *tx, v *vm) error {
		t.enter(v, ended)
		return nil
	})
}

// PoweroffVM powers a running VM off, as an administrator would.
func (s *Sim) PoweroffVM(id int) error { return s.actByHand(id, "poweroff") }

// ResumeVM brings a VM back: what was powered off, suspended, stopped or
// undeployed boots, what was lost is found running.
func (s *Sim) ResumeVM(id int) error {
	var lost bool
	err := s.changeByHand(id, "resume", func(t *tx, v *vm) error {
		if lost = v.status() == unknown; lost {
			t.enter(v, running)
		}
		return nil
	})
	if err != nil || lost {
		return err
	}
	return s.actByHand(id, "resume")
}

func (s *Sim) actByHand(id int, name string) error {
	return s.changeByHand(id, name, func(t *tx, v *vm) error {
		if refused := t.act(scheduler(t.cloud), name, v); refused != nil {
			return fmt.Errorf("%s VM %d: %w", name, id, refused)
		}
		return nil
	})
}

// SetMonitoring sets figures that a VM's monitoring shows while it runs, by
// their names such as CPU; those not named stay as they are.
func (s *Sim) SetMonitoring(id int, figures map[string]string) error {
	for name := range figures {
		if !attributeName.MatchString(name) || name == "ID" || name == "TIMESTAMP" {
			return fmt.Errorf("set the monitoring of VM %d: %q is no name of a figure, such as CPU", id, name)
		}
	}
	return s.changeByHand(id, "set the monitoring of", func(t *tx, v *vm) error {
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
func (s *Sim) ReadyVM(id int) error {
	return s.changeByHand(id, "report ready", func(t *tx, v *vm) error {
		v.setUserTemplate(v.UserTemplate.set("READY", "YES"))
		t.keepVM(v)
		parameters := []value{
			{text: hidden}, {kind: kindInt, number: id}, {text: "READY=YES\n"}, {kind: kindInt, number: 1},
		}
		t.emit(apiEvent("one.vm.update", parameters, nil, idAnswer(id), ""))
		return nil
	})
}

// VM is a VM as tests and the control API see it.
type VM struct {
	ID       int                 `json:"id"`
	Name     string              `json:"name"`
	UName    string              `json:"uname"`
	State    opennebula.VMState  `json:"-"`
	LCMState opennebula.LCMState `json:"-"`
	// StateText is STATE, or the LCM_STATE of an active VM.
	StateText string `json:"state"`
	Host      string `json:"host,omitempty"`
	IP        string `json:"ip,omitempty"`
	// Service, Role, Key and Ready are SERVICE_ID, ROLE_NAME, FLOWJET_KEY and
	// READY of the user template.
	Service string `json:"service,omitempty"`
	Role    string `json:"role,omitempty"`
	Key     string `json:"key,omitempty"`
	Ready   string `json:"ready,omitempty"`
}

// VMs are all VMs that are remembered, ended ones included, oldest first.
func (s *Sim) VMs() []VM {
	s.mu.RLock()
	defer s.mu.RUnlock()
	seen := make([]VM, 0, len(s.cloud.vms))
	for _, id := range s.cloud.vms.ids() {
		seen = append(seen, s.cloud.vms[id].seen())
	}
	return seen
}

func (v *vm) seen() VM {
	ip := ""
	if nics := v.Template.vectors("NIC"); len(nics) > 0 {
		ip = nics[0].inner().text("IP")
	}
	return VM{
		ID: v.ID, Name: v.Name, UName: v.UName, State: v.State, LCMState: v.LCM, StateText: v.stateName(),
		Host: v.hostName(), IP: ip, Service: v.service(), Role: v.UserTemplate.text("ROLE_NAME"),
		Key: v.UserTemplate.text("FLOWJET_KEY"), Ready: v.UserTemplate.text("READY"),
	}
}
