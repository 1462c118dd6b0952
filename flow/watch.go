package flow

import (
	"cmp"
	"fmt"

	"github.com/flowjet/flowjet/flow/policy"
	"github.com/flowjet/flowjet/flow/spec"
)

// watch follows the VMs of a running service: trouble is a WARNING, and its
// end is the WARNING's end.
func (w watcher) watch() {
	if w.deployer.putRight() {
		return
	}
	for role := range w.eachRole() {
		w.watchRole(role)
	}
	if flag(w.Service.Body.AutomaticDeletion) && w.empty() {
		w.to(spec.ServiceUndeploying)
		w.changes[len(w.changes)-1].Reason = "no VM is left, and automatic_deletion is set"
		return
	}
	if w.autoscaler.runSchedules(); !w.anyRole(spec.RoleScaling) {
		w.filler.refill()
	}
	if w.anyRole(spec.RoleScaling) {
		w.autoscaler.followRoles()
		return
	}
	warned := w.anyRole(spec.RoleWarning)
	if warned && w.state() == spec.ServiceRunning {
		w.to(spec.ServiceWarning)
	}
	if !warned && w.state() == spec.ServiceWarning {
		w.to(spec.ServiceRunning)
	}
}

func (w watcher) watchRole(role *spec.Role) {
	w.healer.healRole(role)
	w.healer.refillHealed(role)
	trouble := cmp.Or(w.recoverer.unstickRunning(role), w.trouble(role))
	switch {
	case trouble != "" && role.CurrentState() == spec.RoleRunning:
		w.roleTo(role, spec.RoleWarning, trouble)
	case trouble == "" && role.CurrentState() == spec.RoleWarning:
		w.roleTo(role, spec.RoleRunning, "")
	}
}

// trouble names the first of the role's VMs that is in trouble.
func (w watcher) trouble(role *spec.Role) string {
	_, heals := policy.HealRuleOf(role)
	if have := len(role.Nodes) + len(w.strangers[role.Name]); heals && have < role.Cardinality {
		return fmt.Sprintf("the role has %d of %d VMs", have, role.Cardinality)
	}
	for _, node := range role.Nodes {
		vm, known := w.facts[node.DeployID]
		if heals && known && role.CurrentState() == spec.RoleWarning && vm.Running() && !w.deployer.come(role, vm) {
			return fmt.Sprintf("VM %d has not reported READY", vm.ID)
		}
		if known && (vm.Troubled() || role.CurrentState() == spec.RoleWarning && vm.Underway()) {
			return fmt.Sprintf("VM %d is in %s", vm.ID, vm.StateText())
		}
		if !known && role.CurrentState() == spec.RoleWarning {
			return "the state of some VMs is unknown"
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
