package flow

import (
	"cmp"
	"fmt"
	"hash/crc32"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/policy"
	"github.com/flowjet/flowjet/flow/spec"
)

// maxIntents is how many VMs of a role are planned at once, so that the stored state stays small.
const maxIntents = 100

// Intent is a planned VM, stored from before it is created until it is known or was refused.
type Intent struct {
	// Key is unique for all time; the VM carries it as FLOWJET_KEY.
	Key        string `json:"key"`
	Role       string `json:"role"`
	Ordinal    int    `json:"ordinal"`
	Name       string `json:"name"`
	TemplateID int    `json:"template_id"`
	Hold       bool   `json:"hold,omitempty"`
	// Attempts counts the calls whose outcome is unknown: after any, the VM is first looked up by its key.
	Attempts int `json:"attempts,omitempty"`
	// Floor is a VM id that was in use when the intent was made: its VM has a higher one. The worker sets it.
	Floor int `json:"floor,omitempty"`
	// Remade counts the VMs that did not come and that this one replaces.
	Remade int `json:"remade,omitempty"`
}

// applyFacts brings the state up to the facts: planned VMs become nodes, VMs that are gone are removed, orphans are ended.
func (v inventory) applyFacts() {
	lost, kept, isNode := make([]int, len(v.Service.Body.Roles)), make([]int, len(v.Service.Body.Roles)), make(map[int]bool, len(v.facts))
	for i := range v.Service.Body.Roles {
		role := &v.Service.Body.Roles[i]
		role.Nodes = slices.DeleteFunc(role.Nodes, func(n spec.Node) bool {
			if vm, known := v.facts[n.DeployID]; !known || !vm.Gone() {
				return false
			}
			v.changes = append(v.changes, Change{Kind: "vm", VM: new(n.DeployID), Role: role.Name, New: "removed"})
			delete(v.Asked, n.DeployID)
			lost[i]++
			return true
		})
		kept[i] = len(role.Nodes)
		for j := range role.Nodes {
			isNode[role.Nodes[j].DeployID] = true
			if vm, known := v.facts[role.Nodes[j].DeployID]; known {
				role.Nodes[j].Show(vm)
			}
		}
	}
	intended := make(map[string]bool, len(v.Intents))
	for _, intent := range v.Intents {
		intended[intent.Key] = true
	}
	for _, id := range slices.Sorted(maps.Keys(v.facts)) {
		vm := v.facts[id]
		switch {
		case !isNode[vm.ID]:
			v.adopt(vm)
		case intended[vm.Key]: // the record may be older than the document
			v.Intents = slices.DeleteFunc(v.Intents, func(i Intent) bool { return i.Key == vm.Key })
		}
		if asked, pending := v.Asked[vm.ID]; pending {
			v.requester.settleAsked(vm, asked)
		}
	}
	for i, count := range lost {
		role := &v.Service.Body.Roles[i]
		if len(role.Nodes) > kept[i] {
			slices.SortStableFunc(role.Nodes, func(a, b spec.Node) int { return a.DeployID - b.DeployID })
		}
		if count > 0 {
			v.followLoss(role, count)
		}
	}
	v.Dropped = nil
}

