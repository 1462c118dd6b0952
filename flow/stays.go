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

// DeadlineStay is the timer after which a VM is checked that does not leave a state which it should leave by itself.
const DeadlineStay = "stay"

// soon is the delay before a VM is checked that is overdue as far as known.
const soon = time.Second

// Leader is what is known of the zone's leader; in a zone of one server it is zero.
type Leader struct {
	Term int `json:"term"`
	// Since is when the term was first heard of; zero if unknown.
	Since time.Time `json:"since,omitzero"`
}

// Lead returns the state under the leader of a term, first heard of at since; zero if that is unknown, which changes nothing for VMs.
func Lead(state State, term int, since time.Time) State {
	if term > 0 && term != state.Leader.Term {
		state.Leader = Leader{Term: term, Since: since.UTC()}
	}
	return state
}

// Stay is a VM's stay in a state that it should leave by itself.
type Stay struct {
	State    one.VMState  `json:"state"`
	LCMState one.LCMState `json:"lcm_state,omitempty"`
	// First is when the VM was first seen on its way, and Since when it was first seen in the state; Sure is whether Since is from oned's
	// history.
	First time.Time `json:"first"`
	Since time.Time `json:"since"`
	Sure  bool      `json:"sure,omitempty"`
	// Due is when it is acted on; zero for never.
	Due time.Time `json:"due,omitzero"`
	// Acted is when it was last acted on.
	Acted time.Time `json:"acted,omitzero"`
	// Retries counts how often oned was asked to retry an action that it was told to let fail. Failing is whether it was told so and the VM
	// has not left that failure: it is still to be retried.
	Retries int  `json:"retries,omitempty"`
	Retried bool `json:"retried,omitempty"`
	Failing bool `json:"failing,omitempty"`
	// Remade counts the VMs that this one replaces.
	Remade int `json:"remade,omitempty"`
	// Scheduler is why no host accepts the VM, according to oned's scheduler, and Error is oned's note on its last failure.
	Scheduler string `json:"scheduler,omitempty"`
	Error     string `json:"error,omitempty"`
}

// Uninspected is a VM whose Inspection matters. If it is overdue, the next action depends on it.
type Uninspected struct {
	VM      int
	Overdue bool
}

// Inspections returns the inspections that matter now, by ascending VM: of VMs that are overdue as far as known, of those that may have
// entered their state before the leader changed, and of one VM of each role that no host accepts.
func Inspections(state State, facts Facts, now time.Time, settings Settings) []Uninspected {
	p := newPlanner(Input{State: state, Facts: facts, Now: now, Settings: settings})
	p.tracker.followStays()
	p.limiter.followWaits()
	late := p.limiter.uninspected()
	pending := map[string]bool{}
	var found []Uninspected
	awaited := p.tracker.awaitedVMs()
	// A VM that has waited for a host since before the leader changed, not long ago, may still get a note from oned that it cannot be
	// deployed.
	changed := now.Before(p.Leader.Since.Add(4 * settings.VMDeadlines.LeaderChange))
	for _, id := range slices.Sorted(maps.Keys(p.Stays)) {
		stay, vm := p.Stays[id], p.facts[id]
		doubtful := changed && stay.First.Before(p.Leader.Since)
		waits := vm.Stage() == one.StagePending && !now.Before(stay.Since.Add(settings.CheckInterval)) && (!pending[vm.Role] || doubtful)
		pending[vm.Role] = pending[vm.Role] || waits
		if vm.Inspection == nil && awaited[id] && (waits || p.tracker.overdue(stay) || p.tracker.unsure(stay, vm)) {
			found = append(found, Uninspected{VM: id, Overdue: late[id] || p.tracker.overdue(stay)})
			delete(late, id)
		}
	}
	for id := range late {
		found = append(found, Uninspected{VM: id, Overdue: true})
	}
	slices.SortFunc(found, func(a, b Uninspected) int { return a.VM - b.VM })
	return found
}

