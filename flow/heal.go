package flow

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/policy"
	"github.com/flowjet/flowjet/flow/spec"
)

// DeadlineHeal is the timer after which a VM that is in trouble is healed.
const DeadlineHeal = "heal"

const (
	// healWindow is the time in which a role is healed so many times at most.
	healWindow = time.Hour
	// hostPatience is how much longer, in waits of the role, VMs wait whose host
	// seems to have failed as a whole: it may come back with all of them.
	hostPatience = 5
)

// Heal is what was done to keep a role whole.
type Heal struct {
	// Since is when each VM was first seen in trouble, or was last healed.
	Since map[int]time.Time `json:"since,omitempty"`
	// Done are the times at which VMs were healed lately.
	Done []time.Time `json:"done,omitempty"`
	// Told is the last thing that was said about it in the log, which is said once.
	Told string `json:"told,omitempty"`
}

// healRole heals the role's VMs whose time has come, and notes which ones are
// in good hands: a role does not fail because of those.
func (h healer) healRole(role *spec.Role) {
	rule, has := policy.HealRuleOf(role)
	if !has {
		delete(h.Heals, role.Name)
		return
	}
	heal := h.seeTroubles(rule, role)
	for _, id := range h.healOrder(rule, heal) {
		if id != refusedVM && !h.heal(rule, &heal, role, id) {
			h.tellOnce(&heal, role, fmt.Sprintf("was healed %d times within %s, its maximum; VM %d is not healed", rule.Max, healWindow, id))
			break
		}
	}
	h.keepHeal(role.Name, heal)
}

// heal heals one VM when its time has come. It is false if the role has been
// healed too often.
func (h healer) heal(rule policy.HealRule, heal *Heal, role *spec.Role, id int) bool {
	vm, known := h.facts[id]
	if asked, pending := h.Asked[id]; !known || pending && asked.helps() {
		h.mending(id)
		return true
	}
	if len(heal.Done) >= rule.Max {
		return false
	}
	h.mending(id)
	if h.hostFailed(vm.Host) {
		h.tellOnce(heal, role, fmt.Sprintf("has VMs on host %s, which seems to have failed: they are given more time to return", vm.Host))
	}
	if due := h.healDue(rule, *heal, vm); due.After(h.now) {
		h.wakeToHeal(due)
		return true
	}
	heal.Done = append(heal.Done, h.now)
	h.healVM(rule, heal, role, vm)
	return true
}

// seeTroubles is the role's Heal brought up to the facts.
func (h healer) seeTroubles(rule policy.HealRule, role *spec.Role) Heal {
	heal := h.Heals[role.Name]
	before := heal.Since
	heal.Since = map[int]time.Time{}
	if refused, has := before[refusedVM]; has && h.now.Before(refused.Add(rule.After)) {
		heal.Since[refusedVM] = refused
	}
	for _, node := range role.Nodes {
		vm, known := h.facts[node.DeployID]
		since, noticed := before[node.DeployID]
		switch {
		case known && !vm.NeedsHealing() || !known && !noticed:
		case noticed:
			heal.Since[node.DeployID] = since
		default:
			heal.Since[node.DeployID] = h.now
		}
	}
	heal.Done = slices.DeleteFunc(slices.Clone(heal.Done), func(at time.Time) bool { return !h.now.Before(at.Add(healWindow)) })
	if len(heal.Since) == 0 {
		heal.Told = ""
	}
	return heal
}

// healOrder is the VMs in trouble by their ids, those first whose time has come: a VM
// that is healed has the others wait.
func (h healer) healOrder(rule policy.HealRule, heal Heal) []int {
	var due, waiting []int
	for _, id := range slices.Sorted(maps.Keys(heal.Since)) {
		if vm, known := h.facts[id]; known && !h.healDue(rule, heal, vm).After(h.now) {
			due = append(due, id)
		} else {
			waiting = append(waiting, id)
		}
	}
	return append(due, waiting...)
}

