package flow

import (
	"fmt"
	"time"
)

// scale takes the scaling roles on.
func (p *planner) scale() {
	for i := range p.roles() {
		p.scaleRole(&p.roles()[i])
	}
	switch {
	case p.anyRole(RoleFailedScaling):
		p.to(ServiceFailedScaling)
	case !p.anyRole(RoleScaling):
		p.to(ServiceCooldown)
	}
}

// scaleRole takes a scaling role on.
func (p *planner) scaleRole(role *Role) {
	switch {
	case role.state() != RoleScaling:
		return
	case role.shrinking():
		p.shrink(role)
	default:
		p.healRole(role)
		if p.unstickRole(role, role.Nodes, false, RoleFailedScaling) {
			p.fill(role)
			p.arrive(role, RoleCooldown, RoleFailedScaling)
		}
	}
	if role.state() == RoleCooldown {
		p.startCooldown(role)
	}
}

// shrink ends the role's oldest VMs until its cardinality is reached.
func (p *planner) shrink(role *Role) {
	leaving := p.victims(role)
	if !p.unstickRole(role, leaving, true, RoleFailedScaling) {
		return
	}
	for _, node := range leaving {
		vm, known := p.facts[node.DeployID]
		if !known || vm.Ending() || p.beingRetried(vm) {
			continue
		}
		if p.failedToEnd(vm) {
			p.failRole(role, RoleFailedScaling, fmt.Sprintf("VM %d does not end: it is in %s", vm.ID, vm.stateText()))
			return
		}
		p.ask(vm, p.endCall(vm, p.shutdownAction(role)), role.Name)
	}
	if len(leaving) == 0 {
		p.roleTo(role, RoleCooldown, "")
	}
}

// victims are the nodes that a shrinking role is to lose: those that end or were asked to
// already, and of the others the oldest.
func (p *planner) victims(role *Role) []Node {
	surplus := len(role.Nodes) - role.Cardinality
	var chosen, others []Node
	for _, node := range role.Nodes {
		if vm, known := p.facts[node.DeployID]; p.AskedToEnd(node.DeployID) || known && vm.Ending() {
			chosen = append(chosen, node)
		} else {
			others = append(others, node)
		}
	}
	if more := surplus - len(chosen); more > 0 {
		chosen = append(chosen, others[:min(more, len(others))]...)
	}
	return chosen
}

func (p *planner) startCooldown(role *Role) {
	role.ScaleWay = nil
	wait := p.settings.Cooldown
	if role.Cooldown != nil {
		wait = time.Duration(*role.Cooldown) * time.Second
	}
	if asked, has := p.PolicyCooldowns[role.Name]; has {
		wait = asked
		delete(p.PolicyCooldowns, role.Name)
	}
	if until := p.now.Add(wait); until.After(p.CooldownUntil) {
		p.CooldownUntil = until
	}
}

// setRoleCooldown notes how long the cooldown of the scaling that begins is to be.
func (p *planner) setRoleCooldown(role string, wait time.Duration) {
	if p.PolicyCooldowns == nil {
		p.PolicyCooldowns = map[string]time.Duration{}
	}
	p.PolicyCooldowns[role] = wait
}

// cool ends the cooldown when its time has come. A service found in COOLDOWN
// without a time (another server started it) gets its whole cooldown again.
func (p *planner) cool() {
	if p.CooldownUntil.IsZero() {
		for i := range p.roles() {
			if p.roles()[i].state() == RoleCooldown {
				p.startCooldown(&p.roles()[i])
			}
		}
	}
	if p.now.Before(p.CooldownUntil) {
		return
	}
	p.endCooldown()
}

func (p *planner) endCooldown() {
	for i := range p.roles() {
		if p.roles()[i].state() == RoleCooldown {
			p.roleTo(&p.roles()[i], RoleRunning, "")
		}
	}
	p.CooldownUntil = time.Time{}
	p.to(ServiceRunning)
}