// unsure reports whether it is unknown if the last leader left the VM behind. A VM that has been up may have been left long before it was
// checked.
func (t tracker) unsure(stay Stay, vm one.VM) bool {
	if stay.Sure || t.Leader.Since.IsZero() || stay.Since.Before(t.Leader.Since) {
		return false
	}
	return stay.First.Before(t.Leader.Since) || vm.Changing()
}

func (t tracker) overdue(stay Stay) bool { return !stay.Due.IsZero() && !t.now.Before(stay.Due) }

func (t tracker) followStays() {
	known, gate := make(map[int]bool, len(t.facts)), flag(t.Service.Body.ReadyStatusGate) && t.settings.VMDeadlines.Ready > 0
	for id := range t.Asked {
		known[id] = false
	}
	t.gated = map[int]bool{}
	for role := range t.Service.Body.EachRole() {
		gated := gate && (role.CurrentState() == spec.RoleDeploying || role.CurrentState() == spec.RoleScaling && !role.Shrinking())
		for _, node := range role.Nodes {
			known[node.DeployID] = role.CurrentState() == spec.RoleRunning || role.CurrentState() == spec.RoleWarning
			if gated {
				t.gated[node.DeployID] = true
			}
		}
	}
	maps.DeleteFunc(t.Stays, func(id int, _ Stay) bool { _, is := known[id]; return !is })
	for id, came := range known {
		vm, seen := t.facts[id]
		if !seen {
			continue
		}
		stay, had := t.Stays[id]
		switch {
		case vm.Failed() && stay.Failing:
			stay.State, stay.LCMState, stay.Due = vm.State, vm.LCMState, time.Time{}
		case t.stageOf(vm) == one.StageNone:
			delete(t.Stays, id)
			continue
		case !had || stay.Since.IsZero(): // a VM that was just found has only First
			stay.Since = t.now.Truncate(time.Second) // a record may hold thousands
			if stay.First.IsZero() {
				stay.First = stay.Since
				if came && vm.IsNew() { // a leader told that it runs, and was replaced before it could store that
					stay.First = t.Service.Body.Started()
				}
			}
		case stay.State != vm.State || stay.LCMState != vm.LCMState:
			failing := stay.Failing && stay.Retries == 0
			stay.Since, stay.Sure, stay.Acted, stay.Failing = t.now.Truncate(time.Second), false, time.Time{}, failing
			stay.Scheduler, stay.Error = "", ""
		}
		stay.State, stay.LCMState = vm.State, vm.LCMState
		if seen := vm.Inspection; seen != nil {
			stay.Sure, stay.Scheduler, stay.Error = true, seen.Scheduler, seen.Error
			if !stay.Retried && !seen.Since.IsZero() && seen.Since.Before(t.now) { // oned notes no retry
				stay.Since = seen.Since
			}
		}
		stay.Due = t.stayDue(stay, vm)
		set(&t.Stays, id, stay)
	}
}

// stageOf returns a VM's stage from its role's point of view.
func (t tracker) stageOf(vm one.VM) one.Stage {
	if t.gated[vm.ID] && !vm.Ready && (vm.Running() || vm.Arrived()) {
		return one.StageReady
	}
	return vm.Stage()
}

// stayDue returns when a VM is acted on. The last action gets its time first.
func (t tracker) stayDue(stay Stay, vm one.VM) time.Time {
	limits := t.settings.VMDeadlines
	limit := [...]time.Duration{
		one.StagePending: 0, one.StageReady: limits.Ready, one.StageProlog: limits.Prolog, one.StageBoot: limits.Boot,
		one.StageShutdown: limits.Shutdown, one.StageEpilog: limits.Epilog, one.StageOther: limits.Other, one.StageNone: limits.Other,
	}[t.stageOf(vm)]
	switch {
	case stay.undeployable(vm):
		limit = limits.Boot
	case vm.Stage() == one.StagePending && !t.AskedToEnd(vm.ID):
		limit = t.limiter.pendingLimit(vm.Role)
	}
	var due time.Time
	switch {
	case t.stageOf(vm) == one.StageNone:
		return due
	case !stay.Acted.IsZero():
		return stay.Acted.Add(t.settings.CheckInterval)
	case limit > 0:
		due = stay.Since.Add(limit)
	}
	if limits.LeaderChange > 0 && t.leftBehind(stay, vm) {
		short := t.Leader.Since.Add(limits.LeaderChange)
		if stay.Since.After(t.Leader.Since) { // in LCM_INIT, where no VM stays for long
			short = stay.Since.Add(limits.LeaderChange / 2)
		}
		if due.IsZero() || short.Before(due) {
			due = short
		}
	}
	return due
}

