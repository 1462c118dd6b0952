package flow

import (
	"slices"
	"time"

	"github.com/flowjet/flowjet/flow/policy"
	"github.com/flowjet/flowjet/flow/spec"
)

// Input is what a decision is made from.
type Input struct {
	State    State
	Facts    Facts
	Now      time.Time
	Settings Settings
}

// Outcome is what has come of an action, or of measuring: Refused, NotFound, Postponed, Spared or Measured.
type Outcome interface{ note(p *planner) }

// Refused is the outcome of an action that oned will not carry out. What it was for fails,
// with oned's words as the reason.
type Refused struct {
	Action  Action
	Message string
}

// NotFound is the outcome of looking for a VM, a network or a virtual router that does not
// exist, and of ending a virtual router.
type NotFound struct{ Action Action }

// Postponed is the outcome of an action that oned has not carried out, or of which nobody
// knows whether it has, for a reason that may pass. The action is taken again after a
// while, for no longer than Settings.RetryFor; then it is refused for oned's last reason.
type Postponed struct {
	Action  Action
	Message string
}

// Measured is the outcome of measuring the service's VMs: its elasticity policies are
// evaluated. Measures that come twice, late, or for roles that are gone change nothing.
type Measured struct{ Measures policy.Measures }

// Spared is the outcome of an action that was to end a VM by a scaling which, as the facts
// say by now, is protected: another is ended instead, or the scaling ends.
type Spared struct{ Action Action }

// Decide returns what the service needs next, from its state, the VMs as observed, the time, and an outcome if there is
// one (else nil). It carries every transition that is due, and stops where something has to happen outside first: then
// there are actions, or a deadline. Deciding again from the result and the same facts changes nothing.
func Decide(in Input, outcome Outcome) Decision {
	p := newPlanner(in)
	if outcome != nil {
		outcome.note(p)
	}
	p.settle()
	return p.decision()
}

// Apply carries out a command and decides what follows. A refused command gives a *Refusal and changes nothing.
func Apply(in Input, command Command) (Decision, error) {
	p := newPlanner(in)
	p.observer.observe()
	err := p.applier.apply(command)
	if err == nil && (command.Verb == VerbAddRole || command.Verb == VerbUpdate) {
		err = checkBulk(p.Service.Body, in.State.Service.Body)
	}
	if err != nil {
		return Decision{State: in.State}, err
	}
	p.settle()
	return p.decision(), nil
}

func (o Refused) note(p *planner) {
	switch o.Action.Kind {
	case ActionCreateNetwork:
		if network := p.networker.network(o.Action.Network.Name); network != nil {
			network.Attempted = false
		}
	case ActionCreateRouter:
		p.routing.forgetRouter(o.Action.Role)
	}
	p.retrier.giveUp(o.Action, p.Service.WithoutSecrets(o.Action.Role, o.Message))
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

func (o Postponed) note(p *planner) {
	p.retrier.postpone(o.Action, p.Service.WithoutSecrets(o.Action.Role, o.Message))
}

func (o Spared) note(p *planner) { delete(p.Asked, o.Action.VM) }

func (o Measured) note(p *planner) {
	p.observer.observe()
	if state := p.Service.State(); !p.now.Before(o.Measures.Until) || state != spec.ServiceRunning && state != spec.ServiceWarning {
		return
	}
	p.autoscaler.runSchedules()
	for role := range p.Service.Body.EachRole() {
		if p.scaler.mayAdjust(role) {
			p.autoscaler.evaluateRole(role, o.Measures)
		}
	}
	if p.anyRole(spec.RoleScaling) {
		p.to(spec.ServiceScaling)
	}
}
