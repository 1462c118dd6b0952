package sim

import "github.com/flowjet/flowjet/opennebula"

// The states of a VM that the simulator goes through (wire page, section 4).
const (
	vmPending    opennebula.VMState = 1
	vmHold       opennebula.VMState = 2
	vmActive     opennebula.VMState = 3
	vmStopped    opennebula.VMState = 4
	vmSuspended  opennebula.VMState = 5
	vmDone       opennebula.VMState = 6
	vmPoweroff   opennebula.VMState = 8
	vmUndeployed opennebula.VMState = 9
)

// The life-cycle states that the simulator goes through.
const (
	lcmInit             opennebula.LCMState = 0
	lcmProlog           opennebula.LCMState = 1
	lcmBoot             opennebula.LCMState = 2
	lcmRunning          opennebula.LCMState = 3
	lcmSaveStop         opennebula.LCMState = 5
	lcmSaveSuspend      opennebula.LCMState = 6
	lcmPrologResume     opennebula.LCMState = 9
	lcmEpilogStop       opennebula.LCMState = 10
	lcmEpilog           opennebula.LCMState = 11
	lcmShutdown         opennebula.LCMState = 12
	lcmCleanupResubmit  opennebula.LCMState = 15
	lcmUnknown          opennebula.LCMState = 16
	lcmShutdownPoweroff opennebula.LCMState = 18
	lcmBootUnknown      opennebula.LCMState = 19
	lcmBootPoweroff     opennebula.LCMState = 20
	lcmBootSuspended    opennebula.LCMState = 21
	lcmBootStopped      opennebula.LCMState = 22
	lcmCleanupDelete    opennebula.LCMState = 23
	lcmShutdownUndeploy opennebula.LCMState = 29
	lcmEpilogUndeploy   opennebula.LCMState = 30
	lcmPrologUndeploy   opennebula.LCMState = 31
	lcmBootUndeploy     opennebula.LCMState = 32
	lcmBootFailure      opennebula.LCMState = 36
	lcmPrologFailure    opennebula.LCMState = 39
	lcmEpilogFailure    opennebula.LCMState = 40
)

// status is a VM's place in its life.
type status struct {
	state opennebula.VMState
	lcm   opennebula.LCMState
}

func active(lcm opennebula.LCMState) status { return status{vmActive, lcm} }

// followUps is where a VM goes by itself, one step later. What is not in it
// stays where it is. (PENDING waits for a host and is not in it either.)
var followUps = map[opennebula.LCMState]status{
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
var bootStates = map[opennebula.LCMState]bool{
	lcmBoot: true, lcmBootUnknown: true, lcmBootPoweroff: true,
	lcmBootSuspended: true, lcmBootStopped: true, lcmBootUndeploy: true,
}

// failures is where a step ends that fails, as `recover --failure` has it.
var failures = map[opennebula.LCMState]status{
	lcmProlog:           active(lcmPrologFailure),
	lcmBoot:             active(lcmBootFailure),
	lcmEpilog:           active(lcmEpilogFailure),
	lcmEpilogStop:       active(41),
	lcmEpilogUndeploy:   active(42),
	lcmBootUndeploy:     active(47),
	lcmBootStopped:      active(48),
	lcmPrologResume:     active(49),
	lcmPrologUndeploy:   active(50),
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

func reversedFailures() map[opennebula.LCMState]opennebula.LCMState {
	reversed := map[opennebula.LCMState]opennebula.LCMState{}
	for step, end := range failures {
		if end.state == vmActive && end.lcm > lcmBootUndeploy {
			reversed[end.lcm] = step
		}
	}
	return reversed
}