// undeployable reports whether the VM is PENDING because its deployment fails, and not because no host accepts it: its history was half
// written when oned died.
func (s Stay) undeployable(vm one.VM) bool {
	return vm.Stage() == one.StagePending && s.Scheduler == "" && s.Error != ""
}

// leftBehind reports whether the VM was on its way when the leader changed. A PENDING VM waits for the scheduler, unless it cannot be
// deployed; the end of a guest is noticed by its host's monitoring, under any leader, and has its time. oned does not record when a VM
// entered LCM_INIT; it should be there for a moment only.
func (t tracker) leftBehind(stay Stay, vm one.VM) bool {
	switch t.stageOf(vm) {
	case one.StageNone, one.StageReady, one.StageShutdown:
		return false
	case one.StagePending:
		return stay.Since.Before(t.Leader.Since) && stay.undeployable(vm)
	}
	if vm.LCMState == one.LCMInit && vm.State == one.VMActive {
		return stay.First.Before(t.Leader.Since)
	}
	return stay.Since.Before(t.Leader.Since)
}

// awaitedVMs returns the VMs whose change of state the service awaits: those of roles on their way, and orphans that are to end.
func (t tracker) awaitedVMs() map[int]bool {
	awaited := map[int]bool{}
	for id := range t.Asked {
		awaited[id] = t.AskedToEnd(id)
	}
	for role := range t.Service.Body.EachRole() {
		for _, node := range role.Nodes {
			awaited[node.DeployID] = !t.Service.State().Failed() && t.awaits(role, node.DeployID)
		}
	}
	return awaited
}

// awaits reports whether the VM is part of its role's way to another state; or whether, in a running role, the last leader may have left it
// behind and something can be done about it.
func (t tracker) awaits(role *spec.Role, vm int) bool {
	stay, seen := t.Stays[vm], t.facts[vm]
	switch role.CurrentState() {
	case spec.RoleDeploying, spec.RoleUndeploying:
		return true
	case spec.RoleScaling:
		return !role.Shrinking() || t.AskedToEnd(vm) || seen.Ending()
	case spec.RoleRunning:
		return stay.Failing && seen.Failed() || t.unsure(stay, seen) || t.leftBehind(stay, seen)
	case spec.RoleWarning:
		mends := mending(seen) != "" && !t.tried(stay) || t.remakes(role, seen, stay)
		return stay.Failing && seen.Failed() || mends && (t.unsure(stay, seen) || t.leftBehind(stay, seen))
	}
	return false
}

// tried reports whether today's leader was asked to get the VM out of its state.
func (t tracker) tried(stay Stay) bool {
	return stay.Retried && (stay.Acted.IsZero() || !stay.Acted.Before(t.Leader.Since))
}

// setStayDeadline sets the timer for a VM, or a wait, that is due before the next check. An existing timer is kept, so that not every VM
// that comes sets it anew.
func (t tracker) setStayDeadline() {
	var next time.Time
	note := func(due time.Time) {
		if earliest := t.now.Add(soon); due.Before(earliest) {
			due = earliest
		}
		if next.IsZero() || due.Before(next) {
			next = due
		}
	}
	for _, wait := range t.Waits {
		note(wait.Due)
	}
	awaited := t.awaitedVMs()
	for id, stay := range t.Stays {
		if _, known := t.facts[id]; known && awaited[id] && !stay.Due.IsZero() {
			note(stay.Due)
		}
	}
	check, checks := t.Deadlines[DeadlineCheck]
	current, has := t.Deadlines[DeadlineStay]
	switch {
	case next.IsZero() || checks && !next.Before(check):
		delete(t.Deadlines, DeadlineStay)
	case !has || next.Before(current):
		set(&t.Deadlines, DeadlineStay, next)
	}
}

