package flow

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/policy"
	"github.com/flowjet/flowjet/flow/spec"
)

// maxSteps bounds how many transitions one decision can make; the longest way through the tables is far shorter.
const maxSteps = 100

// DeadlineCheck and DeadlineCooldown are the names of a service's timers.
const (
	DeadlineCheck    = "look"
	DeadlineCooldown = "cooldown"
)

// planner works on a copy of the state.
type planner struct {
	State
	facts    Facts
	now      time.Time
	settings Settings
	entered  bool // the service changed its state in this decision
	idle     bool // the command has no effect but calls and transitions
	wasLeft  bool // the service was left alone until the command
	errors   []string
	actions  []Action
	changes  []Change
	// strangers are the nodes of each role whose VMs are not the service's.
	strangers map[string][]spec.Node
	// mended are VMs in trouble whose healing is under way or still due.
	mended map[int]bool
	// gated are the VMs whose role waits for READY=YES, if there is a deadline for that.
	gated map[int]bool
	// wanted are the actions, by name, that the last step requested or holds back; planned are those of the decision, by kind and name.
	wanted, planned map[string]bool
	// waiting caches the result of dependencies until the next step.
	waiting *dependencies
	// pending caches the roles' deadlines for VMs that no host accepts.
	pending map[string]time.Duration
	phases
}

// newPlanner returns a planner that leaves out VMs which are not the service's. Nodes of such VMs stay in the document until their role
// ends, and are not replaced: a service's VMs are chowned one by one.
func newPlanner(in Input) *planner {
	p := &planner{State: in.State, facts: in.Facts, now: in.Now, settings: in.Settings}
	p.Service.Body.Roles, p.Service.Body.Log = slices.Clone(p.Service.Body.Roles), slices.Clone(p.Service.Body.Log)
	for role := range p.Service.Body.EachRole() {
		role.Nodes = slices.Clone(role.Nodes)
	}
	p.Intents, p.Networks, p.Routers, p.Released = slices.Clone(p.Intents), slices.Clone(p.Networks), slices.Clone(p.Routers), slices.Clone(p.Released)
	p.Ordinals, p.PolicyCooldowns, p.Deadlines = maps.Clone(p.Ordinals), maps.Clone(p.PolicyCooldowns), maps.Clone(p.Deadlines)
	p.Asked, p.Heals, p.Stays = maps.Clone(p.Asked), maps.Clone(p.Heals), maps.Clone(p.Stays)
	p.Waits, p.Retries, p.Refilled = maps.Clone(p.Waits), maps.Clone(p.Retries), maps.Clone(p.Refilled)
	p.phases = phases{
		applier{p}, inventory{p}, requester{p}, deployer{p}, scaler{p}, watcher{p}, undeployer{p}, networker{p}, routing{p}, tracker{p}, limiter{p},
	}
	strangers := p.Strangers(p.facts)
	isStranger := func(_ int, vm one.VM) bool { return !vm.Gone() && !p.Service.Owns(vm) }
	for id, vm := range p.facts {
		if isStranger(id, vm) {
			p.facts = maps.Clone(p.facts)
			maps.DeleteFunc(p.facts, isStranger)
			break
		}
	}
	if len(strangers) == 0 {
		return p
	}
	p.strangers = map[string][]spec.Node{}
	for _, id := range strangers {
		delete(p.Asked, id)
		delete(p.Stays, id)
	}
	for role := range p.Service.Body.EachRole() {
		role.Nodes = slices.DeleteFunc(role.Nodes, func(n spec.Node) bool {
			_, found := slices.BinarySearch(strangers, n.DeployID)
			if found {
				p.strangers[role.Name] = append(p.strangers[role.Name], n)
			}
			return found
		})
	}
	return p
}

