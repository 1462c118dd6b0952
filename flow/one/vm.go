package one

import (
	"strconv"
	"strings"
	"time"
)

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

// Failed reports whether the VM goes no further by itself, also in CLONING_FAILURE, in which OneFlow waits for ever.
func (v VM) Failed() bool {
	return v.State == VMFailed || v.State == VMCloningFailure || v.State == VMActive && failedLCMStates[v.LCMState]
}

// Ending reports whether the VM is on its way to DONE, or there.
func (v VM) Ending() bool {
	return v.Gone() || v.State == VMActive && endingLCMStates[v.LCMState]
}

// Arrived reports whether somebody stopped the VM on purpose, so that a role need not wait for it to run.
func (v VM) Arrived() bool {
	return v.State == VMStopped || v.State == VMSuspended || v.State == VMPoweroff || v.State == VMUndeployed
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

// FloatingIP is an address that the VMs of a virtual router share, as OneFlow writes it into vrouter_ips.
type FloatingIP struct {
	NetworkID int    `json:"NETWORK_ID"`
	Address   string `json:"VROUTER_IP"`
}

// Stage is what oned does with a VM in a state that it should leave by itself.
type Stage int

// The stages. StageReady is that of a VM which is up, while its role waits for READY=YES.
const (
	StageNone Stage = iota // it stays
	StagePending
	StageReady
	StageProlog
	StageBoot
	StageShutdown
	StageEpilog
	StageOther
)

// stages are those of the life-cycle states that have one of their own: STATE ACTIVE
// with LCM_STATE LCM_INIT is the beginning of a deployment.
var stages = map[LCMState]Stage{
	LCMProlog: StageProlog, 8: StageProlog, 9: StageProlog, 31: StageProlog, 43: StageProlog, 45: StageProlog, 60: StageProlog,
	LCMInit: StageBoot, LCMBoot: StageBoot, LCMBootUnknown: StageBoot, LCMBootPoweroff: StageBoot, LCMBootSuspended: StageBoot, 22: StageBoot, 32: StageBoot, 35: StageBoot,
	LCMShutdown: StageShutdown, LCMCancel: StageShutdown,
	LCMEpilog: StageEpilog, 10: StageEpilog, LCMFailure: StageEpilog, 15: StageEpilog, LCMCleanupDelete: StageEpilog, 30: StageEpilog,
}

// Stage is what oned does with the VM.
func (v VM) Stage() Stage {
	switch v.State {
	case VMInit, VMPending:
		return StagePending
	case VMCloning:
		return StageProlog
	case VMActive:
	default:
		return StageNone
	}
	if known, is := stages[v.LCMState]; is {
		return known
	}
	if v.Running() || v.Failed() || v.Lost() {
		return StageNone
	}
	return StageOther
}

// Changing reports whether drivers are at work on a VM that has been up. A leader that comes after does not know of
// that; what it knows by itself is that a guest has shut down.
func (v VM) Changing() bool {
	stage := v.Stage()
	return stage != StageNone && stage != StageShutdown && !v.IsNew()
}

// IsNew reports whether the VM has never been up: another may be made in its place.
func (v VM) IsNew() bool {
	switch v.State {
	case VMInit, VMPending, VMCloning:
		return true
	}
	return v.State == VMActive && (v.LCMState == LCMInit || v.LCMState == LCMProlog || v.LCMState == LCMBoot)
}

// Inspection is what a VM's whole XML tells besides its state.
type Inspection struct {
	// Since is when the VM came to its state; zero where nobody knows.
	Since time.Time
	// Scheduler is USER_TEMPLATE/SCHED_MESSAGE, and Error USER_TEMPLATE/ERROR.
	Scheduler, Error string
}

// Inspect reads an Inspection of the VM from its XML; nil where it has moved on since.
func Inspect(vm VM, tree Template) *Inspection {
	state, _ := tree.Lookup("STATE")
	lcmState, _ := tree.Lookup("LCM_STATE")
	if state != strconv.Itoa(int(vm.State)) || lcmState != strconv.Itoa(int(vm.LCMState)) {
		return nil
	}
	scheduler, _ := tree.Lookup("USER_TEMPLATE", "SCHED_MESSAGE")
	failure, _ := tree.Lookup("USER_TEMPLATE", "ERROR")
	inspection := &Inspection{Scheduler: strings.TrimSpace(scheduler), Error: strings.TrimSpace(failure)}
	times := map[LCMState]string{LCMInit: "STIME", LCMProlog: "PSTIME", LCMBoot: "RSTIME", LCMEpilog: "ESTIME"}
	name, noted := times[vm.LCMState]
	if vm.State != VMActive || !noted {
		return inspection
	}
	var last Template // of the VM's history records
	for _, attribute := range tree {
		if strings.EqualFold(attribute.Name, "HISTORY_RECORDS") && len(attribute.Vector) > 0 {
			last = attribute.Vector[len(attribute.Vector)-1].Vector
		}
	}
	second, _ := last.Lookup(name)
	if seconds, err := strconv.ParseInt(second, 10, 64); err == nil && seconds > 0 {
		inspection.Since = time.Unix(seconds, 0).UTC()
	}
	return inspection
}
