package flow

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// maxTroubles bounds how many single things an explanation names of a kind.
const maxTroubles = 20

// Trouble is one thing that a service waits for, or that has failed.
type Trouble struct {
	// Role, VM and Network say what it is about, as far as it is about one.
	Role    string `json:"role,omitempty"`
	VM      *int   `json:"vm,omitempty"`
	Network string `json:"network,omitempty"`
	// Message is for people: "VM 7 is in BOOT_FAILURE". An error of oned is quoted.
	Message string `json:"message"`
}

// Explanation says why a service is in its state.
type Explanation struct {
	// State is the service's.
	State ServiceState
	// Failed is what went wrong, Waits what has to happen for the service to go on.
	Failed, Waits []Trouble
	// Next is what an operator can do, most useful first.
	Next []string
}

// Explain says why the service is in its state: what has failed, what it waits
// for and what to do. VMs that are not among the facts are not judged.
func Explain(state State, facts Facts, now time.Time) Explanation {
	e := &explainer{State: state, facts: state.Service.owned(facts), now: now}
	e.explain()
	out := Explanation{State: state.Service.State(), Failed: bounded(e.failed), Waits: bounded(e.waits)}
	if advice := out.State.Advice(state.Service.ID); advice != "" {
		out.Next = append(out.Next, advice)
	}
	return out
}

func bounded(troubles []Trouble) []Trouble {
	if len(troubles) <= maxTroubles {
		return troubles
	}
	more := fmt.Sprintf("and %d more", len(troubles)-maxTroubles)
	return append(slices.Clone(troubles[:maxTroubles]), Trouble{Message: more})
}

type explainer struct {
	State
	facts         Facts
	now           time.Time
	failed, waits []Trouble
}

// fail notes a failure. What the log says already is not said again, but made
// more precise.
func (e *explainer) fail(trouble Trouble) {
	for i := range e.failed {
		if strings.HasSuffix(e.failed[i].Message, trouble.Message) {
			e.failed[i].VM = trouble.VM
			return
		}
	}
	e.failed = append(e.failed, trouble)
}

func (e *explainer) wait(trouble Trouble) { e.waits = append(e.waits, trouble) }

func (e *explainer) explain() {
	state := e.Service.State()
	if state.Failed() {
		e.explainLog()
	}
	switch state {
	case ServicePending:
		e.wait(Trouble{Message: "a worker has not looked at the service yet"})
	case ServiceDeployingNets, ServiceFailedDeployingNets:
		e.explainNetworks(NetworkReady)
	case ServiceUndeployingNets, ServiceFailedUndeployingNets:
		e.explainNetworks(NetworkDone)
	case ServiceCooldown:
		e.wait(Trouble{Message: "the cooldown after scaling, until " + e.CooldownUntil.UTC().Format(time.RFC3339)})
	case ServiceDone:
		e.wait(Trouble{Message: "the service's document is to be deleted"})
	}
	for i := range e.Service.Body.Roles {
		e.explainRole(&e.Service.Body.Roles[i])
	}
	e.explainRetries()
	e.explainStrays()
}

// explainLog quotes the errors that the service wrote into its log when it
// failed: those since the state before the failure.
func (e *explainer) explainLog() {
	log := e.Service.Body.Log
	var found []string
	for _, entry := range slices.Backward(log) {
		if entry.Severity == "E" {
			found = append(found, entry.Message)
			continue
		}
		if len(found) > 0 {
			break
		}
	}
	slices.Reverse(found)
	for _, message := range slices.Compact(found) {
		role, _, _ := strings.Cut(strings.TrimPrefix(message, "Role "), " : ")
		if !strings.HasPrefix(message, "Role ") || e.Service.role(role) == nil {
			role = ""
		}
		e.fail(Trouble{Role: role, Message: message})
	}
}

// explainNetworks names the service's own networks that are not in the state
// that it waits for.
func (e *explainer) explainNetworks(wanted NetworkState) {
	for _, network := range e.Networks {
		about := Trouble{Network: network.Name}
		switch {
		case network.ID == noNetwork && wanted == NetworkDone, network.ID != noNetwork && network.State == wanted:
			continue
		case network.ID == noNetwork:
			about.Message = fmt.Sprintf("network %s is to be made from %s %d", network.Called, network.Source, network.From)
		default:
			about.Message = fmt.Sprintf("network %s (%d) is in %s and has to become %s", network.Called, network.ID, network.State, wanted)
		}
		if network.State.Failed() {
			e.fail(about)
			continue
		}
		e.wait(about)
	}
}

func (e *explainer) explainRole(role *Role) {
	switch role.state() {
	case RolePending:
		e.explainParents(role)
	case RoleHold:
		e.wait(Trouble{Role: role.Name, Message: "role " + role.Name + " is on hold until it is released"})
		e.explainArrivals(role)
	case RoleDeploying, RoleScaling:
		if role.shrinking() {
			e.explainEnd(role, len(role.Nodes)-role.Cardinality)
			return
		}
		e.explainArrivals(role)
	case RoleUndeploying:
		e.explainEnd(role, len(role.Nodes))
	case RoleWarning, RoleFailedDeploying, RoleFailedScaling, RoleFailedUndeploying:
		e.explainTrouble(role)
	}
}

