package flow

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/policy"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/flow/template"
)

// maxFindings bounds how many findings of a kind an explanation lists.
const maxFindings = 20

// Explanation says why a service is in its state.
type Explanation struct {
	// State is the service's.
	State spec.ServiceState
	// Failed is what went wrong, Waits is what has to happen for the service to go on, and Notes is what delays nothing.
	Failed, Waits, Notes []Finding
	// Next is what an operator can do, most useful first.
	Next []string
}

// Explain explains why the service is in its state: what has failed, what it waits for and what to do. It uses only the state and the
// facts: VMs that are not among the facts are not judged.
func Explain(state State, facts Facts, now time.Time) Explanation {
	e := &explainer{planner: newPlanner(Input{State: state, Facts: facts, Now: now, Settings: DefaultSettings()})}
	e.explainState()
	whose := slices.Sorted(maps.Keys(e.Waits))
	slices.SortStableFunc(whose, func(a, b string) int { return e.Waits[a].Due.Compare(e.Waits[b].Due) })
	for _, role := range whose { // the deadlines of VMs are shown with the VMs
		wait := e.Waits[role]
		e.note(Finding{Kind: FoundDeadline, Role: role, State: strings.ToUpper(wait.For), Action: wait.Then, Since: wait.Since.UTC(), Due: wait.Due.UTC()})
	}
	for _, name := range slices.Sorted(maps.Keys(e.Retries)) {
		retry := e.Retries[name]
		found := Finding{Kind: FoundRetry, Role: retry.Role, Action: retry.Call, Attempts: retry.Attempts, Said: retry.Message}
		found.Since, found.Due = retry.Since.UTC(), retry.Next.UTC()
		e.wait(found)
	}
	for _, id := range slices.Sorted(maps.Keys(e.Asked)) {
		vm, known := e.facts[id]
		if e.isNode(id) || !e.AskedToEnd(id) || known && vm.Gone() {
			continue
		}
		// Only a service that ends waits for it, until the VM has begun to end.
		if found := e.aboutVM(FoundOrphan, "", id); e.Service.State() == spec.ServiceUndeploying && (!known || !vm.Ending() && !vm.Failed()) {
			e.wait(found)
		} else {
			e.note(found)
		}
	}
	for _, id := range state.Strangers(facts) {
		if text := GivenAway(state.Service, facts[id]); text != "" {
			e.note(Finding{Kind: FoundGivenAway, VM: &id, Said: text})
		}
	}
	for _, attribute := range template.Ignored(e.Service.Body) {
		e.note(Finding{Kind: FoundIgnored, Role: attribute.Role, Name: attribute.Path, Said: attribute.Meant})
	}
	e.explainPolicies()
	out := Explanation{State: state.Service.State(), Failed: e.written(e.failed), Waits: e.written(e.waits), Notes: e.written(e.notes)}
	out.Next = e.advice()
	return out
}

// explainer reads a state as the planner does, and decides nothing.
type explainer struct {
	*planner
	failed, waits, notes []Finding
}

func (e *explainer) written(found []Finding) []Finding {
	if more := len(found) - maxFindings; more > 0 {
		found = append(slices.Clone(found[:maxFindings]), Finding{Kind: FoundMore, Count: more})
	}
	for i := range found {
		found[i] = found[i].Written(e.now)
	}
	return found
}

func (e *explainer) fail(found Finding) { e.failed = append(e.failed, found) }
func (e *explainer) wait(found Finding) { e.waits = append(e.waits, found) }
func (e *explainer) note(found Finding) { e.notes = append(e.notes, found) }

