package flow

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/flowjet/flowjet/flow/expression"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/policy"
	"github.com/flowjet/flowjet/flow/spec"
)

func (s scaler) scale() {
	for role := range s.Service.Body.EachRole() {
		s.scaleRole(role)
	}
	switch {
	case s.anyRole(spec.RoleFailedScaling):
		s.to(spec.ServiceFailedScaling)
	case !s.anyRole(spec.RoleScaling):
		s.to(spec.ServiceCooldown)
	}
}

func (s scaler) scaleRole(role *spec.Role) {
	switch {
	case role.CurrentState() != spec.RoleScaling:
		return
	case role.Shrinking():
		if s.reduce(role) {
			s.roleTo(role, spec.RoleCooldown, "")
		}
	default:
		s.watcher.healRole(role)
		if s.tracker.unstickRole(role, role.Nodes, false) {
			s.inventory.fill(role)
			s.deployer.arrive(role, spec.RoleCooldown)
		}
	}
	if role.CurrentState() == spec.RoleCooldown {
		s.startCooldown(role)
	}
}

func (s scaler) startCooldown(role *spec.Role) {
	role.ScaleWay = nil
	delete(s.Refilled, role.Name)
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

// cool ends the cooldown when its time has come. A service found in COOLDOWN without a time (another server started it) gets its whole
// cooldown again.
func (s scaler) cool() {
	if s.CooldownUntil.IsZero() {
		for role := range s.Service.Body.EachRole() {
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
	for role := range s.Service.Body.EachRole() {
		if role.CurrentState() == spec.RoleCooldown {
			s.roleTo(role, spec.RoleRunning, "")
		}
	}
	s.CooldownUntil = time.Time{}
	s.to(spec.ServiceRunning)
}

// mayAdjust reports whether policies can scale the role now.
func (s scaler) mayAdjust(role *spec.Role) bool {
	return !role.IsRouter() && s.inventory.intended(role) == 0 && (role.CurrentState() == spec.RoleRunning || role.CurrentState() == spec.RoleWarning)
}

// adjust scales the role to a policy's cardinality; it reports whether the role scales. The service follows when all roles have been
// evaluated.
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

func (s scaler) room() int {
	room := spec.MaxVMs
	for _, role := range s.Service.Body.Roles {
		room -= role.Cardinality
	}
	return max(0, room)
}

// beginScale starts the role's scaling; the service is to follow.
func (s scaler) beginScale(role *spec.Role, cardinality int, reason string) {
	s.resize(role, role.Cardinality, cardinality)
	s.roleTo(role, spec.RoleScaling, reason)
}

// resize sets another cardinality for a role with have VMs.
func (s scaler) resize(role *spec.Role, have, wanted int) {
	way, direction := spec.ScaleUp, "up"
	if wanted < have {
		way, direction = spec.ScaleDown, "down"
	}
	if wanted == have {
		s.log("I", "Role %s continues with %s", role.Name, plural(have, "node"))
	} else {
		s.log("I", "Role %s scaling %s from %d to %d nodes", role.Name, direction, have, wanted)
	}
	role.Cardinality, role.ScaleWay = wanted, &way
	policy.ForgetTrueEvals(role)
	delete(s.PolicyCooldowns, role.Name)
	delete(s.Refilled, role.Name)
}

func (s scaler) mayScale(role *spec.Role, arguments ScaleArguments) error {
	wanted, state, back := arguments.Cardinality, s.Service.State(), s.mayScaleBack(role)
	switch {
	case wanted < 0:
		return refuse(RefusedInput, "role %s cannot have %d VMs: the cardinality must be 0 or more", role.Name, wanted)
	case wanted > spec.MaxVMs:
		return refuse(RefusedInput, "role %s cannot have %d VMs: at most %d are possible", role.Name, wanted, spec.MaxVMs)
	case wanted > role.Cardinality+s.room():
		return refuse(RefusedInput, "role %s cannot have %d VMs: at most %d are possible in all roles together", role.Name, wanted, spec.MaxVMs)
	case role.IsRouter():
		return refuse(RefusedState, "role %s is a virtual router, which cannot be scaled", role.Name)
	case !back && state != spec.ServiceRunning && state != spec.ServiceWarning:
		return refuse(RefusedState, "service %d cannot be scaled in %s: wait until it is RUNNING", s.Service.ID, state)
	case !back && (!role.CurrentState().CanBecome(spec.RoleScaling) || role.CurrentState() == spec.RoleFailedScaling):
		return refuse(RefusedState, "role %s cannot be scaled in %s", role.Name, role.CurrentState())
	case !back && s.inventory.intended(role) > 0:
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

// mayScaleBack reports whether a role of a failed service can get another cardinality, with which its deployment or scaling continues.
func (s scaler) mayScaleBack(role *spec.Role) bool {
	if state := s.Service.State(); state != spec.ServiceFailedDeploying && state != spec.ServiceFailedScaling {
		return false
	}
	switch role.CurrentState() {
	case spec.RoleUndeploying, spec.RoleFailedUndeploying, spec.RoleDone:
		return false
	}
	return true
}

// scaleBack sets the cardinality with which a role of a failed service continues. It counts from the VMs that there are, for those wanted
// before have not come. Surplus planned VMs for which no call was made are given up.
func (s scaler) scaleBack(role *spec.Role, wanted int) {
	have := len(role.Nodes) + len(s.strangers[role.Name])
	for _, intent := range s.Intents {
		if intent.Role == role.Name && intent.Attempts > 0 {
			have++
		}
	}
	room := wanted - have
	s.Intents = slices.DeleteFunc(s.Intents, func(intent Intent) bool {
		if intent.Role != role.Name || intent.Attempts > 0 {
			return false
		}
		room--
		return room < 0
	})
	s.resize(role, have, wanted)
	switch role.CurrentState() {
	case spec.RoleScaling, spec.RoleFailedScaling:
	case spec.RoleCooldown:
		s.roleTo(role, spec.RoleRunning, "")
		s.roleTo(role, spec.RoleScaling, "")
	case spec.RoleRunning, spec.RoleWarning:
		s.roleTo(role, spec.RoleScaling, "")
	default: // its deployment continues with them
		if !role.Shrinking() {
			role.ScaleWay = nil
		}
	}
}

// reduce ends the surplus VMs of a role that shrinks. It reports whether none is left; the role may have failed at it. A scaling down ends
// when only protected VMs are left to end: the role keeps them.
func (s scaler) reduce(role *spec.Role) bool {
	s.undeployer.dropIntents(role.Name)
	leaving := s.victims(role)
	if least := len(role.Nodes) - len(leaving); least > role.Cardinality {
		s.log("E", "Role %s : the scaling down to %d ends at %d nodes: %s", role.Name, role.Cardinality, least, protectedText(s.protected(role)))
		role.Cardinality = least
	}
	if !s.tracker.unstickRole(role, leaving, true) {
		return false
	}
	before := len(s.actions)
	hasFailed := s.undeployer.endVMs(role, leaving)
	for i := range s.actions[before:] {
		s.actions[before+i].Scaling = true
	}
	if hasFailed || len(leaving) > 0 || s.inventory.intended(role) > 0 {
		return false
	}
	role.ScaleWay = nil
	return true
}

// victims returns the nodes that a shrinking role loses: those that end or were asked to, and as many of the others as are too many, in the
// role's order. Protected VMs are never chosen.
func (s scaler) victims(role *spec.Role) []spec.Node {
	surplus := len(role.Nodes) - role.Cardinality
	var chosen, others []spec.Node
	for _, node := range role.Nodes {
		vm, known := s.facts[node.DeployID]
		switch {
		case s.AskedToEnd(node.DeployID) || known && vm.Ending():
			chosen = append(chosen, node)
		case !vm.Protected:
			others = append(others, node)
		}
	}
	order := policy.VictimOrder(role)
	slices.SortStableFunc(others, func(a, b spec.Node) int {
		if first := s.keepPriority(order, a) - s.keepPriority(order, b); first != 0 || order != policy.VictimsNewest {
			return first
		}
		return b.DeployID - a.DeployID
	})
	if more := surplus - len(chosen); more > 0 {
		chosen = append(chosen, others[:min(more, len(others))]...)
	}
	return chosen
}

// keepPriority returns how important it is to keep a VM.
func (s scaler) keepPriority(order string, node spec.Node) int {
	vm, known := s.facts[node.DeployID]
	switch {
	case !known:
		return 3 // nothing is known to be wrong with it
	case vm.Troubled():
		return 0
	case !vm.Running():
		return 1
	case order == policy.VictimsNotReady && !vm.Ready:
		return 2
	}
	return 3
}

func (s scaler) protected(role *spec.Role) []int {
	return slices.DeleteFunc(spec.VMIDs(*role), func(id int) bool { return !s.facts[id].Protected })
}

func protectedText(vms []int) string {
	if len(vms) == 1 {
		return fmt.Sprintf("VM %d is protected (%s=YES)", vms[0], one.ProtectAttribute)
	}
	var names []string
	for _, vm := range vms {
		names = append(names, strconv.Itoa(vm))
	}
	if more := len(vms) - maxReasons; more > 0 {
		names = append(names[:maxReasons], fmt.Sprintf("%d more", more))
	}
	last := len(names) - 1
	return fmt.Sprintf("VMs %s and %s are protected (%s=YES)", strings.Join(names[:last], ", "), names[last], one.ProtectAttribute)
}

// DeadlineSchedule is the timer of the scheduled policy that is due next.
const DeadlineSchedule = "schedule"

// evaluateRole evaluates the role's policies in their order, up to the first that scales it.
func (s scaler) evaluateRole(role *spec.Role, measures policy.Measures) {
	means, measured := measures.Roles[role.Name]
	if !measured {
		return
	}
	at := measures.At.Unix()
	for i, each := range policy.Adjustments(role.ElasticityPolicies) {
		if each.LastEval >= at || at < each.LastEval+int64(each.Period) {
			continue
		}
		condition, err := expression.Parse(each.Expression)
		if err != nil {
			continue // written by another server; templates with it are refused
		}
		holds, written := condition.Evaluate(means)
		evals := 0
		if holds {
			evals = min(each.TrueEvals+1, max(each.PeriodNumber, 0))
		}
		role.ElasticityPolicies = policy.With(role.ElasticityPolicies, []int{i}, map[string]any{
			"last_eval": at, "true_evals": evals, "expression_evaluated": written[:min(len(written), expression.MaxLength)],
		})
		if !holds || evals < each.PeriodNumber {
			continue
		}
		if s.adjust(role, each.Cardinality(role), each.Cooldown, fmt.Sprintf("elasticity policy %d holds: %s", i, written[:min(len(written), expression.MaxLength)])) {
			return
		}
	}
}

// runSchedules scales the roles whose scheduled policies are due. A policy is due when its start lies between its last evaluation and now:
// so it fires once, and also if no worker ran at the time. Starts before its first evaluation do not count.
func (s scaler) runSchedules() {
	left := spec.MaxSchedules // other writers than the API may have added more
	for role := range s.Service.Body.EachRole() {
		s.noticeSchedules(role)
		for j, each := range policy.Adjustments(role.ScheduledPolicies) {
			if left--; left < 0 {
				return
			}
			start, has := each.NextStart(s.now)
			if !has || start.After(s.now) || !s.mayAdjust(role) {
				continue
			}
			role.ScheduledPolicies = policy.With(role.ScheduledPolicies, []int{j}, map[string]any{"last_eval": s.now.Unix()})
			reason := fmt.Sprintf("scheduled policy %d was due at %s", j, start.Format(time.RFC3339))
			if s.adjust(role, each.Cardinality(role), each.Cooldown, reason) {
				break
			}
		}
	}
}

// noticeSchedules records since when the role has its scheduled policies.
func (s scaler) noticeSchedules(role *spec.Role) {
	var unset []int
	for i, each := range policy.Adjustments(role.ScheduledPolicies) {
		if each.LastEval == 0 {
			unset = append(unset, i)
		}
	}
	if len(unset) > 0 {
		role.ScheduledPolicies = policy.With(role.ScheduledPolicies, unset, map[string]any{"last_eval": s.now.Unix()})
	}
}
