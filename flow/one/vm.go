package one

// Identity is a user of OpenNebula as it stands in documents and VMs.
type Identity struct {
	UID   int    `json:"uid"`
	GID   int    `json:"gid"`
	UName string `json:"uname"`
	GName string `json:"gname"`
}

// VM is what the domain knows of one VM of a service.
type VM struct {
	ID       int      `json:"id"`
	Name     string   `json:"name,omitempty"`
	Owner    Identity `json:"owner"`
	State    VMState  `json:"state"`
	LCMState LCMState `json:"lcm_state"`
	// Ready reports whether USER_TEMPLATE/READY is YES.
	Ready bool `json:"ready,omitempty"`
	// Protected reports whether USER_TEMPLATE/FLOWJET_PROTECT is YES.
	Protected bool `json:"protected,omitempty"`
	// Seen is what the VM's whole XML tells; nil where it was not read.
	Seen *Inspection `json:"-"`
	// Host is the name of the host that the VM is, or was last, on; it is not always known.
	Host string `json:"-"`
	// Service is USER_TEMPLATE/SERVICE_ID, -1 without one.
	Service int `json:"service"`
	// Role is USER_TEMPLATE/ROLE_NAME.
	Role string `json:"role,omitempty"`
	// Key is USER_TEMPLATE/FLOWJET_KEY: the intent that the VM was created for.
	Key string `json:"key,omitempty"`
}

// Running reports whether the VM is up: (ACTIVE, RUNNING).
func (v VM) Running() bool { return v.State == VMActive && v.LCMState == LCMRunning }

// Gone reports whether the VM has ended for good.
func (v VM) Gone() bool { return v.State == VMDone }

// Failed reports whether the VM goes no further by itself: what OneFlow calls failed,
// and CLONING_FAILURE, in which OneFlow waits for ever.
func (v VM) Failed() bool {
	return v.State == VMFailed || v.State == VMCloningFailure || v.State == VMActive && failedLCMStates[v.LCMState]
}

// Ending reports whether the VM is on its way to DONE, or there.
func (v VM) Ending() bool {
	return v.Gone() || v.State == VMActive && endingLCMStates[v.LCMState]
}

// Arrived reports whether a role waiting for the VM need not wait longer although it
// is not running: somebody stopped it on purpose.
func (v VM) Arrived() bool {
	switch v.State {
	case VMStopped, VMSuspended, VMPoweroff, VMUndeployed:
		return true
	}
	return false
}

// Lost reports whether oned does not know what became of the VM: its host is silent.
func (v VM) Lost() bool { return v.State == VMActive && v.LCMState == LCMUnknown }

// Troubled reports whether the VM puts a running service into WARNING.
func (v VM) Troubled() bool { return v.Failed() || v.State == VMPoweroff || v.Lost() }

// Decisive reports whether the VM's state can change a decision. On its way from one
// such state to the next a VM passes others, which wake nobody.
func (v VM) Decisive() bool {
	return v.State != VMActive || v.Running() || v.Lost() || v.Failed()
}

// StateText is STATE, or in ACTIVE the LCM_STATE, which says more.
func (v VM) StateText() string {
	if v.State == VMActive {
		return v.LCMState.String()
	}
	return v.State.String()
}

// NeedsHealing reports whether the VM will not come back by itself, or its host
// does not say. One that was powered off was so on purpose.
func (v VM) NeedsHealing() bool { return v.Failed() || v.Lost() }

// Underway reports whether the VM is between states. It does not put a role into
// WARNING, but a role that is there waits for it: a VM that boots is not back yet.
func (v VM) Underway() bool {
	return v.State == VMPending || v.State == VMActive && !v.Running() && !v.Ending()
}

// KeyAttribute is the user-template attribute that carries an intent's key.
const KeyAttribute = "FLOWJET_KEY"

// ProtectAttribute is the attribute of a VM's user template by which its owner keeps it
// from being ended by a scaling: FLOWJET_PROTECT=YES.
const ProtectAttribute = "FLOWJET_PROTECT"

// FloatingIP is an address that the VMs of a virtual router share, as OneFlow
// writes it into vrouter_ips.
type FloatingIP struct {
	NetworkID int    `json:"NETWORK_ID"`
	Address   string `json:"VROUTER_IP"`
}
