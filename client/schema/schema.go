// Package schema has the answers below /flowjet/v1 about services and service templates, as the API writes them and its
// clients read them.
package schema

import (
	"time"

	"github.com/flowjet/flowjet/flow"
)

// Row is a service in a list.
type Row struct {
	ID        int    `json:"id"`
	Name      string `json:"name"`
	Owner     string `json:"owner"`
	Group     string `json:"group"`
	State     string `json:"state"`
	RoleCount int    `json:"role_count"`
	// Wanted is how many VMs the roles should have, Running how many run; Running is left out if that is not known.
	Wanted  int       `json:"wanted"`
	Running *int      `json:"running,omitempty"`
	Started time.Time `json:"started,omitzero"`
}

// Service is one service with all details.
type Service struct {
	Row
	// Permissions are in the form of `chmod`: 640.
	Permissions string    `json:"permissions"`
	Description string    `json:"description,omitempty"`
	Deployment  string    `json:"deployment"`
	Roles       []Role    `json:"roles"`
	Networks    []Network `json:"networks"`
	Inputs      []Input   `json:"inputs"`
	// Log has the newest entry first.
	Log []Entry `json:"log"`
	// Allowed are the actions that the user may take now.
	Allowed Allowed `json:"allowed"`
}

// Allowed are changes that the user may make and that the service's state permits.
type Allowed struct {
	// Scale are the roles that can be scaled.
	Scale    []string `json:"scale"`
	Recover  bool     `json:"recover"`
	Release  bool     `json:"release"`
	Undeploy bool     `json:"undeploy"`
	// Delete is true if recover with delete would undeploy it.
	Delete bool `json:"delete"`
	// Chown is true if the user may give the service to another user or group.
	Chown bool `json:"chown"`
}

// Role is a role with its VMs.
type Role struct {
	Name     string   `json:"name"`
	Type     string   `json:"type"`
	State    string   `json:"state"`
	Wanted   int      `json:"wanted"`
	Running  int      `json:"running"`
	Min      *int     `json:"min_vms,omitempty"`
	Max      *int     `json:"max_vms,omitempty"`
	Cooldown *int     `json:"cooldown,omitempty"`
	Template int      `json:"template_id"`
	Parents  []string `json:"parents"`
	VMs      []VM     `json:"vms"`
	Policies []Policy `json:"policies"`
	Inputs   []Input  `json:"inputs"`
	// Heal is the rule by which failed VMs are healed, and Healed how many were within the last hour, if the user may
	// manage the service.
	Heal   string `json:"heal,omitempty"`
	Healed int    `json:"healed,omitempty"`
}

// VMActions are the actions that can be scheduled on a service's VMs.
var VMActions = []string{
	"terminate", "terminate-hard", "undeploy", "undeploy-hard", "hold", "stop", "suspend", "resume",
	"reboot", "reboot-hard", "poweroff", "poweroff-hard", "snapshot-create", "snapshot-revert", "snapshot-delete",
	"disk-snapshot-create", "disk-snapshot-revert", "disk-snapshot-delete",
}

// VM is a VM of a role.
type VM struct {
	ID    int    `json:"id"`
	Name  string `json:"name"`
	State string `json:"state"`
	// Kind is running, working, waiting, warning, failed or done.
	Kind    string    `json:"kind"`
	Host    string    `json:"host,omitempty"`
	IPs     []string  `json:"ips,omitempty"`
	Started time.Time `json:"started,omitzero"`
	Error   string    `json:"error,omitempty"`
}

// Policy is an elasticity or a scheduled policy, with its last evaluation.
type Policy struct {
	// When is the expression, the time or the recurrence.
	When   string `json:"when"`
	Type   string `json:"type"`
	Adjust string `json:"adjust"`
	// Evaluated is the expression with its values at Last, and True how many times in a row it was true, of Needed.
	Evaluated string    `json:"evaluated,omitempty"`
	Last      time.Time `json:"last,omitzero"`
	True      int       `json:"true,omitempty"`
	Needed    int       `json:"needed,omitempty"`
}

// Entry is an entry of the service's log.
type Entry struct {
	Time     time.Time `json:"time"`
	Severity string    `json:"severity"`
	Message  string    `json:"message"`
}

// Template is a service template with its form for instantiation.
type Template struct {
	ID          int            `json:"id"`
	Name        string         `json:"name"`
	Owner       string         `json:"owner"`
	Group       string         `json:"group"`
	Description string         `json:"description,omitempty"`
	Inputs      []Input        `json:"inputs"`
	Networks    []Network      `json:"networks"`
	Roles       []TemplateRole `json:"roles"`
}

// TemplateRole is a role of a template.
type TemplateRole struct {
	Name        string   `json:"name"`
	Cardinality int      `json:"cardinality"`
	Min         *int     `json:"min_vms,omitempty"`
	Max         *int     `json:"max_vms,omitempty"`
	Parents     []string `json:"parents"`
	Inputs      []Input  `json:"inputs"`
}

// Input is a user input, as a form asks for it.
type Input struct {
	Name        string `json:"name"`
	Description string `json:"description"`
	// Type is OpenNebula's: text, text64, password, number, number-float, range,
	// range-float, boolean, list, list-multiple, fixed.
	Type      string `json:"type"`
	Mandatory bool   `json:"mandatory"`
	// Options are those of a list, or the two ends of a range.
	Options []string `json:"options,omitempty"`
	// Default is what the template proposes. Passwords are left out.
	Default string `json:"default,omitempty"`
	// Value is the service's, if it may be shown; Set is true if there is one.
	Value string `json:"value,omitempty"`
	Set   bool   `json:"set"`
}

// Network is a network of a service or template.
type Network struct {
	Name        string `json:"name"`
	Description string `json:"description,omitempty"`
	Mandatory   bool   `json:"mandatory"`
	// From is id, template_id or reserve_from, and Of the id with it.
	From string `json:"from,omitempty"`
	Of   string `json:"of,omitempty"`
	// ID is the network that the service has.
	ID string `json:"id,omitempty"`
}

// Plan has the steps of a command, in order, if everything goes well.
type Plan struct {
	Verb flow.Verb `json:"verb"`
	// Service is 0 for a service that does not exist yet.
	Service int        `json:"service"`
	Steps   []PlanStep `json:"steps"`
	// EndsIn is the service's state after the last step.
	EndsIn string `json:"ends_in"`
	// Complete is true if nothing can follow; otherwise the next steps depend on the outcome of the last one, or are too
	// many to be planned.
	Complete bool `json:"complete"`
}

// PlanStep has actions that happen at once. It begins when WaitsFor has come true.
type PlanStep struct {
	WaitsFor string        `json:"waits_for,omitempty"`
	Changes  []flow.Change `json:"changes"`
	Actions  []PlanAction  `json:"actions"`
}

// PlanAction is one call to oned.
type PlanAction struct {
	Do       flow.ActionKind `json:"do"`
	Role     string          `json:"role,omitempty"`
	VM       int             `json:"vm,omitempty"`
	Call     string          `json:"call,omitempty"`
	Name     string          `json:"name,omitempty"`
	Template *int            `json:"template_id,omitempty"`
	OnHold   bool            `json:"on_hold,omitempty"`
	Network  string          `json:"network,omitempty"`
}
