package flow

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/policy"
	"github.com/flowjet/flowjet/flow/spec"
)

// watch follows the VMs of a running service: VMs in trouble lead to WARNING, and their recovery back.
func (w watcher) watch() {
	if w.deployer.repair() {
		return
	}
	vms, had := 0, false // whether it has had VMs
	for role := range w.Service.Body.EachRole() {
		w.watchRole(role)
		vms += len(role.Nodes) + len(w.strangers[role.Name])
		had = had || w.inventory.ordinal(role) > 0
	}
	if flag(w.Service.Body.AutomaticDeletion) && had && vms == 0 {
		w.to(spec.ServiceUndeploying)
		w.changes[len(w.changes)-1].Reason = "no VM is left, and automatic_deletion is set"
		return
	}
	if w.scaler.runSchedules(); !w.anyRole(spec.RoleScaling) {
		w.inventory.refill()
	}
	warned := w.anyRole(spec.RoleWarning)
	switch {
	case w.anyRole(spec.RoleScaling):
		w.to(spec.ServiceScaling)
	case warned && w.Service.State() == spec.ServiceRunning:
		w.to(spec.ServiceWarning)
	case !warned && w.Service.State() == spec.ServiceWarning:
		w.to(spec.ServiceRunning)
	}
}

// watchRole replaces VMs that healing has removed, and recovers VMs that the last leader left behind.
func (w watcher) watchRole(role *spec.Role) {
	w.healRole(role)
	rule, heals, _ := policy.HealRuleOf(role)
	due := w.Heals[role.Name].Since[refusedVM].Add(rule.After)
	switch {
	case !heals:
		w.inventory.followLoss(role, 0)
	case w.inventory.intended(role) == 0 && w.inventory.missing(role) > 0 && due.After(w.now): // oned has refused a replacement
		w.wakeToHeal(due)
	default:
		w.inventory.fill(role)
	}
	trouble := ""
	for _, node := range slices.Clone(role.Nodes) {
		if vm, known := w.facts[node.DeployID]; known && w.tracker.awaits(role, vm.ID) {
			trouble = cmp.Or(trouble, w.tracker.unstick(role, vm, false))
		}
	}
	trouble = cmp.Or(trouble, w.trouble(role))
	switch {
	case trouble != "" && role.CurrentState() == spec.RoleRunning:
		w.roleTo(role, spec.RoleWarning, trouble)
	case trouble == "" && role.CurrentState() == spec.RoleWarning:
		w.roleTo(role, spec.RoleRunning, "")
	}
}

// trouble describes the first of the role's VMs that is in trouble.
func (w watcher) trouble(role *spec.Role) string {
	_, heals, _ := policy.HealRuleOf(role)
	if have := len(role.Nodes) + len(w.strangers[role.Name]); heals && have < role.Cardinality {
		return fmt.Sprintf("the role has %d of %d VMs", have, role.Cardinality)
	}
	for _, node := range role.Nodes {
		vm, known := w.facts[node.DeployID]
		if heals && known && role.CurrentState() == spec.RoleWarning && vm.Running() && !w.deployer.come(role, vm) {
			return fmt.Sprintf("VM %d has not reported READY", vm.ID)
		}
		if known && (vm.Troubled() || role.CurrentState() == spec.RoleWarning && vm.Underway()) {
			return fmt.Sprintf("VM %d is in %s", vm.ID, vm.StateText())
		}
		if !known && role.CurrentState() == spec.RoleWarning {
			return "the state of some VMs is unknown"
		}
	}
	return ""
}

// DeadlineHeal is the timer after which a VM that is in trouble is healed.
const DeadlineHeal = "heal"

const (
	// healWindow is the time in which the number of heals of a role is limited.
	healWindow = time.Hour
	// hostPatience is how much longer, in waits of the role, VMs wait whose whole host seems to have failed: it may come back with all of
	// them.
	hostPatience = 5
	// refusedVM is the key in Heal.Since for a replacement that oned refused.
	refusedVM = -1
)

// Heal records how a role was healed.
type Heal struct {
	// Since is when each VM was first seen in trouble, or was last healed.
	Since map[int]time.Time `json:"since,omitempty"`
	// Done are the times at which VMs were healed lately.
	Done []time.Time `json:"done,omitempty"`
	// Logged is the last message in the log about it, which is logged once.
	Logged string `json:"told,omitempty"`
}

// healRole heals the role's VMs that are due, and notes which ones are being healed: a role does not fail because of those.
func (w watcher) healRole(role *spec.Role) {
	rule, has, _ := policy.HealRuleOf(role)
	if !has {
		delete(w.Heals, role.Name)
		return
	}
	heal := w.updateTroubles(rule, role)
	var due, waiting []int // a VM that is healed makes the others wait
	for _, id := range slices.Sorted(maps.Keys(heal.Since)) {
		if vm, known := w.facts[id]; known && !w.healDue(rule, heal, vm).After(w.now) {
			due = append(due, id)
		} else {
			waiting = append(waiting, id)
		}
	}
	for _, id := range append(due, waiting...) {
		if id != refusedVM && !w.heal(rule, &heal, role, id) {
			w.logOnce(&heal, role, fmt.Sprintf("was healed %d times within %s, its maximum; VM %d is not healed", rule.Max, healWindow, id))
			break
		}
	}
	if len(heal.Since) == 0 && len(heal.Done) == 0 && heal.Logged == "" {
		delete(w.Heals, role.Name)
	} else {
		set(&w.Heals, role.Name, heal)
	}
}

