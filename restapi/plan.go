package restapi

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
)

// planView is what a command would do, in its order, if everything goes well.
type planView struct {
	Verb flow.Verb `json:"verb"`
	// Service is 0 for one that is not made yet.
	Service int        `json:"service"`
	Steps   []planStep `json:"steps"`
	// EndsIn is the service's state after the last step.
	EndsIn string `json:"ends_in"`
	// Complete is true if nothing can follow; otherwise what follows depends on
	// what the last step brings.
	Complete bool `json:"complete"`
}

// planStep is what is done at once. It begins when WaitsFor has come true.
type planStep struct {
	WaitsFor string        `json:"waits_for,omitempty"`
	Changes  []flow.Change `json:"changes"`
	Actions  []planAction  `json:"actions"`
}

// planAction is one call to oned.
type planAction struct {
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
	// maxPlanSteps bounds a plan; the longest way is a few steps a role.
	maxPlanSteps = 500
	// firstSimulated is the id of the first VM that a plan makes up.
	firstSimulated = 1 << 30
	// planReads is how many VMs are read at once.
	planReads = 8
)

// planner answers dry runs.
type planner struct {
	queue    queue
	settings flow.Settings
}

// plan answers what a command would do, and changes nothing.
func (p *planner) plan(ctx context.Context, r *request, service opennebula.Document, command flow.Command) (answer, error) {
	body, err := flow.ParseBody(service.Body)
	if err != nil {
		return answer{}, fmt.Errorf("plan for service %d: %w", service.ID, err)
	}
	var record pipeline.Record
	if service.ID > 0 {
		if record, _, err = p.queue.LoadRecord(ctx, service.ID); err != nil {
			return answer{}, &queueError{err}
		}
	}
	state := record.State
	state.Service = flow.Service{ID: service.ID, Owner: service.Owner, Body: body}
	facts, err := readFacts(ctx, r.oned, body)
	if err != nil {
		return answer{}, err
	}
	now := time.Now()
	first, err := flow.Apply(state, command, facts, now, p.settings)
	if refusal, refused := asRefusal(err); refused {
		return answer{}, &statusError{r.refusalStatus(refusal.Kind), refusal.Message}
	}
	if err != nil {
		return answer{}, fmt.Errorf("plan for service %d: %w", service.ID, err)
	}
	simulated := simulation{facts: facts, now: now, settings: p.settings, next: firstSimulated}
	view := simulated.run(first)
	view.Verb, view.Service = command.Verb, service.ID
	return pretty(http.StatusOK, view)
}

// readFacts reads the VMs of a service as the caller sees them.
func readFacts(ctx context.Context, oned session, body flow.Body) (flow.Facts, error) {
	var ids []int
	for _, role := range body.Roles {
		for _, node := range role.Nodes {
			ids = append(ids, node.DeployID)
		}
	}
	vms := make([]flow.VM, len(ids))
	reads, ctx := errgroup.WithContext(ctx)
	reads.SetLimit(planReads)
	for i, id := range ids {
		reads.Go(func() (err error) {
			vms[i], err = oned.VM(ctx, id)
			if opennebula.IsCode(err, opennebula.CodeNoExists) {
				vms[i], err = flow.VM{ID: id, State: flow.VMDone, Service: -1}, nil
			}
			if err != nil {
				return fmt.Errorf("read VM %d: %w", id, err)
			}
			return nil
		})
	}
	if err := reads.Wait(); err != nil {
		return nil, err
	}
	facts := flow.Facts{}
	for _, vm := range vms {
		facts[vm.ID] = vm
	}
	return facts, nil
}

// simulation is a world in which everything goes well.
type simulation struct {
	facts    flow.Facts
	now      time.Time
	settings flow.Settings
	next     int
}

// run plays a decision and all that follow from it.
func (w *simulation) run(decision flow.Decision) planView {
	view := planView{Steps: []planStep{}}
	waits := ""
	for range maxPlanSteps {
		step := planStep{WaitsFor: waits, Changes: presentable(decision.Changes), Actions: []planAction{}}
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
		cooling := decision.State.Service.State() == flow.ServiceCooldown && decision.State.CooldownUntil.After(w.now)
		switch {
		case ended || certain && len(decision.Actions) == 0 && !cooling:
			view.Complete = true
			return view
		case !certain:
			return view
		case cooling && len(decision.Actions) == 0:
			waits = fmt.Sprintf("cooldown of %s", decision.State.CooldownUntil.Sub(w.now).Round(time.Second))
			w.now = decision.State.CooldownUntil
		default:
			waits = waitsFor(step)
		}
		decision = flow.Plan(state, w.facts, w.now, w.settings)
	}
	return view
}

