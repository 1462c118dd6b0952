package sim

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
	boot := s.delays.boot()
	call, _ := s.delays.of("")
	summary := Summary{
		Version: Version, Endpoint: s.Endpoint(), Hooks: s.HooksEndpoint(), Leader: s.raft.leader() >= 0,
		Servers: s.Servers(),
		VMs:     map[string]int{}, Documents: map[string]int{}, BootDelay: boot.String(), CallDelay: call.String(),
		Calls: s.CallCounts(), AuthDriverRuns: s.AuthDriverRuns(), Events: s.Events(),
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, v := range s.cloud.vms {
		summary.VMs[v.stateName()]++
	}
	for _, d := range s.cloud.documents {
		summary.Documents[itoa(d.Type)]++
	}
	for _, id := range s.cloud.users.ids() {
		summary.Users = append(summary.Users, s.cloud.users[id].Name)
	}
	summary.Networks, summary.VRouters = len(s.cloud.networks), len(s.cloud.vrouters)
	summary.Waiting, summary.BootsPaused = len(s.cloud.waiting), s.faults.bootsPaused
	return summary
}
