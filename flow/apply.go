package flow

import (
	"encoding/json"
	"fmt"
	"time"
)

// apply changes the state as the command asks; what follows from it is left to
// the steps.
func (p *planner) apply(command Command) error {
	switch command.Verb {
	case VerbDeploy:
		return nil // a PENDING service is deployed because it is PENDING
	case VerbUndeploy:
		return p.applyUndeploy()
	case VerbScale:
		return applyWith(command, p.applyScale)
	case VerbRelease:
		return applyWith(command, p.applyRelease)
	case VerbAddRole:
		return applyWith(command, p.applyAddRole)
	case VerbRemoveRole:
		return applyWith(command, p.applyRemoveRole)
	case VerbUpdate:
		return applyWith(command, p.applyUpdate)
	case VerbRecover:
		return applyWith(command, func(arguments RecoverArguments) error {
			if arguments.Delete {
				return p.applyDelete()
			}
			return p.applyRecover()
		})
	}
	return refuse(RefusedInput, "service %d: %q is not a command that this worker knows", p.Service.ID, command.Verb)
}

// applyWith reads a command's arguments and carries it out with them.
func applyWith[T any](command Command, apply func(T) error) error {
	var arguments T
	if len(command.Arguments) > 0 {
		if err := json.Unmarshal(command.Arguments, &arguments); err != nil {
			return refuse(RefusedInput, "service %d: the arguments of %s cannot be read: %v", command.Service, command.Verb, err)
		}
	}
	return apply(arguments)
}

func refuse(kind RefusalKind, format string, arguments ...any) error {
	return &Refusal{Kind: kind, Message: fmt.Sprintf(format, arguments...)}
}

// applyUndeploy: as in OneFlow, a service that is on its way somewhere, or has
// failed, has to be recovered first; asking twice is fine.
func (p *planner) applyUndeploy() error {
	state := p.state()
	switch {
	case state == ServiceUndeploying && p.Removing != "":
		p.Removing = "" // from one role's end to the whole service's
		return nil
	case state == ServiceUndeploying || state == ServiceUndeployingNets || state == ServiceDone:
		return nil
	case state.Failed():
		return refuse(RefusedState, "service %d cannot be undeployed in %s: recover it first, or recover it with delete", p.Service.ID, state)
	case state.Waiting():
		return refuse(RefusedState, "service %d cannot be undeployed in %s: wait until it is RUNNING, or recover it with delete", p.Service.ID, state)
	}
	p.to(ServiceUndeploying)
	return nil
}

// applyDelete undeploys from any state.
func (p *planner) applyDelete() error {
	p.forgetAsked()
	p.forgetStays()
	p.Removing = ""
	switch p.state() {
	case ServiceDone:
	case ServiceUndeploying, ServiceUndeployingNets:
	default:
		p.to(ServiceUndeploying)
	}
	p.retryRoles(RoleFailedUndeploying, RoleUndeploying)
	return nil
}

func (p *planner) applyScale(arguments ScaleArguments) error {
	role := p.role(arguments.Role)
	if role == nil {
		return refuse(RefusedMissing, "%s", p.Service.NoRole(arguments.Role))
	}
	if err := p.mayScale(role, arguments); err != nil {
		return err
	}
	p.beginScale(role, arguments.Cardinality, "")
	p.to(ServiceScaling)
	return nil
}

// beginScale has the role scale; the service is to follow.
func (p *planner) beginScale(role *Role, cardinality int, reason string) {
	way, direction := ScaleUp, "up"
	if cardinality < role.Cardinality {
		way, direction = ScaleDown, "down"
	}
	p.log("I", fmt.Sprintf("Role %s scaling %s from %d to %d nodes", role.Name, direction, role.Cardinality, cardinality))
	role.Cardinality = cardinality
	role.ScaleWay = &way
	forgetTrueEvals(role)
	delete(p.PolicyCooldowns, role.Name)
	p.roleTo(role, RoleScaling, reason)
}

