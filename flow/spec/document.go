// Package spec has the documents that oned keeps for OneFlow: service templates and services, in the form in which OneFlow reads and writes
// them. Unknown attributes are kept.
package spec

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/flowjet/flowjet/flow/internal/raw"
	"github.com/flowjet/flowjet/flow/one"
)

// The names and numbers of oned and OneFlow.
const (
	DocumentTypeService         = 100        // of the documents of services
	DocumentTypeServiceTemplate = 101        // of the documents of service templates
	DeploymentStraight          = "straight" // the order of deployment in which a role waits for its parents
	RoleTypeVM                  = "vm"
	RoleTypeVR                  = "vr"
)

// Body is the JSON text in a document's TEMPLATE/BODY: a service template's, or, with State set, a service's. Unknown attributes are kept
// unchanged. The rules in its tags and in a role's are package template's, for single values.
type Body struct {
	Name              string          `json:"name" validate:"required,max=128,bytes,plain,bmp"`
	Deployment        string          `json:"deployment,omitempty" validate:"omitempty,oneof=none straight"`
	Roles             []Role          `json:"roles" validate:"present,max=1024"`
	ShutdownAction    string          `json:"shutdown_action,omitempty" validate:"omitempty,shutdown"`
	ReadyStatusGate   *bool           `json:"ready_status_gate,omitempty"`
	AutomaticDeletion *bool           `json:"automatic_deletion,omitempty"`
	OnHold            *bool           `json:"on_hold,omitempty"`
	UserInputs        json.RawMessage `json:"user_inputs,omitempty"`
	UserInputsValues  json.RawMessage `json:"user_inputs_values,omitempty"`
	Networks          json.RawMessage `json:"networks,omitempty"`
	NetworksValues    json.RawMessage `json:"networks_values,omitempty"`
	Description       *string         `json:"description,omitempty"`
	// RegistrationTime is in unix seconds; it cannot be changed.
	RegistrationTime int64 `json:"registration_time,omitempty"`
	// Deadlines limit how long the service may wait; OneFlow ignores them.
	Deadlines json.RawMessage `json:"deadlines,omitempty"`
	// State is nil in a template.
	State *ServiceState `json:"state,omitempty"`
	// StartTime is when the service was instantiated, in unix seconds.
	StartTime int64      `json:"start_time,omitempty"`
	Log       []LogEntry `json:"log,omitempty"`

	Extra map[string]json.RawMessage `json:",embed"`
}

// Role is one role of a Body.
type Role struct {
	Name               string          `json:"name" validate:"required,max=128,rolename"`
	Type               string          `json:"type,omitempty" validate:"required,oneof=vm vr"`
	Cardinality        int             `json:"cardinality" validate:"gte=0"`
	TemplateID         int             `json:"template_id" validate:"gte=0"`
	Parents            []string        `json:"parents,omitzero"`
	ShutdownAction     string          `json:"shutdown_action,omitempty" validate:"omitempty,shutdown"`
	MinVMs             *int            `json:"min_vms,omitempty" validate:"omitempty,gte=0"`
	MaxVMs             *int            `json:"max_vms,omitempty" validate:"omitempty,gte=0"`
	UserInputs         json.RawMessage `json:"user_inputs,omitempty"`
	UserInputsValues   json.RawMessage `json:"user_inputs_values,omitempty"`
	ElasticityPolicies json.RawMessage `json:"elasticity_policies,omitempty"`
	ScheduledPolicies  json.RawMessage `json:"scheduled_policies,omitempty"`
	// Heal says how the role's VMs in trouble are healed; OneFlow ignores it.
	Heal json.RawMessage `json:"heal,omitempty"`
	// Deadlines limit how long the role may wait; OneFlow ignores them.
	Deadlines json.RawMessage `json:"deadlines,omitempty"`
	// Victims names the order in which the role loses VMs; OneFlow ignores it.
	Victims json.RawMessage `json:"victims,omitempty"`
	// Cooldown is in seconds; nil means the configuration's.
	Cooldown *int `json:"cooldown,omitempty" validate:"omitempty,gte=0"`
	// State is nil in a template.
	State *RoleState `json:"state,omitempty"`
	// Nodes is nil until a worker has handled the service for the first time.
	Nodes            []Node          `json:"nodes,omitempty"`
	OnHold           *bool           `json:"on_hold,omitempty"`
	TemplateContents json.RawMessage `json:"template_contents,omitempty"`
	// LastVMName is the ordinal of the role's next VM; it never goes back. A virtual router's role keeps 0, as with OneFlow: see
	// State.Ordinals.
	LastVMName *int `json:"last_vmname,omitempty"`
	// VRouterID is the virtual router of a role of type vr, VRouterIPs are the addresses that its VMs share.
	VRouterID  *int            `json:"vrouter_id,omitempty"`
	VRouterIPs json.RawMessage `json:"vrouter_ips,omitempty"`
	// ScaleWay is set while the role scales.
	ScaleWay *ScaleWay `json:"scale_way,omitempty"`

	Extra map[string]json.RawMessage `json:",embed"`

	// old is set for a role in the form of OneFlow 6 or 5, in which it is written again.
	old *oldRole
}

