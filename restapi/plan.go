package restapi

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/flowjet/flowjet/client/schema"
	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
)

// planner answers dry runs.
type planner struct {
	queue    queue
	settings flow.Settings
}

// plan returns what a command would do, and changes nothing.
func (p *planner) plan(ctx context.Context, r *request, service opennebula.Document, command flow.Command) (answer, error) {
	body, err := readService(service)
	if err != nil {
		return answer{}, err
	}
	facts, err := readVMs(ctx, r.oned, spec.VMIDs(body.Roles...))
	if err != nil {
		return answer{}, fmt.Errorf("read %w", err)
	}
	input, err := p.input(ctx, service, body, facts)
	if err != nil {
		return answer{}, err
	}
	first, err := flow.Apply(input, command)
	if refusal, is := errors.AsType[*flow.Refusal](err); is {
		return answer{}, refused(refusal.Kind, refusal.Message)
	}
	if err != nil {
		return answer{}, fmt.Errorf("plan for service %d: %w", service.ID, err)
	}
	view := predict(first, facts, input.Now, p.settings)
	view.Verb, view.Service = command.Verb, service.ID
	return pretty(http.StatusOK, view)
}

// input returns the planner's input for a decision about a service as it is now.
func (p *planner) input(ctx context.Context, service opennebula.Document, body spec.Body, facts flow.Facts) (flow.Input, error) {
	var record pipeline.Record
	if service.ID > 0 {
		var err error
		if record, _, err = p.queue.LoadRecord(ctx, service.ID); err != nil {
			return flow.Input{}, &queueError{err}
		}
	}
	state := record.State
	state.Service = spec.Service{ID: service.ID, Owner: service.Owner, Made: state.Service.Made, Body: body}
	return flow.Input{State: state, Facts: facts, Now: time.Now(), Settings: p.settings}, nil
}

// readVMs reads VMs as the caller sees them; one that oned does not have is DONE. An error begins with the VM.
func readVMs(ctx context.Context, oned session, ids []int) (flow.Facts, error) {
	details, err := oned.Details(ctx, ids)
	if err != nil {
		return nil, fmt.Errorf("VMs: %w", err)
	}
	facts := flow.Facts{}
	for _, id := range ids {
		vm, known := details[id]
		if !known { // it has ended, or the caller may not see it
			vm.VM, err = oned.VM(ctx, id)
		}
		if opennebula.IsCode(err, opennebula.CodeNoExists) {
			vm.VM, err = one.VM{ID: id, State: one.VMDone, Service: -1}, nil
		}
		if err != nil {
			return nil, fmt.Errorf("VM %d: %w", id, err)
		}
		facts[id] = vm.VM
	}
	return facts, nil
}

const (
	// maxPlanned bounds the work for a plan: the roles and VMs that all its steps visit, and stepCost for each step.
	maxPlanned = 60_000
	stepCost   = 200
	// firstSimulated is the id of the first VM that a plan makes up.
	firstSimulated = 1 << 30
)

type simulation struct {
	facts flow.Facts
	next  int
}

// predict returns the outcome of a decision if everything goes well. It simulates the decision, and all that follow, in a
// world in which every call to oned succeeds, until nothing can follow, the outcome of a step cannot be known or maxPlanned
// is reached. It changes facts.
func predict(decision flow.Decision, facts flow.Facts, now time.Time, settings flow.Settings) schema.Plan {
	w := simulation{facts: facts, next: firstSimulated}
	view := schema.Plan{Steps: []schema.PlanStep{}}
	waits := ""
	for visited := 0; visited < maxPlanned; visited += stepCost + len(w.facts) + len(decision.State.Service.Body.Roles) {
		step := schema.PlanStep{WaitsFor: waits, Changes: append([]flow.Change{}, decision.Changes...), Actions: []schema.PlanAction{}}
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

func waitsFor(step schema.PlanStep) string {
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

// apply simulates an action's success, and returns the state that follows; false for an action whose outcome cannot be
// known.
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
		return flow.IngestNetwork(state, action.Network.Name, w.next-1, one.NetworkReady), true
	case flow.ActionDeleteNetwork:
		return flow.IngestNetwork(state, action.Network.Name, action.Network.ID, one.NetworkDone), true
	case flow.ActionCreateRouter:
		w.next++
		return flow.IngestRouter(state, action.Router.Role, w.next-1, nil), true
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

// present returns an action as it is shown: VMs that exist in the plan only by their names.
func (w *simulation) present(action flow.Action) schema.PlanAction {
	shown := schema.PlanAction{Do: action.Kind, Role: cmp.Or(action.Role, action.Intent.Role, action.Router.Role), Call: action.Call, Name: action.Intent.Name, OnHold: action.Intent.Hold, Network: action.Network.Called}
	switch {
	case action.Kind == flow.ActionCreateVM || action.Kind == flow.ActionFindVM:
		shown.Template = new(action.Intent.TemplateID)
	case action.VM >= firstSimulated:
		shown.Name = w.facts[action.VM].Name
	case action.VM > 0 || action.Kind == flow.ActionVM || action.Kind == flow.ActionRecoverVM:
		shown.VM = action.VM
		shown.Name = w.facts[action.VM].Name
	}
	return shown
}
