// Package one has OpenNebula's objects as decisions need them: a VM with its states and what they mean for a service, the states of virtual
// networks, users, and templates in OpenNebula's language. Numbers and names are oned's.
package one

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Identity is a user of OpenNebula as documents and VMs name it.
type Identity struct {
	UID   int    `json:"uid"`
	GID   int    `json:"gid"`
	UName string `json:"uname"`
	GName string `json:"gname"`
}

// VM is what the domain knows of a service's VM.
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
	// Inspection is what the VM's whole XML says; nil if it was not read.
	Inspection *Inspection `json:"-"`
	// Host is the name of the VM's current or last host; it is not always known.
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

// Arrived reports whether the VM was stopped on purpose, so that a role need not wait for it to run.
func (v VM) Arrived() bool {
	return v.State == VMStopped || v.State == VMSuspended || v.State == VMPoweroff || v.State == VMUndeployed
}

// Lost reports whether oned does not know what became of the VM: its host is silent.
func (v VM) Lost() bool { return v.State == VMActive && v.LCMState == LCMUnknown }

// Troubled reports whether the VM puts a running service into WARNING.
func (v VM) Troubled() bool { return v.Failed() || v.State == VMPoweroff || v.Lost() }

// Decisive reports whether the VM's state can change a decision. The states in between wake no service.
func (v VM) Decisive() bool {
	return v.State != VMActive || v.Running() || v.Lost() || v.Failed()
}

// StateText returns STATE, or in ACTIVE the more specific LCM_STATE.
func (v VM) StateText() string {
	if v.State == VMActive {
		return v.LCMState.String()
	}
	return v.State.String()
}

// NeedsHealing reports whether the VM will not come back by itself, or its host does not say. A VM that is powered off was stopped on
// purpose.
func (v VM) NeedsHealing() bool { return v.Failed() || v.Lost() }

// Underway reports whether the VM is between states. It does not put a role into
// WARNING, but a role that is there waits for it: a VM that boots is not back yet.
func (v VM) Underway() bool {
	return v.State == VMInit || v.State == VMPending || v.State == VMCloning || v.State == VMActive && !v.Running() && !v.Ending()
}

// KeyAttribute is the user-template attribute that carries an intent's key.
const KeyAttribute = "FLOWJET_KEY"

// AsUser is the attribute of a VM template that names the user for whom oned creates the VM; the VM does not have it.
const AsUser = "AS_UID"

// ProtectAttribute is the user-template attribute by which a VM's owner keeps it from being ended by a scaling: FLOWJET_PROTECT=YES.
const ProtectAttribute = "FLOWJET_PROTECT"

// FloatingIP is an address that the VMs of a virtual router share, as OneFlow writes it into vrouter_ips.
type FloatingIP struct {
	NetworkID int    `json:"NETWORK_ID"`
	Address   string `json:"VROUTER_IP"`
}

// Stage is what oned does with a VM in a state that it should leave by itself.
type Stage int

// The stages. StageReady is the stage of a VM that is up while its role waits for READY=YES.
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

// stages are those of the life-cycle states that have a stage of their own: STATE ACTIVE with LCM_STATE LCM_INIT is the beginning of a
// deployment.
var stages = map[LCMState]Stage{
	LCMProlog: StageProlog, 8: StageProlog, 9: StageProlog, 31: StageProlog, 43: StageProlog, 45: StageProlog, 60: StageProlog,
	LCMInit: StageBoot, LCMBoot: StageBoot, LCMBootUnknown: StageBoot, LCMBootPoweroff: StageBoot, LCMBootSuspended: StageBoot, 22: StageBoot, 32: StageBoot, 35: StageBoot,
	LCMShutdown: StageShutdown, LCMCancel: StageShutdown,
	LCMEpilog: StageEpilog, 10: StageEpilog, LCMFailure: StageEpilog, 15: StageEpilog, LCMCleanupDelete: StageEpilog, 30: StageEpilog,
}

// Stage returns what oned does with the VM.
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

// Changing reports whether drivers work on a VM that has been up. A new leader of oned does not know of that; it only notices by itself
// that a guest has shut down.
func (v VM) Changing() bool {
	stage := v.Stage()
	return stage != StageNone && stage != StageShutdown && !v.IsNew()
}

