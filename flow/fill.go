package flow

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/flowjet/flowjet/flow/spec"
)

// DeadlineRefill is the timer after which roles below their minimum are filled up.
const DeadlineRefill = "refill"

// fill decides on the VMs that the role lacks and has them created. Its virtual router comes before them.
func (f filler) fill(role *spec.Role) {
	if role.IsRouter() && role.VRouterID == nil {
		f.routing.actOnRouter(ActionCreateRouter, *f.routing.router(role.Name))
		return
	}
	for range min(f.observer.missing(role), maxIntents-f.observer.intended(role)) {
		f.Intents = append(f.Intents, f.newIntent(role))
	}
	held := false // oned has just not made a VM of the role: the others wait with it
	for _, retry := range f.Retries {
		held = held || retry.Kind == ActionCreateVM && retry.Role == role.Name && f.now.Before(retry.Next)
	}
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

// newIntent takes the role's next ordinal. The time makes the key unique also where a role was removed and added again.
func (f filler) newIntent(role *spec.Role) Intent {
	f.deployer.start(role)
	ordinal := f.ordinal(role)
	if role.IsRouter() {
		set(&f.Ordinals, role.Name, ordinal+1)
	} else {
		role.LastVMName = new(ordinal + 1)
	}
	name := strings.NewReplacer(
		"$SERVICE_ID", strconv.Itoa(f.Service.ID),
		"$SERVICE_NAME", f.Service.Body.Name,
		"$ROLE_NAME", role.Name,
		"$VM_NUMBER", strconv.Itoa(ordinal),
	).Replace(f.settings.VMNameTemplate)
	return Intent{
		Key:        fmt.Sprintf("%d-%s-%d-%s", f.Service.ID, role.Name, ordinal, strconv.FormatInt(f.now.UnixMicro(), 36)),
		Role:       role.Name,
		Ordinal:    ordinal,
		Name:       name,
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

// refill brings roles that have come below their minimum back to it, without a cooldown, one interval of the autoscaler
// after it was seen: whoever removed VMs on purpose has the time to say so.
func (f filler) refill() {
	var below []*spec.Role
	for role := range f.Service.Body.EachRole() {
		if role.BelowMinimum() && f.scaler.mayAdjust(role) {
			below = append(below, role)
		}
	}
	due, waits := f.Deadlines[DeadlineRefill]
	switch {
	case len(below) > 0 && !waits:
		set(&f.Deadlines, DeadlineRefill, f.now.Add(cmp.Or(f.settings.AutoscalerInterval, defaultAutoscalerInterval)))
		return
	case len(below) > 0 && due.After(f.now):
		return
	}
	delete(f.Deadlines, DeadlineRefill)
	for _, role := range below {
		f.scaler.adjust(role, *role.MinVMs, new(0), fmt.Sprintf("the role has %d VMs and its min_vms is %d", role.Cardinality, *role.MinVMs))
	}
}

// refuseIntent gives up an intent that oned refused, with those of its role that no call was made for.
func (f filler) refuseIntent(refused Intent, message string) {
	f.Intents = slices.DeleteFunc(f.Intents, func(i Intent) bool {
		return i.Key == refused.Key || i.Role == refused.Role && i.Attempts == 0
	})
	role := f.Service.Role(refused.Role)
	if role == nil {
		return
	}
	reason := fmt.Sprintf("VM %d could not be created from template %d: %s", refused.Ordinal, refused.TemplateID, message)
	switch role.CurrentState() {
	case spec.RoleDeploying, spec.RoleHold:
		f.deployer.failRole(role, spec.RoleFailedDeploying, reason)
	case spec.RoleScaling:
		f.deployer.failRole(role, spec.RoleFailedScaling, reason)
	case spec.RoleRunning, spec.RoleWarning: // it was to replace another
		f.log("E", "Role %s : %s", role.Name, reason)
		heal := f.Heals[role.Name]
		heal.Since = maps.Clone(heal.Since)
		set(&heal.Since, refusedVM, f.now)
		set(&f.Heals, role.Name, heal)
	}
}
