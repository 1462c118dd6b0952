package flow

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/policy"
	"github.com/flowjet/flowjet/flow/spec"
)

// Wait is the time that a service or role has been in a state which has a deadline.
type Wait struct {
	// For is the state: "deploying", "scaling" or "undeploying".
	For string `json:"for"`
	// Since is when it entered the state, as far as known, and Due is when Then happens: ThenFail, ThenShrink or ThenUndeploy.
	Since time.Time `json:"since"`
	Due   time.Time `json:"due"`
	Then  string    `json:"then"`
}

// ofService is the service's own key in Waits.
const ofService = ""

// hasDeadlines reports whether anything of the service can be late: most services, and their roles, have no deadline.
func (l limiter) hasDeadlines() bool {
	return l.settings.Deadlines != (policy.Deadlines{}) || len(l.Service.Body.Deadlines) > 0 ||
		slices.ContainsFunc(l.Service.Body.Roles, func(role spec.Role) bool { return len(role.Deadlines) > 0 })
}

// followWaits updates the waits to the states and to today's deadlines.
func (l limiter) followWaits() {
	if !l.hasDeadlines() {
		l.Waits = nil
		return
	}
	waits := map[string]Wait{}
	note := func(key, waitsFor string, limit time.Duration, then string) {
		if limit <= 0 {
			return
		}
		wait := l.Waits[key]
		if wait.For != waitsFor {
			wait = Wait{For: waitsFor, Since: l.now.Truncate(time.Second)}
		}
		wait.Due, wait.Then = wait.Since.Add(limit), then
		waits[key] = wait
	}
	services := l.deadlines(nil)
	state := stateWaits[l.Service.State()]
	note(ofService, state, *services.For(state), services.Then)
	for role := range l.Service.Body.EachRole() {
		own, _ := policy.ReadDeadlines(role.Deadlines, policy.Deadlines{Then: services.Then})
		waitsFor := l.waitsFor(role)
		note(role.Name, waitsFor, *own.For(waitsFor), own.Then)
	}
	l.Waits = nil
	if len(waits) > 0 {
		l.Waits = waits
	}
}

// stateWaits are the names of the deadlines for a service's states, and for a role's, whose numbers are the same.
var stateWaits = map[spec.ServiceState]string{
	spec.ServiceDeploying: policy.WaitDeploying, spec.ServiceScaling: policy.WaitScaling, spec.ServiceUndeploying: policy.WaitUndeploying,
}

// waitsFor returns the name of the deadline for the role's state, if any: nothing goes on in a service that has failed, and nothing but the
// end in one that removes a role.
func (l limiter) waitsFor(role *spec.Role) string {
	if l.Service.State().Failed() || (l.Service.State() == spec.ServiceUndeploying) != (role.CurrentState() == spec.RoleUndeploying) {
		return ""
	}
	return stateWaits[spec.ServiceState(role.CurrentState())]
}

// deadlines returns a role's deadlines, or the service's for nil; unnamed ones are the service's, or the configuration's.
func (l limiter) deadlines(role *spec.Role) policy.Deadlines {
	deadlines, _ := policy.ReadDeadlines(l.Service.Body.Deadlines, l.settings.Deadlines)
	if role != nil {
		deadlines, _ = policy.ReadDeadlines(role.Deadlines, deadlines)
	}
	deadlines.Then = cmp.Or(deadlines.Then, policy.ThenFail)
	return deadlines
}

// pendingLimit returns how long a VM of the role may wait for a host. Thousands may, so it is cached.
func (l limiter) pendingLimit(role string) time.Duration {
	limit, known := l.pending[role]
	if !known {
		limit = l.deadlines(l.Service.Role(role)).Pending
		set(&l.pending, role, limit)
	}
	return limit
}

func (l limiter) due(key string) (Wait, bool) {
	wait, waits := l.Waits[key]
	return wait, waits && !wait.Due.After(l.now)
}

// overdue is a role's wait beyond its deadline, for VMs that have not come or not ended. If the deadline is the VMs' own, the wait has no
// Since.
type overdue struct {
	Wait
	role *spec.Role
	vms  []one.VM
}

