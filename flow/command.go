package flow

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/flowjet/flowjet/flow/internal/raw"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/render"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/flow/template"
)

// Verb is the kind of a command.
type Verb string

// The verbs that a worker carries out.
const (
	VerbDeploy     Verb = "deploy"      // start a service whose document is PENDING; arguments: none, or DeployArguments
	VerbUndeploy   Verb = "undeploy"    // end a service and remove its document; no arguments
	VerbScale      Verb = "scale"       // change a role's cardinality
	VerbRecover    Verb = "recover"     // continue a failed or transient service
	VerbRelease    Verb = "release"     // let VMs on hold start
	VerbAddRole    Verb = "add_role"    // add a role to a running service and deploy it
	VerbRemoveRole Verb = "remove_role" // undeploy a role and remove it
	VerbUpdate     Verb = "update"      // change the service's document
)

// Command is a validated and authorised request of a user to change one service. It carries no secret.
type Command struct {
	ID        string          `json:"id"`
	Verb      Verb            `json:"verb"`
	Service   int             `json:"service"`
	User      one.Identity    `json:"user"`
	Arguments json.RawMessage `json:"arguments,omitempty"`
	// IfMatch are entity tags, one of which must be the service's when the command is carried out; "*" matches any. An empty list is no
	// condition.
	IfMatch []string `json:"if_match,omitempty"`
	// Seen is the service's document as it was read just before; nil if it was not read.
	Seen *SeenDocument `json:"seen,omitempty"`
}

// SeenDocument identifies a document's version, to detect changes by others.
type SeenDocument struct {
	// Digest is DigestOf its body, and Owner is its owner.
	Digest string       `json:"digest"`
	Owner  one.Identity `json:"owner"`
}

// The arguments of the verbs.
type (
	// DeployArguments contain the new document, which spares the worker a read.
	DeployArguments struct {
		Owner one.Identity    `json:"owner"`
		Body  json.RawMessage `json:"body"`
	}
	// ScaleArguments are those of VerbScale; Force overrides min_vms and max_vms.
	ScaleArguments struct {
		Role        string `json:"role_name"`
		Cardinality int    `json:"cardinality"`
		Force       bool   `json:"force"`
	}
	// RecoverArguments are those of VerbRecover; Delete undeploys the service whatever state it is in.
	RecoverArguments struct {
		Delete bool `json:"delete"`
	}
	// ReleaseArguments are those of VerbRelease; no Role means every role that is in HOLD.
	ReleaseArguments struct {
		Role string `json:"role_name,omitempty"`
	}
	// AddRoleArguments are those of VerbAddRole; Role is as in a service template.
	AddRoleArguments struct {
		Role json.RawMessage `json:"role"`
	}
	// RemoveRoleArguments are those of VerbRemoveRole.
	RemoveRoleArguments struct {
		Role string `json:"role_name"`
	}
	// UpdateArguments are those of VerbUpdate; Template is a JSON object in a service template's form. Append sets its attributes and
	// leaves the others; without it the template replaces all that can be changed.
	UpdateArguments struct {
		Append   bool            `json:"append"`
		Template json.RawMessage `json:"template"`
	}
)

// RefusalKind says why a command was refused; the API turns it into a status.
type RefusalKind string

// The kinds of refusal.
const (
	RefusedState   RefusalKind = "state"   // the service's or role's state or limits do not allow it
	RefusedMissing RefusalKind = "missing" // something that the command names does not exist
	RefusedInput   RefusalKind = "input"   // the command does not make sense
	RefusedChanged RefusalKind = "changed" // the service has changed since the client read it
	RefusedFailed  RefusalKind = "failed"  // the worker could not carry it out
)

// Refusal is the error of a command that changes nothing.
type Refusal struct {
	Kind    RefusalKind
	Message string // for the user
}

// Error returns the message.
func (r *Refusal) Error() string { return r.Message }

