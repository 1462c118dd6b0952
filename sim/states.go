package sim

import "github.com/flowjet/flowjet/flow"

// The states of a VM that the simulator goes through.
const (
	vmPending    = flow.VMPending
	vmHold       = flow.VMHold
	vmActive     = flow.VMActive
	vmStopped    = flow.VMStopped
	vmSuspended  = flow.VMSuspended
	vmDone       = flow.VMDone
	vmPoweroff   = flow.VMPoweroff
	vmUndeployed = flow.VMUndeployed
)

// The life-cycle states that the simulator goes through.
const (
	lcmInit             = flow.LCMInit
	lcmProlog           = flow.LCMProlog
	lcmBoot             = flow.LCMBoot
	lcmRunning          = flow.LCMRunning
	lcmSaveStop         = flow.LCMSaveStop
	lcmSaveSuspend      = flow.LCMSaveSuspend
	lcmPrologResume     = flow.LCMPrologResume
	lcmEpilogStop       = flow.LCMEpilogStop
	lcmEpilog           = flow.LCMEpilog
	lcmShutdown         = flow.LCMShutdown
	lcmCleanupResubmit  = flow.LCMCleanupResubmit
	lcmUnknown          = flow.LCMUnknown
	lcmShutdownPoweroff = flow.LCMShutdownPoweroff
	lcmBootUnknown      = flow.LCMBootUnknown
	lcmBootPoweroff     = flow.LCMBootPoweroff
	lcmBootSuspended    = flow.LCMBootSuspended
	lcmBootStopped      = flow.LCMBootStopped
	lcmCleanupDelete    = flow.LCMCleanupDelete
	lcmShutdownUndeploy = flow.LCMShutdownUndeploy
	lcmEpilogUndeploy   = flow.LCMEpilogUndeploy
	lcmPrologUndeploy   = flow.LCMPrologUndeploy
	lcmBootUndeploy     = flow.LCMBootUndeploy
	lcmBootFailure      = flow.LCMBootFailure
	lcmPrologFailure    = flow.LCMPrologFailure
	lcmEpilogFailure    = flow.LCMEpilogFailure
)

// status is a VM's place in its life.
type status struct {
	state flow.VMState
	lcm   flow.LCMState
}

func active(lcm flow.LCMState) status { return status{vmActive, lcm} }

// followUps is where a VM goes by itself, one step later. What is not in it
// stays where it is. (PENDING waits for a host and is not in it either.)
var followUps = map[flow.LCMState]status{
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
var bootStates = map[flow.LCMState]bool{
	lcmBoot: true, lcmBootUnknown: true, lcmBootPoweroff: true,
	lcmBootSuspended: true, lcmBootStopped: true, lcmBootUndeploy: true,
}

// failures is where a step ends that fails, as `recover --failure` has it.
var failures = map[flow.LCMState]status{
	lcmProlog:           active(lcmPrologFailure),
	lcmBoot:             active(lcmBootFailure),
	lcmEpilog:           active(lcmEpilogFailure),
	lcmEpilogStop:       active(flow.LCMEpilogStopFailure),
	lcmEpilogUndeploy:   active(flow.LCMEpilogUndeployFailure),
	lcmBootUndeploy:     active(flow.LCMBootUndeployFailure),
	lcmBootStopped:      active(flow.LCMBootStoppedFailure),
	lcmPrologResume:     active(flow.LCMPrologResumeFailure),
	lcmPrologUndeploy:   active(flow.LCMPrologUndeployFailure),
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

func reversedFailures() map[flow.LCMState]flow.LCMState {
	reversed := map[flow.LCMState]flow.LCMState{}
	for step, end := range failures {
		if end.state == vmActive && end.lcm > lcmBootUndeploy {
			reversed[end.lcm] = step
		}
	}
	return reversed
}
