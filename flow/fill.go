package flow

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"

	"github.com/flowjet/flowjet/flow/spec"
)

// DeadlineRefill is the timer after which roles below their minimum are filled up.
const DeadlineRefill = "refill"

// fill decides on the VMs that the role lacks and has those decided on created.
func (f filler) fill(role *spec.Role) {
	if f.routing.lacksRouter(role) {
		return
	}
	for range min(f.observer.missing(role), maxIntents-f.observer.intended(role)) {
		f.Intents = append(f.Intents, f.newIntent(role))
	}
	held := f.retrier.creationHeld(role)
	for _, intent := range f.Intents {
		if intent.Role != role.Name {
			continue
		}
		action := Action{Kind: ActionCreateVM, Intent: intent, Role: role.Name}
		if !f.retrier.held(action.Name()) && !held && !f.isTaken(action) {
			f.actions = append(f.actions, action)
		}
	}
}

// newIntent takes the role's next ordinal. The time makes the key unique even
// where a role of the same name was removed and added again.
func (f filler) newIntent(role *spec.Role) Intent {
	f.deployer.start(role)
	ordinal := f.ordinal(role)
	f.setOrdinal(role, ordinal+1)
	stamp := strconv.FormatInt(f.now.UnixMicro(), 36)
	return Intent{
		Key:        fmt.Sprintf("%d-%s-%d-%s", f.Service.ID, role.Name, ordinal, stamp),
		Role:       role.Name,
		Ordinal:    ordinal,
		Name:       f.vmName(role, ordinal),
		TemplateID: role.TemplateID,
		Hold:       role.CurrentState() == spec.RoleHold,
	}
}

// ordinal is what the role's next VM gets. For a virtual router's role it is
// never less than what its document shows, should the record have been lost.
func (f filler) ordinal(role *spec.Role) int {
	ordinal := 0
	if role.LastVMName != nil {
		ordinal = *role.LastVMName
	}
	if role.IsRouter() {
		ordinal = max(ordinal, f.Ordinals[role.Name], len(role.Nodes))
	}
	return ordinal
}

func (f filler) setOrdinal(role *spec.Role, next int) {
	if !role.IsRouter() {
		role.LastVMName = &next
		return
	}
	set(&f.Ordinals, role.Name, next)
}

func (f filler) vmName(role *spec.Role, ordinal int) string {
	return strings.NewReplacer(
		"$SERVICE_ID", strconv.Itoa(f.Service.ID),
		"$SERVICE_NAME", f.Service.Body.Name,
		"$ROLE_NAME", role.Name,
		"$VM_NUMBER", strconv.Itoa(ordinal),
	).Replace(f.settings.VMNameTemplate)
}

// refill brings roles that have come below their minimum back to it, without a
// cooldown, one interval of the autoscaler after it was seen: whoever removed
// VMs on purpose has the time to say so.
func (f filler) refill() {
	below := false
	for role := range f.eachRole() {
		below = below || role.BelowMinimum() && f.scaler.mayAdjust(role)
	}
	due, set := f.Deadlines[DeadlineRefill]
	switch {
	case !below:
		delete(f.Deadlines, DeadlineRefill)
		return
	case !set:
		f.setDeadline(DeadlineRefill, f.now.Add(cmp.Or(f.settings.AutoscalerInterval, defaultAutoscalerInterval)))
		return
	case due.After(f.now):
		return
	}
	delete(f.Deadlines, DeadlineRefill)
	none := 0
	for role := range f.eachRole() {
		if role.BelowMinimum() && f.scaler.mayAdjust(role) {
			f.scaler.adjust(role, *role.MinVMs, &none, fmt.Sprintf("the role has %d VMs and its min_vms is %d", role.Cardinality, *role.MinVMs))
		}
	}
}

func (f filler) refuseIntent(refused Intent, message string) {
	kept := f.Intents[:0]
	for _, intent := range f.Intents {
		sameRole := intent.Role == refused.Role
		if intent.Key != refused.Key && (!sameRole || intent.Attempts > 0) {
			kept = append(kept, intent)
		}
	}
	f.Intents = kept
	role := f.role(refused.Role)
	if role == nil {
		return
	}
	reason := fmt.Sprintf("VM %d could not be created from template %d: %s", refused.Ordinal, refused.TemplateID, message)
	switch role.CurrentState() {
	case spec.RoleDeploying, spec.RoleHold:
		f.deployer.failRole(role, spec.RoleFailedDeploying, reason)
	case spec.RoleScaling:
		f.deployer.failRole(role, spec.RoleFailedScaling, reason)
	case spec.RoleRunning, spec.RoleWarning:
		f.healer.delayReplacement(role, reason)
	}
}