// IsNew reports whether the VM has never been up, so that another may be made instead.
func (v VM) IsNew() bool {
	switch v.State {
	case VMInit, VMPending, VMCloning:
		return true
	}
	return v.State == VMActive && (v.LCMState == LCMInit || v.LCMState == LCMProlog || v.LCMState == LCMBoot)
}

// Inspection is what a VM's whole XML says besides its state.
type Inspection struct {
	// Since is when the VM entered its state; zero if unknown.
	Since time.Time
	// Scheduler is USER_TEMPLATE/SCHED_MESSAGE, and Error USER_TEMPLATE/ERROR.
	Scheduler, Error string
}

// Inspect reads an Inspection of the VM from its XML; nil if the VM has changed its state since.
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

// VMState is oned's STATE of a VM.
type VMState int

// The states of a VM that the domain distinguishes; the others have numbers and names only.
const (
	VMInit           VMState = 0
	VMPending        VMState = 1
	VMHold           VMState = 2
	VMActive         VMState = 3
	VMStopped        VMState = 4
	VMSuspended      VMState = 5
	VMDone           VMState = 6
	VMFailed         VMState = 7
	VMPoweroff       VMState = 8
	VMUndeployed     VMState = 9
	VMCloning        VMState = 10
	VMCloningFailure VMState = 11
)

var vmStateNames = [...]string{
	"INIT", "PENDING", "HOLD", "ACTIVE", "STOPPED", "SUSPENDED", "DONE", "FAILED", "POWEROFF", "UNDEPLOYED",
	"CLONING", "CLONING_FAILURE",
}

// String returns the state's name as hook events have it.
func (s VMState) String() string { return NameOf(int(s), vmStateNames[:]) }

// LCMState is oned's LCM_STATE of a VM; it has a meaning only in ACTIVE.
type LCMState int

// The life-cycle states that the domain or the simulator distinguishes.
const (
	LCMInit                  LCMState = 0
	LCMProlog                LCMState = 1
	LCMBoot                  LCMState = 2
	LCMRunning               LCMState = 3
	LCMSaveStop              LCMState = 5
	LCMSaveSuspend           LCMState = 6
	LCMPrologResume          LCMState = 9
	LCMEpilogStop            LCMState = 10
	LCMEpilog                LCMState = 11
	LCMShutdown              LCMState = 12
	LCMCancel                LCMState = 13
	LCMFailure               LCMState = 14
	LCMCleanupResubmit       LCMState = 15
	LCMUnknown               LCMState = 16
	LCMShutdownPoweroff      LCMState = 18
	LCMBootUnknown           LCMState = 19
	LCMBootPoweroff          LCMState = 20
	LCMBootSuspended         LCMState = 21
	LCMBootStopped           LCMState = 22
	LCMCleanupDelete         LCMState = 23
	LCMShutdownUndeploy      LCMState = 29
	LCMEpilogUndeploy        LCMState = 30
	LCMPrologUndeploy        LCMState = 31
	LCMBootUndeploy          LCMState = 32
	LCMBootFailure           LCMState = 36
	LCMPrologFailure         LCMState = 39
	LCMEpilogFailure         LCMState = 40
	LCMEpilogStopFailure     LCMState = 41
	LCMEpilogUndeployFailure LCMState = 42
	LCMBootUndeployFailure   LCMState = 47
	LCMBootStoppedFailure    LCMState = 48
	LCMPrologResumeFailure   LCMState = 49
	LCMPrologUndeployFailure LCMState = 50

	LCMDiskSnapshotRevertSuspended LCMState = 55 // DISK_SNAPSHOT_REVERT_SUSPENDED
	LCMDiskSnapshotRevert          LCMState = 58 // DISK_SNAPSHOT_REVERT
)

