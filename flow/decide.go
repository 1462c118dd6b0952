// Package flow decides what a service needs next. It is pure: state, facts and the time come in; new state and actions go out. It does no
// I/O, starts no goroutine and reads no clock, so every decision can be tested and repeated.
//
// Safety: a VM is decided on only through an intent with a key of its own; a cardinality is never negative; a state changes only along the
// tables in spec/states.go. Liveness: every state that waits names the time of its next check, and every state has a command that
// leads out of it.
//
// Decide and Apply are in decide.go; the planner, which makes one step after the other until none is due, is in plan.go, and its parts in
// files named for their jobs. Explain says why a service is in its state. docs/architecture.md has the packages below this one.
package flow

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/policy"
	"github.com/flowjet/flowjet/flow/spec"
)

// Input is the input of a decision.
type Input struct {
	State    State
	Facts    Facts
	Now      time.Time
	Settings Settings
}

// Outcome is the result of an action, or of measuring.
type Outcome interface{ note(p *planner) }

// Refused is the outcome of an action that oned refuses for good. The action's object fails with oned's reason.
type Refused struct {
	Action  Action
	Message string
}

// NotFound is the outcome of looking for a VM, a network or a virtual router that does not exist, and of ending a virtual router.
type NotFound struct{ Action Action }

// Foreign is the outcome of deleting a network or virtual router that is not the service's, although its id is in the service's document, which others may
// write: it is left as it is, and the service goes on as if it had none.
type Foreign struct {
	Action  Action
	Message string
}

// Postponed is the outcome of an action that oned has not carried out, or of which nobody knows whether it has, for a reason that may pass.
// The action is taken again after a while, for no longer than Settings.RetryFor; then it is refused for oned's last reason.
type Postponed struct {
	Action  Action
	Message string
}

// Measured is the outcome of measuring the service's VMs: its elasticity policies are evaluated. Repeated or late measures, or those of
// removed roles, change nothing.
type Measured struct{ Measures policy.Measures }

// Spared is the outcome of an action that was to end a VM in a scaling, but found it protected: another VM is ended instead, or the scaling
// ends.
type Spared struct{ Action Action }

// Decide returns what the service needs next, from its state, the facts about its VMs, the time, and an outcome if there is one (else nil).
// It makes every transition that is due, and stops where something has to happen outside first: then there are actions, or a deadline.
// Deciding again from the result and the same facts changes nothing.
func Decide(in Input, outcome Outcome) Decision {
	p := newPlanner(in)
	if p.leftAlone() {
		return p.decision()
	}
	if outcome != nil {
		outcome.note(p)
	}
	p.settle()
	return p.decision()
}

// Apply carries out a command and decides the rest. A refused command returns a *Refusal and changes nothing.
func Apply(in Input, command Command) (Decision, error) {
	p := newPlanner(in)
	p.inventory.applyFacts()
	err := p.applier.apply(command)
	if err == nil && (command.Verb == VerbAddRole || command.Verb == VerbUpdate) {
		err = checkBulk(p.Service.Body, in.State.Service.Body)
	}
	if err != nil {
		return Decision{State: in.State}, err
	}
	p.settle()
	if err := p.applier.nothingToRecover(); err != nil {
		return Decision{State: in.State}, err
	}
	return p.decision(), nil
}

func (o Refused) note(p *planner) {
	switch o.Action.Kind {
	case ActionCreateVM:
		if p.inventory.replaces(o.Action.Role) {
			Postponed(o).note(p)
			return
		}
	case ActionCreateNetwork:
		if network := p.networker.network(o.Action.Network.Name); network != nil {
			network.Attempted = false
		}
	case ActionCreateRouter:
		p.routing.forgetRouter(o.Action.Role)
	}
	p.requester.giveUp(o.Action, p.Service.WithoutSecrets(o.Action.Role, o.Message))
}

func (o NotFound) note(p *planner) {
	switch o.Action.Kind {
	case ActionFindVM:
		p.Intents = slices.DeleteFunc(p.Intents, func(intent Intent) bool { return intent.Key == o.Action.Intent.Key })
	case ActionFindNetwork:
		if network := p.networker.network(o.Action.Network.Name); network != nil && network.ID == noNetwork {
			network.Attempted = false
		}
	case ActionFindRouter, ActionDeleteRouter:
		p.routing.gone(o.Action.Role)
	}
}

