package flow

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
)

// callRelease is oned's action that lets a VM on hold start.
const callRelease = "release"

// Asked is a request to a VM.
type Asked struct {
	// Action is oned's name for the request ("terminate"), or "recover".
	Action string    `json:"action"`
	At     time.Time `json:"at"`
	// State and LCMState are the VM's at the time of the request.
	State    one.VMState  `json:"state"`
	LCMState one.LCMState `json:"lcm_state"`
	// Doubt is whether the request may not have been made: its worker stopped responding.
	Doubt bool `json:"doubt,omitempty"`
	// Refused is whether the request was not carried out, and is to be made again.
	Refused bool `json:"refused,omitempty"`
	// Denied is oned's message if it has refused the request for good, and other VMs are asked first.
	Denied string `json:"denied,omitempty"`
}

// maxDenied is after how many refused VMs the others are not asked to end either: oned then refuses probably all of them, as if the
// service's owner no longer exists.
const maxDenied = 16

func (a Asked) moved(vm one.VM) bool { return vm.State != a.State || vm.LCMState != a.LCMState }

// AskedToEnd reports whether the VM was asked to end.
func (s *State) AskedToEnd(vm int) bool {
	asked, pending := s.Asked[vm]
	return pending && !asked.helps()
}

// helps reports whether the VM was asked to run again, and not to end.
func (a Asked) helps() bool {
	return a.Action == callRetry || a.Action == "resume" || a.Action == callRelease
}

// ask adds a request to a VM to the actions, once: it is not repeated until its effect is seen, or it has had Settings.CheckInterval.
func (r requester) ask(vm one.VM, call, role string) {
	asked, pending := r.Asked[vm.ID]
	unanswered := asked.Refused || asked.moved(vm) || !r.now.Before(asked.At.Add(r.settings.CheckInterval))
	if pending && asked.Action == call && (!unanswered || !asked.moved(vm) && r.held(requestName(call, vm.ID))) {
		return
	}
	set(&r.Asked, vm.ID, Asked{Action: call, At: r.now, State: vm.State, LCMState: vm.LCMState})
	kind := ActionVM
	if call == callRetry || call == callDelete {
		kind = ActionRecoverVM
	}
	r.actions = append(r.actions, Action{Kind: kind, VM: vm.ID, Call: call, Role: role})
}

// settleAsked drops a request whose effect is seen, and after its time one that was only meant to help: the user may ask again. A request
// to help that may not have been made is repeated while the VM is in the same state. Otherwise a user whose recover was accepted would wait
// for nothing.
func (r requester) settleAsked(vm one.VM, asked Asked) {
	if unmade := asked.Doubt || asked.Refused && asked.helps(); unmade && !asked.moved(vm) {
		if !r.held(requestName(asked.Action, vm.ID)) {
			delete(r.Asked, vm.ID)
			r.ask(vm, asked.Action, vm.Role)
		}
		return
	}
	helped := !vm.Troubled()
	if asked.Action == callRelease {
		helped = vm.State != one.VMHold
	}
	if vm.Gone() || asked.helps() && (helped || !r.now.Before(asked.At.Add(r.settings.CheckInterval))) {
		delete(r.Asked, vm.ID)
	}
}

// refuseVM fails the role whose VM will not end, or cannot be released. A VM between states is asked again when it has moved on; any other
// request that was only meant to help is dropped.
func (r requester) refuseVM(vm one.VM, message string) {
	asked, pending := r.Asked[vm.ID]
	helps := asked.helps()
	switch {
	case helps:
		delete(r.Asked, vm.ID)
	case pending:
		asked.Refused = false
		r.Asked[vm.ID] = asked
	}
	if helps && asked.Action != callRelease || !helps && (vm.Ending() || r.between(vm)) {
		return
	}
	if !helps && pending && r.askOthersToEnd() {
		asked.Denied = message
		r.Asked[vm.ID] = asked
		return
	}
	for role := range r.Service.Body.EachRole() {
		if !role.Has(vm.ID) {
			continue
		}
		switch state := role.CurrentState(); {
		case helps && state == spec.RoleDeploying && vm.State == one.VMHold:
			r.failRole(role, fmt.Sprintf("VM %d is on hold and cannot be released: %s", vm.ID, message))
		case helps:
		case state == spec.RoleUndeploying, state == spec.RoleScaling && role.Shrinking():
			r.failRole(role, fmt.Sprintf("VM %d does not end: %s", vm.ID, message))
		}
	}
	if !helps && r.Service.State() == spec.ServiceUndeploying && !r.isNode(vm.ID) {
		r.log("E", "VM %d, which no role needs, does not end: %s", vm.ID, message)
		r.to(spec.ServiceFailedUndeploying)
	}
}

