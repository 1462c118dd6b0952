package flow_test

import (
	"fmt"
	"maps"
	"slices"

	"pgregory.net/rapid"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
)

// world is oned as the property tests need it: the VMs as they really are, and
// every state that one has been in, since any of them may be told late.
type world struct {
	vms     map[int]one.VM
	history []one.VM
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
	return &world{stuck: map[int]bool{}, vms: map[int]one.VM{}, late: map[int]bool{}, networks: map[int]flow.Network{}, routers: map[int]flow.Router{}}
}

func (w *world) create(intent flow.Intent) int {
	id := w.next
	w.next++
	state := one.VMPending
	if intent.Hold {
		state = one.VMHold
	}
	w.put(one.VM{
		ID: id, Name: intent.Name, Owner: stageOwner, State: state, Host: fmt.Sprintf("h%d", id%2),
		Service: 27, Role: intent.Role, Key: intent.Key,
	})
	return id
}

func (w *world) put(vm one.VM) {
	w.vms[vm.ID] = vm
	w.history = append(w.history, vm)
}

func (w *world) become(id int, state one.VMState, lcm one.LCMState) {
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
var onward = map[one.LCMState]one.LCMState{
	one.LCMProlog: one.LCMBoot, one.LCMBoot: one.LCMRunning, one.LCMBootPoweroff: one.LCMRunning,
	one.LCMShutdown: one.LCMEpilog,
}

// amiss is what it becomes otherwise.
var amiss = map[one.LCMState]one.LCMState{
	one.LCMProlog: one.LCMPrologFailure, one.LCMBoot: one.LCMBootFailure, one.LCMEpilog: one.LCMEpilogFailure,
}

// advance takes a VM one step on; it reports whether there was one.
func (w *world) advance(id int, well bool) bool {
	vm := w.vms[id]
	switch {
	case w.stuck[id]:
		return false
	case vm.State == one.VMPending && !well:
		w.become(id, one.VMActive, one.LCMInit)
		w.stuck[id] = true
	case vm.State == one.VMPending:
		w.become(id, one.VMActive, one.LCMProlog)
	case vm.State != one.VMActive:
		return false
	case vm.Running() && !vm.Ready && well:
		vm.Ready = true
		w.put(vm)
	case !well && amiss[vm.LCMState] != 0:
		w.become(id, one.VMActive, amiss[vm.LCMState])
	case vm.LCMState == one.LCMEpilog || vm.LCMState == one.LCMCleanupDelete:
		w.become(id, one.VMDone, one.LCMInit)
	case onward[vm.LCMState] != 0:
		w.become(id, one.VMActive, onward[vm.LCMState])
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
		if between := vm.State == one.VMActive && !vm.Running() && !vm.Failed() && !vm.Lost(); between || vm.State == one.VMPending {
			w.stuck[id] = true
		}
	case "protect":
		vm.Protected = !vm.Protected
		w.put(vm)
	case "delete":
		w.become(id, one.VMDone, one.LCMInit)
	case "poweroff":
		if vm.Running() {
			w.become(id, one.VMPoweroff, one.LCMInit)
		}
	case "lose":
		if vm.Running() {
			w.become(id, one.VMActive, one.LCMUnknown)
		}
	case "release":
		if vm.State == one.VMHold {
			w.become(id, one.VMPending, one.LCMInit)
		}
	case "find":
		if vm.Lost() {
			w.become(id, one.VMActive, one.LCMRunning)
		}
	case "resume":
		if vm.Arrived() {
			w.become(id, one.VMActive, one.LCMBootPoweroff)
		}
	case "fail":
		if vm.State == one.VMPending {
			w.become(id, one.VMCloningFailure, one.LCMInit)
		}
	case "suspend":
		if vm.Running() {
			w.become(id, one.VMSuspended, one.LCMInit)
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
		next := one.VMActive
		if vm.State != one.VMActive {
			next = one.VMDone
		}
		if !vm.Gone() {
			w.become(id, next, map[one.VMState]one.LCMState{one.VMActive: one.LCMCleanupDelete}[next])
		}
		return !vm.Gone()
	case "recover":
		if vm.State == one.VMActive && vm.LCMState == one.LCMBootPoweroff {
			delete(w.stuck, id) // the driver is told again
			return true
		}
		if !vm.Failed() {
			return false
		}
		next := one.LCMBoot
		switch vm.LCMState {
		case one.LCMEpilogFailure:
			next = one.LCMEpilog
		case one.LCMPrologFailure:
			next = one.LCMProlog
		}
		w.become(id, one.VMActive, next)
		return true
	case "release":
		if vm.State != one.VMHold {
			return false
		}
		w.become(id, one.VMPending, one.LCMInit)
		return true
	case "resume":
		if vm.State != one.VMPoweroff {
			return false
		}
		w.become(id, one.VMActive, one.LCMBootPoweroff)
		return true
	}
	if vm.LCMState == one.LCMShutdown && call == "terminate-hard" {
		w.become(id, one.VMActive, one.LCMEpilog)
		return true
	}
	between := vm.State == one.VMActive && !vm.Running() && !vm.Failed() && !vm.Lost()
	switch {
	case vm.Gone() || between:
		return false
	case vm.Running() && call == "terminate":
		w.become(id, one.VMActive, one.LCMShutdown)
	default:
		w.become(id, one.VMActive, one.LCMEpilog)
	}
	return true
}

// interrupted are states of a VM that was up, and is again when what is done to it fails.
var interrupted = []one.LCMState{one.LCMShutdownPoweroff, lcmSaveSuspend, lcmHotplug}

const (
	lcmSaveSuspend one.LCMState = 6
	lcmHotplug     one.LCMState = 17
	lcmRevert      one.LCMState = 58
)

// letFail has what is done to a VM fail, as one.vm.recover does: in LCM_INIT, and while a
// disk is reverted to a snapshot, it changes nothing.
func (w *world) letFail(id int) bool {
	vm := w.vms[id]
	if vm.State != one.VMActive {
		return false
	}
	switch next, fails := amiss[vm.LCMState]; {
	case fails:
		w.become(id, one.VMActive, next)
	case vm.LCMState == one.LCMCleanupDelete:
		w.become(id, one.VMDone, one.LCMInit)
	case vm.LCMState == one.LCMBootPoweroff:
		w.become(id, one.VMPoweroff, one.LCMInit)
	case slices.Contains(interrupted, vm.LCMState):
		w.become(id, one.VMActive, one.LCMRunning)
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
			w.become(id, one.VMActive, one.LCMRunning)
		}
		for w.advance(id, true) {
			continue
		}
	}
}
