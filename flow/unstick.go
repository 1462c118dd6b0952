package flow

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/policy"
	"github.com/flowjet/flowjet/flow/spec"
)

const (
	// maxRemade is how often another VM is made in the place of one that does not come.
	maxRemade = 2
	// maxRetries is how often oned is asked to retry what it was told to let fail.
	maxRetries = 3
)

// The calls of one.vm.recover.
const (
	callRetry  = "recover"
	callFail   = "recover-failure"
	callDelete = "recover-delete"
)

// recoverStays has oned retry what it let fail, and does what is due about VMs that no role has and that are to end.
func (r recoverer) recoverStays() {
	ids := slices.Sorted(maps.Keys(r.Stays))
	for _, id := range ids {
		stay, vm := r.Stays[id], r.facts[id]
		if !stay.Failing || !vm.Failed() || stay.Retries > 0 && r.now.Before(stay.Acted.Add(r.settings.Look)) {
			continue
		}
		if stay.Retries >= maxRetries || !r.tracker.awaitedVMs()[id] {
			delete(r.Stays, id)
			continue
		}
		stay.Retries, stay.Acted = stay.Retries+1, r.now
		r.Stays[id] = stay
		r.retrier.act(Action{Kind: ActionRecoverVM, VM: id, Call: callRetry, Role: vm.Role})
	}
	for _, id := range ids {
		if vm, known := r.facts[id]; known && r.AskedToEnd(id) && r.tracker.overdue(r.Stays[id]) && r.observer.node(id) == nil {
			r.unstick(&spec.Role{Name: vm.Role}, vm, true)
		}
	}
}

// unstick does the next thing about a VM that has overstayed. It returns why its role has
// to fail when there is nothing left to do, else nothing.
func (r recoverer) unstick(role *spec.Role, vm one.VM, ends bool) (failure string) {
	stay, stays := r.Stays[vm.ID]
	if !stays || vm.Seen == nil || !r.tracker.overdue(stay) {
		return ""
	}
	if vm.Stage() == one.StagePending && !stay.undeployable(vm) { // the limiter's
		return ""
	}
	reason := stay.text(vm)
	ends = ends || vm.Ending()
	asked, tried := r.Asked[vm.ID].Action, r.tracker.tried(stay)
	stay.Acted = r.now
	switch {
	case r.tracker.stageOf(vm) == one.StageReady:
		return reason + " and has not reported READY=YES"
	case ends && vm.Stage() == one.StageShutdown && asked == "terminate":
		r.requester.ask(vm, "terminate-hard", role.Name)
		r.tellStay(role, vm, "terminated", reason+" and is terminated with terminate-hard")
	case mending(vm) != "" && !tried && (!ends || vm.Stage() == one.StageEpilog || vm.Stage() == one.StageOther):
		stay.Retried, stay.Failing, stay.Retries = true, mending(vm) == callFail, 0
		r.retrier.act(Action{Kind: ActionRecoverVM, VM: vm.ID, Call: mending(vm), Role: role.Name})
		r.tellStay(role, vm, "retried", reason+" and is retried")
	case ends && asked != callDelete:
		r.requester.ask(vm, callDelete, role.Name)
		r.tellStay(role, vm, "terminated", reason+" and is deleted")
	case !ends && r.remakes(role, vm, stay):
		role.Nodes = slices.DeleteFunc(role.Nodes, func(n spec.Node) bool { return n.DeployID == vm.ID })
		r.requester.ask(vm, callDelete, role.Name)
		intent := r.filler.newIntent(role)
		intent.Remade = stay.Remade + 1
		r.Intents = append(r.Intents, intent)
		r.tellStay(role, vm, "replaced", reason+" and is replaced")
	default:
		return reason + stay.history()
	}
	stay.Due = r.tracker.stayDue(stay, vm)
	r.Stays[vm.ID] = stay
	return ""
}

// remakes reports whether another VM may be made in the place of one that does not come:
// it has never been up, and its role is to grow or replaces what fails.
func (r recoverer) remakes(role *spec.Role, vm one.VM, stay Stay) bool {
	rule, heals := policy.HealRuleOf(role)
	grows := role.CurrentState() == spec.RoleDeploying || role.CurrentState() == spec.RoleScaling || heals && rule.Action == policy.HealRecreate
	return grows && vm.IsNew() && !role.IsRouter() && stay.Remade < maxRemade
}

func (r recoverer) tellStay(role *spec.Role, vm one.VM, what, reason string) {
	r.log("I", "Role %s : %s", role.Name, reason)
	r.changes = append(r.changes, Change{Kind: "vm", VM: new(vm.ID), Role: role.Name, New: what, Reason: reason})
}

// text says since when the VM stays in its state.
func (s Stay) text(vm one.VM) string {
	text := fmt.Sprintf("VM %d has been in %s since %s", vm.ID, vm.StateText(), utc(s.Since))
	if said := cmp.Or(s.Scheduler, s.Error); said != "" {
		text += " (" + said + ")"
	}
	return text
}

// history says what was done about it.
func (s Stay) history() string {
	var done []string
	if s.Retried {
		done = append(done, "it was retried")
	}
	switch {
	case s.Remade == 1:
		done = append(done, "it was replaced once before")
	case s.Remade > 1:
		done = append(done, fmt.Sprintf("it was replaced %d times before", s.Remade))
	}
	if len(done) == 0 {
		return ""
	}
	return "; " + strings.Join(done, ", ")
}

// endCall is how a VM is asked to end that otherwise is asked so: one that had to be deleted goes on being.
func (r recoverer) endCall(vm one.VM, otherwise string) string {
	if r.Asked[vm.ID].Action == callDelete {
		return callDelete
	}
	return otherwise
}

// beingRetried reports whether oned was told to let fail what it does with the VM, and is to retry it.
func (r recoverer) beingRetried(vm one.VM) bool { return r.Stays[vm.ID].Failing }

// unstickRole does what is due about the role's VMs. It returns false when the role has failed.
func (r recoverer) unstickRole(role *spec.Role, nodes []spec.Node, ends bool, failed spec.RoleState) bool {
	for _, node := range slices.Clone(nodes) {
		vm, known := r.facts[node.DeployID]
		if !known {
			continue
		}
		if failure := r.unstick(role, vm, ends); failure != "" {
			r.deployer.failRole(role, failed, failure)
			return false
		}
	}
	return true
}

// forgetStays lets everything be done anew about what does not move.
func (r recoverer) forgetStays() {
	r.Stays, r.Waits = nil, nil
	for i := range r.Networks {
		r.Networks[i].Since = time.Time{}
	}
}

// mending returns the call of one.vm.recover that gets the VM out of a state in which no driver is at work on it; ""
// where oned has none, and where the guest ends by itself. One that boots again is retried where it is: let fail, it
// would be powered off. All others are let fail: that leads to a failure that can be retried, or back to where the VM
// was before it was powered off, saved, changed or backed up.
func mending(vm one.VM) string {
	switch {
	case vm.Stage() == one.StageNone || vm.State != one.VMActive || vm.Stage() == one.StageShutdown:
		return ""
	case vm.LCMState == one.LCMInit || vm.LCMState == one.LCMDiskSnapshotRevert || vm.LCMState == one.LCMDiskSnapshotRevertSuspended:
		return ""
	case vm.LCMState == one.LCMBootUnknown || vm.LCMState == one.LCMBootPoweroff || vm.LCMState == one.LCMBootSuspended:
		return callRetry
	}
	return callFail
}