// askOthersToEnd makes the requests again that were left out because of a refusal before them, and reports whether there are any: one VM
// that does not end, as a locked one, leaves no others running. Its role fails when all have been asked.
func (r requester) askOthersToEnd() bool {
	denied, before := 0, len(r.actions)
	for _, asked := range r.Asked {
		if asked.Denied != "" {
			denied++
		}
	}
	if denied >= maxDenied {
		return false
	}
	for role := range r.Service.Body.EachRole() {
		first := len(r.actions)
		for _, node := range role.Nodes {
			asked := r.Asked[node.DeployID]
			if vm, known := r.facts[node.DeployID]; known && asked.Refused && !asked.helps() && !vm.Ending() {
				r.ask(vm, asked.Action, role.Name)
			}
		}
		for i := range r.actions[first:] {
			r.actions[first+i].Scaling = role.CurrentState() == spec.RoleScaling
		}
	}
	return len(r.actions) > before
}

// between reports whether oned is working on the VM.
func (r requester) between(vm one.VM) bool {
	return vm.State == one.VMInit || vm.State == one.VMCloning || !vm.Decisive()
}

// forgetAsked lets every request be made again, and every deletion.
func (r requester) forgetAsked() {
	r.Asked = nil
	for i := range r.Networks {
		if !r.Networks[i].Asked.IsZero() {
			r.Networks[i].Asked = time.Unix(0, 0)
		}
	}
	for i := range r.Routers {
		r.Routers[i].Asked = time.Time{}
	}
}

// DeadlineRetry is the timer after which a call that oned did not carry out is retried.
const DeadlineRetry = "retry"

const (
	// firstRetry and longestRetry are the pauses before a retry: twice as long each time.
	firstRetry   = 250 * time.Millisecond
	longestRetry = 10 * time.Second
	// rarestRetry is the pause between attempts to delete a document that oned keeps refusing to delete: its service has nowhere else to
	// go.
	rarestRetry = 5 * time.Minute
	// longestAttempt bounds how much time one attempt counts for: between two of them the worker or oned may have been away.
	longestAttempt = time.Minute
)

// Retry is a call that oned has not carried out, for a reason that may pass.
type Retry struct {
	Kind ActionKind `json:"kind"`
	// Role is the role that the call is for, and Call describes it in a few words.
	Role string `json:"role,omitempty"`
	Call string `json:"call"`
	// Since and Last are when it was first and last refused, Next is when it is retried.
	Since time.Time `json:"since"`
	Last  time.Time `json:"last"`
	Next  time.Time `json:"next"`
	// Attempts counts the refusals, and Spent is how long oned has refused it under one leader while it answered other calls. Term is the
	// leader's at the last refusal.
	Attempts int           `json:"attempts"`
	Spent    time.Duration `json:"spent"`
	Term     int           `json:"term,omitempty"`
	// Message is oned's last message.
	Message string `json:"message"`
}

// Name returns an action's key in State.Retries.
func (a Action) Name() string {
	of := a.Role
	switch a.Kind {
	case ActionVM, ActionRecoverVM:
		return requestName(a.Call, a.VM)
	case ActionCreateVM, ActionFindVM:
		of = a.Intent.Key
	case ActionCreateNetwork, ActionFindNetwork, ActionDeleteNetwork:
		of = a.Network.Name
	}
	return string(a.Kind) + " " + of
}

func requestName(call string, vm int) string { return fmt.Sprintf("%s vm %d", call, vm) }