var lcmStateNames = [...]string{
	"LCM_INIT", "PROLOG", "BOOT", "RUNNING", "MIGRATE", "SAVE_STOP", "SAVE_SUSPEND", "SAVE_MIGRATE",
	"PROLOG_MIGRATE", "PROLOG_RESUME", "EPILOG_STOP", "EPILOG", "SHUTDOWN", "CANCEL", "FAILURE",
	"CLEANUP_RESUBMIT", "UNKNOWN", "HOTPLUG", "SHUTDOWN_POWEROFF", "BOOT_UNKNOWN", "BOOT_POWEROFF",
	"BOOT_SUSPENDED", "BOOT_STOPPED", "CLEANUP_DELETE", "HOTPLUG_SNAPSHOT", "HOTPLUG_NIC", "HOTPLUG_SAVEAS",
	"HOTPLUG_SAVEAS_POWEROFF", "HOTPLUG_SAVEAS_SUSPENDED", "SHUTDOWN_UNDEPLOY", "EPILOG_UNDEPLOY",
	"PROLOG_UNDEPLOY", "BOOT_UNDEPLOY", "HOTPLUG_PROLOG_POWEROFF", "HOTPLUG_EPILOG_POWEROFF", "BOOT_MIGRATE",
	"BOOT_FAILURE", "BOOT_MIGRATE_FAILURE", "PROLOG_MIGRATE_FAILURE", "PROLOG_FAILURE", "EPILOG_FAILURE",
	"EPILOG_STOP_FAILURE", "EPILOG_UNDEPLOY_FAILURE", "PROLOG_MIGRATE_POWEROFF",
	"PROLOG_MIGRATE_POWEROFF_FAILURE", "PROLOG_MIGRATE_SUSPEND", "PROLOG_MIGRATE_SUSPEND_FAILURE",
	"BOOT_UNDEPLOY_FAILURE", "BOOT_STOPPED_FAILURE", "PROLOG_RESUME_FAILURE", "PROLOG_UNDEPLOY_FAILURE",
	"DISK_SNAPSHOT_POWEROFF", "DISK_SNAPSHOT_REVERT_POWEROFF", "DISK_SNAPSHOT_DELETE_POWEROFF",
	"DISK_SNAPSHOT_SUSPENDED", "DISK_SNAPSHOT_REVERT_SUSPENDED", "DISK_SNAPSHOT_DELETE_SUSPENDED",
	"DISK_SNAPSHOT", "DISK_SNAPSHOT_REVERT", "DISK_SNAPSHOT_DELETE", "PROLOG_MIGRATE_UNKNOWN",
	"PROLOG_MIGRATE_UNKNOWN_FAILURE", "DISK_RESIZE", "DISK_RESIZE_POWEROFF", "DISK_RESIZE_UNDEPLOYED",
	"HOTPLUG_NIC_POWEROFF", "HOTPLUG_RESIZE", "HOTPLUG_SAVEAS_UNDEPLOYED", "HOTPLUG_SAVEAS_STOPPED", "BACKUP",
	"BACKUP_POWEROFF", "RESTORE",
}

// String returns the state's name as hook events have it.
func (s LCMState) String() string { return NameOf(int(s), lcmStateNames[:]) }

// ParseLCMState is the reverse of String. It returns false for a name that oned 7.4 does not have.
func ParseLCMState(name string) (LCMState, bool) {
	n := slices.Index(lcmStateNames[:], name)
	return LCMState(max(n, 0)), n >= 0
}

// failedLCMStates are the life-cycle states that OneFlow calls failed.
var failedLCMStates = map[LCMState]bool{
	36: true, 37: true, 38: true, 39: true, 40: true, 41: true, 42: true, 44: true, 46: true,
	47: true, 48: true, 49: true, 50: true, 61: true,
}

var endingLCMStates = map[LCMState]bool{
	LCMEpilog: true, LCMShutdown: true, LCMCancel: true, LCMCleanupDelete: true,
}

// NetworkState is oned's STATE of a virtual network.
type NetworkState int

// The states of a virtual network.
const (
	NetworkInit NetworkState = iota
	NetworkReady
	NetworkLockCreate
	NetworkLockDelete
	NetworkDone
	NetworkError
	NetworkUpdateFailure
)

// Failed reports whether the network cannot leave its state by itself.
func (s NetworkState) Failed() bool { return s == NetworkError || s == NetworkUpdateFailure }

var networkStateNames = [...]string{
	"INIT", "READY", "LOCK_CREATE", "LOCK_DELETE", "DONE", "ERROR", "UPDATE_FAILURE",
}

// String returns the state's name as hook events have it.
func (s NetworkState) String() string { return NameOf(int(s), networkStateNames[:]) }

// NameOf returns the name of a state by its number, and the number for a state without a name.
func NameOf(n int, names []string) string {
	if n < 0 || n >= len(names) {
		return fmt.Sprintf("UNKNOWN_%d", n)
	}
	return names[n]
}
