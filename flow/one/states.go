package one

import (
	"fmt"
	"slices"
)

// VMState is oned's STATE of a VM.
type VMState int

// The states of a VM that the domain tells apart; the others have numbers and names only.
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

// String is the state's name as it stands in hook events.
func (s VMState) String() string { return NameOf(int(s), vmStateNames[:]) }

// LCMState is oned's LCM_STATE of a VM; it means something only in ACTIVE.
type LCMState int

// The life-cycle states that the domain or the simulator tells apart.
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

// String is the state's name as it stands in hook events.
func (s LCMState) String() string { return NameOf(int(s), lcmStateNames[:]) }

// ParseLCMState is the reverse of String; false for a name that oned 7.4 does not have.
func ParseLCMState(name string) (LCMState, bool) {
	n := slices.Index(lcmStateNames[:], name)
	return LCMState(max(n, 0)), n >= 0
}

// failedLCMStates are the life-cycle states in which OneFlow calls a VM failed.
var failedLCMStates = map[LCMState]bool{
	36: true, 37: true, 38: true, 39: true, 40: true, 41: true, 42: true, 44: true, 46: true,
	47: true, 48: true, 49: true, 50: true, 61: true,
}

// endingLCMStates are the life-cycle states of a VM on its way to DONE.
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

// Failed reports whether the network goes no further by itself.
func (s NetworkState) Failed() bool { return s == NetworkError || s == NetworkUpdateFailure }

var networkStateNames = [...]string{
	"INIT", "READY", "LOCK_CREATE", "LOCK_DELETE", "DONE", "ERROR", "UPDATE_FAILURE",
}

// String is the state's name as it stands in hook events.
func (s NetworkState) String() string { return NameOf(int(s), networkStateNames[:]) }

// NameOf is the name of a state by its number; that of a state which has none shows the number.
func NameOf(n int, names []string) string {
	if n < 0 || n >= len(names) {
		return fmt.Sprintf("UNKNOWN_%d", n)
	}
	return names[n]
}
