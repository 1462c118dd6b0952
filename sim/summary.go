package sim

import "github.com/flowjet/flowjet/opennebula"

// Summary is what there is in the simulator.
type Summary struct {
	Version   string         `json:"version"`
	Endpoint  string         `json:"endpoint"`
	Hooks     string         `json:"hooks"`
	Leader    bool           `json:"leader"`
	Servers   []ServerState  `json:"servers"`
	VMs       map[string]int `json:"vms"`
	Documents map[string]int `json:"documents"`
	Networks  int            `json:"networks"`
	VRouters  int            `json:"vrouters"`
	Users     []string       `json:"users"`
	// Waiting are pending VMs that no host has room for.
	Waiting     int            `json:"waiting"`
	BootsPaused bool           `json:"boots_paused"`
	BootDelay   string         `json:"boot_delay"`
	CallDelay   string         `json:"call_delay"`
	Calls       map[string]int `json:"calls"`
	// AuthDriverRuns is how often all servers have run the authentication driver.
	AuthDriverRuns int         `json:"auth_driver_runs"`
	Events         EventCounts `json:"events"`
}

// State says what there is: VMs by state, documents by type, and so on.
func (s *Sim) State() Summary {
	boot := s.boot()
	call, _ := s.of("")
	summary := Summary{
		Version: Version, Endpoint: s.Endpoint(), Hooks: s.HooksEndpoint(), Leader: s.db.raft.leader() >= 0,
		Servers: s.Servers(),
		VMs:     map[string]int{}, Documents: map[string]int{}, BootDelay: boot.String(), CallDelay: call.String(),
		Calls: s.CallCounts(), AuthDriverRuns: s.AuthDriverRuns(), Events: s.Events(),
	}
	s.db.mu.RLock()
	defer s.db.mu.RUnlock()
	for _, v := range s.db.cloud.vms {
		summary.VMs[v.stateName()]++
	}
	for _, d := range s.db.cloud.documents {
		summary.Documents[itoa(d.Type)]++
	}
	for _, id := range s.db.cloud.users.ids() {
		summary.Users = append(summary.Users, s.db.cloud.users[id].Name)
	}
	summary.Networks, summary.VRouters = len(s.db.cloud.networks), len(s.db.cloud.vrouters)
	summary.Waiting, summary.BootsPaused = len(s.db.cloud.waiting), s.db.faults.bootsPaused
	return summary
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
	s.db.mu.RLock()
	defer s.db.mu.RUnlock()
	seen := make([]VM, 0, len(s.db.cloud.vms))
	for _, id := range s.db.cloud.vms.ids() {
		seen = append(seen, s.db.cloud.vms[id].seen())
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