// overdueOf returns the role's wait beyond its own deadline, its service's, or its VMs'; nil if it is not late, or if its VMs have not been
// inspected yet.
func (l limiter) overdueOf(role *spec.Role) *overdue {
	late := &overdue{role: role, Wait: Wait{For: l.waitsFor(role)}}
	for _, key := range []string{role.Name, ofService} {
		if wait, is := l.due(key); is && wait.For == late.For {
			late.Wait, late.vms = wait, l.behind(role)
			// Nothing is ended and nothing fails on less than the leader's own word on each VM.
			isUnknown := func(vm one.VM) bool { return l.facts[vm.ID].Inspection == nil }
			lacks := len(late.vms) > 0 || l.inventory.intended(role) > 0 || role.AwaitsRouter()
			doubtful := func(i Intent) bool { return i.Role == role.Name && i.Attempts > 0 } // their outcome is determined first
			if !lacks || slices.ContainsFunc(late.vms, isUnknown) || l.takesBack(late) && slices.ContainsFunc(l.Intents, doubtful) {
				return nil
			}
			return late
		}
	}
	if late.For == "" || late.For == policy.WaitUndeploying || role.Shrinking() || l.pendingLimit(role.Name) <= 0 {
		return nil
	}
	for _, node := range role.Nodes {
		vm, known := l.facts[node.DeployID]
		stay, stays := l.Stays[node.DeployID]
		if known && stays && vm.Stage() == one.StagePending && !stay.undeployable(vm) && vm.Inspection != nil && l.tracker.overdue(stay) {
			late.vms = append(late.vms, vm)
		}
	}
	if len(late.vms) == 0 {
		return nil
	}
	late.Then = l.deadlines(role).Then
	return late
}

// behind returns the VMs of the role that keep it in its state.
func (l limiter) behind(role *spec.Role) []one.VM {
	nodes, ends := role.Nodes, role.CurrentState() == spec.RoleUndeploying
	if role.Shrinking() {
		nodes, ends = l.scaler.victims(role), true
	}
	var behind []one.VM
	for _, node := range nodes {
		vm, known := l.facts[node.DeployID]
		if !known {
			vm.ID = node.DeployID
		}
		if ends || !known || !l.deployer.come(role, vm) {
			behind = append(behind, vm)
		}
	}
	return behind
}

// uninspected returns the VMs that have to be inspected before an overdue wait is acted on.
func (l limiter) uninspected() map[int]bool {
	wanted := map[int]bool{}
	_, services := l.due(ofService)
	for role := range l.Service.Body.EachRole() {
		if _, own := l.due(role.Name); !own && !services || l.waitsFor(role) == "" {
			continue
		}
		for _, vm := range l.behind(role) {
			if _, known := l.facts[vm.ID]; known && vm.Inspection == nil {
				wanted[vm.ID] = true
			}
		}
	}
	return wanted
}

// enforce acts on the deadlines that have passed.
func (l limiter) enforce() {
	if !l.hasDeadlines() {
		return
	}
	before := l.Service.State()
	for role := range l.Service.Body.EachRole() {
		late := l.overdueOf(role)
		if late == nil {
			continue
		}
		reason := l.reason(late)
		switch {
		case late.Then == policy.ThenUndeploy && late.For != policy.WaitUndeploying:
			l.log("E", "Role %s : %s; the service is undeployed", role.Name, reason)
			l.to(spec.ServiceUndeploying)
		case l.takesBack(late):
			l.takeBack(late, reason)
		default:
			l.failRole(role, reason)
		}
		if l.Service.State() != before {
			return
		}
	}
	// A service may be late although none of its roles is to blame: they wait for others.
	wait, is := l.due(ofService)
	state, failed := l.Service.State(), spec.ServiceFailedDeploying
	if state == spec.ServiceUndeploying {
		failed = spec.ServiceFailedUndeploying
	}
	if !is || wait.For != stateWaits[state] || state != spec.ServiceDeploying && state != spec.ServiceUndeploying {
		return
	}
	for role := range l.Service.Body.EachRole() {
		if l.waitsFor(role) != "" || role.CurrentState() == spec.RoleFailedDeploying || role.CurrentState() == spec.RoleFailedUndeploying {
			return
		}
	}
	if l.everyRole(spec.RoleRunning, spec.RoleWarning) || l.everyRole(spec.RoleDone) && !l.undeployer.orphansLeft() {
		return
	}
	reason := fmt.Sprintf("The service has been %s since %s, longer than its deadline of %s", state, utc(wait.Since), secondsText(wait.Due.Sub(wait.Since)))
	if names := l.deployer.pendingRoles(); names != "" {
		reason += ": roles that wait for their parents: " + names
	}
	if left := slices.Sorted(maps.Keys(l.Asked)); l.everyRole(spec.RoleDone) && len(left) > 0 {
		reason += fmt.Sprintf(": VM %d, which no role needs, does not end", left[0])
	}
	l.log("E", "%s", reason)
	if wait.Then == policy.ThenUndeploy && state != spec.ServiceUndeploying {
		failed = spec.ServiceUndeploying
	}
	l.to(failed)
}

