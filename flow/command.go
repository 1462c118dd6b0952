package flow

import (
	"encoding/json"

	"github.com/flowjet/flowjet/flow/internal/raw"
	"github.com/flowjet/flowjet/flow/one"
)

// Verb is what a command asks of a service.
type Verb string

// The verbs that a worker carries out.
const (
	// VerbDeploy starts a service whose document is PENDING; arguments: none, or DeployArguments.
	VerbDeploy Verb = "deploy"
	// VerbUndeploy ends a service and removes its document.
	VerbUndeploy Verb = "undeploy"
	// VerbScale changes a role's cardinality; arguments: ScaleArguments.
	VerbScale Verb = "scale"
	// VerbRecover continues a failed or transient service; arguments: RecoverArguments.
	VerbRecover Verb = "recover"
	// VerbRelease lets VMs on hold start; arguments: ReleaseArguments.
	VerbRelease Verb = "release"
	// VerbAddRole adds a role to a running service and deploys it; arguments: AddRoleArguments.
	VerbAddRole Verb = "add_role"
	// VerbRemoveRole undeploys a role and removes it; arguments: RemoveRoleArguments.
	VerbRemoveRole Verb = "remove_role"
	// VerbUpdate changes the service's document; arguments: UpdateArguments.
	VerbUpdate Verb = "update"
)

// Command is a validated and authorised request of a user to change one service. It carries no secret.
type Command struct {
	ID        string          `json:"id"`
	Verb      Verb            `json:"verb"`
	Service   int             `json:"service"`
	User      one.Identity    `json:"user"`
	Arguments json.RawMessage `json:"arguments,omitempty"`
	// IfMatch are entity tags, of which the service's has to be one when the
	// command is carried out; "*" is any. None asks for nothing.
	IfMatch []string `json:"if_match,omitempty"`
	// Seen is the service's document as it was read just before; nil where it was not.
	Seen *SeenDocument `json:"seen,omitempty"`
}

// SeenDocument is what tells whether a document has been changed by somebody else.
type SeenDocument struct {
	// Digest is DigestOf its body, and Owner whose it is.
	Digest string       `json:"digest"`
	Owner  one.Identity `json:"owner"`
}

// DeployArguments are VerbDeploy's: the document as it was made, which spares the worker a read.
type DeployArguments struct {
	Owner one.Identity    `json:"owner"`
	Body  json.RawMessage `json:"body"`
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

// ReleaseArguments are VerbRelease's.
type ReleaseArguments struct {
	// Role is the role to release; empty means every role that is in HOLD.
	Role string `json:"role_name,omitempty"`
}

// AddRoleArguments are VerbAddRole's.
type AddRoleArguments struct {
	// Role is the role as in a service template.
	Role json.RawMessage `json:"role"`
}

// RemoveRoleArguments are VerbRemoveRole's.
type RemoveRoleArguments struct {
	Role string `json:"role_name"`
}

// UpdateArguments are VerbUpdate's.
type UpdateArguments struct {
	// Append sets the template's attributes and leaves the others; without it
	// the template takes the place of what the service has.
	Append bool `json:"append"`
	// Template is a JSON object in a service template's form.
	Template json.RawMessage `json:"template"`
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
	// RefusedChanged: the service is not any more what the client has seen.
	RefusedChanged RefusalKind = "changed"
	// RefusedFailed: the worker could not carry it out.
	RefusedFailed RefusalKind = "failed"
)

// Refusal is the error of a command that changes nothing.
type Refusal struct {
	Kind    RefusalKind
	Message string
}

// Error is the message for the person who asked.
func (r *Refusal) Error() string { return r.Message }

// SealedArguments are the arguments as they may be stored: parts of a template or a service are sealed.
func (c Command) SealedArguments(seal func([]byte) string) json.RawMessage {
	if c.Verb != VerbAddRole && c.Verb != VerbUpdate && c.Verb != VerbDeploy || raw.KindOf(c.Arguments) == raw.KindText || len(c.Arguments) == 0 {
		return c.Arguments
	}
	return raw.Marshal(seal(c.Arguments))
}

// OpenedArguments are the arguments that were sealed. The error is open's.
func (c Command) OpenedArguments(open func(string) ([]byte, error)) (json.RawMessage, error) {
	if raw.KindOf(c.Arguments) != raw.KindText {
		return c.Arguments, nil
	}
	return open(raw.Text(c.Arguments))
}
