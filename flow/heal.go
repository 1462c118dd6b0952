package flow

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"
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

// The ways to heal.
const (
	healRecreate = "recreate"
	healRecover  = "recover"
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

// healRule is a role's attribute heal, read.
type healRule struct {
	action string
	after  time.Duration
	max    int
}

// healRuleOf reads a role's attribute heal; false where it has none that can be used.
func healRuleOf(role *Role) (healRule, bool) {
	if len(role.Heal) == 0 || kindOf(role.Heal) != kindObject {
		return healRule{}, false
	}
	shape, wrong := readHeal(role.Heal)
	if wrong != "" || shape.action == healRecreate && role.isRouter() {
		return healRule{}, false
	}
	return shape, true
}

// readHeal reads the attribute, or says what is wrong with it.
func readHeal(text json.RawMessage) (rule healRule, wrong string) {
	given := attributesOf(text)
	rule = healRule{action: textOf(given["action"]), after: time.Minute, max: 3}
	if rule.action != healRecreate && rule.action != healRecover {
		return rule, fmt.Sprintf("has the action %s; it can be %q or %q", short(given["action"]), healRecreate, healRecover)
	}
	if after, has := given["after"]; has {
		var known bool
		if rule.after, known = lengthOf(after); !known || rule.after < time.Second || rule.after > 24*time.Hour {
			return rule, fmt.Sprintf("has after %s; it must be a time from \"1s\" to \"24h\", or a number of seconds", short(after))
		}
	}
	if most, has := given["max"]; has {
		var known bool
		if rule.max, known = wholeOf(most); !known || rule.max < 1 || rule.max > 1000 {
			return rule, fmt.Sprintf("has max %s; it must be a whole number from 1 to 1000", short(most))
		}
	}
	return rule, ""
}

// lengthOf reads a length of time: "90s", "5m", or a number of seconds.
func lengthOf(value json.RawMessage) (time.Duration, bool) {
	if seconds, whole := wholeOf(value); whole && seconds <= int(24*time.Hour/time.Second) {
		return time.Duration(seconds) * time.Second, true
	}
	length, err := time.ParseDuration(textOf(value))
	return length, err == nil
}

// checkHeal holds the rules for a role's attribute heal.
func (f *findings) checkHeal(path string, role Role) {
	if len(role.Heal) == 0 {
		return
	}
	rule, wrong := readHeal(role.Heal)
	switch {
	case kindOf(role.Heal) != kindObject:
		f.add(path+".heal", "is %s; it must be an object such as {\"action\": \"recreate\", \"after\": \"60s\", \"max\": 3}", short(role.Heal))
	case wrong != "":
		f.add(path+".heal", "%s", wrong)
	case rule.action == healRecreate && role.isRouter():
		f.add(path+".heal", "cannot be \"recreate\": the VMs of a virtual router end with it; \"recover\" is possible")
	}
}

// needsHealing reports whether the VM will not come back by itself, or its host
// does not say. One that was powered off was so on purpose.
func (v VM) needsHealing() bool { return v.Failed() || v.Lost() }

// healRole heals the role's VMs whose time has come, and notes which ones are
// in good hands: a role does not fail because of those.
func (p *planner) healRole(role *Role) {
	rule, has := healRuleOf(role)
	if !has {
		delete(p.Heals, role.Name)
		return
	}
	heal := p.seeTroubles(rule, role)
	for _, id := range slices.Sorted(maps.Keys(heal.Since)) {
		if id != refusedVM && !p.heal(rule, &heal, role, id) {
			p.tellOnce(&heal, role, fmt.Sprintf("was healed %d times within %s; VM %d is left to the operator", rule.max, healWindow, id))
			break
		}
	}
	p.keepHeal(role.Name, heal)
}

// heal heals one VM when its time has come. It is false if the role has been
// healed too often.
func (p *planner) heal(rule healRule, heal *Heal, role *Role, id int) bool {
	vm, known := p.facts[id]
	if asked, pending := p.Asked[id]; !known || pending && asked.helps() {
		p.mending(id)
		return true
	}
	if len(heal.Done) >= rule.max {
		return false
	}
	p.mending(id)
	if due := p.healDue(rule, heal, role, vm); due.After(p.now) {
		p.wakeToHeal(due)
		return true
	}
	heal.Done = append(heal.Done, p.now)
	p.healVM(rule, heal, role, vm)
	return true
}

// seeTroubles is the role's Heal brought up to the facts.
func (p *planner) seeTroubles(rule healRule, role *Role) Heal {
	heal := p.Heals[role.Name]
	before := heal.Since
	heal.Since = map[int]time.Time{}
	if refused, has := before[refusedVM]; has && p.now.Before(refused.Add(rule.after)) {
		heal.Since[refusedVM] = refused
	}
	for _, node := range role.Nodes {
		vm, known := p.facts[node.DeployID]
		since, noticed := before[node.DeployID]
		switch {
		case known && !vm.needsHealing() || !known && !noticed:
		case noticed:
			heal.Since[node.DeployID] = since
		default:
			heal.Since[node.DeployID] = p.now
		}
	}
	heal.Done = slices.DeleteFunc(slices.Clone(heal.Done), func(at time.Time) bool { return !p.now.Before(at.Add(healWindow)) })
	if len(heal.Since) == 0 {
		heal.Told = ""
	}
	return heal
}

// healDue is when the VM may be healed: after its wait, one VM of a role at a
// time, and later if its whole host seems to have failed.
func (p *planner) healDue(rule healRule, heal *Heal, role *Role, vm VM) time.Time {
	due := heal.Since[vm.ID].Add(rule.after)
	if count := len(heal.Done); count > 0 {
		if next := heal.Done[count-1].Add(rule.after); next.After(due) {
			due = next
		}
	}
	if p.hostFailed(vm.Host) {
		due = due.Add(hostPatience * rule.after)
		p.tellOnce(heal, role, fmt.Sprintf("has VMs on host %s, which seems to have failed as a whole: they are given more time to come back", vm.Host))
	}
	return due
}

// hostFailed reports whether several of the service's VMs are on the host and all of
// them are in trouble.
func (p *planner) hostFailed(host string) bool {
	if host == "" {
		return false
	}
	troubled := 0
	for _, role := range p.roles() {
		for _, node := range role.Nodes {
			vm, known := p.facts[node.DeployID]
			if !known || vm.Host != host {
				continue
			}
			if !vm.needsHealing() {
				return false
			}
			troubled++
		}
	}
	return troubled > 1
}

// healVM has a VM retried, or puts another in its place. The old one is asked to
// end and is no longer the role's: a host that is dead may never let it.
func (p *planner) healVM(rule healRule, heal *Heal, role *Role, vm VM) {
	text := fmt.Sprintf("VM %d is in %s", vm.ID, vm.stateText())
	if rule.action == healRecover {
		p.log("I", fmt.Sprintf("Role %s : %s and is recovered", role.Name, text))
		heal.Since[vm.ID] = p.now
		call := "recover"
		if vm.Lost() {
			call = "resume"
		}
		p.ask(vm, call, role.Name)
		return
	}
	p.log("I", fmt.Sprintf("Role %s : %s and is replaced", role.Name, text))
	delete(heal.Since, vm.ID)
	role.Nodes = slices.DeleteFunc(role.Nodes, func(n Node) bool { return n.DeployID == vm.ID })
	p.ask(vm, "terminate-hard", role.Name)
	p.changes = append(p.changes, Change{Kind: "vm", VM: pointerTo(vm.ID), Role: role.Name, New: "replaced", Reason: text})
}

// refillHealed has VMs created for those that were replaced, in a role that
// otherwise runs. What oned refused is tried again after the role's wait.
func (p *planner) refillHealed(role *Role) {
	rule, has := healRuleOf(role)
	if !has {
		p.followLoss(role, 0)
		return
	}
	if p.intended(role) == 0 && p.missing(role) > 0 {
		due := p.Heals[role.Name].Since[refusedVM].Add(rule.after)
		if due.After(p.now) {
			p.wakeToHeal(due)
			return
		}
	}
	p.fill(role)
}

// refusedVM stands in Heal.Since for a replacement that oned refused.
const refusedVM = -1

// delayReplacement notes that oned refused to create a replacement.
func (p *planner) delayReplacement(role *Role, reason string) {
	p.log("E", fmt.Sprintf("Role %s : %s", role.Name, reason))
	heal := p.Heals[role.Name]
	heal.Since = maps.Clone(heal.Since)
	if heal.Since == nil {
		heal.Since = map[int]time.Time{}
	}
	heal.Since[refusedVM] = p.now
	p.keepHeal(role.Name, heal)
}

func (p *planner) keepHeal(role string, heal Heal) {
	if len(heal.Since) == 0 && len(heal.Done) == 0 {
		delete(p.Heals, role)
		return
	}
	if p.Heals == nil {
		p.Heals = map[string]Heal{}
	}
	p.Heals[role] = heal
}

// tellOnce writes into the log what has not been said about the role's healing yet.
func (p *planner) tellOnce(heal *Heal, role *Role, message string) {
	if heal.Told != message {
		heal.Told = message
		p.log("E", fmt.Sprintf("Role %s : it %s", role.Name, message))
	}
}

// mending notes that a VM's trouble is seen to.
func (p *planner) mending(vm int) {
	if p.mended == nil {
		p.mended = map[int]bool{}
	}
	p.mended[vm] = true
}

// wakeToHeal sets the deadline for healing, unless an earlier one stands.
func (p *planner) wakeToHeal(due time.Time) {
	if earlier, set := p.Deadlines[DeadlineHeal]; !set || due.Before(earlier) {
		p.setDeadline(DeadlineHeal, due)
	}
}
