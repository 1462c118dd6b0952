package flow

import (
	"cmp"
	"fmt"
)

// watch follows the VMs of a running service: trouble is a WARNING, and its
// end is the WARNING's end.
func (w watcher) watch() {
	if w.deployer.putRight() {
		return
	}
	for i := range w.roles() {
		w.watchRole(&w.roles()[i])
	}
	if flag(w.Service.Body.AutomaticDeletion) && w.empty() {
		w.to(ServiceUndeploying)
		w.changes[len(w.changes)-1].Reason = "no VM is left, and automatic_deletion is set"
		return
	}
	if w.autoscaler.runSchedules(); !w.anyRole(RoleScaling) {
		w.filler.refill()
	}
	if w.anyRole(RoleScaling) {
		w.autoscaler.followRoles()
		return
	}
	warned := w.anyRole(RoleWarning)
	if warned && w.state() == ServiceRunning {
		w.to(ServiceWarning)
	}
	if !warned && w.state() == ServiceWarning {
		w.to(ServiceRunning)
	}
}

func (w watcher) watchRole(role *Role) {
	w.healer.healRole(role)
	w.healer.refillHealed(role)
	trouble := cmp.Or(w.recoverer.unstickRunning(role), w.trouble(role))
	switch {
	case trouble != "" && role.state() == RoleRunning:
		w.roleTo(role, RoleWarning, trouble)
	case trouble == "" && role.state() == RoleWarning:
		w.roleTo(role, RoleRunning, "")
	}
}

// trouble names the first of the role's VMs that is in trouble.
func (w watcher) trouble(role *Role) string {
	_, heals := healRuleOf(role)
	if have := len(role.Nodes) + len(w.strangers[role.Name]); heals && have < role.Cardinality {
		return fmt.Sprintf("the role has %d of %d VMs", have, role.Cardinality)
	}
	for _, node := range role.Nodes {
		vm, known := w.facts[node.DeployID]
		if heals && known && role.state() == RoleWarning && vm.Running() && !w.deployer.come(role, vm) {
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

// empty reports whether the service has had VMs, and none is left.
func (w watcher) empty() bool {
	had := false
	for _, role := range w.roles() {
		if len(role.Nodes)+len(w.strangers[role.Name]) > 0 {
			return false
		}
		had = had || w.filler.ordinal(&role) > 0
	}
	return had
}