// takesBack reports whether the missing VMs are taken back: in a scaling up, unless one is protected.
func (l limiter) takesBack(late *overdue) bool {
	return late.Then == policy.ThenShrink && late.For == policy.WaitScaling && !late.role.Shrinking() &&
		!slices.ContainsFunc(late.vms, func(vm one.VM) bool { return vm.Protected })
}

// takeBack lets a role that scales up continue with the VMs that have come.
func (l limiter) takeBack(late *overdue, reason string) {
	role := late.role
	wanted := role.Cardinality
	for _, vm := range late.vms {
		role.Nodes = slices.DeleteFunc(role.Nodes, func(n spec.Node) bool { return n.DeployID == vm.ID })
		if !vm.Gone() {
			l.requester.ask(vm, l.tracker.endCall(vm, "terminate-hard"), role.Name)
		}
		l.changes = append(l.changes, Change{Kind: "vm", VM: new(vm.ID), Role: role.Name, New: "terminated", Reason: reason})
	}
	if late.Since.IsZero() {
		role.Cardinality -= len(late.vms)
	} else {
		l.undeployer.dropIntents(role.Name)
		role.Cardinality = len(role.Nodes) + len(l.strangers[role.Name])
	}
	l.log("E", "Role %s : %s; the scaling is reverted: %d of %d VMs stay", role.Name, reason, role.Cardinality, wanted)
}

const maxLate = 3

// reason returns what the role waits for, since when, and oned's message about it.
func (l limiter) reason(late *overdue) string {
	var said []string
	for _, vm := range late.vms {
		stay, stays := l.Stays[vm.ID]
		switch {
		case stays && !late.Since.IsZero() && cmp.Or(stay.Scheduler, stay.Error) != "":
			said = append(said, fmt.Sprintf("VM %d is in %s (%s)", vm.ID, vm.StateText(), cmp.Or(stay.Scheduler, stay.Error)))
		case stays && late.Since.IsZero():
			said = append(said, stay.text(vm))
		case vm.Running() && late.For != policy.WaitUndeploying && !late.role.Shrinking():
			said = append(said, fmt.Sprintf("VM %d has not reported READY=YES", vm.ID))
		default:
			said = append(said, fmt.Sprintf("VM %d is in %s", vm.ID, vm.StateText()))
		}
	}
	if missing := l.inventory.intended(late.role); missing > 0 && !late.Since.IsZero() {
		said = append(said, fmt.Sprintf("VMs that have not been created: %d", missing))
	}
	if late.role.AwaitsRouter() {
		said = append(said, map[bool]string{true: "its virtual router has not been created", false: "its virtual router is not deleted"}[late.For == policy.WaitDeploying])
	}
	text := strings.Join(shortened(said, maxLate), ", ")
	if late.Since.IsZero() {
		return fmt.Sprintf("%s, longer than the deadline of %s", text, secondsText(l.pendingLimit(late.role.Name)))
	}
	return fmt.Sprintf("it has been %s since %s, longer than its deadline of %s: %s",
		strings.ToUpper(late.For), utc(late.Since), secondsText(late.Due.Sub(late.Since)), text)
}

// secondsText formats a length of time for people: "600 s".
func secondsText(length time.Duration) string {
	return strconv.FormatFloat(length.Seconds(), 'f', -1, 64) + " s"
}
