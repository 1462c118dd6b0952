// Package dryrun foretells what a command would do.
//
// It plays the command's first decision, and all that follow from it, in a world in
// which every call to oned succeeds. It asks and changes nothing: the decisions are
// those of package flow. A plan ends when nothing can follow, or where the outcome
// of a step cannot be known.
package dryrun

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
)

// View is what a command would do, in its order, if everything goes well.
type View struct {
	Verb flow.Verb `json:"verb"`
	// Service is 0 for one that is not made yet.
	Service int    `json:"service"`
	Steps   []Step `json:"steps"`
	// EndsIn is the service's state after the last step.
	EndsIn string `json:"ends_in"`
	// Complete is true if nothing can follow; otherwise what follows depends on
	// what the last step brings.
	Complete bool `json:"complete"`
}

// Step is what is done at once. It begins when WaitsFor has come true.
type Step struct {
	WaitsFor string        `json:"waits_for,omitempty"`
	Changes  []flow.Change `json:"changes"`
	Actions  []Action      `json:"actions"`
}

// Action is one call to oned.
type Action struct {
	Do       flow.ActionKind `json:"do"`
	Role     string          `json:"role,omitempty"`
	VM       int             `json:"vm,omitempty"`
	Call     string          `json:"call,omitempty"`
	Name     string          `json:"name,omitempty"`
	Template *int            `json:"template_id,omitempty"`
	OnHold   bool            `json:"on_hold,omitempty"`
	Network  string          `json:"network,omitempty"`
}

const (
	// maxSteps bounds a plan; the longest way is a few steps a role.
	maxSteps = 500
	// firstSimulated is the id of the first VM that a plan makes up.
	firstSimulated = 1 << 30
)

// simulation is a world in which everything goes well.
type simulation struct {
	facts flow.Facts
	next  int
}

// Run returns what a decision leads to if everything goes well. It changes facts.
func Run(decision flow.Decision, facts flow.Facts, now time.Time, settings flow.Settings) View {
	w := simulation{facts: facts, next: firstSimulated}
	view := View{Steps: []Step{}}
	waits := ""
	for range maxSteps {
		step := Step{WaitsFor: waits, Changes: append([]flow.Change{}, decision.Changes...), Actions: []Action{}}
		for i, change := range step.Changes {
			if change.VM != nil && *change.VM >= firstSimulated {
				step.Changes[i].VM = nil // the VM exists in the plan only
			}
		}
		state, certain := decision.State, true
		for _, action := range decision.Actions {
			step.Actions = append(step.Actions, w.present(action))
			var known bool
			state, known = w.apply(state, action)
			certain = certain && known
		}
		if len(step.Changes)+len(step.Actions) > 0 {
			view.Steps = append(view.Steps, step)
		}
		view.EndsIn = decision.State.Service.State().String()
		ended := slices.ContainsFunc(decision.Actions, func(a flow.Action) bool { return a.Kind == flow.ActionDeleteDocument })
		cooling := decision.State.Service.State() == spec.ServiceCooldown && decision.State.CooldownUntil.After(now)
		switch {
		case ended || certain && len(decision.Actions) == 0 && !cooling:
			view.Complete = true
			return view
		case !certain:
			return view
		case cooling && len(decision.Actions) == 0:
			waits = fmt.Sprintf("cooldown of %s", decision.State.CooldownUntil.Sub(now).Round(time.Second))
			now = decision.State.CooldownUntil
		default:
			waits = waitsFor(step)
		}
		decision = flow.Decide(flow.Input{State: state, Facts: facts, Now: now, Settings: settings}, nil)
	}
	return view
}

func waitsFor(step Step) string {
	var parts []string
	for _, action := range step.Actions {
		what := cmp.Or(action.Name, fmt.Sprintf("VM %d", action.VM))
		part := what + " is RUNNING"
		switch {
		case action.Do == flow.ActionCreateNetwork:
			part = "network " + action.Network + " is READY"
		case action.Do == flow.ActionDeleteNetwork:
			part = "network " + action.Network + " is DONE"
		case action.Do == flow.ActionCreateRouter:
			part = "the virtual router of role " + action.Role + " is there"
		case action.Do == flow.ActionDeleteRouter:
			part = "the virtual router of role " + action.Role + " is gone"
		case action.OnHold:
			part = what + " is in HOLD"
		case action.Do == flow.ActionVM && strings.HasPrefix(action.Call, "terminate"):
			part = what + " is DONE"
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, ", ")
}

// apply has an action succeed, and returns the state that follows; false
// for an action whose outcome cannot be known.
func (w *simulation) apply(state flow.State, action flow.Action) (flow.State, bool) {
	service := state.Service
	switch action.Kind {
	case flow.ActionCreateVM:
		vm := one.VM{
			ID: w.next, Name: action.Intent.Name, Owner: service.Owner, Ready: true, Service: service.ID,
			Role: action.Intent.Role, Key: action.Intent.Key, State: one.VMActive, LCMState: one.LCMRunning,
		}
		if action.Intent.Hold {
			vm.State, vm.LCMState = one.VMHold, 0
		}
		w.facts[vm.ID] = vm
		w.next++
	case flow.ActionVM, flow.ActionRecoverVM:
		vm := w.facts[action.VM]
		vm.State, vm.LCMState, vm.Ready = one.VMActive, one.LCMRunning, true
		if strings.HasPrefix(action.Call, "terminate") {
			vm.State, vm.LCMState = one.VMDone, 0
		}
		w.facts[action.VM] = vm
	case flow.ActionCreateNetwork:
		w.next++
		return flow.SeeNetwork(state, action.Network.Name, w.next-1, one.NetworkReady), true
	case flow.ActionDeleteNetwork:
		return flow.SeeNetwork(state, action.Network.Name, action.Network.ID, one.NetworkDone), true
	case flow.ActionCreateRouter:
		w.next++
		return flow.SeeRouter(state, action.Router.Role, w.next-1, nil), true
	case flow.ActionDeleteRouter:
		for id, vm := range w.facts { // oned ends a virtual router's VMs with it
			if vm.Role == action.Role {
				vm.State, vm.LCMState = one.VMDone, 0
				w.facts[id] = vm
			}
		}
		return flow.RouterGone(state, action.Role), true
	case flow.ActionDeleteDocument:
	default:
		return state, false
	}
	return state, true
}

// present is an action as it is shown: VMs that exist in the plan only by their names.
func (w *simulation) present(action flow.Action) Action {
	shown := Action{Do: action.Kind, Role: cmp.Or(action.Role, action.Intent.Role, action.Router.Role), Call: action.Call, Name: action.Intent.Name, OnHold: action.Intent.Hold, Network: action.Network.Called}
	switch {
	case action.Kind == flow.ActionCreateVM || action.Kind == flow.ActionFindVM:
		id := action.Intent.TemplateID
		shown.Template = &id
	case action.VM >= firstSimulated:
		shown.Name = w.facts[action.VM].Name
	case action.VM > 0 || action.Kind == flow.ActionVM || action.Kind == flow.ActionRecoverVM:
		shown.VM = action.VM
		shown.Name = w.facts[action.VM].Name
	}
	return shown
}