func (p *planner) mayScale(role *Role, arguments ScaleArguments) error {
	wanted, state := arguments.Cardinality, p.state()
	switch {
	case wanted < 0:
		return refuse(RefusedInput, "role %s cannot have %d VMs: the cardinality must be 0 or more", role.Name, wanted)
	case wanted > MaxVMs:
		return refuse(RefusedInput, "role %s cannot have %d VMs: at most %d are possible", role.Name, wanted, MaxVMs)
	case !state.CanBecome(ServiceScaling) || state.Failed():
		return refuse(RefusedState, "service %d cannot be scaled in %s: wait until it is RUNNING", p.Service.ID, state)
	case !role.state().CanBecome(RoleScaling) || role.state() == RoleFailedScaling:
		return refuse(RefusedState, "role %s cannot be scaled in %s", role.Name, role.state())
	case p.intended(role) > 0:
		return refuse(RefusedState, "role %s cannot be scaled while a VM of it is being replaced", role.Name)
	case role.isRouter():
		return refuse(RefusedState, "role %s is a virtual router, which cannot be scaled", role.Name)
	case wanted == role.Cardinality:
		return refuse(RefusedState, "role %s has %d VMs already", role.Name, wanted)
	case arguments.Force:
		return nil
	case role.MinVMs != nil && wanted < *role.MinVMs:
		return refuse(RefusedState, "role %s cannot be scaled to %d: its min_vms is %d (force overrides it)", role.Name, wanted, *role.MinVMs)
	case role.MaxVMs != nil && wanted > *role.MaxVMs:
		return refuse(RefusedState, "role %s cannot be scaled to %d: its max_vms is %d (force overrides it)", role.Name, wanted, *role.MaxVMs)
	}
	return nil
}

// applyRecover goes on from where the service stands.
func (p *planner) applyRecover() error {
	switch p.state() {
	case ServiceRunning, ServiceDone, ServiceHold:
		return refuse(RefusedState, "service %d is %s: there is nothing to recover", p.Service.ID, p.state())
	case ServiceCooldown:
		p.endCooldown()
		return nil
	}
	p.forgetAsked()
	p.forgetStays()
	p.Heals = nil
	p.retryVMs()
	p.retryDeploying()
	p.retryRoles(RoleFailedScaling, RoleScaling)
	p.retryRoles(RoleFailedUndeploying, RoleUndeploying)
	p.leaveFailure()
	return nil
}

// leaveFailure takes a failed service back to what it was doing.
func (p *planner) leaveFailure() {
	back := map[ServiceState]ServiceState{
		ServiceFailedDeploying:       ServiceDeploying,
		ServiceFailedScaling:         ServiceScaling,
		ServiceFailedUndeploying:     ServiceUndeploying,
		ServiceFailedDeployingNets:   ServiceDeployingNets,
		ServiceFailedUndeployingNets: ServiceUndeployingNets,
	}
	if next, failed := back[p.state()]; failed {
		p.to(next)
	}
}

func (p *planner) retryRoles(from, to RoleState) {
	for i := range p.roles() {
		if p.roles()[i].state() == from {
			p.roleTo(&p.roles()[i], to, "")
		}
	}
}

// retryVMs has oned retry what failed, and resumes what was powered off. A role
// that shrinks is left alone: its failed VMs are asked to end again.
func (p *planner) retryVMs() {
	if p.state() == ServiceUndeploying || p.state() == ServiceFailedUndeploying {
		return
	}
	for i := range p.roles() {
		role := &p.roles()[i]
		if role.shrinking() {
			continue
		}
		for _, node := range role.Nodes {
			vm := p.facts[node.DeployID]
			switch {
			case vm.Failed():
				p.ask(vm, callRetry, role.Name)
			case vm.State == VMPoweroff && role.state() == RoleWarning:
				p.ask(vm, "resume", role.Name)
			}
		}
	}
}

// forgetAsked lets every request be made again.
func (p *planner) forgetAsked() {
	p.Asked = nil
	p.forgetNetworksAsked()
	p.forgetRoutersAsked()
}

