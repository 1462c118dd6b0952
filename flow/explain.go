package flow

import (
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

// maxFindings bounds how many single things an explanation names of a kind.
const maxFindings = 20

// Explanation says why a service is in its state.
type Explanation struct {
	// State is the service's.
	State spec.ServiceState
	// Failed is what went wrong, Waits what has to happen for the service to go on, and
	// Notes what goes on beside it and holds nothing up.
	Failed, Waits, Notes []Finding
	// Next is what an operator can do, most useful first.
	Next []string
}

// Explain says why the service is in its state: what has failed, what it waits for and
// what to do. It tells what holds by the state and the facts, and nothing else: VMs that
// are not among the facts are not judged.
func Explain(state State, facts Facts, now time.Time) Explanation {
	e := &explainer{planner: newPlanner(Input{State: state, Facts: facts, Now: now, Settings: DefaultSettings()})}
	e.explain()
	out := Explanation{State: state.Service.State(), Failed: e.written(e.failed), Waits: e.written(e.waits), Notes: e.written(e.notes)}
	out.Next = e.advice()
	return out
}

// explainer reads a state as the planner does, and decides nothing.
type explainer struct {
	*planner
	failed, waits, notes []Finding
}

// written are findings with their messages.
func (e *explainer) written(found []Finding) []Finding {
	if more := len(found) - maxFindings; more > 0 {
		found = append(slices.Clone(found[:maxFindings]), Finding{Kind: FoundMore, Count: more})
	}
	for i := range found {
		found[i].Message = found[i].text(e.now)
	}
	return found
}

func (e *explainer) fail(found Finding) { e.failed = append(e.failed, found) }
func (e *explainer) wait(found Finding) { e.waits = append(e.waits, found) }
func (e *explainer) note(found Finding) { e.notes = append(e.notes, found) }

func (e *explainer) explain() {
	switch state := e.state(); state {
	case spec.ServicePending:
		e.wait(Finding{Kind: FoundUnseen})
	case spec.ServiceDeployingNets:
		e.explainNetworks()
	case spec.ServiceDeploying, spec.ServiceHold, spec.ServiceScaling:
		e.each(e.explainArrival)
	case spec.ServiceRunning, spec.ServiceWarning:
		e.each(e.explainTrouble)
	case spec.ServiceCooldown:
		if e.CooldownUntil.After(e.now) {
			e.wait(Finding{Kind: FoundCooldown, Due: timeOf(e.CooldownUntil)})
		}
	case spec.ServiceUndeploying:
		e.each(e.explainEnd)
	case spec.ServiceUndeployingNets:
		e.explainNetworkEnds()
	case spec.ServiceDone:
		e.wait(Finding{Kind: FoundDocument})
	case spec.ServiceFailedDeploying, spec.ServiceFailedScaling, spec.ServiceFailedUndeploying, spec.ServiceFailedDeployingNets, spec.ServiceFailedUndeployingNets:
		e.explainFailure()
	}
	e.explainDeadlines()
	e.explainRetries()
	e.explainOrphans()
	for _, attribute := range template.Unread(e.Service.Body) {
		e.note(Finding{Kind: FoundUnread, Role: attribute.Role, Name: attribute.Path, Said: attribute.Meant})
	}
}

// explainDeadlines tells of deadlines that run, the next one first; those of VMs are told with the VMs.
func (e *explainer) explainDeadlines() {
	whose := slices.Sorted(maps.Keys(e.Waits))
	slices.SortStableFunc(whose, func(a, b string) int { return e.Waits[a].Due.Compare(e.Waits[b].Due) })
	for _, role := range whose {
		wait := e.Waits[role]
		e.note(Finding{
			Kind: FoundDeadline, Role: role, State: strings.ToUpper(wait.For), Action: wait.Then, Since: timeOf(wait.Since), Due: timeOf(wait.Due),
		})
	}
}

func (e *explainer) each(explain func(*spec.Role)) {
	for role := range e.eachRole() {
		explain(role)
	}
}

// explainFailure: a service that has failed waits for somebody to recover it, and not for
// its VMs.
func (e *explainer) explainFailure() {
	e.explainLog()
	switch e.state() {
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
	e.each(func(role *spec.Role) {
		switch role.CurrentState() {
		case spec.RoleFailedDeploying, spec.RoleFailedScaling:
			e.explainTroubledVMs(role)
			if !role.Shrinking() {
				e.explainLack(role)
			}
		case spec.RoleWarning, spec.RoleFailedUndeploying:
			e.explainTroubledVMs(role)
		}
	})
}

// explainLog quotes the errors that the service wrote into its log when it failed: those
// since it came to the state before, and after.
func (e *explainer) explainLog() {
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
	slices.Reverse(found)
	for _, message := range found {
		role, _, _ := strings.Cut(strings.TrimPrefix(message, "Role "), " : ")
		if !strings.HasPrefix(message, "Role ") || e.role(role) == nil {
			role = ""
		}
		e.fail(Finding{Kind: FoundLogged, Role: role, Said: message})
	}
}

// explainNetworks names the service's own networks that have to become READY.
func (e *explainer) explainNetworks() {
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
}

// explainNetworkEnds names the service's own networks that are there, or may be.
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

// explainArrival names what a role that deploys or scales waits for.
func (e *explainer) explainArrival(role *spec.Role) {
	switch role.CurrentState() {
	case spec.RoleHold, spec.RoleDeploying, spec.RoleScaling:
		if role.Shrinking() {
			e.explainSearches(role)
			e.explainVMsEnd(role, e.scaler.victims(role))
			return
		}
	}
	switch role.CurrentState() {
	case spec.RolePending:
		e.explainParents(role, e.holder.holds(role))
	case spec.RoleHold:
		if !slices.Contains(e.Released, role.Name) {
			e.wait(Finding{Kind: FoundHold, Role: role.Name})
		} else {
			e.explainParents(role, false)
		}
		e.explainCreation(role)
		e.explainTroubledVMs(role)
	case spec.RoleDeploying, spec.RoleScaling:
		e.explainCreation(role)
		e.explainComing(role)
	case spec.RoleRunning, spec.RoleWarning:
		if e.deployer.holdsBack(role) {
			e.explainUnready(role)
		} else if role.CurrentState() == spec.RoleWarning {
			e.explainTroubledVMs(role)
		}
	}
}

// explainUnready names the VMs of a role that is up for which the roles behind it wait.
func (e *explainer) explainUnready(role *spec.Role) {
	e.explainLack(role)
	e.explainCreation(role)
	for _, node := range role.Nodes {
		vm, known := e.facts[node.DeployID]
		switch {
		case !known || vm.Gone() || vm.Running() && vm.Ready:
		case vm.Failed():
			e.failVM(Finding{Kind: FoundVM, Role: role.Name, VM: new(vm.ID), State: vm.StateText()})
		case vm.Running():
			e.wait(e.aboutVM(FoundNotReady, role, vm))
		default:
			e.wait(e.aboutVM(FoundNotRunning, role, vm))
		}
	}
}

// explainParents: with the strategy straight a role waits for its parents.
func (e *explainer) explainParents(role *spec.Role, holds bool) {
	if e.Service.Body.Deployment != spec.DeploymentStraight {
		return
	}
	for _, name := range role.Parents {
		found := Finding{Kind: FoundParent, Role: role.Name, Parent: name}
		if parent := e.role(name); parent != nil {
			if state := parent.CurrentState(); state == spec.RoleRunning || state == spec.RoleWarning || holds && state == spec.RoleHold {
				continue
			}
			found.State = parent.CurrentState().String()
		}
		e.wait(found)
	}
}

// explainCreation names what is to be made for the role.
func (e *explainer) explainCreation(role *spec.Role) {
	if role.IsRouter() && role.VRouterID == nil {
		e.wait(Finding{Kind: FoundRouterToMake, Role: role.Name})
	}
	e.explainIntents(role)
}

// explainIntents names the VMs that are to be made for the role.
func (e *explainer) explainIntents(role *spec.Role) {
	for _, intent := range e.Intents {
		if intent.Role == role.Name {
			e.wait(Finding{Kind: FoundToCreate, Role: role.Name, Name: intent.Name, Attempts: intent.Attempts})
		}
	}
}

// explainComing names the VMs that have not come.
func (e *explainer) explainComing(role *spec.Role) {
	for _, node := range role.Nodes {
		vm, known := e.facts[node.DeployID]
		if !known {
			e.wait(Finding{Kind: FoundUnknown, Role: role.Name, VM: new(node.DeployID)})
			continue
		}
		if e.deployer.come(role, vm) {
			continue
		}
		found := e.aboutVM(FoundNotRunning, role, vm)
		switch {
		case vm.Gone():
			continue // it is forgotten as soon as the service is looked at
		case vm.Failed() && e.seenTo(role, vm):
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

// seenTo reports whether something is done about a VM that has failed.
func (e *explainer) seenTo(role *spec.Role, vm one.VM) bool {
	asked := e.Asked[vm.ID]
	_, heals := policy.HealRuleOf(role)
	return asked.Action == callRetry || e.recoverer.beingRetried(vm) || heals
}

// aboutVM is a finding on a VM, with what is known of its stay in the state.
func (e *explainer) aboutVM(kind FindingKind, role *spec.Role, vm one.VM) Finding {
	found := Finding{Kind: kind, Role: role.Name, VM: new(vm.ID), State: vm.StateText()}
	if stay, stays := e.Stays[vm.ID]; stays && stay.State == vm.State && stay.LCMState == vm.LCMState {
		found.Since, found.Said, found.Due = timeOf(stay.Since), stay.said(), timeOf(stay.Due)
	}
	return found
}

// explainEnd names what has to end before the role is done.
func (e *explainer) explainEnd(role *spec.Role) {
	if role.CurrentState() != spec.RoleUndeploying {
		return
	}
	if role.IsRouter() && (role.VRouterID != nil || slices.ContainsFunc(e.Routers, func(r Router) bool { return r.Role == role.Name && r.Attempts > 0 })) {
		e.wait(Finding{Kind: FoundRouterToDelete, Role: role.Name})
	}
	e.explainSearches(role)
	e.explainVMsEnd(role, role.Nodes)
}

// explainSearches names the VMs of the role that are looked for, because an earlier call may
// have made them.
func (e *explainer) explainSearches(role *spec.Role) {
	for _, intent := range e.Intents {
		if intent.Role == role.Name {
			e.wait(Finding{Kind: FoundToFind, Role: role.Name, Name: intent.Name})
		}
	}
}

// explainVMsEnd names the VMs that have to end before the role goes on.
func (e *explainer) explainVMsEnd(role *spec.Role, nodes []spec.Node) {
	unnamed := 0
	for _, node := range nodes {
		vm, known := e.facts[node.DeployID]
		asked := e.Asked[node.DeployID]
		switch {
		case known && vm.Gone():
		case e.AskedToEnd(node.DeployID):
			found := e.aboutVM(FoundEnding, role, vm)
			if !known {
				found = Finding{Kind: FoundEnding, Role: role.Name}
			}
			found.VM, found.Action, found.AskedAt = new(node.DeployID), asked.Action, askedAt(asked)
			e.wait(found)
		case known && vm.Ending():
			e.wait(e.aboutVM(FoundEnding, role, vm))
		default:
			unnamed++
		}
	}
	if unnamed > 0 {
		e.wait(Finding{Kind: FoundToEnd, Role: role.Name, Count: unnamed})
	}
}

// explainTrouble names what keeps a service that runs from being well.
func (e *explainer) explainTrouble(role *spec.Role) {
	if role.CurrentState() == spec.RoleWarning {
		e.explainTroubledVMs(role)
		if _, heals := policy.HealRuleOf(role); heals {
			e.explainLack(role)
		}
	}
	e.explainIntents(role)
}

// explainTroubledVMs names the role's VMs that are in trouble. What the log says already
// is not said again, but made more precise.
func (e *explainer) explainTroubledVMs(role *spec.Role) {
	_, heals := policy.HealRuleOf(role)
	for _, node := range role.Nodes {
		vm, known := e.facts[node.DeployID]
		warns := role.CurrentState() == spec.RoleWarning
		switch {
		case !known && warns && e.state() == spec.ServiceWarning:
			e.wait(Finding{Kind: FoundUnknown, Role: role.Name, VM: new(node.DeployID)})
		case !known || vm.Gone():
		case vm.Troubled(), warns && vm.Underway(), role.CurrentState() == spec.RoleFailedUndeploying && !vm.Running():
			e.failVM(Finding{Kind: FoundVM, Role: role.Name, VM: new(vm.ID), State: vm.StateText()})
		case warns && heals && vm.Running() && !e.deployer.come(role, vm):
			e.failVM(e.aboutVM(FoundNotReady, role, vm))
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

// explainLack tells that the role has fewer VMs than it should have.
func (e *explainer) explainLack(role *spec.Role) {
	have := len(role.Nodes) + len(e.strangers[role.Name])
	if have < role.Cardinality {
		e.fail(Finding{Kind: FoundLacking, Role: role.Name, Count: have, Wanted: role.Cardinality})
	}
}

// explainRetries names the calls that oned has refused and that are made again.
func (e *explainer) explainRetries() {
	for _, name := range slices.Sorted(maps.Keys(e.Retries)) {
		retry := e.Retries[name]
		e.wait(Finding{
			Kind: FoundRetry, Role: retry.Role, Action: retry.Call, Attempts: retry.Attempts,
			Since: timeOf(retry.Since), Due: timeOf(retry.Next), Said: retry.Message,
		})
	}
}

// explainOrphans names the VMs that no role has and that were asked to end. Only a service
// that ends waits for them, until they have begun to.
func (e *explainer) explainOrphans() {
	for _, id := range slices.Sorted(maps.Keys(e.Asked)) {
		vm, known := e.facts[id]
		if e.observer.node(id) != nil || !e.AskedToEnd(id) || known && vm.Gone() {
			continue
		}
		found := Finding{Kind: FoundOrphan, VM: new(id), Action: e.Asked[id].Action}
		if known {
			found = e.aboutVM(FoundOrphan, &spec.Role{}, vm)
			found.Action = e.Asked[id].Action
		}
		found.AskedAt = askedAt(e.Asked[id])
		if e.state() == spec.ServiceUndeploying && (!known || !vm.Ending() && !vm.Failed()) {
			e.wait(found)
			continue
		}
		e.note(found)
	}
}

// askedAt is when a VM was asked for something, nil where that is in doubt.
func askedAt(asked Asked) *time.Time {
	if asked.Doubt || asked.Refused {
		return nil
	}
	return timeOf(asked.At)
}
