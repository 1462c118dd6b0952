package flow

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"
)

// maxLog is how many log entries a document keeps, as OneFlow does.
const maxLog = 50

// maxSteps bounds how many transitions one decision can make; the longest way
// through the tables is far shorter.
const maxSteps = 100

// DeadlineLook and DeadlineCooldown are the names of a service's timers.
const (
	DeadlineLook     = "look"
	DeadlineCooldown = "cooldown"
)

// Plan decides what the service needs next, from its state, the VMs as
// observed, and the time. It carries every transition that is due, and stops
// where something has to happen outside first: then there are actions, or a
// deadline. Planning again with the same facts decides nothing new.
func Plan(state State, facts Facts, now time.Time, settings Settings) Decision {
	p := newPlanner(state, facts, now, settings)
	p.settle()
	return p.decision()
}

// Apply carries out a command and plans what follows. A refused command gives
// a *Refusal and changes nothing.
func Apply(state State, command Command, facts Facts, now time.Time, settings Settings) (Decision, error) {
	p := newPlanner(state, facts, now, settings)
	p.observe()
	if err := p.apply(command); err != nil {
		return Decision{State: state}, err
	}
	p.settle()
	return p.decision(), nil
}

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
	strangers map[string][]Node
	// mended are VMs in trouble whose healing is under way or to come.
	mended map[int]bool
	// gated are the VMs whose role waits for READY=YES, if there is a deadline for that.
	gated map[int]bool
	// wanted are the actions, by name, that the last step asked for or waits with.
	wanted map[string]bool
}

func newPlanner(state State, facts Facts, now time.Time, settings Settings) *planner {
	p := &planner{State: state.clone(), facts: facts, now: now, settings: settings}
	p.hideStrangers()
	return p
}

// clone copies what a planner may change.
func (s State) clone() State {
	s.Service.Body.Roles = slices.Clone(s.Service.Body.Roles)
	for i := range s.Service.Body.Roles {
		s.Service.Body.Roles[i].Nodes = slices.Clone(s.Service.Body.Roles[i].Nodes)
	}
	s.Service.Body.Log = slices.Clone(s.Service.Body.Log)
	s.Intents = slices.Clone(s.Intents)
	s.Networks = slices.Clone(s.Networks)
	s.Routers = slices.Clone(s.Routers)
	s.Released = slices.Clone(s.Released)
	s.Ordinals = maps.Clone(s.Ordinals)
	s.Asked = maps.Clone(s.Asked)
	s.Deadlines = maps.Clone(s.Deadlines)
	s.PolicyCooldowns = maps.Clone(s.PolicyCooldowns)
	s.Heals = maps.Clone(s.Heals)
	s.Retries = maps.Clone(s.Retries)
	s.Stays = maps.Clone(s.Stays)
	return s
}

func (p *planner) decision() Decision {
	p.giveReasons()
	p.showStrangers()
	return Decision{State: p.State, Actions: p.actions, Changes: p.changes}
}

// settle makes every step that is due, then sets the deadlines.
func (p *planner) settle() {
	p.observe()
	p.followStays()
	p.retryFailing()
	p.unstickStrays()
	p.syncNetworks()
	for range maxSteps {
		before := p.state()
		delete(p.Deadlines, DeadlineHeal)
		p.wanted = nil
		p.step()
		if p.state() == before {
			p.followStays() // roles have changed their states
			p.dropRetries()
			p.setDeadlines()
			return
		}
	}
	panic(fmt.Sprintf("flow: service %d does not settle in %s", p.Service.ID, p.state()))
}

// step does what the service's state asks for.
func (p *planner) step() {
	switch p.state() {
	case ServicePending:
		p.prepare()
		p.to(ServiceDeployingNets)
	case ServiceDeployingNets:
		p.deployNetworks()
	case ServiceFailedDeployingNets:
		p.removeNetworks()
	case ServiceDeploying, ServiceHold:
		p.deploy()
	case ServiceRunning, ServiceWarning:
		p.watch()
	case ServiceScaling:
		p.scale()
	case ServiceCooldown:
		p.cool()
	case ServiceUndeploying:
		p.undeploy()
	case ServiceUndeployingNets:
		p.undeployNetworks()
	case ServiceDone:
		p.act(Action{Kind: ActionDeleteDocument})
	}
}

// prepare gives every role the attributes that a looked-at role has.
func (p *planner) prepare() {
	for i := range p.roles() {
		role := &p.roles()[i]
		if role.Nodes == nil {
			role.Nodes = []Node{}
		}
		if role.OnHold == nil {
			role.OnHold = new(bool)
		}
		if role.Cooldown == nil && !role.isRouter() {
			seconds := int(p.settings.Cooldown / time.Second)
			role.Cooldown = &seconds
		}
		if role.State == nil {
			pending := RolePending
			role.State = &pending
		}
		p.noticeSchedules(role)
	}
}

// beginDeploying gives every role what its VMs are made with.
func (p *planner) beginDeploying() {
	for i := range p.roles() {
		p.fillContents(&p.roles()[i])
	}
	if p.everyRoleHolds() {
		p.to(ServiceHold)
		return
	}
	p.to(ServiceDeploying)
}