// ScaleWay is the direction in which a role scales, as OneFlow writes it.
type ScaleWay int

// The two directions.
const (
	ScaleUp   ScaleWay = 0
	ScaleDown ScaleWay = 1
)

// Node is one VM of a role.
type Node struct {
	DeployID int      `json:"deploy_id"`
	VMInfo   NodeInfo `json:"vm_info"`

	Extra map[string]json.RawMessage `json:",embed"`
}

// NodeInfo is the part of a node that clients are shown of its VM.
type NodeInfo struct {
	VM NodeVM `json:"VM"`

	Extra map[string]json.RawMessage `json:",embed"`
}

// NodeVM carries oned's attributes as text, as OneFlow keeps them.
type NodeVM struct {
	ID    string `json:"ID"`
	UID   string `json:"UID"`
	GID   string `json:"GID"`
	UName string `json:"UNAME"`
	GName string `json:"GNAME"`
	Name  string `json:"NAME"`

	Extra map[string]json.RawMessage `json:",embed"`
}

// Started returns when the service was instantiated.
func (b Body) Started() time.Time { return time.Unix(b.StartTime, 0) }

// LastLogged returns when the newest line of the service's log was written.
func (b Body) LastLogged() time.Time {
	var last int64
	for _, entry := range b.Log {
		last = max(last, entry.Timestamp)
	}
	return time.Unix(last, 0)
}

// EachRole iterates over the roles, which may be changed.
func (b *Body) EachRole() iter.Seq[*Role] {
	return func(yield func(*Role) bool) {
		for i := range b.Roles {
			if !yield(&b.Roles[i]) {
				return
			}
		}
	}
}

// LogEntry is one line of a service's log.
type LogEntry struct {
	// Timestamp is in unix seconds.
	Timestamp int64  `json:"timestamp"`
	Severity  string `json:"severity"`
	Message   string `json:"message"`

	Extra map[string]json.RawMessage `json:",embed"`
}

// Service is a service: its document and its owner.
type Service struct {
	ID int `json:"id"`
	// Called is its document's name, if it was renamed: the body keeps the name that it began with.
	Called string       `json:"called,omitempty"`
	Owner  one.Identity `json:"owner"`
	// Former is the previous owner, until a while after the service was given away: its VMs are moved one by one.
	Former      *one.Identity `json:"former,omitempty"`
	FormerUntil time.Time     `json:"former_until,omitzero"`
	// Made are the nodes that have named the service in their own user templates. The record has them, and no document.
	Made VMs  `json:"made,omitempty"`
	Body Body `json:"body"`
}

// VMs is a set of VM ids, as ascending ranges of a first and a last id: a service's VMs are mostly numbered in a row.
type VMs [][2]int

// VMsOf returns the set of ids, which it sorts.
func VMsOf(ids []int) (set VMs) {
	slices.Sort(ids)
	for _, id := range ids {
		if last := len(set) - 1; last >= 0 && id <= set[last][1]+1 {
			set[last][1] = id
			continue
		}
		set = append(set, [2]int{id, id})
	}
	return set
}

// Has reports whether the set has the id.
func (v VMs) Has(id int) bool {
	at, found := slices.BinarySearchFunc(v, id, func(span [2]int, id int) int { return cmp.Compare(span[0], id) })
	return found || at > 0 && id <= v[at-1][1]
}

// formerFor is how long the VMs of a former owner are still the service's.
const formerFor = 10 * time.Minute

// OwnedBy returns the service with the owner that its document has.
func (s Service) OwnedBy(owner one.Identity, now time.Time) Service {
	if known := s.Owner; known.UName != "" && known.UID != owner.UID {
		s.Former, s.FormerUntil = &known, now.Add(formerFor)
	}
	if s.Former != nil && now.After(s.FormerUntil) {
		s.Former, s.FormerUntil = nil, time.Time{}
	}
	s.Owner = owner
	return s
}

// ParseBody parses a document's body. A missing deployment means none.
func ParseBody(text []byte) (Body, error) {
	var body Body
	if err := body.UnmarshalJSON(text); err != nil {
		return Body{}, fmt.Errorf("read the document's body: %w", err)
	}
	return body, nil
}