func (e *explainer) explainState() {
	if e.LeftAlone != nil {
		e.wait(Finding{Kind: FoundLeftAlone, Said: e.LeftAlone.text()})
		return
	}
	switch e.Service.State() {
	case spec.ServicePending:
		e.wait(Finding{Kind: FoundUnseen})
	case spec.ServiceDeployingNets:
		for _, network := range e.Networks {
			switch {
			case !network.Asked.IsZero():
				e.wait(aboutNetwork(FoundNetworkToDelete, network))
			case network.ID == noNetwork:
				e.wait(aboutNetwork(FoundNetworkToMake, network))
			case network.State.Failed():
				e.fail(aboutNetwork(FoundNetworkFailed, network))
			case network.State != one.NetworkReady:
				e.wait(aboutNetwork(FoundNetworkNotReady, network))
			}
		}
	case spec.ServiceDeploying, spec.ServiceHold, spec.ServiceScaling:
		for role := range e.Service.Body.EachRole() {
			e.explainArrival(role)
		}
	case spec.ServiceRunning, spec.ServiceWarning:
		for role := range e.Service.Body.EachRole() {
			if role.CurrentState() == spec.RoleWarning {
				e.explainTroubledVMs(role)
				if _, heals, _ := policy.HealRuleOf(role); heals {
					e.explainLack(role)
				}
			}
			e.explainIntents(role, FoundToCreate)
		}
	case spec.ServiceCooldown:
		if e.CooldownUntil.After(e.now) {
			e.wait(Finding{Kind: FoundCooldown, Due: e.CooldownUntil.UTC()})
		}
	case spec.ServiceUndeploying:
		for role := range e.Service.Body.EachRole() {
			if role.CurrentState() != spec.RoleUndeploying {
				continue
			}
			mayBe := slices.ContainsFunc(e.Routers, func(r Router) bool { return r.Role == role.Name && r.Attempts > 0 })
			if role.IsRouter() && (role.VRouterID != nil || mayBe) {
				e.wait(Finding{Kind: FoundRouterToDelete, Role: role.Name})
			}
			e.explainIntents(role, FoundToFind)
			e.explainVMsEnd(role, role.Nodes)
		}
	case spec.ServiceUndeployingNets:
		e.explainNetworkEnds()
	case spec.ServiceDone:
		e.wait(Finding{Kind: FoundDocument})
	default:
		if e.Service.State().Failed() {
			e.explainFailure()
		}
	}
}

// explainFailure quotes the errors that the service wrote into its log when it failed: those since it entered the state before. A service
// that has failed waits for a user to recover it, and not for its VMs.
func (e *explainer) explainFailure() {
	var found []string
	known, states := map[string]bool{}, 0
	for _, entry := range slices.Backward(e.Service.Body.Log) {
		if strings.HasPrefix(entry.Message, spec.StateLogged) {
			if states++; states == 2 {
				break
			}
		}
		if entry.Severity == "E" && !known[entry.Message] {
			known[entry.Message] = true
			found = append(found, entry.Message)
		}
	}
	for _, message := range slices.Backward(found) {
		role, _, _ := strings.Cut(strings.TrimPrefix(message, "Role "), " : ")
		if !strings.HasPrefix(message, "Role ") || e.Service.Role(role) == nil {
			role = ""
		}
		e.fail(Finding{Kind: FoundLogged, Role: role, Said: message})
	}
	switch e.Service.State() {
	case spec.ServiceFailedDeployingNets:
		e.explainNetworkEnds()
		return
	case spec.ServiceFailedUndeployingNets:
		for _, network := range e.Networks {
			if network.ID != noNetwork {
				e.fail(aboutNetwork(FoundNetworkFailed, network))
			}
		}
		return
	}
	for role := range e.Service.Body.EachRole() {
		switch role.CurrentState() {
		case spec.RoleFailedDeploying, spec.RoleFailedScaling:
			e.explainTroubledVMs(role)
			if !role.Shrinking() {
				e.explainLack(role)
			}
		case spec.RoleWarning, spec.RoleFailedUndeploying:
			e.explainTroubledVMs(role)
		}
	}
}

func (e *explainer) explainNetworkEnds() {
	for _, network := range e.Networks {
		if network.ID != noNetwork || network.Attempted {
			e.wait(aboutNetwork(FoundNetworkToDelete, network))
		}
	}
}