// phases are the parts of a planner, one for each phase of a service's life and for each kind of thing that a service
// has. They work on the planner's draft of the state and call each other through it.
type phases struct {
	applier    applier    // carries out commands
	inventory  inventory  // updates the state by the facts about VMs, and plans those that a role lacks
	requester  requester  // asks VMs to end, to run again or to be released, and retries calls that oned has not carried out
	deployer   deployer   // brings roles to RUNNING, or keeps them on hold
	scaler     scaler     // brings roles to another cardinality, also by their policies
	watcher    watcher    // watches a running service, and heals roles whose VMs fail
	undeployer undeployer // ends roles, and removes one from a service
	networker  networker  // makes and removes the service's own virtual networks
	routing    routing    // makes and removes virtual routers
	tracker    tracker    // tracks how long VMs stay in passing states, and recovers those that do not leave one
	limiter    limiter    // enforces the deadlines of services and roles
}

type (
	applier    struct{ *planner }
	inventory  struct{ *planner }
	requester  struct{ *planner }
	deployer   struct{ *planner }
	scaler     struct{ *planner }
	watcher    struct{ *planner }
	undeployer struct{ *planner }
	networker  struct{ *planner }
	routing    struct{ *planner }
	tracker    struct{ *planner }
	limiter    struct{ *planner }
)

// decision returns the decision, without actions for an intent or a virtual router that a later step has dropped. A service's transition
// into trouble gets the reasons of the roles that came into trouble with it, or else the errors that the decision wrote into the log.
func (p *planner) decision() Decision {
	troubled := func(state string) bool {
		return state == spec.ServiceWarning.String() || strings.HasPrefix(state, "FAILED_")
	}
	for role := range p.Service.Body.EachRole() {
		foreign := p.strangers[role.Name]
		if len(foreign) == 0 {
			continue
		}
		if p.undeployer.ending() || role.CurrentState() == spec.RoleUndeploying || role.CurrentState() == spec.RoleDone {
			for _, node := range foreign {
				if p.Service.Made.Has(node.DeployID) {
					const reason = "it was given to another user or service, and is not terminated"
					p.changes = append(p.changes, Change{Kind: "vm", VM: &node.DeployID, Role: role.Name, New: "left", Reason: reason})
				}
			}
			continue
		}
		role.Nodes = append(role.Nodes, foreign...)
		slices.SortStableFunc(role.Nodes, func(a, b spec.Node) int { return a.DeployID - b.DeployID })
	}
	var reasons []string
	for _, change := range p.changes {
		if change.Kind == "role" && change.Reason != "" && troubled(change.New) {
			reasons = append(reasons, fmt.Sprintf("role %s: %s", change.Role, change.Reason))
		}
	}
	if len(reasons) == 0 {
		reasons = p.errors
	}
	for i := range p.changes {
		change := &p.changes[i]
		if change.Kind == "service" && change.Reason == "" && (troubled(change.New) || change.New == spec.ServiceUndeploying.String()) {
			change.Reason = strings.Join(shortened(reasons, maxReasons), "; ") // empty if a user asked for the end
		}
	}
	p.Service.Made = p.ownNodes()
	p.actions = slices.DeleteFunc(p.actions, func(action Action) bool {
		switch action.Kind {
		case ActionCreateVM:
			return !slices.ContainsFunc(p.Intents, func(i Intent) bool { return i.Key == action.Intent.Key })
		case ActionCreateRouter:
			return !slices.ContainsFunc(p.Routers, func(r Router) bool { return r.Key == action.Router.Key })
		}
		return false
	})
	return Decision{State: p.State, Actions: p.actions, Changes: p.changes}
}

// ownNodes returns the nodes that name the service in their user templates, or are known to have done so. Writing that needs the right to
// manage the VM, so a document alone makes no VM the service's. A VM that is not a node any more is dropped.
func (p *planner) ownNodes() spec.VMs {
	var ids []int
	for _, role := range p.Service.Body.Roles {
		for _, node := range role.Nodes {
			vm, known := p.facts[node.DeployID] // the facts have no strangers
			if p.Service.Made.Has(node.DeployID) || known && !vm.Gone() && vm.Service == p.Service.ID {
				ids = append(ids, node.DeployID)
			}
		}
	}
	return spec.VMsOf(ids)
}