// SealedArguments returns the arguments in the form to be stored: parts of a template or a service are sealed.
func (c Command) SealedArguments(seal func([]byte) string) json.RawMessage {
	if c.Verb != VerbAddRole && c.Verb != VerbUpdate && c.Verb != VerbDeploy || raw.KindOf(c.Arguments) == raw.KindText || len(c.Arguments) == 0 {
		return c.Arguments
	}
	return raw.Marshal(seal(c.Arguments))
}

// OpenedArguments returns the arguments that were sealed. The error is open's.
func (c Command) OpenedArguments(open func(string) ([]byte, error)) (json.RawMessage, error) {
	if raw.KindOf(c.Arguments) != raw.KindText {
		return c.Arguments, nil
	}
	return open(raw.Text(c.Arguments))
}

// apply changes the state as the command says; the steps do the rest.
func (a applier) apply(command Command) error {
	if a.LeftAlone != nil {
		if err := a.goOn(command); err != nil {
			return err
		}
	}
	switch command.Verb {
	case VerbDeploy:
		return nil // a PENDING service is deployed because it is PENDING
	case VerbUndeploy:
		return a.applyUndeploy()
	case VerbScale:
		return applyWith(command, a.applyScale)
	case VerbRelease:
		return applyWith(command, a.applyRelease)
	case VerbAddRole:
		return applyWith(command, a.applyAddRole)
	case VerbRemoveRole:
		return applyWith(command, a.applyRemoveRole)
	case VerbUpdate:
		return applyWith(command, a.applyUpdate)
	case VerbRecover:
		return applyWith(command, a.applyRecover)
	}
	return refuse(RefusedInput, "service %d: %q is not a command", a.Service.ID, command.Verb)
}

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

// applyUndeploy: as in OneFlow, a service that is on its way somewhere has to be
// recovered first; asking twice is fine. One that has failed is ended.
func (a applier) applyUndeploy() error {
	state := a.Service.State()
	switch {
	case state == spec.ServiceUndeploying && a.Removing != "":
		a.Removing = "" // no longer only one role ends
		return nil
	case state == spec.ServiceUndeploying || state == spec.ServiceUndeployingNets || state == spec.ServiceDone:
		return nil
	case state.Failed():
		return a.applyDelete()
	case state.Waiting() && state != spec.ServicePending:
		return refuse(RefusedState, "service %d cannot be undeployed in %s: wait until it is RUNNING, or recover it with delete", a.Service.ID, state)
	}
	a.to(spec.ServiceUndeploying)
	return nil
}

func (a applier) applyDelete() error {
	a.requester.forgetAsked()
	a.tracker.forgetStays()
	a.Removing = ""
	if state := a.Service.State(); state != spec.ServiceDone && state != spec.ServiceUndeploying && state != spec.ServiceUndeployingNets {
		a.to(spec.ServiceUndeploying)
	}
	a.retryRoles(spec.RoleFailedUndeploying, spec.RoleUndeploying)
	return nil
}

func (a applier) applyScale(arguments ScaleArguments) error {
	role := a.Service.Role(arguments.Role)
	if role == nil {
		return refuse(RefusedMissing, "%s", a.Service.NoRole(arguments.Role))
	}
	if err := a.scaler.mayScale(role, arguments); err != nil {
		return err
	}
	if a.scaler.mayScaleBack(role) {
		a.scaler.scaleBack(role, arguments.Cardinality)
		a.resume()
		return nil
	}
	a.scaler.beginScale(role, arguments.Cardinality, "")
	a.to(spec.ServiceScaling)
	return nil
}

func (a applier) applyRecover(arguments RecoverArguments) error {
	if arguments.Delete {
		return a.applyDelete()
	}
	switch a.Service.State() {
	case spec.ServiceRunning, spec.ServiceDone, spec.ServiceHold:
		if a.wasLeft {
			return nil
		}
		return refuse(RefusedState, "service %d is %s: there is nothing to recover", a.Service.ID, a.Service.State())
	case spec.ServiceCooldown:
		a.scaler.endCooldown()
	default:
		a.idle = !a.wasLeft && len(a.Waits)+len(a.Heals)+len(a.Refilled) == 0
		a.resume()
	}
	return nil
}