// maxQuietLooks is how many times Settings.CheckInterval new VMs may take to come up before they are checked, although all their events are
// received.
const maxQuietLooks = 4

// AwaitsNewVMs reports whether the service only waits for VMs to come up which the zone's current leader made not long ago, and nothing is
// due for them: oned's scheduler takes its time, and an event reports its end.
func AwaitsNewVMs(state State, facts Facts, now time.Time, settings Settings) bool {
	grows := state.Service.State() == spec.ServiceDeploying || state.Service.State() == spec.ServiceScaling
	if !grows || now.Before(state.Leader.Since) || len(state.Asked)+len(state.Intents) > 0 {
		return false
	}
	for _, wait := range state.Waits {
		if !now.Before(wait.Due) {
			return false
		}
	}
	patience := maxQuietLooks * settings.CheckInterval
	for _, limit := range []time.Duration{settings.VMDeadlines.Prolog, settings.VMDeadlines.Boot} {
		if limit > 0 {
			patience = min(patience, limit)
		}
	}
	awaits := false
	for _, role := range state.Service.Body.Roles {
		for _, node := range role.Nodes {
			vm, known := facts[node.DeployID]
			stay := state.Stays[node.DeployID]
			isNew := !stay.First.IsZero() && now.Before(stay.First.Add(patience)) && stay.First.After(state.Leader.Since)
			untroubled := stay.Error == "" && (stay.Due.IsZero() || now.Before(stay.Due))
			switch {
			case known && vm.Running() && (vm.Ready || !flag(state.Service.Body.ReadyStatusGate)):
			case known && vm.State == one.VMPending && isNew && untroubled:
				awaits = true
			default:
				return false
			}
		}
	}
	return awaits
}

const (
	// maxRemade is how often a VM that does not come is replaced.
	maxRemade = 2
	// maxRetries is how often oned is asked to retry an action that it was told to let fail.
	maxRetries = 3
)

// The calls of one.vm.recover.
const (
	callRetry  = "recover"
	callFail   = "recover-failure"
	callDelete = "recover-delete"
)

// recoverStays lets oned retry failed actions, and acts on overdue orphans that are to end.
func (t tracker) recoverStays() {
	ids := slices.Sorted(maps.Keys(t.Stays))
	for _, id := range ids {
		stay, vm := t.Stays[id], t.facts[id]
		if !stay.Failing || !vm.Failed() || stay.Retries > 0 && t.now.Before(stay.Acted.Add(t.settings.CheckInterval)) {
			continue
		}
		if stay.Retries >= maxRetries || !t.awaitedVMs()[id] {
			delete(t.Stays, id)
			continue
		}
		stay.Retries, stay.Acted = stay.Retries+1, t.now
		t.Stays[id] = stay
		t.requester.act(Action{Kind: ActionRecoverVM, VM: id, Call: callRetry, Role: vm.Role})
	}
	for _, id := range ids {
		if vm, known := t.facts[id]; known && t.AskedToEnd(id) && t.overdue(t.Stays[id]) && !t.isNode(id) {
			t.unstick(&spec.Role{Name: vm.Role}, vm, true)
		}
	}
}

