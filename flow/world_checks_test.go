package flow_test

import (
	"slices"
	"strings"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/policy"
	"github.com/flowjet/flowjet/flow/spec"
)

// checkDecision holds a decision against everything that is always true.
func (p *player) checkDecision(before flow.State, decision flow.Decision) {
	p.checkWays(before, decision)
	p.checkCounts(decision.State)
	p.checkKeys(before, decision.State)
	p.checkEndings(before, decision)
	for _, action := range decision.Actions {
		if action.Kind == flow.ActionCreateVM && !slices.Contains(decision.State.Intents, action.Intent) {
			p.Fatalf("%s is to be created without an intent in the state", describeAction(action))
		}
	}
	p.checkSettled(decision)
	p.checkExplanation(decision.State)
}

// checkWays: services and roles go along their tables only, and every step is told.
func (p *player) checkWays(before flow.State, decision flow.Decision) {
	at := map[string]string{"service ": before.Service.State().String()}
	for _, role := range before.Service.Body.Roles {
		at["role "+role.Name] = roleState(role).String()
	}
	for _, change := range decision.Changes {
		ways := map[string]map[string]string{"service": serviceWays, "role": roleWays}[change.Kind]
		if ways == nil {
			continue
		}
		who := change.Kind + " " + change.Role
		if at[who] == "" { // a role that was just added
			at[who] = "PENDING"
		}
		if change.Old != at[who] || !slices.Contains(strings.Fields(ways[change.Old]), change.New) {
			p.Fatalf("%s was %s and is said to go from %s to %s", who, at[who], change.Old, change.New)
		}
		at[who] = change.New
	}
	if got := decision.State.Service.State().String(); got != at["service "] {
		p.Fatalf("the service is %s, the changes end in %s", got, at["service "])
	}
	for _, role := range decision.State.Service.Body.Roles {
		if got := roleState(role).String(); got != at["role "+role.Name] {
			p.Fatalf("role %s is %s, the changes end in %s", role.Name, got, at["role "+role.Name])
		}
	}
}

func roleState(role spec.Role) spec.RoleState {
	if role.State == nil {
		return spec.RolePending
	}
	return *role.State
}

// checkCounts: no cardinality below 0, no VM in two places, and where nothing is
// under way, as many VMs as the cardinality says.
func (p *player) checkCounts(state flow.State) {
	seen := map[int]bool{}
	at := state.Service.State()
	rests := at == spec.ServiceRunning || at == spec.ServiceWarning || at == spec.ServiceCooldown
	for _, role := range state.Service.Body.Roles {
		if role.Cardinality < 0 {
			p.Fatalf("role %s has cardinality %d", role.Name, role.Cardinality)
		}
		healed := len(role.Heal) > 0 && at == spec.ServiceWarning && len(role.Nodes) < role.Cardinality
		if rests && len(role.Nodes) != role.Cardinality && !healed {
			p.Fatalf("role %s has %d VMs of %d in %s", role.Name, len(role.Nodes), role.Cardinality, at)
		}
		for _, node := range role.Nodes {
			if seen[node.DeployID] {
				p.Fatalf("VM %d is in two places", node.DeployID)
			}
			seen[node.DeployID] = true
		}
	}
	replaced := func(i flow.Intent) bool {
		role := state.Service.Body.Roles[slices.IndexFunc(state.Service.Body.Roles, func(r spec.Role) bool { return r.Name == i.Role })]
		return at == spec.ServiceWarning && len(role.Heal) > 0
	}
	if rests && slices.ContainsFunc(state.Intents, func(i flow.Intent) bool { return !replaced(i) }) {
		p.Fatalf("%d VMs are decided on in %s", len(state.Intents), at)
	}
	if count := len(state.Service.Body.Log); count > 50 {
		p.Fatalf("the log has %d entries", count)
	}
}

// checkKeys: a new intent's key and name were never used before.
func (p *player) checkKeys(before, after flow.State) {
	for _, intent := range after.Intents {
		if slices.ContainsFunc(before.Intents, func(i flow.Intent) bool { return i.Key == intent.Key }) {
			continue
		}
		if p.keys[intent.Key] || p.keys[intent.Name] {
			p.Fatalf("%+v was used before", intent)
		}
		p.keys[intent.Key], p.keys[intent.Name] = true, true
	}
}

// checkEndings: a VM is asked to end only as one of a service that ends, as one
// of those of a role that shrinks which are to be kept least, or as one that no role has.
func (p *player) checkEndings(before flow.State, decision flow.Decision) {
	for _, action := range decision.Actions {
		if action.Call == "recover-delete" {
			p.checkDeletion(before, action.VM)
		}
		if action.Kind != flow.ActionVM || !strings.HasPrefix(action.Call, "terminate") {
			continue
		}
		role := holder(before, action.VM)
		if role == nil {
			role = holder(decision.State, action.VM)
		}
		switch {
		case role == nil || roleState(*role) == spec.RoleUndeploying:
		case p.mayReplace(*role, before, decision.State, action.VM):
		case p.mayTakeBack(*role, before, decision.State, action.VM):
		case decision.State.Service.State() == spec.ServiceUndeploying || decision.State.Service.State() == spec.ServiceFailedUndeploying:
		default:
			p.checkVictim(before, decision.State, action.VM)
		}
	}
}

// checkDeletion: what was deleted has overstayed, and was looked at.
func (p *player) checkDeletion(before flow.State, vm int) {
	due := before.Stays[vm].Due
	if again := before.Asked[vm].Action == "recover-delete"; !again && (due.IsZero() || due.After(p.now) || p.facts[vm].Inspection == nil) {
		p.Fatalf("VM %d is deleted at %s, which is due at %s", vm, p.now, due)
	}
}