// adopt makes a node of a VM that is none: of a planned one or, if the intents were lost, of one that a role lacks. A second VM with the
// same key, or one for which no role has room, is from a call that took effect after it had been given up: it is ended before it is used.
// If both are found together the younger is ended, since VMs are handled in the order of their ids.
func (v inventory) adopt(vm one.VM) {
	if role := v.Service.Role(vm.Role); role != nil && slices.Contains(v.Dropped, vm.ID) && !vm.Gone() && !vm.Ending() {
		v.addNode(role, vm)
		role.Cardinality = max(role.Cardinality, len(role.Nodes))
		return
	}
	if vm.Key == "" || vm.Service != v.Service.ID {
		return
	}
	at := slices.IndexFunc(v.Intents, func(i Intent) bool { return i.Key == vm.Key })
	if at >= 0 {
		intent := v.Intents[at]
		v.Intents = slices.Delete(v.Intents, at, at+1)
		if !vm.Gone() {
			v.addNode(v.Service.Role(intent.Role), vm)
			set(&v.Stays, vm.ID, Stay{First: v.decided(intent), Remade: intent.Remade}) // another leader may have made it
		}
		return
	}
	role := v.Service.Role(vm.Role)
	hasKey := func(n spec.Node) bool { return v.facts[n.DeployID].Key == vm.Key }
	// Before the keys of all nodes are known, a VM that the role lacks cannot be told from a second one.
	isUnknown := func(n spec.Node) bool { _, known := v.facts[n.DeployID]; return !known }
	switch {
	case vm.Ending():
	case v.Asked[vm.ID].Action != "" || role == nil || !v.growing(role) || v.missing(role) <= 0 || slices.ContainsFunc(role.Nodes, hasKey):
		v.endOrphan(vm)
	case !slices.ContainsFunc(role.Nodes, isUnknown):
		v.addNode(role, vm)
	}
}

func (v inventory) endOrphan(vm one.VM) {
	if vm.Ending() || v.Stays[vm.ID].Failing {
		return
	}
	known := v.Asked[vm.ID].Action != ""
	v.requester.ask(vm, v.tracker.endCall(vm, "terminate-hard"), vm.Role)
	if !known {
		v.changes = append(v.changes, Change{Kind: "vm", VM: &vm.ID, Role: vm.Role, New: "terminated",
			Reason: "no role needs the VM: it was created twice or too late, or its scaling was reverted"})
	}
}

func (v inventory) addNode(role *spec.Role, vm one.VM) {
	if role == nil {
		v.endOrphan(vm)
		return
	}
	role.Nodes = append(role.Nodes, spec.NewNode(vm)) // applyFacts sorts them
	v.changes = append(v.changes, Change{Kind: "vm", VM: &vm.ID, Role: role.Name, New: "created"})
}

// followLoss handles lost VMs. If fewer are left than the role should have, they were ended from outside, and the cardinality follows,
// unless the role deploys or scales: a cardinality that was just asked for is reached. At most that many VMs are made again, should they
// keep ending. A role that grows or is being healed may lack more than were lost just now. The end of VMs that are meant to end, or of
// those of a role that failed to come, changes nothing.
func (v inventory) followLoss(role *spec.Role, lost int) {
	leaving, asked := v.undeployer.ending(), ""
	switch role.CurrentState() {
	case spec.RoleUndeploying, spec.RoleFailedUndeploying, spec.RoleDone, spec.RoleFailedDeploying:
		leaving = true
	case spec.RoleFailedScaling:
		leaving = !role.Shrinking()
	case spec.RoleDeploying:
		asked = "deploying"
	case spec.RoleScaling:
		asked = map[bool]string{false: "scaling up", true: "scaling down"}[role.Shrinking()]
	}
	if leaving {
		return
	}
	have := len(role.Nodes) + v.intended(role) + len(v.strangers[role.Name])
	if _, heals, _ := policy.HealRuleOf(role); heals || v.growing(role) {
		have = max(have, role.Cardinality-lost)
	}
	lacks := role.Cardinality - have
	again := v.Refilled[role.Name] + lacks
	switch {
	case lacks <= 0:
	case asked != "" && again <= role.Cardinality:
		set(&v.Refilled, role.Name, again)
		v.log("I", "Role %s lost %s while %s and is filled up to %d nodes", role.Name, plural(lacks, "node"), asked, role.Cardinality)
		if role.ScaleWay = nil; role.CurrentState() == spec.RoleScaling {
			role.ScaleWay = new(spec.ScaleUp)
		}
	default:
		v.log("I", "Role %s scaling down from %d to %d nodes", role.Name, role.Cardinality, have)
		role.Cardinality = have
	}
}

