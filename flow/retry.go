package flow

import (
	"fmt"
	"maps"
	"slices"
	"time"
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

// Postpone tells the state that oned has not carried out an action, or that nobody
// knows whether it has, for a reason that may pass. The action is taken again after
// a while, for no longer than Settings.RetryFor; then it has failed for oned's last reason.
func Postpone(state State, action Action, message string, facts Facts, now time.Time, settings Settings) Decision {
	p := newPlanner(state, facts, now, settings)
	p.postpone(action, message)
	p.settle()
	return p.decision()
}

func (p *planner) postpone(action Action, message string) {
	if p.moving(action) {
		return
	}
	name := action.Name()
	retry, again := p.Retries[name]
	switch {
	case !again:
		retry = Retry{Kind: action.Kind, Role: action.Role, Call: action.describe(), Since: p.now}
	case retry.Term == p.Leader.Term: // a leader that loses its place refuses everything
		retry.Spent += min(p.now.Sub(retry.Last), longestAttempt)
	}
	retry.Attempts++
	retry.Last, retry.Message, retry.Term = p.now, message, p.Leader.Term
	p.doubtAction(action)
	pause := min(firstRetry<<min(retry.Attempts-1, 10), longestRetry)
	if retry.Spent >= p.settings.retryFor() {
		if action.Kind != ActionDeleteDocument {
			delete(p.Retries, name)
			p.giveUp(action, fmt.Sprintf("%s (tried %d times since %s)", message, retry.Attempts, retry.Since.UTC().Format(time.RFC3339)))
			return
		}
		pause = rarestRetry
	}
	retry.Next = p.now.Add(pause)
	if p.Retries == nil {
		p.Retries = map[string]Retry{}
	}
	p.Retries[name] = retry
}

// PassingRefusal reports whether a refusal of the action because of its VM's state is
// a reason to take it again: the VM may have left that state since. What was only to
// help the VM is not asked again.
func PassingRefusal(action Action) bool {
	asked := Asked{Action: action.Call}
	return !asked.helps() || action.Call == callRelease
}

// moving reports whether the action is a request to a VM that oned is at work on: it is
// asked again when the VM has moved on, and by the next look at the latest.
func (p *planner) moving(action Action) bool {
	vm, known := p.facts[action.VM]
	return (action.Kind == ActionVM || action.Kind == ActionRecoverVM) && known && (vm.Ending() || p.between(vm))
}

// doubtAction notes that nobody knows whether the action was carried out.
func (p *planner) doubtAction(action Action) {
	switch action.Kind {
	case ActionCreateVM:
		for i := range p.Intents {
			if p.Intents[i].Key == action.Intent.Key {
				p.Intents[i].Attempts++
			}
		}
	case ActionCreateRouter:
		p.router(action.Role).Attempts++
	case ActionDeleteRouter:
		p.router(action.Role).Asked = time.Time{}
	case ActionDeleteNetwork:
		if network := p.network(action.Network.Name); network != nil {
			network.Asked = time.Unix(0, 0)
		}
	case ActionVM, ActionRecoverVM:
		if asked, pending := p.Asked[action.VM]; pending {
			asked.Refused = true
			p.Asked[action.VM] = asked
		}
	}
}

// giveUp fails what the action was for.
func (p *planner) giveUp(action Action, message string) {
	role, network := p.role(action.Role), p.network(action.Network.Name)
	switch action.Kind {
	case ActionCreateVM:
		p.refuseIntent(action.Intent, message)
	case ActionFindVM:
		p.failToEnd(role, fmt.Sprintf("it cannot be found out whether VM %s exists: %s", action.Intent.Name, message))
	case ActionVM, ActionRecoverVM:
		if vm, known := p.facts[action.VM]; known {
			p.refuseVM(vm, message)
		}
	case ActionCreateNetwork:
		if network != nil && p.state() == ServiceDeployingNets {
			p.failNetworks(fmt.Sprintf("Network %s could not be made from %s %d: %s", network.Name, network.Source, network.From, message))
		}
	case ActionFindNetwork, ActionDeleteNetwork:
		if network != nil {
			p.refuseNetworkEnd(fmt.Sprintf("Network %s cannot be deleted: %s", network.Called, message))
		}
	case ActionCreateRouter:
		if role != nil && (role.state() == RoleDeploying || role.state() == RoleHold) {
			p.failRole(role, RoleFailedDeploying, "the virtual router could not be made: "+message)
		}
	case ActionFindRouter, ActionDeleteRouter:
		p.failToEnd(role, "the virtual router cannot be deleted: "+message)
	}
}

func (p *planner) failToEnd(role *Role, reason string) {
	if role != nil && role.state() == RoleUndeploying {
		p.failRole(role, RoleFailedUndeploying, reason)
	}
}

// held reports whether an action that is wanted waits for its next attempt.
func (p *planner) held(name string) bool {
	if p.wanted == nil {
		p.wanted = map[string]bool{}
	}
	p.wanted[name] = true
	return p.now.Before(p.Retries[name].Next)
}

// creationHeld reports whether oned has just not made a VM of the role: the others wait
// with it.
func (p *planner) creationHeld(role *Role) bool {
	for _, retry := range p.Retries {
		if retry.Kind == ActionCreateVM && retry.Role == role.Name && p.now.Before(retry.Next) {
			return true
		}
	}
	return false
}

// act adds an action unless it waits for its next attempt.
func (p *planner) act(action Action) {
	if !p.held(action.Name()) {
		p.actions = append(p.actions, action)
	}
}

// dropRetries forgets the retries of what is not wanted any more.
func (p *planner) dropRetries() {
	for vm, asked := range p.Asked {
		p.held(requestName(asked.Action, vm))
	}
	for name := range p.Retries {
		if !p.wanted[name] {
			delete(p.Retries, name)
		}
	}
}

// setRetryDeadline wakes the service when the next of its retries is due.
func (p *planner) setRetryDeadline() {
	delete(p.Deadlines, DeadlineRetry)
	var next []time.Time
	for _, retry := range p.Retries {
		if retry.Next.After(p.now) {
			next = append(next, retry.Next)
		}
	}
	if len(next) > 0 {
		p.setDeadline(DeadlineRetry, slices.MinFunc(next, time.Time.Compare))
	}
}

// explainRetries quotes oned on what it has not carried out.
func (e *explainer) explainRetries() {
	for _, name := range slices.Sorted(maps.Keys(e.Retries)) {
		retry := e.Retries[name]
		times := fmt.Sprintf("%d times since %s", retry.Attempts, retry.Since.UTC().Format(time.RFC3339))
		if retry.Attempts == 1 {
			times = "at " + retry.Since.UTC().Format(time.RFC3339)
		}
		e.wait(Trouble{Role: retry.Role, Message: fmt.Sprintf("oned did not %s (%s): %s; it is tried again at %s",
			retry.Call, times, retry.Message, retry.Next.UTC().Format(time.RFC3339))})
	}
}