// heal has a VM retried or replaced once it is due. A replaced VM is asked to end and is no longer the role's: a dead host may never let it
// end. heal returns false if the role has been healed too often.
func (w watcher) heal(rule policy.HealRule, heal *Heal, role *spec.Role, id int) bool {
	vm, known := w.facts[id]
	asked, pending := w.Asked[id]
	underway := !known || pending && asked.helps()
	if !underway && len(heal.Done) >= rule.Max {
		return false
	}
	set(&w.mended, id, true)
	if underway {
		return true
	}
	if w.hostFailed(vm.Host) {
		w.logOnce(heal, role, fmt.Sprintf("has VMs on host %s, which seems to have failed: they are given more time to return", vm.Host))
	}
	if due := w.healDue(rule, *heal, vm); due.After(w.now) {
		w.wakeToHeal(due)
		return true
	}
	heal.Done = append(heal.Done, w.now)
	text := fmt.Sprintf("VM %d is in %s", vm.ID, vm.StateText())
	if rule.Action == policy.HealRecover {
		w.log("I", "Role %s : %s and is recovered", role.Name, text)
		heal.Since[vm.ID] = w.now
		call := callRetry
		if vm.Lost() {
			call = "resume"
		}
		w.requester.ask(vm, call, role.Name)
		return true
	}
	w.log("I", "Role %s : %s and is replaced", role.Name, text)
	delete(heal.Since, vm.ID)
	role.Nodes = slices.DeleteFunc(role.Nodes, func(n spec.Node) bool { return n.DeployID == vm.ID })
	w.requester.ask(vm, "terminate-hard", role.Name)
	w.changes = append(w.changes, Change{Kind: "vm", VM: new(vm.ID), Role: role.Name, New: "replaced", Reason: text})
	return true
}

// updateTroubles returns the role's Heal, updated by the facts.
func (w watcher) updateTroubles(rule policy.HealRule, role *spec.Role) Heal {
	heal := w.Heals[role.Name]
	before := heal.Since
	heal.Since = map[int]time.Time{}
	if refused, has := before[refusedVM]; has && w.now.Before(refused.Add(rule.After)) {
		heal.Since[refusedVM] = refused
	}
	for _, node := range role.Nodes {
		vm, known := w.facts[node.DeployID]
		since, noticed := before[node.DeployID]
		switch {
		case known && !vm.NeedsHealing() || !known && !noticed:
		case noticed:
			heal.Since[node.DeployID] = since
		default:
			heal.Since[node.DeployID] = w.now
		}
	}
	heal.Done = slices.DeleteFunc(slices.Clone(heal.Done), func(at time.Time) bool { return !w.now.Before(at.Add(healWindow)) })
	if len(heal.Since) == 0 && w.inventory.missing(role) <= 0 {
		heal.Logged = ""
	}
	return heal
}

// healDue returns when the VM may be healed: after its wait, one VM of a role at a time, and later if its whole host seems to have failed.
func (w watcher) healDue(rule policy.HealRule, heal Heal, vm one.VM) time.Time {
	due := heal.Since[vm.ID].Add(rule.After)
	if count := len(heal.Done); count > 0 {
		if next := heal.Done[count-1].Add(rule.After); next.After(due) {
			due = next
		}
	}
	if w.hostFailed(vm.Host) {
		due = due.Add(hostPatience * rule.After)
	}
	return due
}

// hostFailed reports whether several of the service's VMs are on the host and all of them are in trouble.
func (w watcher) hostFailed(host string) bool {
	if host == "" {
		return false
	}
	troubled := 0
	for _, role := range w.Service.Body.Roles {
		for _, node := range role.Nodes {
			vm, known := w.facts[node.DeployID]
			if !known || vm.Host != host {
				continue
			}
			if !vm.NeedsHealing() {
				return false
			}
			troubled++
		}
	}
	return troubled > 1
}

func (w watcher) logOnce(heal *Heal, role *spec.Role, message string) {
	if heal.Logged != message {
		heal.Logged = message
		w.log("E", "Role %s : it %s", role.Name, message)
	}
}

// wakeToHeal sets the deadline for healing, unless there is an earlier one.
func (w watcher) wakeToHeal(due time.Time) {
	if earlier, has := w.Deadlines[DeadlineHeal]; !has || due.Before(earlier) {
		set(&w.Deadlines, DeadlineHeal, due)
	}
}
