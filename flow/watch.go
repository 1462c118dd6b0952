package flow

import "fmt"

// watch follows the VMs of a running service: trouble is a WARNING, and its
// end is the WARNING's end.
func (p *planner) watch() {
	if p.putRight() {
		return
	}
	for i := range p.roles() {
		p.watchRole(&p.roles()[i])
	}
	if flag(p.Service.Body.AutomaticDeletion) && p.empty() {
		p.to(ServiceUndeploying)
		return
	}
	if p.runSchedules(); !p.anyRole(RoleScaling) {
		p.refill()
	}
	if p.anyRole(RoleScaling) {
		p.followRoles()
		return
	}
	warned := p.anyRole(RoleWarning)
	if warned && p.state() == ServiceRunning {
		p.to(ServiceWarning)
	}
	if !warned && p.state() == ServiceWarning {
		p.to(ServiceRunning)
	}
}

func (p *planner) watchRole(role *Role) {
	p.healRole(role)
	p.refillHealed(role)
	trouble := p.trouble(role)
	switch {
	case trouble != "" && role.state() == RoleRunning:
		p.roleTo(role, RoleWarning, trouble)
	case trouble == "" && role.state() == RoleWarning:
		p.roleTo(role, RoleRunning, "")
	}
}

// trouble names the first of the role's VMs that is in trouble.
func (p *planner) trouble(role *Role) string {
	_, heals := healRuleOf(role)
	if have := len(role.Nodes) + len(p.strangers[role.Name]); heals && have < role.Cardinality {
		return fmt.Sprintf("the role has %d of %d VMs", have, role.Cardinality)
	}
	for _, node := range role.Nodes {
		vm, known := p.facts[node.DeployID]
		if heals && known && role.state() == RoleWarning && vm.Running() && !p.come(role, vm) {
			return fmt.Sprintf("VM %d has not reported READY", vm.ID)
		}
		if known && (vm.Troubled() || role.state() == RoleWarning && vm.underway()) {
			return fmt.Sprintf("VM %d is in %s", vm.ID, vm.stateText())
		}
		if !known && role.state() == RoleWarning {
			return "not all VMs are known"
		}
	}
	return ""
}

// underway reports whether the VM is between states. It does not put a role into
// WARNING, but a role that is there waits for it: a VM that boots is not back yet.
func (v VM) underway() bool {
	return v.State == VMPending || v.State == VMActive && !v.Running() && !v.Ending()
}

// empty reports whether the service has had VMs, and none is left.
func (p *planner) empty() bool {
	had := false
	for _, role := range p.roles() {
		if len(role.Nodes)+len(p.strangers[role.Name]) > 0 {
			return false
		}
		had = had || p.ordinal(&role) > 0
	}
	return had
}