func aboutNetwork(kind FindingKind, network Network) Finding {
	found := Finding{Kind: kind, Network: network.Name, Name: network.Called}
	if network.ID != noNetwork {
		found.Name += " (" + strconv.Itoa(network.ID) + ")"
		found.State = network.State.String()
	}
	return found
}

func (e *explainer) explainArrival(role *spec.Role) {
	state := role.CurrentState()
	switch {
	case role.Shrinking() && (state == spec.RoleHold || state == spec.RoleDeploying || state == spec.RoleScaling):
		e.explainIntents(role, FoundToFind)
		e.explainVMsEnd(role, e.scaler.victims(role))
	case state == spec.RolePending:
		e.explainParents(role, e.deployer.holds(role))
	case state == spec.RoleHold:
		if !slices.Contains(e.Released, role.Name) {
			e.wait(Finding{Kind: FoundHold, Role: role.Name})
		} else {
			e.explainParents(role, false)
		}
		e.explainCreation(role)
		e.explainTroubledVMs(role)
	case state == spec.RoleDeploying || state == spec.RoleScaling:
		e.explainCreation(role)
		e.explainComing(role)
	case e.deployer.holdsBack(role): // the roles after it wait for its VMs
		e.explainLack(role)
		e.explainCreation(role)
		for _, node := range role.Nodes {
			vm, known := e.facts[node.DeployID]
			switch {
			case !known || vm.Gone() || vm.Running() && vm.Ready:
			case vm.Failed():
				e.failVM(Finding{Kind: FoundVM, Role: role.Name, VM: new(vm.ID), State: vm.StateText()})
			case vm.Running():
				e.wait(e.aboutVM(FoundNotReady, role.Name, vm.ID))
			default:
				e.wait(e.aboutVM(FoundNotRunning, role.Name, vm.ID))
			}
		}
	case state == spec.RoleWarning:
		e.explainTroubledVMs(role)
	}
}

// explainParents: with the strategy straight a role waits for its parents.
func (e *explainer) explainParents(role *spec.Role, holds bool) {
	if e.Service.Body.Deployment != spec.DeploymentStraight {
		return
	}
	for _, name := range role.Parents {
		found := Finding{Kind: FoundParent, Role: role.Name, Parent: name}
		if parent := e.Service.Role(name); parent != nil {
			if state := parent.CurrentState(); state == spec.RoleRunning || state == spec.RoleWarning || holds && state == spec.RoleHold {
				continue
			}
			found.State = parent.CurrentState().String()
		}
		e.wait(found)
	}
}

func (e *explainer) explainCreation(role *spec.Role) {
	if role.AwaitsRouter() {
		e.wait(Finding{Kind: FoundRouterToMake, Role: role.Name})
	}
	e.explainIntents(role, FoundToCreate)
}

// explainIntents lists the VMs that are to be made for the role, or are looked up: an earlier call may have made them.
func (e *explainer) explainIntents(role *spec.Role, kind FindingKind) {
	for _, intent := range e.Intents {
		found := Finding{Kind: kind, Role: role.Name, Name: intent.Name}
		if kind == FoundToCreate {
			found.Attempts = intent.Attempts
		}
		if intent.Role == role.Name {
			e.wait(found)
		}
	}
}

func (e *explainer) explainComing(role *spec.Role) {
	_, heals, _ := policy.HealRuleOf(role)
	for _, node := range role.Nodes {
		vm, known := e.facts[node.DeployID]
		found := e.aboutVM(FoundNotRunning, role.Name, node.DeployID)
		switch {
		case !known:
			found.Kind = FoundUnknown
		case e.deployer.come(role, vm) || vm.Gone(): // it is dropped at the next decision
			continue
		case vm.Failed() && (e.Asked[vm.ID].Action == callRetry || e.Stays[vm.ID].Failing || heals):
			found.Kind = FoundRetried
		case vm.Failed():
			found.Kind = FoundVM
			e.fail(found)
			continue
		case vm.Running() || vm.Arrived():
			found.Kind = FoundNotReady
		}
		e.wait(found)
	}
}