// unstick takes the next action on an overdue VM. It returns why its role has to fail if there is none left, else nothing.
func (t tracker) unstick(role *spec.Role, vm one.VM, ends bool) (failure string) {
	stay, stays := t.Stays[vm.ID]
	if !stays || vm.Inspection == nil || !t.overdue(stay) {
		return ""
	}
	if vm.Stage() == one.StagePending && !stay.undeployable(vm) { // the limiter handles it
		return ""
	}
	reason := stay.text(vm)
	ends = ends || vm.Ending()
	asked, tried := t.Asked[vm.ID].Action, t.tried(stay)
	stay.Acted = t.now
	switch {
	case t.stageOf(vm) == one.StageReady:
		return reason + " and has not reported READY=YES"
	case ends && vm.Stage() == one.StageShutdown && asked == "terminate":
		t.requester.ask(vm, "terminate-hard", role.Name)
		t.recordStay(role, vm, "terminated", reason+" and is terminated with terminate-hard")
	case mending(vm) != "" && !tried && (!ends || vm.Stage() == one.StageEpilog || vm.Stage() == one.StageOther):
		stay.Retried, stay.Failing, stay.Retries = true, mending(vm) == callFail, 0
		t.requester.act(Action{Kind: ActionRecoverVM, VM: vm.ID, Call: mending(vm), Role: role.Name})
		t.recordStay(role, vm, "retried", reason+" and is retried")
	case ends && asked != callDelete:
		t.requester.ask(vm, callDelete, role.Name)
		t.recordStay(role, vm, "terminated", reason+" and is deleted")
	case !ends && t.remakes(role, vm, stay):
		role.Nodes = slices.DeleteFunc(role.Nodes, func(n spec.Node) bool { return n.DeployID == vm.ID })
		t.requester.ask(vm, callDelete, role.Name)
		intent := t.inventory.newIntent(role)
		intent.Remade = stay.Remade + 1
		t.Intents = append(t.Intents, intent)
		t.recordStay(role, vm, "replaced", reason+" and is replaced")
	default:
		return reason + stay.history()
	}
	stay.Due = t.stayDue(stay, vm)
	t.Stays[vm.ID] = stay
	return ""
}

// remakes reports whether a VM that does not come may be replaced: it has never been up, and its role is to grow or replaces failed VMs.
func (t tracker) remakes(role *spec.Role, vm one.VM, stay Stay) bool {
	rule, heals, _ := policy.HealRuleOf(role)
	grows := role.CurrentState() == spec.RoleDeploying || role.CurrentState() == spec.RoleScaling || heals && rule.Action == policy.HealRecreate
	return grows && vm.IsNew() && !role.IsRouter() && stay.Remade < maxRemade
}

func (t tracker) recordStay(role *spec.Role, vm one.VM, what, reason string) {
	t.log("I", "Role %s : %s", role.Name, reason)
	t.changes = append(t.changes, Change{Kind: "vm", VM: new(vm.ID), Role: role.Name, New: what, Reason: reason})
}

func (s Stay) text(vm one.VM) string {
	text := fmt.Sprintf("VM %d has been in %s since %s", vm.ID, vm.StateText(), utc(s.Since))
	if said := cmp.Or(s.Scheduler, s.Error); said != "" {
		text += " (" + said + ")"
	}
	return text
}

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
	return strings.TrimSuffix("; "+strings.Join(done, ", "), "; ")
}

// endCall returns the call that ends a VM instead of otherwise: a VM that had to be deleted is deleted again.
func (t tracker) endCall(vm one.VM, otherwise string) string {
	if t.Asked[vm.ID].Action == callDelete {
		return callDelete
	}
	return otherwise
}

// unstickRole acts on the role's overdue VMs. It returns false if the role has failed.
func (t tracker) unstickRole(role *spec.Role, nodes []spec.Node, ends bool) bool {
	for _, node := range slices.Clone(nodes) {
		vm, known := t.facts[node.DeployID]
		if !known {
			continue
		}
		if failure := t.unstick(role, vm, ends); failure != "" {
			t.failRole(role, failure)
			return false
		}
	}
	return true
}

// forgetStays resets all stays and waits, so that every action may be taken again.
func (t tracker) forgetStays() {
	t.Stays, t.Waits = nil, nil
	for i := range t.Networks {
		t.Networks[i].Since = time.Time{}
	}
}

// mending returns the call of one.vm.recover that gets the VM out of a state in which no driver works on it; "" if oned has none, or if the
// guest ends by itself. A VM that boots again is retried in place: let fail, it would be powered off. All others are let fail: that leads
// to a failure that can be retried, or back to their state before they were powered off, saved, changed or backed up.
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