// growing reports whether the role may get VMs.
func (v inventory) growing(role *spec.Role) bool {
	switch role.CurrentState() {
	case spec.RoleDeploying, spec.RoleFailedDeploying, spec.RoleHold, spec.RoleScaling, spec.RoleFailedScaling:
		return !role.Shrinking()
	case spec.RoleRunning, spec.RoleWarning:
		_, heals, _ := policy.HealRuleOf(role)
		return heals
	}
	return false
}

// intended counts the role's VMs that are planned but not there.
func (v inventory) intended(role *spec.Role) int {
	count := 0
	for _, intent := range v.Intents {
		if intent.Role == role.Name {
			count++
		}
	}
	return count
}

// missing returns how many VMs the role lacks that are not planned either.
func (v inventory) missing(role *spec.Role) int {
	return role.Cardinality - len(role.Nodes) - v.intended(role) - len(v.strangers[role.Name])
}

func (s State) isNode(vm int) bool {
	return slices.ContainsFunc(s.Service.Body.Roles, func(role spec.Role) bool { return role.Has(vm) })
}

// Strangers returns the nodes, and the VMs with requests, that are not the service's by the facts.
func (s State) Strangers(facts Facts) []int {
	var strangers []int
	note := func(id int) {
		if vm, known := facts[id]; known && !vm.Gone() && !s.Service.Owns(vm) {
			strangers = append(strangers, id)
		}
	}
	for _, role := range s.Service.Body.Roles {
		for _, node := range role.Nodes {
			note(node.DeployID)
		}
	}
	for id := range s.Asked {
		note(id)
	}
	slices.Sort(strangers)
	return slices.Compact(strangers)
}

// DeadlineRefill is the timer after which roles below their minimum are filled up.
const DeadlineRefill = "refill"

// fill plans the VMs that the role lacks and has them created. Its virtual router comes before them.
func (v inventory) fill(role *spec.Role) {
	if role.AwaitsRouter() {
		router := v.routing.router(role.Name)
		router.Left = ""
		v.requester.act(Action{Kind: ActionCreateRouter, Role: role.Name, Router: *router})
		return
	}
	for range min(v.missing(role), maxIntents-v.intended(role)) {
		v.Intents = append(v.Intents, v.newIntent(role))
	}
	held := false // oned has just failed to make a VM of the role: the others wait with it
	for _, retry := range v.Retries {
		held = held || retry.Kind == ActionCreateVM && retry.Role == role.Name && v.now.Before(retry.Next)
	}
	for _, intent := range v.Intents {
		action := Action{Kind: ActionCreateVM, Intent: intent, Role: role.Name}
		if intent.Role == role.Name && !v.requester.held(action.Name()) && !held {
			v.requester.act(action)
		}
	}
}

// newIntent uses the role's next ordinal. The time makes the key unique also if a role was removed and added again.
func (v inventory) newIntent(role *spec.Role) Intent {
	v.deployer.start(role)
	ordinal := v.ordinal(role)
	if role.IsRouter() {
		set(&v.Ordinals, role.Name, ordinal+1)
	} else {
		role.LastVMName = new(ordinal + 1)
	}
	return Intent{
		Key:        fmt.Sprintf("%d-%s-%d-%s", v.Service.ID, role.Name, ordinal, strconv.FormatInt(v.now.UnixMicro(), 36)),
		Role:       role.Name,
		Ordinal:    ordinal,
		Name:       v.nameFrom(v.settings.VMNameTemplate, role, strconv.Itoa(ordinal)),
		TemplateID: role.TemplateID,
		Hold:       role.CurrentState() == spec.RoleHold,
	}
}

// decided returns when an intent was made, by its key, or now if that is unreadable.
func (v inventory) decided(intent Intent) time.Time {
	at, known := spec.KeyTime(intent.Key, v.Service.ID)
	if !known || !at.Before(v.now) {
		at = v.now
	}
	return at.Truncate(time.Second) // a record may hold thousands
}

