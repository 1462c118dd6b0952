package flow

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/flowjet/flowjet/flow/spec"
)

// DeadlineRetry is the timer after which a call is made again that oned did not carry
// out.
const DeadlineRetry = "retry"

const (
	// firstRetry and longestRetry are how long a call waits before it is made again: twice
	// as long each time.
	firstRetry   = 250 * time.Millisecond
	longestRetry = 10 * time.Second
	// rarestRetry is how often a document is tried to be deleted that oned goes on keeping:
	// its service has nowhere else to go.
	rarestRetry = 5 * time.Minute
	// longestAttempt bounds what one attempt counts for: between two of them the worker or
	// oned may have been away.
	longestAttempt = time.Minute
)

// Retry is a call that oned has not carried out, for a reason that may pass.
type Retry struct {
	Kind ActionKind `json:"kind"`
	// Role is the role that the call is for, and Call what it does, in a few words.
	Role string `json:"role,omitempty"`
	Call string `json:"call"`
	// Since and Last are when it was refused first and last, Next is when it is made again.
	Since time.Time `json:"since"`
	Last  time.Time `json:"last"`
	Next  time.Time `json:"next"`
	// Attempts counts the refusals, and Spent is how long oned has refused it under one
	// leader while it answered otherwise. Term is the leader's at the last refusal.
	Attempts int           `json:"attempts"`
	Spent    time.Duration `json:"spent"`
	Term     int           `json:"term,omitempty"`
	// Message is oned's last.
	Message string `json:"message"`
}

// Name is what an action is called among a state's retries.
func (a Action) Name() string {
	switch a.Kind {
	case ActionCreateVM, ActionFindVM:
		return retryName(a.Kind, a.Intent.Key)
	case ActionVM, ActionRecoverVM:
		return requestName(a.Call, a.VM)
	case ActionCreateNetwork, ActionFindNetwork, ActionDeleteNetwork:
		return retryName(a.Kind, a.Network.Name)
	}
	return retryName(a.Kind, a.Role)
}

func retryName(kind ActionKind, of string) string { return string(kind) + " " + of }

func requestName(call string, vm int) string { return fmt.Sprintf("%s vm %d", call, vm) }

func (r retrier) postpone(action Action, message string) {
	vm, known := r.facts[action.VM]
	if (action.Kind == ActionVM || action.Kind == ActionRecoverVM) && known && (vm.Ending() || r.requester.between(vm)) {
		return // oned is at work on the VM: it is asked again when it has moved on, and by the next look at the latest
	}
	name := action.Name()
	retry, again := r.Retries[name]
	switch {
	case !again:
		retry = Retry{Kind: action.Kind, Role: action.Role, Call: action.describe(), Since: r.now}
	case retry.Term == r.Leader.Term: // a leader that loses its place refuses everything
		retry.Spent += min(r.now.Sub(retry.Last), longestAttempt)
	}
	retry.Attempts++
	retry.Last, retry.Message, retry.Term = r.now, message, r.Leader.Term
	r.doubtAction(action)
	pause := min(firstRetry<<min(retry.Attempts-1, 10), longestRetry)
	if retry.Spent >= cmp.Or(r.settings.RetryFor, defaultRetryFor) {
		if action.Kind != ActionDeleteDocument {
			delete(r.Retries, name)
			r.giveUp(action, fmt.Sprintf("%s (tried %d times since %s)", message, retry.Attempts, retry.Since.UTC().Format(time.RFC3339)))
			return
		}
		pause = rarestRetry
	}
	retry.Next = r.now.Add(pause)
	set(&r.Retries, name, retry)
}

// PassingRefusal reports whether a refusal of the action because of its VM's state is
// a reason to take it again: the VM may have left that state since. What was only to
// help the VM is not asked again.
func PassingRefusal(action Action) bool {
	asked := Asked{Action: action.Call}
	return !asked.helps() || action.Call == callRelease
}

// doubtAction notes that nobody knows whether the action was carried out.
func (r retrier) doubtAction(action Action) {
	switch action.Kind {
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
}

// giveUp fails what the action was for.
func (r retrier) giveUp(action Action, message string) {
	role, network := r.role(action.Role), r.networker.network(action.Network.Name)
	switch action.Kind {
	case ActionCreateVM:
		if at := slices.IndexFunc(r.Intents, func(i Intent) bool { return i.Key == action.Intent.Key }); at >= 0 {
			r.filler.refuseIntent(r.Intents[at], message)
		}
	case ActionFindVM:
		r.failToEnd(role, fmt.Sprintf("cannot check whether VM %s exists: %s", action.Intent.Name, message))
	case ActionVM, ActionRecoverVM:
		if vm, known := r.facts[action.VM]; known {
			r.requester.refuseVM(vm, message)
		}
	case ActionCreateNetwork:
		if network != nil && r.state() == spec.ServiceDeployingNets {
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
			r.deployer.failRole(role, spec.RoleFailedDeploying, "the virtual router could not be created: "+message)
		}
	case ActionFindRouter, ActionDeleteRouter:
		r.failToEnd(role, "the virtual router cannot be deleted: "+message)
	}
}

func (r retrier) failToEnd(role *spec.Role, reason string) {
	if role != nil && role.CurrentState() == spec.RoleUndeploying {
		r.deployer.failRole(role, spec.RoleFailedUndeploying, reason)
	}
}

// held reports whether an action that is wanted waits for its next attempt.
func (r retrier) held(name string) bool {
	set(&r.wanted, name, true)
	return r.now.Before(r.Retries[name].Next)
}

// creationHeld reports whether oned has just not made a VM of the role: the others wait
// with it.
func (r retrier) creationHeld(role *spec.Role) bool {
	for _, retry := range r.Retries {
		if retry.Kind == ActionCreateVM && retry.Role == role.Name && r.now.Before(retry.Next) {
			return true
		}
	}
	return false
}

// act adds an action unless it waits for its next attempt.
func (r retrier) act(action Action) {
	if !r.held(action.Name()) {
		r.actions = append(r.actions, action)
	}
}

// dropRetries forgets the retries of what is not wanted any more.
func (r retrier) dropRetries() {
	for vm, asked := range r.Asked {
		r.held(requestName(asked.Action, vm))
	}
	for name := range r.Retries {
		if !r.wanted[name] {
			delete(r.Retries, name)
		}
	}
}

// setRetryDeadline wakes the service when the next of its retries is due.
func (r retrier) setRetryDeadline() {
	delete(r.Deadlines, DeadlineRetry)
	var next []time.Time
	for _, retry := range r.Retries {
		if retry.Next.After(r.now) {
			next = append(next, retry.Next)
		}
	}
	if len(next) > 0 {
		r.setDeadline(DeadlineRetry, slices.MinFunc(next, time.Time.Compare))
	}
}
