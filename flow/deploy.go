package flow

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// deploy starts the roles whose turn it is and waits for those started.
func (p *planner) deploy() {
	for progressed := true; progressed; {
		progressed = false
		for i := range p.roles() {
			progressed = p.deployRole(&p.roles()[i]) || progressed
		}
	}
	switch {
	case p.anyRole(RoleFailedDeploying) || p.misfit():
		p.to(ServiceFailedDeploying)
	case p.state() == ServiceHold && (p.anyRole(RoleDeploying) || p.everyRole(RoleRunning, RoleWarning)):
		p.to(ServiceDeploying)
	case p.everyRole(RoleRunning, RoleWarning):
		p.to(ServiceRunning)
	case p.everyRole(RoleRunning, RoleWarning, RoleHold):
		if p.state() != ServiceHold {
			p.to(ServiceHold)
		}
	case p.everyRole(RolePending, RoleRunning, RoleWarning, RoleHold):
		p.log("E", "Roles that wait for each other, or for parents that do not exist, cannot be deployed: "+p.pendingRoles())
		p.to(ServiceFailedDeploying)
	}
}

// pendingRoles names the roles that have not started.
func (p *planner) pendingRoles() string {
	var names []string
	for _, role := range p.roles() {
		if role.state() == RolePending {
			names = append(names, role.Name)
		}
	}
	return strings.Join(names, ", ")
}

// deployRole takes the role on, and reports whether its state changed.
func (p *planner) deployRole(role *Role) bool {
	switch role.state() {
	case RolePending:
		if !p.mayStart(role) {
			return false
		}
		p.start(role)
		if p.holds(role) {
			p.beginHold(role)
		} else {
			p.roleTo(role, RoleDeploying, "")
		}
		return true
	case RoleHold:
		return p.hold(role)
	case RoleDeploying:
		p.healRole(role)
		if !p.unstickRole(role, role.Nodes, false, RoleFailedDeploying) {
			return true
		}
		p.fill(role)
		p.releaseHeld(role)
		return p.arrive(role, RoleRunning, RoleFailedDeploying)
	case RoleScaling:
		p.scaleRole(role)
		return role.state() != RoleScaling
	case RoleCooldown:
		p.roleTo(role, RoleRunning, "")
		return true
	}
	return false
}

// mayStart: with the strategy straight, a role waits for its parents.
func (p *planner) mayStart(role *Role) bool {
	if p.holds(role) {
		return p.parentsAre(role, RoleRunning, RoleWarning, RoleHold)
	}
	return p.parentsAre(role, RoleRunning, RoleWarning)
}

// parentsAre reports whether all the roles that the role waits for are in one of the
// states.
func (p *planner) parentsAre(role *Role, states ...RoleState) bool {
	if p.Service.Body.Deployment != DeploymentStraight {
		return true
	}
	for _, name := range role.Parents {
		parent := p.role(name)
		if parent == nil || !slices.Contains(states, parent.state()) {
			return false
		}
	}
	return true
}

// start gives a role the attributes that it has from its first VM on.
func (p *planner) start(role *Role) {
	if role.TemplateContents == nil {
		role.TemplateContents = emptyObject
	}
	if role.LastVMName == nil {
		role.LastVMName = new(int)
	}
}

// maxIntents is how many VMs of a role are decided on at once. The others
// follow as these come, so that the stored state stays small however large a
// role is.
const maxIntents = 100

// fill decides on the VMs that the role lacks and has those decided on created.
func (p *planner) fill(role *Role) {
	if p.lacksRouter(role) {
		return
	}
	for range min(p.missing(role), maxIntents-p.intended(role)) {
		p.Intents = append(p.Intents, p.newIntent(role))
	}
	held := p.creationHeld(role)
	for _, intent := range p.Intents {
		if intent.Role != role.Name {
			continue
		}
		action := Action{Kind: ActionCreateVM, Intent: intent, Role: role.Name}
		if !p.held(action.Name()) && !held && !p.creating(intent.Key) {
			p.actions = append(p.actions, action)
		}
	}
}

