package flow_test

import (
	"fmt"
	"maps"
	"slices"

	"github.com/flowjet/flowjet/flow"
	"pgregory.net/rapid"
)

// world is oned as the property tests need it: the VMs as they really are, and
// every state that one has been in, since any of them may be told late.
type world struct {
	vms     map[int]flow.VM
	history []flow.VM
	next    int
	// wire are the calls to create a VM that have been sent and may yet take effect.
	wire []flow.Intent
	// late are the VMs that such calls made.
	late map[int]bool
	// stuck are VMs that do not leave their state by themselves: their driver has died.
	stuck map[int]bool
	// networks are the service's own, by id.
	networks map[int]flow.Network
	// routers are those of its roles, by id.
	routers map[int]flow.Router
}

func newWorld() *world {
	return &world{stuck: map[int]bool{}, vms: map[int]flow.VM{}, late: map[int]bool{}, networks: map[int]flow.Network{}, routers: map[int]flow.Router{}}
}

func (w *world) create(intent flow.Intent) int {
	id := w.next
	w.next++
	state := flow.VMPending
	if intent.Hold {
		state = flow.VMHold
	}
	w.put(flow.VM{
		ID: id, Name: intent.Name, Owner: stageOwner, State: state, Host: fmt.Sprintf("h%d", id%2),
		Service: 27, Role: intent.Role, Key: intent.Key,
	})
	return id
}

func (w *world) put(vm flow.VM) {
	w.vms[vm.ID] = vm
	w.history = append(w.history, vm)
}

func (w *world) become(id int, state flow.VMState, lcm flow.LCMState) {
	vm := w.vms[id]
	vm.State, vm.LCMState = state, lcm
	vm.Ready = vm.Ready && vm.Running()
	delete(w.stuck, id)
	w.put(vm)
}

// live are the ids of the VMs that have not ended, ascending.
func (w *world) live() []int {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(w.vms)), func(id int) bool { return w.vms[id].Gone() })
}

// onward is what a VM that is between states becomes when nothing goes wrong.
var onward = map[flow.LCMState]flow.LCMState{
	flow.LCMProlog: flow.LCMBoot, flow.LCMBoot: flow.LCMRunning, flow.LCMBootPoweroff: flow.LCMRunning,
	flow.LCMShutdown: flow.LCMEpilog,
}

// amiss is what it becomes otherwise.
var amiss = map[flow.LCMState]flow.LCMState{
	flow.LCMProlog: flow.LCMPrologFailure, flow.LCMBoot: flow.LCMBootFailure, flow.LCMEpilog: flow.LCMEpilogFailure,
}

// advance takes a VM one step on; it reports whether there was one.
func (w *world) advance(id int, well bool) bool {
	vm := w.vms[id]
	switch {
	case w.stuck[id]:
		return false
	case vm.State == flow.VMPending && !well:
		w.become(id, flow.VMActive, flow.LCMInit)
		w.stuck[id] = true
	case vm.State == flow.VMPending:
		w.become(id, flow.VMActive, flow.LCMProlog)
	case vm.State != flow.VMActive:
		return false
	case vm.Running() && !vm.Ready && well:
		vm.Ready = true
		w.put(vm)
	case !well && amiss[vm.LCMState] != 0:
		w.become(id, flow.VMActive, amiss[vm.LCMState])
	case vm.LCMState == flow.LCMEpilog || vm.LCMState == flow.LCMCleanupDelete:
		w.become(id, flow.VMDone, flow.LCMInit)
	case onward[vm.LCMState] != 0:
		w.become(id, flow.VMActive, onward[vm.LCMState])
	default:
		return false
	}
	return true
}