// waitsFor names what has to come true after a step.
func waitsFor(step planStep) string {
	var parts []string
	for _, action := range step.Actions {
		what := orDefault(action.Name, fmt.Sprintf("VM %d", action.VM))
		part := what + " is RUNNING"
		switch {
		case action.Do == flow.ActionCreateNetwork:
			part = "network " + action.Network + " is READY"
		case action.Do == flow.ActionDeleteNetwork:
			part = "network " + action.Network + " is DONE"
		case action.Do == flow.ActionCreateRouter, action.Do == flow.ActionDeleteRouter:
			part = "the virtual router of role " + action.Role + " is there"
			if action.Do == flow.ActionDeleteRouter {
				part = "the virtual router of role " + action.Role + " is gone"
			}
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
		vm := flow.VM{
			ID: w.next, Name: action.Intent.Name, Owner: service.Owner, Ready: true, Service: service.ID,
			Role: action.Intent.Role, Key: action.Intent.Key, State: flow.VMActive, LCMState: flow.LCMRunning,
		}
		if action.Intent.Hold {
			vm.State, vm.LCMState = flow.VMHold, 0
		}
		w.facts[vm.ID] = vm
		w.next++
	case flow.ActionVM, flow.ActionRecoverVM:
		vm := w.facts[action.VM]
		vm.State, vm.LCMState, vm.Ready = flow.VMActive, flow.LCMRunning, true
		if strings.HasPrefix(action.Call, "terminate") {
			vm.State, vm.LCMState = flow.VMDone, 0
		}
		w.facts[action.VM] = vm
	case flow.ActionCreateNetwork:
		w.next++
		return flow.SeeNetwork(state, action.Network.Name, w.next-1, flow.NetworkReady), true
	case flow.ActionDeleteNetwork:
		return flow.SeeNetwork(state, action.Network.Name, action.Network.ID, flow.NetworkDone), true
	case flow.ActionCreateRouter:
		w.next++
		return flow.SeeRouter(state, action.Router.Role, w.next-1, nil), true
	case flow.ActionDeleteRouter:
		w.endRole(action.Role)
		return flow.RouterGone(state, action.Role), true
	case flow.ActionDeleteDocument:
	default:
		return state, false
	}
	return state, true
}

// endRole ends a role's VMs, as oned does with those of a virtual router.
func (w *simulation) endRole(role string) {
	for id, vm := range w.facts {
		if vm.Role == role {
			vm.State, vm.LCMState = flow.VMDone, 0
			w.facts[id] = vm
		}
	}
}

// present is an action as it is shown: VMs that exist in the plan only by their names.
func (w *simulation) present(action flow.Action) planAction {
	shown := planAction{Do: action.Kind, Role: orDefault(orDefault(action.Role, action.Intent.Role), action.Router.Role), Call: action.Call, Name: action.Intent.Name, OnHold: action.Intent.Hold, Network: action.Network.Called}
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

// presentable leaves out the ids of VMs that exist in the plan only.
func presentable(changes []flow.Change) []flow.Change {
	shown := slices.Clone(changes)
	for i := range shown {
		if vm := shown[i].VM; vm != nil && *vm >= firstSimulated {
			shown[i].VM = nil
		}
	}
	return append([]flow.Change{}, shown...)
}

// readOnly is a session in which a dry run cannot change anything, whichever
// call it was asked for.
type readOnly struct{ session }

var errNoDryRun = &statusError{http.StatusBadRequest, "dry_run is for instantiate, scale, update, add_role, remove_role, release, recover and undeploy; this call has no plan"}

func (readOnly) AllocateDocument(context.Context, int, string, []byte) (int, error) {
	return 0, errNoDryRun
}
func (readOnly) UpdateDocument(context.Context, int, []byte) error { return errNoDryRun }
func (readOnly) DeleteDocument(context.Context, int) error         { return errNoDryRun }
func (readOnly) RenameDocument(context.Context, int, string) error { return errNoDryRun }
func (readOnly) ChmodDocument(context.Context, int, string) error  { return errNoDryRun }
func (readOnly) ChownRouter(context.Context, int, int, int) error  { return errNoDryRun }
func (readOnly) ChownVM(context.Context, int, int, int) error      { return errNoDryRun }
func (readOnly) UnscheduleAction(context.Context, int, int) error  { return errNoDryRun }
func (readOnly) DeleteVMTemplate(context.Context, int, bool) error { return errNoDryRun }
func (readOnly) CloneVMTemplate(context.Context, int, string, bool) (int, error) {
	return 0, errNoDryRun
}

func (readOnly) ScheduleAction(context.Context, int, string, string, time.Time) (int, error) {
	return 0, errNoDryRun
}

// ChownDocument lets the question pass whether the caller may MANAGE it.
func (r readOnly) ChownDocument(ctx context.Context, id, uid, gid int) error {
	if uid != -1 || gid != -1 {
		return errNoDryRun
	}
	return r.session.ChownDocument(ctx, id, uid, gid)
}