func (p *planner) creating(key string) bool {
	return slices.ContainsFunc(p.actions, func(a Action) bool {
		return a.Kind == ActionCreateVM && a.Intent.Key == key
	})
}

// newIntent takes the role's next ordinal. The time makes the key unique even
// where a role of the same name was removed and added again.
func (p *planner) newIntent(role *Role) Intent {
	p.start(role)
	ordinal := p.ordinal(role)
	p.setOrdinal(role, ordinal+1)
	stamp := strconv.FormatInt(p.now.UnixMicro(), 36)
	return Intent{
		Key:        fmt.Sprintf("%d-%s-%d-%s", p.Service.ID, role.Name, ordinal, stamp),
		Role:       role.Name,
		Ordinal:    ordinal,
		Name:       p.vmName(role, ordinal),
		TemplateID: role.TemplateID,
		Hold:       role.state() == RoleHold,
	}
}

// ordinal is what the role's next VM gets. For a virtual router's role it is
// never less than what its document shows, should the record have been lost.
func (p *planner) ordinal(role *Role) int {
	ordinal := 0
	if role.LastVMName != nil {
		ordinal = *role.LastVMName
	}
	if role.isRouter() {
		ordinal = max(ordinal, p.Ordinals[role.Name], len(role.Nodes))
	}
	return ordinal
}

func (p *planner) setOrdinal(role *Role, next int) {
	if !role.isRouter() {
		role.LastVMName = &next
		return
	}
	if p.Ordinals == nil {
		p.Ordinals = map[string]int{}
	}
	p.Ordinals[role.Name] = next
}

func (p *planner) vmName(role *Role, ordinal int) string {
	return strings.NewReplacer(
		"$SERVICE_ID", strconv.Itoa(p.Service.ID),
		"$SERVICE_NAME", p.Service.Body.Name,
		"$ROLE_NAME", role.Name,
		"$VM_NUMBER", strconv.Itoa(ordinal),
	).Replace(p.settings.VMNameTemplate)
}

// arrive takes the role on when all its VMs have come, or one has failed. It
// reports whether the role changed its state.
func (p *planner) arrive(role *Role, arrived, failed RoleState) bool {
	if p.intended(role) > 0 || role.isRouter() && role.VRouterID == nil {
		return false
	}
	waiting := false
	for _, node := range role.Nodes {
		vm, known := p.facts[node.DeployID]
		switch {
		case !known:
			waiting = true
		case vm.Failed() && !p.retrying(vm) && !p.beingRetried(vm) && !p.mended[vm.ID]:
			p.failRole(role, failed, fmt.Sprintf("VM %d is in %s", vm.ID, vm.stateText()))
			return true
		case !p.come(role, vm):
			waiting = true
		}
	}
	if waiting {
		return false
	}
	p.roleTo(role, arrived, "")
	return true
}

// come reports whether a role need not wait longer for the VM. Behind a ready gate one
// that was stopped before it was ready has not come. A role that scales does not wait
// for a host to come back: it has been running without it before.
func (p *planner) come(role *Role, vm VM) bool {
	if vm.Running() {
		return vm.Ready || !flag(p.Service.Body.ReadyStatusGate)
	}
	return vm.Arrived() && (vm.Ready || !flag(p.Service.Body.ReadyStatusGate)) || role.state() == RoleScaling && vm.Lost()
}

// retrying reports whether oned has been asked to retry what failed on the VM, and
// has had no time to do so.
func (p *planner) retrying(vm VM) bool {
	asked, pending := p.Asked[vm.ID]
	return pending && asked.Action == "recover" && (asked.Refused || p.now.Before(asked.At.Add(p.settings.Look)))
}

func (p *planner) failRole(role *Role, state RoleState, reason string) {
	p.log("E", fmt.Sprintf("Role %s : %s", role.Name, reason))
	p.roleTo(role, state, reason)
}

// stateText is STATE, or in ACTIVE the LCM_STATE, which says more.
func (v VM) stateText() string {
	if v.State == VMActive {
		return v.LCMState.String()
	}
	return v.State.String()
}