// nothingToRecover refuses a recover that leads to no call and no transition: its user would wait for nothing.
func (a applier) nothingToRecover() error {
	if !a.idle || len(a.actions)+len(a.changes) > 0 {
		return nil
	}
	var reasons []string
	explained := Explain(a.State, a.facts, a.now)
	for _, found := range slices.Concat(explained.Failed, explained.Waits) {
		reasons = append(reasons, found.Message)
	}
	return refuse(RefusedState, "service %d is %s and has nothing to recover: %s", a.Service.ID, a.Service.State(), strings.Join(shortened(reasons, maxReasons), "; "))
}

// resume retries everything that failed, and takes a failed service back to what it was doing.
func (a applier) resume() {
	a.requester.forgetAsked()
	a.tracker.forgetStays()
	a.Heals, a.Refilled, a.Retries = nil, nil, nil
	a.retryVMs()
	for role := range a.Service.Body.EachRole() {
		if role.CurrentState() != spec.RoleFailedDeploying {
			continue
		}
		next := spec.RoleDeploying
		if flag(role.OnHold) && !slices.Contains(a.Released, role.Name) {
			next = spec.RoleHold
		}
		a.roleTo(role, next, "")
		render.FillContents(&a.Service.Body, role) // they may have been corrected
		a.routing.nameRouter(role)
	}
	a.retryRoles(spec.RoleFailedScaling, spec.RoleScaling)
	a.retryRoles(spec.RoleFailedUndeploying, spec.RoleUndeploying)
	if tried, failed := triedBefore[a.Service.State()]; failed {
		a.to(tried)
	}
}

var triedBefore = map[spec.ServiceState]spec.ServiceState{
	spec.ServiceFailedDeploying: spec.ServiceDeploying, spec.ServiceFailedScaling: spec.ServiceScaling,
	spec.ServiceFailedUndeploying:   spec.ServiceUndeploying,
	spec.ServiceFailedDeployingNets: spec.ServiceDeployingNets, spec.ServiceFailedUndeployingNets: spec.ServiceUndeployingNets,
}

func (a applier) retryRoles(from, to spec.RoleState) {
	for role := range a.Service.Body.EachRole() {
		if role.CurrentState() == from {
			a.roleTo(role, to, "")
		}
	}
}

// retryVMs has oned retry failed VMs, and resume those in trouble and those for which a role waits, except those that a shrinking role is to
// lose.
func (a applier) retryVMs() {
	if a.Service.State() == spec.ServiceUndeploying || a.Service.State() == spec.ServiceFailedUndeploying {
		return
	}
	for role := range a.Service.Body.EachRole() {
		var leaving []spec.Node
		if role.Shrinking() {
			leaving = a.scaler.victims(role)
		}
		for _, node := range role.Nodes {
			vm := a.facts[node.DeployID]
			switch {
			case slices.ContainsFunc(leaving, func(n spec.Node) bool { return n.DeployID == vm.ID }):
			case vm.Failed():
				a.requester.ask(vm, callRetry, role.Name)
			case role.CurrentState() == spec.RoleRunning || !vm.Arrived() && !vm.Lost():
			case !a.deployer.come(role, vm), vm.Troubled() && role.CurrentState() == spec.RoleWarning:
				a.requester.ask(vm, "resume", role.Name)
			}
		}
	}
}

// applyRelease marks the roles to be released; the steps release them in order.
func (a applier) applyRelease(arguments ReleaseArguments) error {
	var names []string
	for role := range a.Service.Body.EachRole() {
		if role.CurrentState() == spec.RoleHold && (arguments.Role == "" || arguments.Role == role.Name) {
			names = append(names, role.Name)
		}
	}
	switch {
	case len(names) > 0:
	case arguments.Role == "":
		return refuse(RefusedState, "service %d is %s and has no roles in HOLD", a.Service.ID, a.Service.State())
	case a.Service.Role(arguments.Role) == nil:
		return refuse(RefusedMissing, "%s", a.Service.NoRole(arguments.Role))
	default:
		return refuse(RefusedState, "role %s is %s and not in HOLD", arguments.Role, a.Service.Role(arguments.Role).CurrentState())
	}
	for _, name := range names {
		if !slices.Contains(a.Released, name) {
			a.Released = append(a.Released, name)
		}
	}
	return nil
}