// nameFrom returns a name by its template, with a number for a VM. If it would be too long for oned, the longer of the service's and the
// role's names are abridged in it: the numbers, and a site's text around them, stay.
func (p *planner) nameFrom(template string, role *spec.Role, number string) string {
	const shortest = 16 // a name that is still too long is the template's fault: oned refuses it
	for most := spec.MaxName; ; most-- {
		name := strings.NewReplacer(
			"$SERVICE_ID", strconv.Itoa(p.Service.ID), "$SERVICE_NAME", abridge(p.Service.Body.Name, most),
			"$ROLE_NAME", abridge(role.Name, most), "$VM_NUMBER", number,
		).Replace(template)
		if len(name) <= spec.MaxName || most == shortest {
			return name
		}
	}
}

// abridge cuts a name to so many bytes, between two characters. A checksum at its end distinguishes it from others with the same beginning.
func abridge(name string, most int) string {
	if len(name) <= most {
		return name
	}
	sum := fmt.Sprintf("-%08x", crc32.ChecksumIEEE([]byte(name)))
	end := most - len(sum)
	for end > 0 && !utf8.RuneStart(name[end]) {
		end--
	}
	return name[:end] + sum
}

// ordinal returns the ordinal of the role's next VM. For a virtual router's role it is never less than what its document shows, should the
// record have been lost.
func (v inventory) ordinal(role *spec.Role) int {
	ordinal := 0
	if role.LastVMName != nil {
		ordinal = *role.LastVMName
	}
	if role.IsRouter() {
		ordinal = max(ordinal, v.Ordinals[role.Name], len(role.Nodes))
	}
	return ordinal
}

// refill fills roles below their minimum up again, without a cooldown, one interval of the autoscaler after it was noticed: a user who
// removed VMs on purpose has the time to scale the role.
func (v inventory) refill() {
	var below []*spec.Role
	for role := range v.Service.Body.EachRole() {
		if role.BelowMinimum() && v.scaler.mayAdjust(role) {
			below = append(below, role)
		}
	}
	due, waits := v.Deadlines[DeadlineRefill]
	switch {
	case len(below) > 0 && !waits:
		set(&v.Deadlines, DeadlineRefill, v.now.Add(cmp.Or(v.settings.AutoscalerInterval, defaultAutoscalerInterval)))
		return
	case len(below) > 0 && due.After(v.now):
		return
	}
	delete(v.Deadlines, DeadlineRefill)
	for _, role := range below {
		v.scaler.adjust(role, *role.MinVMs, new(0), fmt.Sprintf("the role has %d VMs and its min_vms is %d", role.Cardinality, *role.MinVMs))
	}
}

// replaces reports whether a VM that the role has replaced has not ended: until then it counts in its owner's quotas.
func (v inventory) replaces(role string) bool {
	for id := range v.Asked {
		if vm, known := v.facts[id]; known && vm.Role == role && v.AskedToEnd(id) && !vm.Gone() && !v.isNode(id) {
			return true
		}
	}
	return false
}

// refuseIntent gives up an intent that oned refused, and those of its role for which no call was made.
func (v inventory) refuseIntent(refused Intent, message string) {
	v.Intents = slices.DeleteFunc(v.Intents, func(i Intent) bool {
		return i.Key == refused.Key || i.Role == refused.Role && i.Attempts == 0
	})
	role := v.Service.Role(refused.Role)
	if role == nil {
		return
	}
	reason := fmt.Sprintf("VM %d could not be created from template %d: %s", refused.Ordinal, refused.TemplateID, message)
	switch role.CurrentState() {
	case spec.RoleDeploying, spec.RoleHold, spec.RoleScaling:
		v.failRole(role, reason)
	case spec.RoleRunning, spec.RoleWarning: // it should have replaced another VM
		heal := v.Heals[role.Name]
		heal.Since = maps.Clone(heal.Since)
		set(&heal.Since, refusedVM, v.now)
		v.watcher.logOnce(&heal, role, fmt.Sprintf("lacks a VM that could not be created from template %d: %s", refused.TemplateID, message))
		set(&v.Heals, role.Name, heal)
	}
}