// Name returns the service's name, as its document has it.
func (s Service) Name() string { return cmp.Or(s.Called, s.Body.Name) }

// State returns the service's state; a document without one is PENDING.
func (s Service) State() ServiceState {
	if s.Body.State == nil {
		return ServicePending
	}
	return *s.Body.State
}

// Since returns when a service entered its state, by its log; the zero time if the log does not have it.
func Since(s Service) time.Time {
	for _, entry := range slices.Backward(s.Body.Log) {
		if entry.Message == StateLogged+s.State().String() {
			return time.Unix(entry.Timestamp, 0).UTC()
		}
	}
	return time.Time{}
}

// StateLogged is the beginning of a state's entry in the log; OneFlow writes the same.
const StateLogged = "New state: "

// Router returns the id of the role's virtual router, false if it has none.
func (s Service) Router(role string) (int, bool) {
	if held := s.Role(role); held != nil && held.VRouterID != nil {
		return *held.VRouterID, true
	}
	return 0, false
}

// Role returns the role with the name, nil if the service has none.
func (s Service) Role(name string) *Role {
	for role := range s.Body.EachRole() {
		if role.Name == name {
			return role
		}
	}
	return nil
}

// NoRole returns a text for people: the service has no role with the name, and these roles.
func (s Service) NoRole(name string) string {
	has := cmp.Or(raw.Listed(RoleNames(s.Body.Roles)), "none at all")
	return fmt.Sprintf("service %d has no role %q; it has %s", s.ID, name, has)
}

// RoleNodes returns the ids of a role's VMs, oldest first.
func (s Service) RoleNodes(name string) []int {
	role := s.Role(name)
	if role == nil {
		return nil
	}
	ids := VMIDs(*role)
	slices.Sort(ids)
	return ids
}

// VMIDs returns the ids of the roles' VMs.
func VMIDs(roles ...Role) (ids []int) {
	for _, role := range roles {
		for _, node := range role.Nodes {
			ids = append(ids, node.DeployID)
		}
	}
	return ids
}

// Unasked reports, by a service document's text and at a tenth of the cost of reading it, whether the service runs and time alone never
// makes it act: it has no policies and no role with a minimum. It is false if that is not sure.
func Unasked(body []byte) bool {
	var seen struct {
		State *ServiceState `json:"state"`
	}
	return Unscaled(body) && json.Unmarshal(body, &seen) == nil && seen.State != nil && *seen.State == ServiceRunning
}

// Unscaled reports, by a service document's text, whether it surely has neither policies nor a role with a minimum.
func Unscaled(body []byte) bool {
	hints := []string{"_policies", "min_vms", `\u`} // a name may be written with escapes
	return !slices.ContainsFunc(hints, func(hint string) bool { return bytes.Contains(body, []byte(hint)) })
}

// Logged returns a log with one more entry, and without its oldest if it has become too long.
func Logged(log []LogEntry, entry LogEntry) []LogEntry {
	log = append(log, entry)
	return log[max(0, len(log)-maxLog):]
}

const (
	// CommandAttribute names the command by which the API made a service, so that a repeated request finds it.
	CommandAttribute = "flowjet_command"
	// ExpandAttribute lets a body's or a role's template_contents refer to $SERVICE_ID, $SERVICE_NAME, $ROLE_NAME and $VM_NUMBER. OneFlow
	// ignores it and keeps it.
	ExpandAttribute = "expand"
	// maxLog is how many log entries a document keeps, as OneFlow does.
	maxLog = 50
)

// RoleNames returns the roles' names, in their order.
func RoleNames(roles []Role) []string {
	names := make([]string, len(roles))
	for i, role := range roles {
		names[i] = role.Name
	}
	return names
}

// NewNode returns the node for a VM.
func NewNode(vm one.VM) Node {
	shown := NodeVM{ID: strconv.Itoa(vm.ID), Name: vm.Name, UName: vm.Owner.UName, GName: vm.Owner.GName}
	shown.UID, shown.GID = strconv.Itoa(vm.Owner.UID), strconv.Itoa(vm.Owner.GID)
	return Node{DeployID: vm.ID, VMInfo: NodeInfo{VM: shown}}
}

// Show writes a VM's owner, which chown may have changed, into its node, and its name if the node was made without it.
func (n *Node) Show(vm one.VM) {
	shown := &n.VMInfo.VM
	shown.Name = cmp.Or(shown.Name, vm.Name)
	if vm.Owner.UName == "" || vm.Owner.GName == "" {
		return // the VM is only partly known
	}
	shown.UID, shown.GID = strconv.Itoa(vm.Owner.UID), strconv.Itoa(vm.Owner.GID)
	shown.UName, shown.GName = vm.Owner.UName, vm.Owner.GName
}