// settle makes every step that is due, then sets the deadlines.
func (p *planner) settle() {
	p.inventory.applyFacts()
	p.tracker.followStays()
	p.limiter.followWaits()
	p.tracker.recoverStays()
	if len(p.Service.Body.NetworksValues) > 0 {
		p.networker.syncNetworks()
	}
	for range maxSteps {
		before := p.Service.State()
		delete(p.Deadlines, DeadlineHeal)
		p.wanted, p.waiting = nil, nil
		p.limiter.enforce()
		if p.Service.State() == before {
			p.step()
		}
		isLate := func(role spec.Role) bool { return p.limiter.overdueOf(&role) != nil }
		if p.Service.State() != before || p.limiter.hasDeadlines() && slices.ContainsFunc(p.Service.Body.Roles, isLate) {
			continue
		}
		p.tracker.followStays() // roles have changed their states
		p.limiter.followWaits()
		p.setDeadlines()
		return
	}
	panic(fmt.Sprintf("flow: service %d does not settle in %s", p.Service.ID, p.Service.State()))
}

func (p *planner) step() {
	switch p.Service.State() {
	case spec.ServicePending:
		p.deployer.prepare()
		p.to(spec.ServiceDeployingNets)
	case spec.ServiceDeployingNets:
		p.networker.deployNetworks()
	case spec.ServiceFailedDeployingNets:
		p.networker.removeNetworks()
	case spec.ServiceDeploying, spec.ServiceHold:
		p.deployer.deploy()
	case spec.ServiceRunning, spec.ServiceWarning:
		p.watcher.watch()
	case spec.ServiceScaling:
		p.scaler.scale()
	case spec.ServiceCooldown:
		p.scaler.cool()
	case spec.ServiceUndeploying:
		p.undeployer.undeploy()
	case spec.ServiceUndeployingNets:
		p.networker.undeployNetworks()
	case spec.ServiceDone:
		p.requester.act(Action{Kind: ActionDeleteDocument})
	}
}

// to makes a transition of the service, which its table must allow.
func (p *planner) to(next spec.ServiceState) {
	old := p.Service.State()
	if !old.CanBecome(next) {
		panic(fmt.Sprintf("flow: service %d cannot go from %s to %s", p.Service.ID, old, next))
	}
	p.Service.Body.State = &next
	p.entered = true
	delete(p.Deadlines, DeadlineCheck)
	if next.Failed() { // it waits for a user to recover it, and not for its VMs; orphans are still asked to end
		for _, role := range p.Service.Body.Roles {
			for _, node := range role.Nodes {
				delete(p.Asked, node.DeployID)
			}
		}
	}
	p.log("I", "%s%s", spec.StateLogged, next)
	p.changes = append(p.changes, Change{Kind: "service", Old: old.String(), New: next.String()})
}

func (p *planner) roleTo(role *spec.Role, next spec.RoleState, reason string) {
	old := role.CurrentState()
	if !old.CanBecome(next) {
		panic(fmt.Sprintf("flow: service %d: role %s cannot go from %s to %s", p.Service.ID, role.Name, old, next))
	}
	role.State = &next
	if next == spec.RoleRunning {
		p.Released = slices.DeleteFunc(p.Released, func(name string) bool { return name == role.Name })
	}
	p.changes = append(p.changes, Change{Kind: "role", Role: role.Name, Old: old.String(), New: next.String(), Reason: reason})
}

var failedStates = map[spec.RoleState]spec.RoleState{
	spec.RoleHold: spec.RoleFailedDeploying, spec.RoleDeploying: spec.RoleFailedDeploying,
	spec.RoleScaling: spec.RoleFailedScaling, spec.RoleUndeploying: spec.RoleFailedUndeploying,
}