// RefuseIntent tells the state that oned refused to create a VM. The role fails
// as it would have for a failed VM; recovering it decides on a new one.
func RefuseIntent(state State, key, message string, facts Facts, now time.Time, settings Settings) Decision {
	p := newPlanner(state, facts, now, settings)
	for _, intent := range p.Intents {
		if intent.Key == key {
			p.refuseIntent(intent, message)
			break
		}
	}
	p.settle()
	return p.decision()
}

func (p *planner) refuseIntent(refused Intent, message string) {
	kept := p.Intents[:0]
	for _, intent := range p.Intents {
		sameRole := intent.Role == refused.Role
		if intent.Key != refused.Key && (!sameRole || intent.Attempts > 0) {
			kept = append(kept, intent)
		}
	}
	p.Intents = kept
	role := p.role(refused.Role)
	if role == nil {
		return
	}
	reason := fmt.Sprintf("VM %d could not be created from template %d: %s", refused.Ordinal, refused.TemplateID, message)
	switch role.state() {
	case RoleDeploying, RoleHold:
		p.failRole(role, RoleFailedDeploying, reason)
	case RoleScaling:
		p.failRole(role, RoleFailedScaling, reason)
	case RoleRunning, RoleWarning:
		p.delayReplacement(role, reason)
	}
}

// GiveUpIntent tells the state that no VM exists for an intent, and none will.
func GiveUpIntent(state State, key string, facts Facts, now time.Time, settings Settings) Decision {
	p := newPlanner(state, facts, now, settings)
	kept := p.Intents[:0]
	for _, intent := range p.Intents {
		if intent.Key != key {
			kept = append(kept, intent)
		}
	}
	p.Intents = kept
	p.settle()
	return p.decision()
}

// RefuseVM tells the state that oned refused a request to a VM although the VM,
// as the facts say, has not done what was asked.
func RefuseVM(state State, vm int, message string, facts Facts, now time.Time, settings Settings) Decision {
	p := newPlanner(state, facts, now, settings)
	if known, ok := facts[vm]; ok {
		p.refuseVM(known, message)
	}
	p.settle()
	return p.decision()
}

// refuseVM fails the role whose VM will not end. A VM that is between states is
// asked again when it has moved on; a request that was only meant to help is
// forgotten.
func (p *planner) refuseVM(vm VM, message string) {
	asked, pending := p.Asked[vm.ID]
	if asked.helps() {
		delete(p.Asked, vm.ID)
		if asked.Action == callRelease {
			p.failRelease(vm, message)
		}
		return
	}
	if pending {
		asked.Refused = false
		p.Asked[vm.ID] = asked
	}
	if vm.Ending() || p.between(vm) {
		return
	}
	for i := range p.roles() {
		role := &p.roles()[i]
		if !role.has(vm.ID) {
			continue
		}
		reason := fmt.Sprintf("VM %d does not end: %s", vm.ID, message)
		switch {
		case role.state() == RoleUndeploying:
			p.failRole(role, RoleFailedUndeploying, reason)
		case role.state() == RoleScaling && role.shrinking():
			p.failRole(role, RoleFailedScaling, reason)
		}
	}
	if p.state() == ServiceUndeploying && p.node(vm.ID) == nil {
		p.log("E", fmt.Sprintf("VM %d, which no role has a place for, does not end: %s", vm.ID, message))
		p.to(ServiceFailedUndeploying)
	}
}

// failRelease fails the role whose VM cannot be started.
func (p *planner) failRelease(vm VM, message string) {
	for i := range p.roles() {
		role := &p.roles()[i]
		if role.has(vm.ID) && role.state() == RoleDeploying && vm.State == VMHold {
			p.failRole(role, RoleFailedDeploying, fmt.Sprintf("VM %d is on hold and cannot be released: %s", vm.ID, message))
		}
	}
}

// between reports whether oned is at work on the VM.
func (p *planner) between(vm VM) bool {
	if vm.State == VMInit || vm.State == VMCloning {
		return true
	}
	return vm.State == VMActive && !vm.Running() && !vm.Failed() && !vm.Lost()
}

func (r *Role) has(vm int) bool {
	for _, node := range r.Nodes {
		if node.DeployID == vm {
			return true
		}
	}
	return false
}
