package flow

import (
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/flowjet/flowjet/flow/spec"
)

// maxSteps bounds how many transitions one decision can make; the longest way
// through the tables is far shorter.
const maxSteps = 100

// DeadlineLook and DeadlineCooldown are the names of a service's timers.
const (
	DeadlineLook     = "look"
	DeadlineCooldown = "cooldown"
)

// planner works on a copy of the state.
type planner struct {
	State
	facts    Facts
	now      time.Time
	settings Settings
	entered  bool // the service changed its state in this decision
	errors   []string
	actions  []Action
	changes  []Change
	// strangers are the nodes of each role whose VMs are not the service's.
	strangers map[string][]spec.Node
	// mended are VMs in trouble whose healing is under way or to come.
	mended map[int]bool
	// gated are the VMs whose role waits for READY=YES, if there is a deadline for that.
	gated map[int]bool
	// wanted are the actions, by name, that the last step asked for or waits with.
	wanted map[string]bool
	// waiting is what dependencies returns until the next step.
	waiting *dependencies
	phases
}

func newPlanner(in Input) *planner {
	p := draftOf(in.State)
	p.facts, p.now, p.settings = in.Facts, in.Now, in.Settings
	p.owners.hideStrangers()
	return p
}

// draftOf returns a planner that nothing is known to but the state.
func draftOf(state State) *planner {
	p := &planner{State: state.clone()}
	p.phases = phasesOf(p)
	return p
}

func (p *planner) decision() Decision {
	p.giveReasons()
	p.owners.showStrangers()
	p.actions = slices.DeleteFunc(p.actions, p.isDropped)
	return Decision{State: p.State, Actions: p.actions, Changes: p.changes}
}

// isTaken reports whether a step of the decision has taken the action already.
func (p *planner) isTaken(action Action) bool {
	return slices.ContainsFunc(p.actions, func(a Action) bool { return a.Kind == action.Kind && a.Name() == action.Name() })
}

// isDropped reports whether an action is for an intent, or a virtual router, that a later step of the decision has dropped.
func (p *planner) isDropped(action Action) bool {
	switch action.Kind {
	case ActionCreateVM:
		return !slices.ContainsFunc(p.Intents, func(i Intent) bool { return i.Key == action.Intent.Key })
	case ActionCreateRouter:
		return !slices.ContainsFunc(p.Routers, func(r Router) bool { return r.Key == action.Router.Key })
	}
	return false
}

// settle makes every step that is due, then sets the deadlines.
func (p *planner) settle() {
	p.observer.observe()
	p.tracker.followStays()
	p.limiter.followWaits()
	p.recoverer.retryFailing()
	p.recoverer.unstickStrays()
	p.networker.syncNetworks()
	for range maxSteps {
		before := p.state()
		delete(p.Deadlines, DeadlineHeal)
		p.wanted, p.waiting = nil, nil
		if !p.limiter.hold() {
			p.step()
		}
		if p.state() == before && !p.limiter.late() {
			p.tracker.followStays() // roles have changed their states
			p.limiter.followWaits()
			p.retrier.dropRetries()
			p.deadliner.setDeadlines()
			return
		}
	}
	panic(fmt.Sprintf("flow: service %d does not settle in %s", p.Service.ID, p.state()))
}

// step does what the service's state asks for.
func (p *planner) step() {
	switch p.state() {
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
		p.retrier.act(Action{Kind: ActionDeleteDocument})
	}
}

// to takes the service along its table of transitions.
func (p *planner) to(next spec.ServiceState) {
	old := p.state()
	if !old.CanBecome(next) {
		panic(fmt.Sprintf("flow: service %d cannot go from %s to %s", p.Service.ID, old, next))
	}
	p.Service.Body.State = &next
	p.entered = true
	delete(p.Deadlines, DeadlineLook)
	if next.Failed() {
		p.requester.forgetAskedOfNodes()
	}
	p.log("I", spec.StateLogged+next.String())
	p.changes = append(p.changes, Change{Kind: "service", Old: old.String(), New: next.String()})
}

// roleTo takes a role along its table of transitions.
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

func (p *planner) log(severity, message string) {
	if severity == "E" {
		p.errors = append(p.errors, message)
	}
	p.Service.Body.Log = spec.Logged(p.Service.Body.Log, spec.LogEntry{Timestamp: p.now.Unix(), Severity: severity, Message: message})
}

// state is the service's; a document without one is PENDING.
func (p *planner) state() spec.ServiceState { return p.Service.State() }

func (p *planner) roles() []spec.Role { return p.Service.Body.Roles }

func (p *planner) eachRole() iter.Seq[*spec.Role] { return p.Service.Body.EachRole() }

func (p *planner) role(name string) *spec.Role { return p.Service.Role(name) }

// everyRole reports whether all roles are in one of the states.
func (p *planner) everyRole(states ...spec.RoleState) bool {
	for role := range p.eachRole() {
		if !slices.Contains(states, role.CurrentState()) {
			return false
		}
	}
	return true
}

// anyRole reports whether a role is in the state.
func (p *planner) anyRole(state spec.RoleState) bool {
	return slices.ContainsFunc(p.roles(), func(r spec.Role) bool { return r.CurrentState() == state })
}

// set sets an entry of a map, which is made where it is nil.
func set[K comparable, V any](entries *map[K]V, key K, value V) {
	if *entries == nil {
		*entries = map[K]V{}
	}
	(*entries)[key] = value
}

// flag reads an optional boolean.
func flag(b *bool) bool { return b != nil && *b }
