package flow

import "encoding/json"

// Verb is what a command asks of a service.
type Verb string

// The verbs that a worker carries out.
const (
	// VerbDeploy starts a service whose document is PENDING.
	VerbDeploy Verb = "deploy"
	// VerbUndeploy ends a service and removes its document.
	VerbUndeploy Verb = "undeploy"
	// VerbScale changes a role's cardinality; arguments: ScaleArguments.
	VerbScale Verb = "scale"
	// VerbRecover continues a failed or transient service; arguments: RecoverArguments.
	VerbRecover Verb = "recover"
)

// Command is a validated and authorised request to change one service. It
// names the user who asked, and carries no secret.
type Command struct {
	ID        string          `json:"id"`
	Verb      Verb            `json:"verb"`
	Service   int             `json:"service"`
	User      Identity        `json:"user"`
	Arguments json.RawMessage `json:"arguments,omitempty"`
}

// ScaleArguments are VerbScale's.
type ScaleArguments struct {
	Role        string `json:"role_name"`
	Cardinality int    `json:"cardinality"`
	// Force leaves min_vms and max_vms out of account.
	Force bool `json:"force"`
}

// RecoverArguments are VerbRecover's.
type RecoverArguments struct {
	// Delete undeploys the service whatever state it is in.
	Delete bool `json:"delete"`
}

// RefusalKind says why a command was refused; the API turns it into a status.
type RefusalKind string

// The kinds of refusal.
const (
	// RefusedState: the service's or role's state or limits do not allow it.
	RefusedState RefusalKind = "state"
	// RefusedMissing: what the command names does not exist.
	RefusedMissing RefusalKind = "missing"
	// RefusedInput: the command does not make sense.
	RefusedInput RefusalKind = "input"
)

// Refusal is the error of a command that changes nothing.
type Refusal struct {
	Kind    RefusalKind
	Message string
}

// Error is the message for the person who asked.
func (r *Refusal) Error() string { return r.Message }