func (p *planner) failRole(role *spec.Role, reason string) {
	p.log("E", "Role %s : %s", role.Name, reason)
	p.roleTo(role, failedStates[role.CurrentState()], reason)
}

func (p *planner) log(severity, format string, arguments ...any) {
	message := fmt.Sprintf(format, arguments...)
	if severity == "E" {
		p.errors = append(p.errors, message)
	}
	p.Service.Body.Log = spec.Logged(p.Service.Body.Log, spec.LogEntry{Timestamp: p.now.Unix(), Severity: severity, Message: message})
}

func (p *planner) everyRole(states ...spec.RoleState) bool {
	return !slices.ContainsFunc(p.Service.Body.Roles, func(r spec.Role) bool { return !slices.Contains(states, r.CurrentState()) })
}

func (p *planner) anyRole(states ...spec.RoleState) bool {
	return slices.ContainsFunc(p.Service.Body.Roles, func(r spec.Role) bool { return slices.Contains(states, r.CurrentState()) })
}

// set sets an entry of a map, which it makes if it is nil.
func set[K comparable, V any](entries *map[K]V, key K, value V) {
	if *entries == nil {
		*entries = map[K]V{}
	}
	(*entries)[key] = value
}

func flag(b *bool) bool { return b != nil && *b }

// setDeadlines sets when to decide again. An existing deadline is kept: a stream of events cannot put it off for ever.
func (p *planner) setDeadlines() {
	maps.DeleteFunc(p.Deadlines, func(_ string, due time.Time) bool { return !due.After(p.now) })
	for vm, asked := range p.Asked {
		p.requester.held(requestName(asked.Action, vm))
	}
	delete(p.Deadlines, DeadlineRetry)
	for name, retry := range p.Retries {
		next, has := p.Deadlines[DeadlineRetry]
		switch {
		case !p.wanted[name]: // the call is no longer needed
			delete(p.Retries, name)
		case retry.Next.After(p.now) && (!has || retry.Next.Before(next)):
			set(&p.Deadlines, DeadlineRetry, retry.Next)
		}
	}
	state := p.Service.State()
	delete(p.Deadlines, DeadlineCooldown)
	if state == spec.ServiceCooldown {
		set(&p.Deadlines, DeadlineCooldown, p.CooldownUntil)
	}
	runs := state == spec.ServiceRunning || state == spec.ServiceWarning
	delete(p.Deadlines, DeadlineSchedule)
	if !runs { // policies are for running services
		delete(p.Deadlines, DeadlineRefill)
	} else if due, has := policy.NextSchedule(p.Service, p.now); has {
		set(&p.Deadlines, DeadlineSchedule, due)
	}
	// While waiting or in trouble, and once after coming to rest, in case the last event had older news.
	checksAgain := state.Waiting() || state == spec.ServiceWarning || state == spec.ServiceHold || len(p.Asked) > 0 ||
		state == spec.ServiceFailedDeployingNets && p.networker.networksLeft() || p.entered && !state.Failed()
	_, hasCheck := p.Deadlines[DeadlineCheck]
	switch {
	case checksAgain && !hasCheck:
		// Services that wait for nothing they have asked for take up to twice as long, each its own time: when a host fails, thousands come
		// into trouble at once, and must not ask oned all at once from then on. Multiples of the golden ratio are spread evenly, also those
		// of consecutive ids.
		const golden, fractions = 2654435769, 1 << 10
		look := p.settings.CheckInterval
		if (runs || state == spec.ServiceHold) && len(p.Asked) == 0 {
			look += look / fractions * time.Duration(uint32(p.Service.ID)*golden>>22) //nolint:gosec // any number will do
		}
		set(&p.Deadlines, DeadlineCheck, p.now.Add(look))
	case !checksAgain && !p.entered && state != spec.ServiceRunning:
		delete(p.Deadlines, DeadlineCheck)
	}
	p.tracker.setStayDeadline()
}