// healDue is when the VM may be healed: after its wait, one VM of a role at a
// time, and later if its whole host seems to have failed.
func (h healer) healDue(rule policy.HealRule, heal Heal, vm one.VM) time.Time {
	due := heal.Since[vm.ID].Add(rule.After)
	if count := len(heal.Done); count > 0 {
		if next := heal.Done[count-1].Add(rule.After); next.After(due) {
			due = next
		}
	}
	if h.hostFailed(vm.Host) {
		due = due.Add(hostPatience * rule.After)
	}
	return due
}

// hostFailed reports whether several of the service's VMs are on the host and all of
// them are in trouble.
func (h healer) hostFailed(host string) bool {
	if host == "" {
		return false
	}
	troubled := 0
	for _, role := range h.roles() {
		for _, node := range role.Nodes {
			vm, known := h.facts[node.DeployID]
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

// healVM has a VM retried, or puts another in its place. The old one is asked to
// end and is no longer the role's: a host that is dead may never let it.
func (h healer) healVM(rule policy.HealRule, heal *Heal, role *spec.Role, vm one.VM) {
	text := fmt.Sprintf("VM %d is in %s", vm.ID, vm.StateText())
	if rule.Action == policy.HealRecover {
		h.log("I", fmt.Sprintf("Role %s : %s and is recovered", role.Name, text))
		heal.Since[vm.ID] = h.now
		call := "recover"
		if vm.Lost() {
			call = "resume"
		}
		h.requester.ask(vm, call, role.Name)
		return
	}
	h.log("I", fmt.Sprintf("Role %s : %s and is replaced", role.Name, text))
	delete(heal.Since, vm.ID)
	role.Nodes = slices.DeleteFunc(role.Nodes, func(n spec.Node) bool { return n.DeployID == vm.ID })
	h.requester.ask(vm, "terminate-hard", role.Name)
	h.changes = append(h.changes, Change{Kind: "vm", VM: new(vm.ID), Role: role.Name, New: "replaced", Reason: text})
}

// refillHealed has VMs created for those that were replaced, in a role that
// otherwise runs. What oned refused is tried again after the role's wait.
func (h healer) refillHealed(role *spec.Role) {
	rule, has := policy.HealRuleOf(role)
	if !has {
		h.observer.followLoss(role, 0)
		return
	}
	if h.observer.intended(role) == 0 && h.observer.missing(role) > 0 {
		due := h.Heals[role.Name].Since[refusedVM].Add(rule.After)
		if due.After(h.now) {
			h.wakeToHeal(due)
			return
		}
	}
	h.filler.fill(role)
}

// refusedVM stands in Heal.Since for a replacement that oned refused.
const refusedVM = -1

// delayReplacement notes that oned refused to create a replacement.
func (h healer) delayReplacement(role *spec.Role, reason string) {
	h.log("E", fmt.Sprintf("Role %s : %s", role.Name, reason))
	heal := h.Heals[role.Name]
	heal.Since = maps.Clone(heal.Since)
	set(&heal.Since, refusedVM, h.now)
	h.keepHeal(role.Name, heal)
}

func (h healer) keepHeal(role string, heal Heal) {
	if len(heal.Since) == 0 && len(heal.Done) == 0 {
		delete(h.Heals, role)
		return
	}
	set(&h.Heals, role, heal)
}

// tellOnce writes into the log what has not been said about the role's healing yet.
func (h healer) tellOnce(heal *Heal, role *spec.Role, message string) {
	if heal.Told != message {
		heal.Told = message
		h.log("E", fmt.Sprintf("Role %s : it %s", role.Name, message))
	}
}

// mending notes that a VM's trouble is seen to.
func (h healer) mending(vm int) { set(&h.mended, vm, true) }

// wakeToHeal sets the deadline for healing, unless an earlier one stands.
func (h healer) wakeToHeal(due time.Time) {
	if earlier, set := h.Deadlines[DeadlineHeal]; !set || due.Before(earlier) {
		h.setDeadline(DeadlineHeal, due)
	}
}
