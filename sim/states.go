package sim

import "github.com/flowjet/flowjet/flow/one"

// The states of a VM that the simulator goes through.
const (
	vmPending    = one.VMPending
	vmHold       = one.VMHold
	vmActive     = one.VMActive
	vmStopped    = one.VMStopped
	vmSuspended  = one.VMSuspended
	vmDone       = one.VMDone
	vmPoweroff   = one.VMPoweroff
	vmUndeployed = one.VMUndeployed
)

// The life-cycle states that the simulator goes through.
const (
	lcmInit             = one.LCMInit
	lcmProlog           = one.LCMProlog
	lcmBoot             = one.LCMBoot
	lcmRunning          = one.LCMRunning
	lcmSaveStop         = one.LCMSaveStop
	lcmSaveSuspend      = one.LCMSaveSuspend
	lcmPrologResume     = one.LCMPrologResume
	lcmEpilogStop       = one.LCMEpilogStop
	lcmEpilog           = one.LCMEpilog
	lcmShutdown         = one.LCMShutdown
	lcmCleanupResubmit  = one.LCMCleanupResubmit
	lcmUnknown          = one.LCMUnknown
	lcmShutdownPoweroff = one.LCMShutdownPoweroff
	lcmBootUnknown      = one.LCMBootUnknown
	lcmBootPoweroff     = one.LCMBootPoweroff
	lcmBootSuspended    = one.LCMBootSuspended
	lcmBootStopped      = one.LCMBootStopped
	lcmCleanupDelete    = one.LCMCleanupDelete
	lcmShutdownUndeploy = one.LCMShutdownUndeploy
	lcmEpilogUndeploy   = one.LCMEpilogUndeploy
	lcmPrologUndeploy   = one.LCMPrologUndeploy
	lcmBootUndeploy     = one.LCMBootUndeploy
	lcmBootFailure      = one.LCMBootFailure
	lcmPrologFailure    = one.LCMPrologFailure
	lcmEpilogFailure    = one.LCMEpilogFailure
)

// status is a VM's place in its life.
type status struct {
	state one.VMState
	lcm   one.LCMState
}

func active(lcm one.LCMState) status { return status{vmActive, lcm} }

// followUps is where a VM goes by itself, one step later. What is not in it
// stays where it is. (PENDING waits for a host and is not in it either.)
var followUps = map[one.LCMState]status{
	lcmProlog:           active(lcmBoot),
	lcmPrologResume:     active(lcmBootStopped),
	lcmPrologUndeploy:   active(lcmBootUndeploy),
	lcmBoot:             active(lcmRunning),
	lcmBootUnknown:      active(lcmRunning),
	lcmBootPoweroff:     active(lcmRunning),
	lcmBootSuspended:    active(lcmRunning),
	lcmBootStopped:      active(lcmRunning),
	lcmBootUndeploy:     active(lcmRunning),
	lcmSaveStop:         active(lcmEpilogStop),
	lcmEpilogStop:       {vmStopped, lcmInit},
	lcmSaveSuspend:      {vmSuspended, lcmInit},
	lcmShutdown:         active(lcmEpilog),
	lcmEpilog:           {vmDone, lcmInit},
	lcmShutdownPoweroff: {vmPoweroff, lcmInit},
	lcmShutdownUndeploy: active(lcmEpilogUndeploy),
	lcmEpilogUndeploy:   {vmUndeployed, lcmInit},
	lcmCleanupDelete:    {vmDone, lcmInit},
	lcmCleanupResubmit:  {vmPending, lcmInit},
}

// bootStates are those that a pause of the boots holds.
var bootStates = map[one.LCMState]bool{
	lcmBoot: true, lcmBootUnknown: true, lcmBootPoweroff: true,
	lcmBootSuspended: true, lcmBootStopped: true, lcmBootUndeploy: true,
}

// failures is where a step ends that fails, as `recover --failure` has it.
var failures = map[one.LCMState]status{
	lcmProlog:           active(lcmPrologFailure),
	lcmBoot:             active(lcmBootFailure),
	lcmEpilog:           active(lcmEpilogFailure),
	lcmEpilogStop:       active(one.LCMEpilogStopFailure),
	lcmEpilogUndeploy:   active(one.LCMEpilogUndeployFailure),
	lcmBootUndeploy:     active(one.LCMBootUndeployFailure),
	lcmBootStopped:      active(one.LCMBootStoppedFailure),
	lcmPrologResume:     active(one.LCMPrologResumeFailure),
	lcmPrologUndeploy:   active(one.LCMPrologUndeployFailure),
	lcmShutdown:         active(lcmRunning),
	lcmShutdownPoweroff: active(lcmRunning),
	lcmShutdownUndeploy: active(lcmRunning),
	lcmSaveStop:         active(lcmRunning),
	lcmSaveSuspend:      active(lcmRunning),
	lcmBootPoweroff:     {vmPoweroff, lcmInit},
	lcmBootSuspended:    {vmSuspended, lcmInit},
	lcmBootUnknown:      active(lcmUnknown),
}

// retries is the step that a failed VM takes again.
var retries = reversedFailures()

func reversedFailures() map[one.LCMState]one.LCMState {
	reversed := map[one.LCMState]one.LCMState{}
	for step, end := range failures {
		if end.state == vmActive && end.lcm > lcmBootUndeploy {
			reversed[end.lcm] = step
		}
	}
	return reversed
}