// to takes the service along its table of transitions.
func (p *planner) to(next ServiceState) {
	old := p.state()
	if !old.CanBecome(next) {
		panic(fmt.Sprintf("flow: service %d cannot go from %s to %s", p.Service.ID, old, next))
	}
	p.Service.Body.State = &next
	p.entered = true
	delete(p.Deadlines, DeadlineLook)
	if next.Failed() {
		p.forgetAskedOfNodes()
	}
	p.log("I", "New state: "+next.String())
	p.changes = append(p.changes, Change{Kind: "service", Old: old.String(), New: next.String()})
}

// roleTo takes a role along its table of transitions.
func (p *planner) roleTo(role *Role, next RoleState, reason string) {
	old := role.state()
	if !old.CanBecome(next) {
		panic(fmt.Sprintf("flow: service %d: role %s cannot go from %s to %s", p.Service.ID, role.Name, old, next))
	}
	role.State = &next
	if next == RoleRunning {
		p.Released = slices.DeleteFunc(p.Released, func(name string) bool { return name == role.Name })
	}
	p.changes = append(p.changes, Change{Kind: "role", Role: role.Name, Old: old.String(), New: next.String(), Reason: reason})
}

func (p *planner) log(severity, message string) {
	if severity == "E" {
		p.errors = append(p.errors, message)
	}
	entry := LogEntry{Timestamp: p.now.Unix(), Severity: severity, Message: message}
	p.Service.Body.Log = append(p.Service.Body.Log, entry)
	p.Service.Body.Log = p.Service.Body.Log[max(0, len(p.Service.Body.Log)-maxLog):]
}

// state is the service's; a document without one is PENDING.
func (p *planner) state() ServiceState { return p.Service.State() }

func (p *planner) roles() []Role { return p.Service.Body.Roles }

// State is the service's state; a document without one is PENDING.
func (s Service) State() ServiceState {
	if s.Body.State == nil {
		return ServicePending
	}
	return *s.Body.State
}

// state is the role's; a role without one is PENDING.
func (r *Role) state() RoleState {
	if r.State == nil {
		return RolePending
	}
	return *r.State
}

func (p *planner) role(name string) *Role {
	for i := range p.roles() {
		if p.roles()[i].Name == name {
			return &p.roles()[i]
		}
	}
	return nil
}

// everyRole reports whether all roles are in one of the states.
func (p *planner) everyRole(states ...RoleState) bool {
	for i := range p.roles() {
		if !slices.Contains(states, p.roles()[i].state()) {
			return false
		}
	}
	return true
}

// anyRole reports whether a role is in the state.
func (p *planner) anyRole(state RoleState) bool {
	return slices.ContainsFunc(p.roles(), func(r Role) bool { return r.state() == state })
}

// setDeadlines names when to look again. A deadline that stands is kept, so
// that a stream of events cannot put it off for ever.
func (p *planner) setDeadlines() {
	for name, due := range p.Deadlines {
		if !due.After(p.now) {
			delete(p.Deadlines, name)
		}
	}
	if p.state() == ServiceCooldown {
		p.setDeadline(DeadlineCooldown, p.CooldownUntil)
	} else {
		delete(p.Deadlines, DeadlineCooldown)
	}
	p.setPolicyDeadlines()
	p.setRetryDeadline()
	if p.looksAgain() {
		if _, set := p.Deadlines[DeadlineLook]; !set {
			p.setDeadline(DeadlineLook, p.now.Add(p.patience()))
		}
	} else if !p.entered && p.state() != ServiceRunning {
		delete(p.Deadlines, DeadlineLook)
	}
	p.setStayDeadline()
}

// setPolicyDeadlines: policies are for services that run.
func (p *planner) setPolicyDeadlines() {
	due, has := p.Service.nextSchedule(p.now)
	if state := p.state(); state != ServiceRunning && state != ServiceWarning {
		has = false
		delete(p.Deadlines, DeadlineRefill)
	}
	if has {
		p.setDeadline(DeadlineSchedule, due)
	} else {
		delete(p.Deadlines, DeadlineSchedule)
	}
}

// looksAgain: while waiting or in trouble, and once after coming to rest, in
// case the last event told an older truth.
func (p *planner) looksAgain() bool {
	state := p.state()
	return state.Waiting() || state == ServiceWarning || state == ServiceHold || len(p.Asked) > 0 ||
		state == ServiceFailedDeployingNets && p.networksLeft() || p.entered && !state.Failed()
}

// patience is for how long nothing is looked at. Services that wait for nothing
// which they have asked for take up to twice as long, each its own time: when a host
// fails, thousands come into trouble at once, and are not to ask oned all at once
// from then on. Multiples of the golden ratio lie evenly, also those of ids
// that follow each other.
func (p *planner) patience() time.Duration {
	look := p.settings.Look
	switch p.state() {
	case ServiceRunning, ServiceWarning, ServiceHold:
		if len(p.Asked) == 0 {
			const golden, fractions = 2654435769, 1 << 10
			share := uint32(p.Service.ID) * golden >> 22 //nolint:gosec // any number will do
			return look + look/fractions*time.Duration(share)
		}
	}
	return look
}

func (p *planner) setDeadline(name string, due time.Time) {
	if p.Deadlines == nil {
		p.Deadlines = map[string]time.Time{}
	}
	p.Deadlines[name] = due
}

// flag reads an optional boolean.
func flag(b *bool) bool { return b != nil && *b }

// emptyObject is what OneFlow writes for a role that has no template_contents.
var emptyObject = json.RawMessage("{}")