// mayReplace: the role's VM is in trouble, has been for long enough, and the
// role has not been healed too often.
func (p *player) mayReplace(role spec.Role, before, after flow.State, vm int) bool {
	seen := p.facts[vm]
	since, known := before.Heals[role.Name].Since[vm]
	return len(role.Heal) > 0 && (seen.Failed() || seen.Lost()) && holder(after, vm) == nil &&
		known && !p.now.Before(since.Add(20*time.Second)) && len(after.Heals[role.Name].Done) <= 2
}

func (p *player) checkVictim(before, after flow.State, vm int) {
	role := holder(after, vm)
	if role == nil || role.ScaleWay == nil || *role.ScaleWay != spec.ScaleDown {
		p.Fatalf("VM %d of a role that does not shrink is asked to end in %s", vm, after.Service.State())
	}
	if before.Asked[vm].Action != "" {
		return
	}
	ending, sooner := 0, 0
	for _, node := range role.Nodes {
		other := p.facts[node.DeployID]
		if strings.HasPrefix(after.Asked[node.DeployID].Action, "terminate") {
			ending++
		} else if !other.Ending() && !other.Protected && p.endsBefore(*role, other, p.facts[vm]) {
			sooner++
		}
	}
	if len(role.Nodes)-ending < role.Cardinality || sooner > 0 || p.facts[vm].Protected {
		p.Fatalf("VM %d should stay: role %s has %d VMs, %d are to end, %d to stay, %d that are to go first stay",
			vm, role.Name, len(role.Nodes), ending, role.Cardinality, sooner)
	}
}

// mayTakeBack reports whether the VM has not come in a scaling whose deadline has passed, and
// was looked at.
func (p *player) mayTakeBack(role spec.Role, before, after flow.State, vm int) bool {
	seen, late := p.facts[vm], !before.Stays[vm].Due.IsZero() && !before.Stays[vm].Due.After(p.now)
	for _, key := range []string{role.Name, ""} {
		if wait, waits := before.Waits[key]; waits && !wait.Due.After(p.now) {
			late = late || wait.Then == policy.ThenShrink
		}
	}
	return late && seen.Inspection != nil && !seen.Protected && (!seen.Running() || !seen.Ready) && roleState(role) == spec.RoleScaling && holder(after, vm) == nil
}

// endsBefore reports whether a role that scales down is to lose one VM before the other.
func (p *player) endsBefore(role spec.Role, each, other one.VM) bool {
	place := func(vm one.VM) int {
		switch {
		case vm.Troubled():
			return 0
		case !vm.Running() && !vm.Arrived():
			return 1
		case string(role.Victims) == `"not_ready"` && (!vm.Ready || !vm.Running()):
			return 2
		}
		return 3
	}
	if a, b := place(each), place(other); a != b {
		return a < b
	}
	if string(role.Victims) == `"newest"` {
		return each.ID > other.ID
	}
	return each.ID < other.ID
}

// holder is the role that has the VM, nil if none.
func holder(state flow.State, vm int) *spec.Role {
	for i, role := range state.Service.Body.Roles {
		for _, node := range role.Nodes {
			if node.DeployID == vm {
				return &state.Service.Body.Roles[i]
			}
		}
	}
	return nil
}

// checkSettled: planning again decides nothing new, and asks again only for
// what can be asked for twice.
func (p *player) checkSettled(decision flow.Decision) {
	again := flow.Decide(flow.Input{State: decision.State, Facts: p.facts, Now: p.now, Settings: p.settings}, nil)
	if len(again.Changes) > 0 {
		p.Fatalf("planning again changes %+v", again.Changes)
	}
	if p.T == nil {
		return
	}
	if first, second := asJSON(p, decision.State), asJSON(p, again.State); first != second {
		p.Fatalf("planning again changes the state from\n%s\nto\n%s", first, second)
	}
	for _, action := range again.Actions {
		if action.Kind == flow.ActionVM || action.Kind == flow.ActionRecoverVM {
			p.Fatalf("planning again asks again: %s", describeAction(action))
		}
	}
}

func (p *player) checkIntentStored(intent flow.Intent) {
	if !slices.ContainsFunc(p.state.Intents, func(i flow.Intent) bool { return i.Key == intent.Key }) {
		p.Fatalf("VM %s is created without a stored intent", intent.Name)
	}
}

// checkRest: at rest the service's VMs are those that live, each key once. A VM
// that comes after its service has ended is ended by whoever hears of it.
func (p *player) checkRest() {
	p.checkNetworks()
	p.checkRouters()
	keys := map[string]int{}
	for _, id := range p.live() {
		vm := p.vms[id]
		if p.ended && p.late[id] {
			continue
		}
		if other, twice := keys[vm.Key]; twice {
			p.Fatalf("VMs %d and %d live with one key %s in %s", other, id, vm.Key, p.state.Service.State())
		}
		keys[vm.Key] = id
		if p.ended || holder(p.state, id) == nil {
			p.Fatalf("VM %d (%s) lives and belongs to no role in %s", id, vm.Name, p.state.Service.State())
		}
	}
	troubled := false
	for _, role := range p.state.Service.Body.Roles {
		for _, node := range role.Nodes {
			vm := p.vms[node.DeployID]
			if vm.Gone() {
				p.Fatalf("VM %d of role %s has ended", node.DeployID, role.Name)
			}
			// A guest that shuts down has any time: its host notices its end.
			troubled = troubled || vm.Troubled() || p.stuck[vm.ID] && vm.LCMState != one.LCMShutdown
		}
	}
	if state := p.state.Service.State(); state == spec.ServiceRunning && troubled || state == spec.ServiceWarning && !troubled {
		p.Fatalf("the service rests in %s, troubled: %v", state, troubled)
	}
}