func (r requester) postpone(action Action, message string) {
	vm, known := r.facts[action.VM]
	if (action.Kind == ActionVM || action.Kind == ActionRecoverVM) && known && (vm.Ending() || r.between(vm)) {
		return // oned is working on the VM: it is asked again when it has moved on, and by the next check at the latest
	}
	name := action.Name()
	retry, again := r.Retries[name]
	switch {
	case !again:
		retry = Retry{Kind: action.Kind, Role: action.Role, Call: action.describe(), Since: r.now}
	case retry.Term == r.Leader.Term: // a leader that is losing its role refuses everything
		retry.Spent += min(r.now.Sub(retry.Last), longestAttempt)
	}
	retry.Attempts++
	retry.Last, retry.Message, retry.Term = r.now, message, r.Leader.Term
	switch action.Kind { // it may have been carried out
	case ActionCreateVM:
		for i := range r.Intents {
			if r.Intents[i].Key == action.Intent.Key {
				r.Intents[i].Attempts++
			}
		}
	case ActionCreateRouter:
		r.routing.router(action.Role).Attempts++
	case ActionDeleteRouter:
		r.routing.router(action.Role).Asked = time.Time{}
	case ActionDeleteNetwork:
		if network := r.networker.network(action.Network.Name); network != nil {
			network.Asked = time.Unix(0, 0)
		}
	case ActionVM, ActionRecoverVM:
		if asked, pending := r.Asked[action.VM]; pending {
			asked.Refused = true
			r.Asked[action.VM] = asked
		}
	}
	pause := min(firstRetry<<min(retry.Attempts-1, 10), longestRetry)
	if retry.Spent >= cmp.Or(r.settings.RetryFor, defaultRetryFor) {
		if action.Kind != ActionDeleteDocument {
			delete(r.Retries, name)
			r.giveUp(action, fmt.Sprintf("%s (tried %d times since %s)", message, retry.Attempts, utc(retry.Since)))
			return
		}
		pause = rarestRetry
	}
	retry.Next = r.now.Add(pause)
	set(&r.Retries, name, retry)
}

// PassingRefusal reports whether an action that is refused because of its VM's state should be retried: the VM may have left that state
// since. A request that was only to help the VM is not repeated.
func PassingRefusal(action Action) bool {
	return action.Call == callRelease || !Asked{Action: action.Call}.helps()
}

func (r requester) giveUp(action Action, message string) {
	role, network := r.Service.Role(action.Role), r.networker.network(action.Network.Name)
	switch action.Kind {
	case ActionCreateVM:
		if at := slices.IndexFunc(r.Intents, func(i Intent) bool { return i.Key == action.Intent.Key }); at >= 0 {
			r.inventory.refuseIntent(r.Intents[at], message)
		}
	case ActionVM, ActionRecoverVM:
		if vm, known := r.facts[action.VM]; known {
			r.refuseVM(vm, message)
		}
	case ActionCreateNetwork:
		if network != nil && r.Service.State() == spec.ServiceDeployingNets {
			r.networker.failNetworks(fmt.Sprintf("Network %s could not be created from %s %d: %s", network.Name, network.Source, network.From, message))
		}
	case ActionFindNetwork:
		if network != nil {
			r.networker.refuseNetworkEnd(fmt.Sprintf("Network %s cannot be found: %s", network.Called, message))
		}
	case ActionDeleteNetwork:
		if network != nil && network.ID != noNetwork {
			r.networker.refuseNetworkEnd(fmt.Sprintf("Network %s (%d) cannot be deleted: %s", network.Name, network.ID, message))
		}
	case ActionCreateRouter:
		if role != nil && (role.CurrentState() == spec.RoleDeploying || role.CurrentState() == spec.RoleHold) {
			r.failRole(role, "the virtual router could not be created: "+message)
		}
	case ActionFindVM, ActionFindRouter, ActionDeleteRouter:
		reason := "the virtual router cannot be deleted: " + message
		if action.Kind == ActionFindVM {
			reason = fmt.Sprintf("cannot check whether VM %s exists: %s", action.Intent.Name, message)
		}
		if role != nil && role.CurrentState() == spec.RoleUndeploying {
			r.failRole(role, reason)
		}
	}
}

// held reports whether a wanted action waits for its next attempt.
func (r requester) held(name string) bool {
	set(&r.wanted, name, true)
	return r.now.Before(r.Retries[name].Next)
}

// act adds an action once, unless it waits for its next attempt.
func (r requester) act(action Action) {
	if key := string(action.Kind) + action.Name(); !r.planned[key] && !r.held(action.Name()) {
		set(&r.planned, key, true)
		r.actions = append(r.actions, action)
	}
}
