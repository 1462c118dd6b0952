package view

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/flowjet/flowjet/client/schema"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/policy"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/restapi/internal/layout"
)

// Service is all that is shown of one service.
type Service struct {
	Row
	// Permissions are as `chmod` takes them: 640.
	Permissions string           `json:"permissions"`
	Description string           `json:"description,omitempty"`
	Deployment  string           `json:"deployment"`
	Roles       []schema.Role    `json:"roles"`
	Graph       Graph            `json:"graph"`
	Networks    []schema.Network `json:"networks"`
	Inputs      []schema.Input   `json:"inputs"`
	Log         []schema.Entry   `json:"log"`
	// VMLink is the address of a VM elsewhere, with {id} in the place of its number.
	VMLink string `json:"vm_link,omitempty"`
	// Allowed are what the user may do now.
	Allowed schema.Allowed `json:"allowed"`
}

// Graph is the drawing of the roles, whose boxes are in the order of the roles.
type Graph struct {
	layout.Drawing
	BoxWidth  float64 `json:"box_width"`
	BoxHeight float64 `json:"box_height"`
}

// Whole shows a service with its VMs, and its graph with so many roles in a row.
func Whole(row Row, body spec.Body, vms map[int]opennebula.VMDetails, columns int) Service {
	shown := Service{
		Row: row, Deployment: body.Deployment, Roles: []schema.Role{}, Log: []schema.Entry{}, Allowed: schema.Allowed{Scale: []string{}},
		Networks: networks(body.Networks, body.NetworksValues), Inputs: inputs(body.UserInputs, body.UserInputsValues),
	}
	if shown.Deployment == "" {
		shown.Deployment = "none"
	}
	if body.Description != nil {
		shown.Description = *body.Description
	}
	running := 0
	for _, role := range body.Roles {
		made := ofRole(role, vms)
		running += made.Running
		shown.Roles = append(shown.Roles, made)
	}
	shown.Running = &running
	for _, entry := range slices.Backward(body.Log) {
		shown.Log = append(shown.Log, schema.Entry{Time: time.Unix(entry.Timestamp, 0).UTC(), Severity: entry.Severity, Message: entry.Message})
	}
	shown.Graph = Graph{layout.Arrange(len(body.Roles), edges(body), columns), layout.BoxWidth, layout.BoxHeight}
	return shown
}

// edges are the roles that wait for others, parents first; none unless parents count.
func edges(body spec.Body) [][2]int {
	var found [][2]int
	if body.Deployment != "straight" {
		return nil
	}
	at := map[string]int{}
	for i, role := range body.Roles {
		at[role.Name] = i
	}
	for i, role := range body.Roles {
		for _, parent := range role.Parents {
			if from, known := at[parent]; known {
				found = append(found, [2]int{from, i})
			}
		}
	}
	return found
}

func ofRole(role spec.Role, vms map[int]opennebula.VMDetails) schema.Role {
	made := schema.Role{
		Name: role.Name, Type: role.Type, State: spec.RolePending.String(), Wanted: role.Cardinality, Min: role.MinVMs, Max: role.MaxVMs,
		Cooldown: role.Cooldown, Template: role.TemplateID, Parents: append([]string{}, role.Parents...), VMs: []schema.VM{},
		Policies: append(elasticity(role.ElasticityPolicies), scheduled(role.ScheduledPolicies)...), Inputs: inputs(role.UserInputs, role.UserInputsValues),
		Heal: policy.HealText(&role),
	}
	if role.State != nil {
		made.State = role.State.String()
	}
	for _, node := range role.Nodes {
		vm, known := vms[node.DeployID]
		shown := schema.VM{ID: node.DeployID, Name: node.VMInfo.VM.Name, State: "GONE", Kind: "done"}
		if known {
			shown = ofVM(vm)
		}
		if vm.Running() {
			made.Running++
		}
		made.VMs = append(made.VMs, shown)
	}
	return made
}

func ofVM(vm opennebula.VMDetails) schema.VM {
	shown := schema.VM{ID: vm.ID, Name: vm.Name, State: vm.State.String(), Kind: "working", Host: vm.Host, IPs: vm.IPs, Started: vm.Started, Error: vm.Error}
	if vm.State == one.VMActive {
		shown.State = vm.LCMState.String()
	}
	switch {
	case vm.Running():
		shown.Kind = "running"
	case vm.Failed():
		shown.Kind = "failed"
	case vm.Troubled():
		shown.Kind = "warning"
	case vm.Gone():
		shown.Kind = "done"
	}
	return shown
}

func elasticity(text json.RawMessage) []schema.Policy {
	var given []struct {
		Type         string `json:"type"`
		Adjust       any    `json:"adjust"`
		Expression   string `json:"expression"`
		PeriodNumber any    `json:"period_number"`
		LastEval     any    `json:"last_eval"`
		TrueEvals    any    `json:"true_evals"`
		Evaluated    string `json:"expression_evaluated"`
	}
	_ = json.Unmarshal(text, &given) // policies that cannot be read are none
	policies := []schema.Policy{}
	for _, p := range given {
		policies = append(policies, schema.Policy{
			When: p.Expression, Type: p.Type, Adjust: scalar(p.Adjust), Evaluated: p.Evaluated,
			Last: seconds(p.LastEval), True: int(number(p.TrueEvals)), Needed: max(1, int(number(p.PeriodNumber))),
		})
	}
	return policies
}

func scheduled(text json.RawMessage) []schema.Policy {
	var given []struct {
		Type       string `json:"type"`
		Adjust     any    `json:"adjust"`
		StartTime  any    `json:"start_time"`
		Recurrence string `json:"recurrence"`
		LastEval   any    `json:"last_eval"`
	}
	_ = json.Unmarshal(text, &given) // policies that cannot be read are none
	policies := []schema.Policy{}
	for _, p := range given {
		when := p.Recurrence
		if at := seconds(p.StartTime); when == "" && !at.IsZero() {
			when = at.Format(time.RFC3339)
		} else if when == "" {
			when = scalar(p.StartTime)
		}
		policies = append(policies, schema.Policy{When: when, Type: p.Type, Adjust: scalar(p.Adjust), Last: seconds(p.LastEval)})
	}
	return policies
}

// number is a JSON number, or a text of one; 0 for anything else.
func number(value any) float64 {
	var read float64
	_ = json.Unmarshal([]byte(scalar(value)), &read)
	return read
}

func seconds(value any) time.Time {
	if at := number(value); at > 0 {
		return time.Unix(int64(at), 0).UTC()
	}
	return time.Time{}
}
