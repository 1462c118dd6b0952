package one

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

// Changing reports whether drivers are at work on a VM that has been up. A leader that comes
// after does not know of that; what it knows by itself is that a guest has shut down.
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
