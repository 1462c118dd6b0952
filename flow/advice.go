package flow

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
)

// advised are the commands that an operator can give about a service, ID, in a state.
var advised = map[spec.ServiceState]string{
	spec.ServiceWarning:               "repair or terminate the VMs that are in trouble, and the service returns to RUNNING automatically; `oneflow recover ID` makes OpenNebula retry them",
	spec.ServiceFailedDeploying:       "remove the cause, then `oneflow recover ID` continues where it stopped; `oneflow recover --delete ID` ends the service",
	spec.ServiceFailedScaling:         "remove the cause, then `oneflow recover ID` continues where it stopped; `oneflow recover --delete ID` ends the service",
	spec.ServiceFailedUndeploying:     "terminate the VMs that do not end, then `oneflow recover ID`; `oneflow recover --delete ID` terminates all of them again",
	spec.ServiceFailedDeployingNets:   "correct the network template or the reservation, then `oneflow recover ID`; `oneflow recover --delete ID` ends the service",
	spec.ServiceFailedUndeployingNets: "free the network (its leases are in use), then `oneflow recover ID`",
	spec.ServiceCooldown:              "nothing: it ends automatically; `oneflow recover ID` ends it now",
	spec.ServiceHold:                  "`oneflow release ID` lets the VMs on hold start",
	spec.ServicePending:               "a worker starts with the service automatically; if not, `flowjet doctor` shows why",
}

// Advice is the command that an operator can give about a service in the state, in a sentence; empty without need.
func Advice(state spec.ServiceState, service int) string {
	return strings.ReplaceAll(advised[state], "ID", strconv.Itoa(service))
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
		vm, known := e.facts[*found.VM]
		switch {
		case !known:
		case e.Service.State() == spec.ServiceFailedUndeploying:
			next = append(next, fmt.Sprintf("`onevm recover --delete %d` deletes VM %d", vm.ID, vm.ID))
		case vm.Failed():
			next = append(next, fmt.Sprintf("`onevm recover --retry %d` makes OpenNebula retry VM %d", vm.ID, vm.ID))
		case vm.Lost():
			next = append(next, fmt.Sprintf("`onevm show %d` shows the host of VM %d, which does not answer", vm.ID, vm.ID))
		case vm.State == one.VMPoweroff:
			next = append(next, fmt.Sprintf("`onevm resume %d` starts VM %d", vm.ID, vm.ID))
		}
	}
	if text := Advice(e.Service.State(), e.Service.ID); text != "" {
		next = append(next, text)
	}
	return append(next, e.waysBack()...)
}

// waysBack are the commands that take a failed service back to what it has, role by role.
func (e *explainer) waysBack() []string {
	if !e.Service.State().Failed() {
		return nil
	}
	var ways []string
	for _, way := range e.WaysOut(e.facts) {
		if way.Role == "" || len(ways) == 2*maxAdvised {
			continue
		}
		if way.Verb == VerbRemoveRole {
			ways = append(ways, fmt.Sprintf("`oneflow remove-role %d %s` removes role %s from the service", e.Service.ID, quoted(way.Role), way.Role))
		}
		role := e.Service.Role(way.Role)
		if way.Verb != VerbScale || way.Cardinality >= role.Cardinality { // it has all its VMs
			continue
		}
		force, with := "", "with "+plural(way.Cardinality, "VM")
		if role.MinVMs != nil && way.Cardinality < *role.MinVMs {
			force = " --force"
		}
		if way.Cardinality == 0 {
			with = "without a VM"
		}
		ways = append(ways, fmt.Sprintf("`oneflow scale %d %s %d%s` lets role %s continue %s",
			e.Service.ID, quoted(way.Role), way.Cardinality, force, way.Role, with))
	}
	return ways
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

// WayOut is a command by which a service leaves its state.
type WayOut struct {
	Verb Verb
	// Delete is recover's.
	Delete bool
	// Role and Cardinality are set where a service's own ways are told, and the way is for
	// one of its roles: scaling it to the VMs that there are, or removing it.
	Role        string
	Cardinality int
	// Keeps reports whether the VMs that run stay, but for those of a role that is removed.
	Keeps bool
}

var (
	byRecover   = WayOut{Verb: VerbRecover, Keeps: true}
	byDelete    = WayOut{Verb: VerbRecover, Delete: true}
	byUndeploy  = WayOut{Verb: VerbUndeploy}
	byScale     = WayOut{Verb: VerbScale, Keeps: true}
	byAddRole   = WayOut{Verb: VerbAddRole, Keeps: true}
	byRemoving  = WayOut{Verb: VerbRemoveRole, Keeps: true}
	byReleasing = WayOut{Verb: VerbRelease, Keeps: true}
)

// waysOut are the commands that lead out of a state, those that keep most first.
var waysOut = map[spec.ServiceState][]WayOut{
	spec.ServicePending:               {byRecover, byDelete},
	spec.ServiceDeployingNets:         {byRecover, byDelete},
	spec.ServiceDeploying:             {byRecover, byDelete},
	spec.ServiceHold:                  {byReleasing, byUndeploy, byDelete},
	spec.ServiceRunning:               {byScale, byAddRole, byRemoving, byUndeploy, byDelete},
	spec.ServiceWarning:               {byRecover, byScale, byRemoving, byUndeploy, byDelete},
	spec.ServiceScaling:               {byRecover, byDelete},
	spec.ServiceCooldown:              {byRecover, byDelete},
	spec.ServiceUndeploying:           {byRecover, byUndeploy, byDelete},
	spec.ServiceUndeployingNets:       {byRecover, byUndeploy, byDelete},
	spec.ServiceFailedDeploying:       {byRecover, byScale, byRemoving, byUndeploy, byDelete},
	spec.ServiceFailedScaling:         {byRecover, byScale, byRemoving, byUndeploy, byDelete},
	spec.ServiceFailedUndeploying:     {byRecover, byUndeploy, byDelete},
	spec.ServiceFailedDeployingNets:   {byRecover, byUndeploy, byDelete},
	spec.ServiceFailedUndeployingNets: {byRecover, byUndeploy, byDelete},
	spec.ServiceDone:                  {},
}

// WaysOut are the commands that lead this service out of its state. In a state of failure
// each role that failed has ways of its own: to be scaled to the VMs that it has, and that
// have come and are not in trouble as far as the facts tell, and to be removed.
func (s State) WaysOut(facts Facts) []WayOut {
	state := s.Service.State()
	var ways []WayOut
	for _, way := range waysOut[state] {
		if !state.Failed() || way.Verb != VerbScale && way.Verb != VerbRemoveRole {
			ways = append(ways, way)
			continue
		}
		for role := range s.Service.Body.EachRole() {
			failed := role.CurrentState() == spec.RoleFailedDeploying || role.CurrentState() == spec.RoleFailedScaling
			if !failed || way.Verb == VerbScale && role.IsRouter() {
				continue
			}
			sound := 0
			for _, node := range role.Nodes {
				if vm, known := facts[node.DeployID]; !known || !vm.Troubled() && !vm.Gone() && !vm.IsNew() {
					sound++
				}
			}
			ways = append(ways, WayOut{Verb: way.Verb, Role: role.Name, Cardinality: sound, Keeps: true})
		}
	}
	return ways
}