func (o Foreign) note(p *planner) {
	if role := p.Service.Role(o.Action.Role); o.Action.Kind == ActionDeleteRouter && role != nil && role.VRouterID != nil {
		p.log("W", "%s", o.Message)
		p.routing.gone(role.Name)
		p.routing.router(role.Name).Left = o.Message
	}
	if network := p.networker.network(o.Action.Network.Name); network != nil && network.ID == o.Action.Network.ID {
		p.log("W", "%s", o.Message)
		p.networker.ingest(network, noNetwork, one.NetworkDone)
		network.Left = o.Message
	}
}

func (o Postponed) note(p *planner) {
	p.requester.postpone(o.Action, p.Service.WithoutSecrets(o.Action.Role, o.Message))
}

func (o Spared) note(p *planner) { delete(p.Asked, o.Action.VM) }

func (o Measured) note(p *planner) {
	p.inventory.applyFacts()
	if state := p.Service.State(); !p.now.Before(o.Measures.Until) || state != spec.ServiceRunning && state != spec.ServiceWarning {
		return
	}
	p.scaler.runSchedules()
	for role := range p.Service.Body.EachRole() {
		if p.scaler.mayAdjust(role) {
			p.scaler.evaluateRole(role, o.Measures)
		}
	}
	if p.anyRole(spec.RoleScaling) {
		p.to(spec.ServiceScaling)
	}
}

// State is the service's document, and decisions about it that oned does not know or has not confirmed.
type State struct {
	Service spec.Service `json:"service"`
	// Intents are the VMs to be created, oldest first.
	Intents []Intent `json:"intents,omitempty"`
	// Networks are the virtual networks of the service's own.
	Networks []Network `json:"networks,omitempty"`
	// Routers are the virtual routers that roles have, or are to have.
	Routers []Router `json:"routers,omitempty"`
	// Ordinals are the ordinals of the next VMs of virtual routers' roles, by role. Other roles have them in last_vmname, which OneFlow
	// leaves at 0 here.
	Ordinals map[string]int `json:"ordinals,omitempty"`
	// Asked are the requests to VMs whose effect has not been seen, by VM id.
	Asked map[int]Asked `json:"asked,omitempty"`
	// Released are the roles that may leave HOLD as soon as their parents run.
	Released []string `json:"released,omitempty"`
	// Removing is the role that is to be removed from the service in UNDEPLOYING; empty if the whole service ends.
	Removing string `json:"removing,omitempty"`
	// CooldownUntil is when a service in COOLDOWN goes on.
	CooldownUntil time.Time `json:"cooldown_until,omitzero"`
	// PolicyCooldowns are the cooldowns, in nanoseconds and by role, of the policies by which roles are scaling.
	PolicyCooldowns map[string]time.Duration `json:"policy_cooldowns,omitempty"`
	// Refilled are how many lost VMs were made again in the current deployment or scaling, by role.
	Refilled map[string]int `json:"refilled,omitempty"`
	// Heals record how roles were healed, by role.
	Heals map[string]Heal `json:"heals,omitempty"`
	// Leader is the zone's leader, as far as it was known at the last decision.
	Leader Leader `json:"leader,omitzero"`
	// Stays are those of VMs in states that they should leave by themselves, by VM id.
	Stays map[int]Stay `json:"stays,omitempty"`
	// Waits are those of the service and its roles that have a deadline, by role and "".
	Waits map[string]Wait `json:"waits,omitempty"`
	// Retries are the calls that oned has not carried out, by Action.Name.
	Retries map[string]Retry `json:"retries,omitempty"`
	// LeftAlone is why nothing is decided for the service; nil if it is driven.
	LeftAlone *LeftAlone `json:"left_alone,omitempty"`
	// Dropped are the nodes that the document of another program that drives the service, too, lacks. They are nodes again when the service goes on.
	Dropped []int `json:"dropped,omitempty"`
	// Deadlines are the times of the next decisions, by timer name.
	Deadlines map[string]time.Time `json:"deadlines,omitempty"`
}

// ActionKind is the kind of an Action.
type ActionKind string