// applyAddRole adds a role to a running service; the steps deploy it.
func (a applier) applyAddRole(arguments AddRoleArguments) error {
	if state := a.Service.State(); state != spec.ServiceRunning {
		return refuse(RefusedState, "service %d is %s: roles can be added when it is RUNNING", a.Service.ID, state)
	}
	role, err := template.ReadRole(arguments.Role, a.Service.Body, a.now)
	if err != nil {
		return refuse(RefusedInput, "the role cannot be added to service %d: %v", a.Service.ID, err)
	}
	if a.Service.Role(role.Name) != nil {
		return refuse(RefusedState, "service %d already has a role %s", a.Service.ID, role.Name)
	}
	a.Service.Body.Roles = append(a.Service.Body.Roles, role)
	a.deployer.prepare()
	render.FillContents(&a.Service.Body, a.Service.Role(role.Name))
	a.routing.nameRouter(a.Service.Role(role.Name))
	a.to(spec.ServiceDeploying)
	return nil
}

// applyRemoveRole starts a role's end; once its VMs are DONE it is removed.
func (a applier) applyRemoveRole(arguments RemoveRoleArguments) error {
	role, state := a.Service.Role(arguments.Role), a.Service.State()
	switch {
	case role == nil:
		return refuse(RefusedMissing, "%s", a.Service.NoRole(arguments.Role))
	case !slices.Contains([]spec.ServiceState{spec.ServiceRunning, spec.ServiceWarning, spec.ServiceFailedDeploying, spec.ServiceFailedScaling}, state):
		return refuse(RefusedState, "service %d is %s: roles can be removed when it is RUNNING", a.Service.ID, state)
	case !role.CurrentState().CanBecome(spec.RoleUndeploying):
		return refuse(RefusedState, "role %s is %s already", role.Name, role.CurrentState())
	}
	a.Removing = role.Name
	a.undeployer.beginEnd(role)
	a.to(spec.ServiceUndeploying)
	return nil
}

func (a applier) applyUpdate(arguments UpdateArguments) error {
	body, err := template.Update(a.Service.Body, arguments.Template, arguments.Append)
	if err != nil {
		kind := RefusedInput
		if _, immutable := errors.AsType[*template.ImmutableError](err); immutable {
			kind = RefusedState
		}
		return refuse(kind, "service %d cannot be updated: %v", a.Service.ID, err)
	}
	a.Service.Body = body
	for role := range a.Service.Body.EachRole() {
		a.scaler.noticeSchedules(role) // times that pass before the service runs count
	}
	return nil
}

// checkBulk returns an error if the additions exceed one of the limits for all roles of a service together.
func checkBulk(body, before spec.Body) error {
	bulkOf := func(body spec.Body) [3]int {
		text, _ := body.Text() // an error is found when the body is stored
		vms, schedules := 0, 0
		for _, role := range body.Roles {
			vms += role.Cardinality
			if raw.KindOf(role.ScheduledPolicies) == raw.KindArray {
				schedules += raw.Count(role.ScheduledPolicies)
			}
		}
		return [3]int{vms, schedules, len(text)}
	}
	limits := [3]int{spec.MaxVMs, spec.MaxSchedules, spec.MaxBody}
	names := [3]string{"VMs in its roles together", "scheduled policies in its roles together", "bytes in its document"}
	was := bulkOf(before)
	for i, now := range bulkOf(body) {
		if now > limits[i] && now > was[i] {
			return refuse(RefusedInput, "the service would have %d %s; at most %d are possible", now, names[i], limits[i])
		}
	}
	return nil
}