// aboutVM returns a finding on a VM, with its stay in the state, and the request to end it, if there was one.
func (e *explainer) aboutVM(kind FindingKind, role string, id int) Finding {
	found := Finding{Kind: kind, Role: role, VM: new(id)}
	if vm, known := e.facts[id]; known {
		found.State = vm.StateText()
		if stay, stays := e.Stays[id]; stays && stay.State == vm.State && stay.LCMState == vm.LCMState {
			found.Since, found.Said, found.Due = stay.Since.UTC(), cmp.Or(stay.Scheduler, stay.Error), stay.Due.UTC()
		}
	}
	if asked := e.Asked[id]; (kind == FoundEnding || kind == FoundOrphan) && e.AskedToEnd(id) {
		found.Action = asked.Action
		if !asked.Doubt && !asked.Refused {
			found.AskedAt = asked.At.UTC()
		}
	}
	return found
}

func (e *explainer) explainVMsEnd(role *spec.Role, nodes []spec.Node) {
	unnamed := 0
	for _, node := range nodes {
		vm, known := e.facts[node.DeployID]
		switch {
		case known && vm.Gone():
		case e.AskedToEnd(node.DeployID), known && vm.Ending():
			e.wait(e.aboutVM(FoundEnding, role.Name, node.DeployID))
		default:
			unnamed++
		}
	}
	if unnamed > 0 {
		e.wait(Finding{Kind: FoundToEnd, Role: role.Name, Count: unnamed})
	}
}

// explainTroubledVMs lists the role's VMs in trouble. Messages of the log are only made more precise.
func (e *explainer) explainTroubledVMs(role *spec.Role) {
	_, heals, _ := policy.HealRuleOf(role)
	for _, node := range role.Nodes {
		vm, known := e.facts[node.DeployID]
		warns := role.CurrentState() == spec.RoleWarning
		switch {
		case !known && warns && e.Service.State() == spec.ServiceWarning:
			e.wait(Finding{Kind: FoundUnknown, Role: role.Name, VM: new(node.DeployID)})
		case !known || vm.Gone():
		case vm.Troubled(), warns && vm.Underway(), role.CurrentState() == spec.RoleFailedUndeploying && !vm.Running():
			e.failVM(Finding{Kind: FoundVM, Role: role.Name, VM: new(vm.ID), State: vm.StateText()})
		case warns && heals && vm.Running() && !e.deployer.come(role, vm):
			e.failVM(e.aboutVM(FoundNotReady, role.Name, vm.ID))
		}
	}
}

func (e *explainer) failVM(found Finding) {
	text := found.text(e.now)
	for i := range e.failed {
		if e.failed[i].Kind == FoundLogged && strings.HasSuffix(e.failed[i].Said, text) {
			e.failed[i].VM = found.VM
			return
		}
	}
	e.fail(found)
}

// explainPolicies lists the policies that never change their role.
func (e *explainer) explainPolicies() {
	note := func(role, list string, index int, fault string) {
		if fault != "" {
			path := fmt.Sprintf("roles[%s].%s[%d]", role, list, index)
			e.note(Finding{Kind: FoundPolicy, Role: role, Name: path, Said: fmt.Sprintf("%s; `oneflow update %d` corrects it", fault, e.Service.ID)})
		}
	}
	left := spec.MaxSchedules // no more than are ever read
	for role := range e.Service.Body.EachRole() {
		for i, each := range policy.Adjustments(role.ElasticityPolicies) {
			note(role.Name, "elasticity_policies", i, each.ElasticityFault())
		}
		for i, each := range policy.Adjustments(role.ScheduledPolicies) {
			if left--; left >= 0 {
				note(role.Name, "scheduled_policies", i, each.ScheduleFault(e.now.Location()))
			}
		}
	}
}

func (e *explainer) explainLack(role *spec.Role) {
	have := len(role.Nodes) + len(e.strangers[role.Name])
	if have < role.Cardinality {
		e.fail(Finding{Kind: FoundLacking, Role: role.Name, Count: have, Wanted: role.Cardinality, Said: e.Heals[role.Name].Logged})
	}
}