// The kinds of action.
const (
	ActionCreateVM       ActionKind = "create_vm"       // create the VM of Action.Intent
	ActionFindVM         ActionKind = "find_vm"         // look up the VM of Action.Intent: it becomes a fact, or the intent is given up
	ActionVM             ActionKind = "vm"              // ask Action.VM for Action.Call: terminate, terminate-hard, resume, release
	ActionRecoverVM      ActionKind = "recover_vm"      // retry what failed on Action.VM, let it fail or delete the VM: recover, recover-failure, recover-delete
	ActionCreateNetwork  ActionKind = "create_network"  // make Action.Network, or find that it is there
	ActionFindNetwork    ActionKind = "find_network"    // find out whether Action.Network was made
	ActionDeleteNetwork  ActionKind = "delete_network"  // delete Action.Network
	ActionCreateRouter   ActionKind = "create_router"   // make Action.Router, the virtual router of Action.Role
	ActionFindRouter     ActionKind = "find_router"     // find out whether Action.Router was made
	ActionDeleteRouter   ActionKind = "delete_router"   // delete the virtual router of Action.Role with its VMs
	ActionDeleteDocument ActionKind = "delete_document" // remove the service's document: the last of its actions
)

// Action is a call to oned that the worker carries out, in the given order, as the service's owner.
type Action struct {
	Kind    ActionKind
	Intent  Intent
	VM      int
	Call    string
	Network Network
	Router  Router
	Role    string // the role that the action is for
	Scaling bool   // a VM ends because its role scales down, unless it is protected by now
}

// Change is one transition that happened, for the history.
type Change struct {
	// Kind is "service", "role", "vm", "network" or "router".
	Kind string `json:"kind"`
	Role string `json:"role,omitempty"`
	// Network is the service's name for a network, ID oned's id of a network or virtual router.
	Network string `json:"network,omitempty"`
	ID      *int   `json:"id,omitempty"`
	// VM is the VM's id, nil unless Kind is "vm": the first VM of a cloud is number 0.
	VM *int `json:"vm,omitempty"`
	// Old and New are state names; for a VM New is its event (created, removed, terminated, retried, replaced), for a virtual router
	// created, deleted, or left as it is because it is not the service's.
	Old string `json:"old,omitempty"`
	New string `json:"new"`
	// Reason is for the operator; empty if the cause explains everything.
	Reason string `json:"reason,omitempty"`
}

// Text describes the change in one line.
func (c Change) Text() string {
	text, id := c.New, "" // a network or a router may have no id yet, and a VM of a plan has none
	if found := cmp.Or(c.ID, c.VM); found != nil {
		id = fmt.Sprintf(" %d", *found)
	}
	if c.Old != "" {
		text = c.Old + " -> " + c.New
	}
	switch c.Kind {
	case "vm":
		text = fmt.Sprintf("role %s: VM%s %s", c.Role, id, text)
	case "role":
		text = fmt.Sprintf("role %s: %s", c.Role, text)
	case "network":
		text = fmt.Sprintf("network %s%s: %s", c.Network, id, text)
	case "router":
		text = fmt.Sprintf("role %s: virtual router%s: %s", c.Role, id, text)
	}
	if c.Reason != "" {
		text += " (" + c.Reason + ")"
	}
	return text
}

// Decision is the result of Decide and Apply.
type Decision struct {
	State   State
	Actions []Action
	Changes []Change
}

// Facts are the VMs as last fetched, by id. A VM that oned does not have is there in state DONE; a VM that was not asked about is missing.
type Facts map[int]one.VM

// HealedLately returns how many of a role's VMs were healed within the last hour.
func (s *State) HealedLately(role string, now time.Time) int {
	count := 0
	for _, at := range s.Heals[role].Done {
		if now.Sub(at) < healWindow {
			count++
		}
	}
	return count
}

// mostRunning is how many VMs a service may have for those that run to be read for an explanation, which then names those of another owner.
const mostRunning = 100

