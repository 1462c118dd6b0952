package flow

import (
	"fmt"
	"time"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
)

// ask adds a request to a VM to the actions, once: until its effect is seen, or
// it has had as long as a look, it is not repeated.
func (r requester) ask(vm one.VM, call, role string) {
	asked, pending := r.Asked[vm.ID]
	unanswered := asked.Refused || asked.moved(vm) || !r.now.Before(asked.At.Add(r.settings.Look))
	if pending && asked.Action == call && (!unanswered || !asked.moved(vm) && r.retrier.held(requestName(call, vm.ID))) {
		return
	}
	set(&r.Asked, vm.ID, Asked{Action: call, At: r.now, State: vm.State, LCMState: vm.LCMState})
	kind := ActionVM
	if call == callRetry || call == callDelete {
		kind = ActionRecoverVM
	}
	r.actions = append(r.actions, Action{Kind: kind, VM: vm.ID, Call: call, Role: role})
}

// settleAsked forgets a request whose effect is seen, and one that was only meant
// to help once it has had its time: whoever asked may ask again.
func (r requester) settleAsked(vm one.VM) {
	asked, pending := r.Asked[vm.ID]
	if !pending || r.askAgain(asked, vm) {
		return
	}
	timely := r.now.Before(asked.At.Add(r.settings.Look))
	if vm.Gone() || asked.helps() && (asked.answered(vm) || !timely) {
		delete(r.Asked, vm.ID)
	}
}

// askAgain repeats a request that was to help the VM and may not have been made:
// the VM stands where it stood. Otherwise somebody who was told that his recover
// had begun would wait for nothing.
func (r requester) askAgain(asked Asked, vm one.VM) bool {
	unmade := asked.Doubt || asked.Refused && asked.helps()
	if !unmade || asked.moved(vm) {
		return false
	}
	if r.retrier.held(requestName(asked.Action, vm.ID)) {
		return true
	}
	delete(r.Asked, vm.ID)
	r.ask(vm, asked.Action, vm.Role)
	return true
}

// refuseVM fails the role whose VM will not end. A VM that is between states is
// asked again when it has moved on; a request that was only meant to help is
// forgotten.
func (r requester) refuseVM(vm one.VM, message string) {
	asked, pending := r.Asked[vm.ID]
	if asked.helps() {
		delete(r.Asked, vm.ID)
		if asked.Action == callRelease {
			r.failRelease(vm, message)
		}
		return
	}
	if pending {
		asked.Refused = false
		r.Asked[vm.ID] = asked
	}
	if vm.Ending() || r.between(vm) {
		return
	}
	for role := range r.eachRole() {
		if !role.Has(vm.ID) {
			continue
		}
		reason := fmt.Sprintf("VM %d does not end: %s", vm.ID, message)
		switch {
		case role.CurrentState() == spec.RoleUndeploying:
			r.deployer.failRole(role, spec.RoleFailedUndeploying, reason)
		case role.CurrentState() == spec.RoleScaling && role.Shrinking():
			r.deployer.failRole(role, spec.RoleFailedScaling, reason)
		}
	}
	if r.state() == spec.ServiceUndeploying && r.observer.node(vm.ID) == nil {
		r.log("E", fmt.Sprintf("VM %d, which no role needs, does not end: %s", vm.ID, message))
		r.to(spec.ServiceFailedUndeploying)
	}
}

// failRelease fails the role whose VM cannot be started.
func (r requester) failRelease(vm one.VM, message string) {
	for role := range r.eachRole() {
		if role.Has(vm.ID) && role.CurrentState() == spec.RoleDeploying && vm.State == one.VMHold {
			r.deployer.failRole(role, spec.RoleFailedDeploying, fmt.Sprintf("VM %d is on hold and cannot be released: %s", vm.ID, message))
		}
	}
}

// between reports whether oned is at work on the VM.
func (r requester) between(vm one.VM) bool {
	if vm.State == one.VMInit || vm.State == one.VMCloning {
		return true
	}
	return vm.State == one.VMActive && !vm.Running() && !vm.Failed() && !vm.Lost()
}

// forgetAsked lets every request be made again.
func (r requester) forgetAsked() {
	r.Asked = nil
	r.forgetNetworksAsked()
	r.forgetRoutersAsked()
}

// forgetAskedOfNodes: a failed service waits for somebody to recover it, and
// not for its VMs. Those that it does not want are still asked to end.
func (r requester) forgetAskedOfNodes() {
	for _, role := range r.roles() {
		for _, node := range role.Nodes {
			delete(r.Asked, node.DeployID)
		}
	}
}

// forgetNetworksAsked lets every deletion be asked for again.
func (r requester) forgetNetworksAsked() {
	for i := range r.Networks {
		if !r.Networks[i].Asked.IsZero() {
			r.Networks[i].Asked = time.Unix(0, 0)
		}
	}
}

// forgetRoutersAsked lets every deletion be asked for again.
func (r requester) forgetRoutersAsked() {
	for i := range r.Routers {
		r.Routers[i].Asked = time.Time{}
	}
}