// explainParents: with the strategy straight a role waits for its parents.
func (e *explainer) explainParents(role *Role) {
	if e.Service.Body.Deployment != DeploymentStraight || e.Service.State() == ServicePending {
		return
	}
	for _, name := range role.Parents {
		parent := e.Service.role(name)
		if parent != nil && parent.state() != RoleRunning && parent.state() != RoleWarning {
			e.wait(Trouble{Role: role.Name, Message: fmt.Sprintf("role %s waits for its parent %s, which is %s", role.Name, name, parent.state())})
		}
	}
}

// explainArrivals names the VMs that the role's next state waits for.
func (e *explainer) explainArrivals(role *Role) {
	if role.isRouter() && role.VRouterID == nil {
		e.wait(Trouble{Role: role.Name, Message: "the virtual router of role " + role.Name + " is to be made"})
	}
	for _, intent := range e.Intents {
		if intent.Role != role.Name {
			continue
		}
		message := "VM " + intent.Name + " is to be created"
		if intent.Attempts > 0 {
			message += "; an earlier call had no answer, so it is looked for first"
		}
		e.wait(Trouble{Role: role.Name, Message: message})
	}
	for _, node := range role.Nodes {
		vm, known := e.facts[node.DeployID]
		if known {
			e.explainArrival(role, vm)
		}
	}
}

func (e *explainer) explainArrival(role *Role, vm VM) {
	about := Trouble{Role: role.Name, VM: pointerTo(vm.ID)}
	gate := flag(e.Service.Body.ReadyStatusGate)
	switch {
	case vm.Failed():
		about.Message = fmt.Sprintf("VM %d is in %s", vm.ID, vm.stateText())
		e.fail(about)
	case vm.Arrived() && !vm.Ready && gate:
		about.Message = fmt.Sprintf("VM %d is in %s and has to run and report READY=YES", vm.ID, vm.stateText()) + e.explainStay(vm)
		e.wait(about)
	case vm.Running() && !vm.Ready && gate:
		about.Message = fmt.Sprintf("VM %d runs and has not reported READY=YES", vm.ID) + e.explainStay(vm)
		e.wait(about)
	case !vm.Running() && !vm.Arrived() && vm.State != VMHold:
		about.Message = fmt.Sprintf("VM %d is in %s and has to become RUNNING", vm.ID, vm.stateText()) + e.explainStay(vm)
		e.wait(about)
	}
}

// explainEnd names the VMs that have to end before the role goes on.
func (e *explainer) explainEnd(role *Role, count int) {
	named := 0
	for _, node := range role.Nodes {
		asked, pending := e.Asked[node.DeployID]
		if !pending || asked.helps() {
			continue
		}
		named++
		text := fmt.Sprintf("VM %d was asked to %s", node.DeployID, asked.Action)
		if !asked.At.IsZero() {
			text += " at " + asked.At.UTC().Format(time.RFC3339)
		}
		if vm, known := e.facts[node.DeployID]; known {
			text += " and is in " + vm.stateText() + e.explainStay(vm)
		}
		e.wait(Trouble{Role: role.Name, VM: pointerTo(node.DeployID), Message: text})
	}
	if more := count - named; more > 0 {
		e.wait(Trouble{Role: role.Name, Message: fmt.Sprintf("%d VMs of role %s are to end", more, role.Name)})
	}
}

// explainTrouble names the role's VMs that are in trouble.
func (e *explainer) explainTrouble(role *Role) {
	for _, node := range role.Nodes {
		vm, known := e.facts[node.DeployID]
		if known && (vm.Troubled() || role.state() == RoleWarning && vm.underway()) {
			e.fail(Trouble{Role: role.Name, VM: pointerTo(vm.ID), Message: fmt.Sprintf("VM %d is in %s", vm.ID, vm.stateText())})
		}
	}
	if missing := role.Cardinality - len(role.Nodes); missing > 0 && role.state() != RoleWarning {
		e.fail(Trouble{Role: role.Name, Message: fmt.Sprintf("role %s has %d of %d VMs", role.Name, len(role.Nodes), role.Cardinality)})
	}
}

// explainStrays names the VMs that no role has and that were asked to end.
func (e *explainer) explainStrays() {
	held := map[int]bool{}
	for _, role := range e.Service.Body.Roles {
		for _, node := range role.Nodes {
			held[node.DeployID] = true
		}
	}
	for _, vm := range slices.Sorted(maps.Keys(e.Asked)) {
		if !held[vm] {
			e.wait(Trouble{VM: pointerTo(vm), Message: fmt.Sprintf("VM %d, which no role has a place for, was asked to %s", vm, e.Asked[vm].Action)})
		}
	}
}

// explainStay tells since when a VM is in its state, what oned says of it, and when
// something is done about it.
func (e *explainer) explainStay(vm VM) string {
	stay, stays := e.Stays[vm.ID]
	if !stays || stay.State != vm.State || stay.LCMState != vm.LCMState {
		return ""
	}
	known := []string{"since " + stay.Since.UTC().Format(time.RFC3339)}
	if said := stay.said(); said != "" {
		known = append(known, said)
	}
	if !stay.Due.IsZero() {
		known = append(known, "its deadline is "+stay.Due.UTC().Format(time.RFC3339))
	}
	return " (" + strings.Join(known, "; ") + ")"
}