// Doubtful returns, ascending, the VMs whose state an explanation needs: those of roles that do not simply run, and those with requests. Of a
// small service these are all.
func (s State) Doubtful() []int {
	ids := slices.Collect(maps.Keys(s.Asked))
	small := len(spec.VMIDs(s.Service.Body.Roles...)) <= mostRunning
	for role := range s.Service.Body.EachRole() {
		if small || role.CurrentState() != spec.RoleRunning || s.Service.State() == spec.ServiceUndeploying {
			ids = append(ids, spec.VMIDs(*role)...)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

const (
	// maxReasons is how many reasons a service's transition names.
	maxReasons = 5
	// maxDone is how many calls a transition names one by one.
	maxDone = 10
)

// shortened returns a list that only counts its surplus.
func shortened(list []string, most int) []string {
	if len(list) <= most {
		return list
	}
	return append(list[:most:most], fmt.Sprintf("and %d more", len(list)-most))
}

// Describe describes each of a decision's calls to oned in a few words, for the history: "create VM Slave_0_(service_42)". A long list ends
// with how many more there are.
func Describe(actions []Action) []string {
	var done []string
	for _, action := range actions {
		done = append(done, action.describe())
	}
	return shortened(done, maxDone)
}

func (a Action) describe() string {
	switch a.Kind {
	case ActionCreateVM:
		return "create VM " + a.Intent.Name
	case ActionFindVM:
		return "look for VM " + a.Intent.Name
	case ActionVM, ActionRecoverVM:
		return fmt.Sprintf("%s VM %d", a.Call, a.VM)
	case ActionCreateNetwork:
		return "create network " + a.Network.Called
	case ActionFindNetwork:
		return "look for network " + a.Network.Called
	case ActionDeleteNetwork:
		return fmt.Sprintf("delete network %s (%d)", a.Network.Called, a.Network.ID)
	case ActionCreateRouter:
		return "create the virtual router of role " + a.Role
	case ActionFindRouter:
		return "look for the virtual router of role " + a.Role
	case ActionDeleteRouter:
		return "delete the virtual router of role " + a.Role
	case ActionDeleteDocument:
		return "delete the service's document"
	}
	return string(a.Kind)
}

// The last states that are published of a network: it is gone, or it is not the service's and is left as it is.
const (
	NetworkDeleted = "DELETED"
	NetworkLeft    = "LEFT"
)

// NodeChanges returns the changes between two states of the networks and virtual routers that a service made for itself. They follow
// from the states alone, so that the worker that commits the later state publishes each of them once.
func NodeChanges(before, after State) []Change {
	routers := map[string]int{}
	for _, role := range before.Service.Body.Roles {
		if role.VRouterID != nil {
			routers[role.Name] = *role.VRouterID
		}
	}
	var changes []Change
	for _, is := range after.Networks {
		was := Network{ID: noNetwork}
		if at := slices.IndexFunc(before.Networks, func(n Network) bool { return n.Name == is.Name }); at >= 0 {
			was = before.Networks[at]
		}
		change := Change{Kind: "network", Network: is.Name}
		if was.ID != noNetwork {
			change.Old, change.ID = was.State.String(), new(was.ID)
		}
		switch {
		case is.ID == was.ID && (is.ID == noNetwork || is.State == was.State):
			continue
		case was.ID == noNetwork && is.State == one.NetworkInit:
			continue // known by its id, not looked at yet
		case is.ID == noNetwork && is.Left != "":
			change.New, change.Reason = NetworkLeft, is.Left
		case is.ID == noNetwork:
			change.New = NetworkDeleted
		default:
			change.New, change.ID = is.State.String(), new(is.ID)
			change.Reason = fmt.Sprintf("%s, from %s %d", is.Called, is.Source, is.From)
		}
		changes = append(changes, change)
	}
	const created, deleted = "created", "deleted"
	end := func(role string) Change {
		change := Change{Kind: "router", Role: role, ID: new(routers[role]), Old: created, New: deleted}
		if at := slices.IndexFunc(after.Routers, func(r Router) bool { return r.Role == role && r.Left != "" }); at >= 0 {
			change.New, change.Reason = "left", after.Routers[at].Left
		}
		return change
	}
	for _, role := range after.Service.Body.Roles {
		was, known := routers[role.Name]
		switch {
		case role.VRouterID != nil && (!known || was != *role.VRouterID):
			changes = append(changes, Change{Kind: "router", Role: role.Name, ID: new(*role.VRouterID), New: created})
		case role.VRouterID == nil && known:
			changes = append(changes, end(role.Name))
		}
		delete(routers, role.Name)
	}
	for _, role := range slices.Sorted(maps.Keys(routers)) { // the role itself is gone
		changes = append(changes, end(role))
	}
	return changes
}
