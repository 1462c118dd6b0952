package flow

// stage is what oned does with a VM in a state that it should leave by itself.
type stage int

const (
	stageNone stage = iota // it stays
	stagePending
	stageReady // it is up, and its role waits for READY=YES
	stageProlog
	stageBoot
	stageShutdown
	stageEpilog
	stageOther
)

// stages are those of the life-cycle states that have one of their own: STATE ACTIVE
// with LCM_STATE LCM_INIT is the beginning of a deployment.
var stages = map[LCMState]stage{
	LCMProlog: stageProlog, 8: stageProlog, 9: stageProlog, 31: stageProlog, 43: stageProlog, 45: stageProlog, 60: stageProlog,
	LCMInit: stageBoot, LCMBoot: stageBoot, LCMBootUnknown: stageBoot, LCMBootPoweroff: stageBoot, LCMBootSuspended: stageBoot, 22: stageBoot, 32: stageBoot, 35: stageBoot,
	LCMShutdown: stageShutdown, LCMCancel: stageShutdown,
	LCMEpilog: stageEpilog, 10: stageEpilog, LCMFailure: stageEpilog, 15: stageEpilog, LCMCleanupDelete: stageEpilog, 30: stageEpilog,
}

func (v VM) stage() stage {
	switch v.State {
	case VMInit, VMPending:
		return stagePending
	case VMCloning:
		return stageProlog
	case VMActive:
	default:
		return stageNone
	}
	if known, is := stages[v.LCMState]; is {
		return known
	}
	if v.Running() || v.Failed() || v.Lost() {
		return stageNone
	}
	return stageOther
}

// Changing reports whether drivers are at work on a VM that has been up. A leader that comes
// after does not know of that; what it knows by itself is that a guest has shut down.
func (v VM) Changing() bool {
	stage := v.stage()
	return stage != stageNone && stage != stageShutdown && !v.isNew()
}

// isNew reports whether the VM has never been up: another may be made in its place.
func (v VM) isNew() bool {
	switch v.State {
	case VMInit, VMPending, VMCloning:
		return true
	}
	return v.State == VMActive && (v.LCMState == LCMInit || v.LCMState == LCMProlog || v.LCMState == LCMBoot)
}
