package flow

import (
	"fmt"
	"strings"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
)

// Advice is what an operator can do about a service in the state, in one
// sentence with the command that does it; empty where nothing has to be done.
func Advice(state spec.ServiceState, service int) string {
	switch state {
	case spec.ServiceWarning:
		return fmt.Sprintf("repair or terminate the VMs that are in trouble, and the service returns to RUNNING automatically; `oneflow recover %d` makes OpenNebula retry them", service)
	case spec.ServiceFailedDeploying, spec.ServiceFailedScaling:
		return fmt.Sprintf("remove the cause, then `oneflow recover %d` continues where it stopped; `oneflow recover --delete %d` ends the service", service, service)
	case spec.ServiceFailedUndeploying:
		return fmt.Sprintf("terminate the VMs that do not end, then `oneflow recover %d`; `oneflow recover --delete %d` terminates all of them again", service, service)
	case spec.ServiceFailedDeployingNets:
		return fmt.Sprintf("correct the network template or the reservation, then `oneflow recover %d`; `oneflow recover --delete %d` ends the service", service, service)
	case spec.ServiceFailedUndeployingNets:
		return fmt.Sprintf("free the network (its leases are in use), then `oneflow recover %d`", service)
	case spec.ServiceCooldown:
		return fmt.Sprintf("nothing: it ends automatically; `oneflow recover %d` ends it now", service)
	case spec.ServiceHold:
		return fmt.Sprintf("`oneflow release %d` lets the VMs on hold start", service)
	case spec.ServicePending:
		return "a worker starts with the service automatically; if not, `flowjet doctor` shows why"
	}
	return ""
}

// maxAdvised bounds how many VMs an explanation gives advice about.
const maxAdvised = 3

// advice is what an operator can do, most useful first.
func (e *explainer) advice() []string {
	var next []string
	if due, set := e.Deadlines[DeadlineHeal]; set && due.After(e.now) {
		next = append(next, "wait: failed VMs are healed automatically at "+utc(due))
	}
	for _, found := range e.failed {
		if found.VM == nil || len(next) >= maxAdvised {
			continue
		}
		if vm, known := e.facts[*found.VM]; known {
			if text := adviceOn(vm, e.state()); text != "" {
				next = append(next, text)
			}
		}
	}
	if text := Advice(e.state(), e.Service.ID); text != "" {
		next = append(next, text)
	}
	return append(next, e.waysBack()...)
}

// waysBack are the commands that take a failed service back to what it has, role by role.
func (e *explainer) waysBack() []string {
	if !e.state().Failed() {
		return nil
	}
	var ways []string
	for _, way := range e.WaysOut(e.facts) {
		switch {
		case way.Role == "" || len(ways) == 2*maxAdvised:
		case way.Verb == VerbScale:
			if text := e.scaleBackAdvice(way); text != "" {
				ways = append(ways, text)
			}
		case way.Verb == VerbRemoveRole:
			ways = append(ways, fmt.Sprintf("`oneflow remove-role %d %s` removes role %s from the service", e.Service.ID, quoted(way.Role), way.Role))
		}
	}
	return ways
}

// scaleBackAdvice is how a role goes on with the VMs that it has; empty where it has all of them.
func (e *explainer) scaleBackAdvice(way WayOut) string {
	role := e.role(way.Role)
	if way.Cardinality >= role.Cardinality {
		return ""
	}
	force := ""
	if role.MinVMs != nil && way.Cardinality < *role.MinVMs {
		force = " --force"
	}
	text := fmt.Sprintf("`oneflow scale %d %s %d%s` ", e.Service.ID, quoted(way.Role), way.Cardinality, force)
	if way.Cardinality == 0 {
		return text + "lets role " + way.Role + " continue without a VM"
	}
	return text + fmt.Sprintf("lets role %s continue with %s", way.Role, plural(way.Cardinality, "VM"))
}

// quoted is a word as a shell takes it.
func quoted(word string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_-.:/@", r)
	}
	if word != "" && strings.IndexFunc(word, func(r rune) bool { return !plain(r) }) < 0 {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// adviceOn is what helps a VM in trouble of a service in the state.
func adviceOn(vm one.VM, state spec.ServiceState) string {
	switch {
	case state == spec.ServiceFailedUndeploying:
		return fmt.Sprintf("`onevm recover --delete %d` deletes VM %d", vm.ID, vm.ID)
	case vm.Failed():
		return fmt.Sprintf("`onevm recover --retry %d` makes OpenNebula retry VM %d", vm.ID, vm.ID)
	case vm.Lost():
		return fmt.Sprintf("`onevm show %d` shows the host of VM %d, which does not answer", vm.ID, vm.ID)
	case vm.State == one.VMPoweroff:
		return fmt.Sprintf("`onevm resume %d` starts VM %d", vm.ID, vm.ID)
	}
	return ""
}
