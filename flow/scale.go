package flow

import (
	"fmt"
	"time"

	"github.com/flowjet/flowjet/flow/policy"
	"github.com/flowjet/flowjet/flow/spec"
)

// scale takes the scaling roles on.
func (s scaler) scale() {
	for role := range s.eachRole() {
		s.scaleRole(role)
	}
	switch {
	case s.anyRole(spec.RoleFailedScaling):
		s.to(spec.ServiceFailedScaling)
	case !s.anyRole(spec.RoleScaling):
		s.to(spec.ServiceCooldown)
	}
}

// scaleRole takes a scaling role on.
func (s scaler) scaleRole(role *spec.Role) {
	switch {
	case role.CurrentState() != spec.RoleScaling:
		return
	case role.Shrinking():
		if s.reduce(role, spec.RoleFailedScaling) {
			s.roleTo(role, spec.RoleCooldown, "")
		}
	default:
		s.healer.healRole(role)
		if s.recoverer.unstickRole(role, role.Nodes, false, spec.RoleFailedScaling) {
			s.filler.fill(role)
			s.deployer.arrive(role, spec.RoleCooldown, spec.RoleFailedScaling)
		}
	}
	if role.CurrentState() == spec.RoleCooldown {
		s.startCooldown(role)
	}
}

func (s scaler) startCooldown(role *spec.Role) {
	role.ScaleWay = nil
	wait := s.settings.Cooldown
	if role.Cooldown != nil {
		wait = time.Duration(*role.Cooldown) * time.Second
	}
	if asked, has := s.PolicyCooldowns[role.Name]; has {
		wait = asked
		delete(s.PolicyCooldowns, role.Name)
	}
	if until := s.now.Add(wait); until.After(s.CooldownUntil) {
		s.CooldownUntil = until
	}
}

// cool ends the cooldown when its time has come. A service found in COOLDOWN
// without a time (another server started it) gets its whole cooldown again.
func (s scaler) cool() {
	if s.CooldownUntil.IsZero() {
		for role := range s.eachRole() {
			if role.CurrentState() == spec.RoleCooldown {
				s.startCooldown(role)
			}
		}
	}
	if !s.now.Before(s.CooldownUntil) {
		s.endCooldown()
	}
}

func (s scaler) endCooldown() {
	for role := range s.eachRole() {
		if role.CurrentState() == spec.RoleCooldown {
			s.roleTo(role, spec.RoleRunning, "")
		}
	}
	s.CooldownUntil = time.Time{}
	s.to(spec.ServiceRunning)
}

// mayAdjust reports whether policies can scale the role now.
func (s scaler) mayAdjust(role *spec.Role) bool {
	return !role.IsRouter() && s.observer.intended(role) == 0 && (role.CurrentState() == spec.RoleRunning || role.CurrentState() == spec.RoleWarning)
}

// adjust scales the role to what a policy wants of it; it reports whether the role
// scales. The service follows when all roles have been looked at.
func (s scaler) adjust(role *spec.Role, wanted int, cooldown *int, reason string) bool {
	wanted = min(wanted, role.Cardinality+s.room())
	if wanted < role.Cardinality {
		wanted = max(wanted, min(len(s.protected(role)), role.Cardinality))
	}
	if wanted == role.Cardinality {
		return false
	}
	s.beginScale(role, wanted, reason)
	if cooldown != nil {
		set(&s.PolicyCooldowns, role.Name, time.Duration(*cooldown)*time.Second)
	}
	return true
}

// room is how many VMs more the service may have.
func (s scaler) room() int {
	room := spec.MaxVMs
	for _, role := range s.roles() {
		room -= role.Cardinality
	}
	return max(0, room)
}

// beginScale has the role scale; the service is to follow.
func (s scaler) beginScale(role *spec.Role, cardinality int, reason string) {
	way, direction := spec.ScaleUp, "up"
	if cardinality < role.Cardinality {
		way, direction = spec.ScaleDown, "down"
	}
	s.log("I", fmt.Sprintf("Role %s scaling %s from %d to %d nodes", role.Name, direction, role.Cardinality, cardinality))
	role.Cardinality = cardinality
	role.ScaleWay = &way
	policy.ForgetTrueEvals(role)
	delete(s.PolicyCooldowns, role.Name)
	s.roleTo(role, spec.RoleScaling, reason)
}

func (s scaler) mayScale(role *spec.Role, arguments ScaleArguments) error {
	wanted, state, back := arguments.Cardinality, s.state(), s.mayScaleBack(role)
	switch {
	case wanted < 0:
		return refuse(RefusedInput, "role %s cannot have %d VMs: the cardinality must be 0 or more", role.Name, wanted)
	case wanted > spec.MaxVMs:
		return refuse(RefusedInput, "role %s cannot have %d VMs: at most %d are possible", role.Name, wanted, spec.MaxVMs)
	case wanted > role.Cardinality+s.room():
		return refuse(RefusedInput, "role %s cannot have %d VMs: at most %d are possible in all roles together", role.Name, wanted, spec.MaxVMs)
	case role.IsRouter():
		return refuse(RefusedState, "role %s is a virtual router, which cannot be scaled", role.Name)
	case !back && (!state.CanBecome(spec.ServiceScaling) || state.Failed()):
		return refuse(RefusedState, "service %d cannot be scaled in %s: wait until it is RUNNING", s.Service.ID, state)
	case !back && (!role.CurrentState().CanBecome(spec.RoleScaling) || role.CurrentState() == spec.RoleFailedScaling):
		return refuse(RefusedState, "role %s cannot be scaled in %s", role.Name, role.CurrentState())
	case !back && s.observer.intended(role) > 0:
		return refuse(RefusedState, "role %s cannot be scaled while a VM of it is being replaced", role.Name)
	case wanted == role.Cardinality && (!back || role.CurrentState() == spec.RoleRunning || role.CurrentState() == spec.RoleWarning):
		return refuse(RefusedState, "role %s already has %d VMs", role.Name, wanted)
	case wanted < len(s.protected(role)):
		return refuse(RefusedState, "role %s cannot be scaled to %d: %s", role.Name, wanted, protectedText(s.protected(role)))
	case arguments.Force:
		return nil
	case role.MinVMs != nil && wanted < *role.MinVMs:
		return refuse(RefusedState, "role %s cannot be scaled to %d: its min_vms is %d (force overrides it)", role.Name, wanted, *role.MinVMs)
	case role.MaxVMs != nil && wanted > *role.MaxVMs:
		return refuse(RefusedState, "role %s cannot be scaled to %d: its max_vms is %d (force overrides it)", role.Name, wanted, *role.MaxVMs)
	}
	return nil
}