// meddle has somebody else, or a failing host, do something to a VM.
func (w *world) meddle(t *rapid.T, id int) {
	vm := w.vms[id]
	switch rapid.SampledFrom([]string{"delete", "poweroff", "lose", "find", "resume", "fail", "suspend", "release", "stick", "stick", "protect"}).Draw(t, "meddle") {
	case "stick":
		if between := vm.State == flow.VMActive && !vm.Running() && !vm.Failed() && !vm.Lost(); between || vm.State == flow.VMPending {
			w.stuck[id] = true
		}
	case "protect":
		vm.Protected = !vm.Protected
		w.put(vm)
	case "delete":
		w.become(id, flow.VMDone, flow.LCMInit)
	case "poweroff":
		if vm.Running() {
			w.become(id, flow.VMPoweroff, flow.LCMInit)
		}
	case "lose":
		if vm.Running() {
			w.become(id, flow.VMActive, flow.LCMUnknown)
		}
	case "release":
		if vm.State == flow.VMHold {
			w.become(id, flow.VMPending, flow.LCMInit)
		}
	case "find":
		if vm.Lost() {
			w.become(id, flow.VMActive, flow.LCMRunning)
		}
	case "resume":
		if vm.Arrived() {
			w.become(id, flow.VMActive, flow.LCMBootPoweroff)
		}
	case "fail":
		if vm.State == flow.VMPending {
			w.become(id, flow.VMCloningFailure, flow.LCMInit)
		}
	case "suspend":
		if vm.Running() {
			w.become(id, flow.VMSuspended, flow.LCMInit)
		}
	}
}

// ask is oned's answer to a request to a VM: false where it is refused.
func (w *world) ask(id int, call string) bool {
	vm := w.vms[id]
	switch call {
	case "recover-failure":
		return w.letFail(id)
	case "recover-delete":
		next := flow.VMActive
		if vm.State != flow.VMActive {
			next = flow.VMDone
		}
		if !vm.Gone() {
			w.become(id, next, map[flow.VMState]flow.LCMState{flow.VMActive: flow.LCMCleanupDelete}[next])
		}
		return !vm.Gone()
	case "recover":
		if vm.State == flow.VMActive && vm.LCMState == flow.LCMBootPoweroff {
			delete(w.stuck, id) // the driver is told again
			return true
		}
		if !vm.Failed() {
			return false
		}
		next := flow.LCMBoot
		switch vm.LCMState {
		case flow.LCMEpilogFailure:
			next = flow.LCMEpilog
		case flow.LCMPrologFailure:
			next = flow.LCMProlog
		}
		w.become(id, flow.VMActive, next)
		return true
	case "release":
		if vm.State != flow.VMHold {
			return false
		}
		w.become(id, flow.VMPending, flow.LCMInit)
		return true
	case "resume":
		if vm.State != flow.VMPoweroff {
			return false
		}
		w.become(id, flow.VMActive, flow.LCMBootPoweroff)
		return true
	}
	if vm.LCMState == flow.LCMShutdown && call == "terminate-hard" {
		w.become(id, flow.VMActive, flow.LCMEpilog)
		return true
	}
	between := vm.State == flow.VMActive && !vm.Running() && !vm.Failed() && !vm.Lost()
	switch {
	case vm.Gone() || between:
		return false
	case vm.Running() && call == "terminate":
		w.become(id, flow.VMActive, flow.LCMShutdown)
	default:
		w.become(id, flow.VMActive, flow.LCMEpilog)
	}
	return true
}

// interrupted are states of a VM that was up, and is again when what is done to it fails.
var interrupted = []flow.LCMState{flow.LCMShutdownPoweroff, lcmSaveSuspend, lcmHotplug}

const (
	lcmSaveSuspend flow.LCMState = 6
	lcmHotplug     flow.LCMState = 17
	lcmRevert      flow.LCMState = 58
)

// letFail has what is done to a VM fail, as one.vm.recover does: in LCM_INIT, and while a
// disk is reverted to a snapshot, it changes nothing.
func (w *world) letFail(id int) bool {
	vm := w.vms[id]
	if vm.State != flow.VMActive {
		return false
	}
	switch next, fails := amiss[vm.LCMState]; {
	case fails:
		w.become(id, flow.VMActive, next)
	case vm.LCMState == flow.LCMCleanupDelete:
		w.become(id, flow.VMDone, flow.LCMInit)
	case vm.LCMState == flow.LCMBootPoweroff:
		w.become(id, flow.VMPoweroff, flow.LCMInit)
	case slices.Contains(interrupted, vm.LCMState):
		w.become(id, flow.VMActive, flow.LCMRunning)
	}
	return true
}

// heal brings every VM to where it stays, and every host to answer.
func (w *world) heal() {
	for id := range w.networks {
		w.advanceNetwork(id, true)
	}
	for _, id := range w.live() {
		if w.vms[id].Lost() {
			w.become(id, flow.VMActive, flow.LCMRunning)
		}
		for w.advance(id, true) {
			continue
		}
	}
}