// Has reports whether the VM is one of the role's nodes.
func (r *Role) Has(vm int) bool {
	return slices.ContainsFunc(r.Nodes, func(node Node) bool { return node.DeployID == vm })
}

// BelowMinimum reports whether the role has lost VMs, or was forced to fewer, than its minimum.
func (r *Role) BelowMinimum() bool {
	return !r.IsRouter() && r.MinVMs != nil && r.Cardinality < *r.MinVMs
}

// Shrinking reports whether the role scales down, or failed to.
func (r *Role) Shrinking() bool { return r.ScaleWay != nil && *r.ScaleWay == ScaleDown }

// IsRouter reports whether the role's VMs belong to a virtual router.
func (r *Role) IsRouter() bool { return r.Type == RoleTypeVR }

// AwaitsRouter reports whether the role waits for its virtual router to be made or, at its end, deleted. Without VMs it needs none.
func (r *Role) AwaitsRouter() bool {
	made, ends := r.VRouterID != nil, r.CurrentState() == RoleUndeploying
	return r.IsRouter() && made == ends && (made || r.Cardinality > 0)
}

// CurrentState returns the role's state; a role without one is PENDING.
func (r *Role) CurrentState() RoleState {
	if r.State == nil {
		return RolePending
	}
	return *r.State
}

// Ownership. Flowjet acts with the rights of a server user, but documents, user templates of VMs and events can be written by others than
// the service's owner. So a VM is a service's only if it belongs to the service's owner and
//   - names the service and has the key of one of its intents, or
//   - is a node in its document, has no key, and names the service, as those that OneFlow made, or
//   - is a node whose user template its owner has replaced (`onevm update`), and the service's record has that it named the
//     service before, or only its own name still names the service.
//
// After a service was given to another owner the VMs of the former one remain its own for a while, for they are moved one by one.
//
// No other VM is adopted, acted on, waited for, measured, referred to or used in an explanation. The end of a VM counts whoever owned it.

// Owns reports whether the VM can be the service's; a VM without a key must be a node.
func (s Service) Owns(vm one.VM) bool {
	former := s.Former != nil && vm.Owner.UID == s.Former.UID
	if vm.Owner.UID != s.Owner.UID && !former {
		return false
	}
	switch {
	case vm.Service >= 0 && vm.Service != s.ID:
		return false
	case s.Made.Has(vm.ID):
		return true
	case vm.Service < 0:
		return vm.Key == "" && s.isNamedIn(vm.Name)
	}
	_, ours := KeyTime(vm.Key, s.ID)
	return ours || vm.Key == ""
}

// isNamedIn reports whether a VM's or router's name contains the service, as it does by default.
func (s Service) isNamedIn(name string) bool {
	return strings.Contains(name, "service_"+strconv.Itoa(s.ID)+")")
}

// OwnsRouter reports whether a virtual router is the service's: its owner's, with the key of one of its intents. A router that OneFlow made
// has no key: its VMs are the service's, or it is named for the service.
func (s Service) OwnsRouter(owner one.Identity, key, name string, vms []int, facts map[int]one.VM) bool {
	if owner.UID != s.Owner.UID {
		return false
	}
	if key != "" {
		_, ours := KeyTime(key, s.ID)
		return ours
	}
	for _, id := range vms {
		if vm, known := facts[id]; !known || !vm.Gone() && !s.Owns(vm) {
			return false
		}
	}
	return len(vms) > 0 || s.isNamedIn(name)
}

// KeyTime returns when an intent of the service was made, by its key. ok is false for a text that is no such key.
func KeyTime(key string, service int) (at time.Time, ok bool) {
	first, rest, found := strings.Cut(key, "-")
	last := strings.LastIndexByte(rest, '-')
	if !found || first != strconv.Itoa(service) || last <= 0 {
		return time.Time{}, false
	}
	micros, err := strconv.ParseInt(rest[last+1:], 36, 64)
	if err != nil || micros <= 0 {
		return time.Time{}, false
	}
	return time.UnixMicro(micros).UTC(), true
}

// IsOrphan reports whether the VM was made for a service that had already ended: its owner's, for an intent of the service from before its
// end. ended may be unknown.
func IsOrphan(vm one.VM, service int, owner one.Identity, ended time.Time) bool {
	made, ok := KeyTime(vm.Key, service)
	return ok && vm.Service == service && vm.Owner.UID == owner.UID && !vm.Ending() && (ended.IsZero() || !made.After(ended))
}
