// Package view presents services and service templates to people: a list that can be searched, sorted and paged, and one
// service as a whole.
package view

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/flowjet/flowjet/client/schema"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/policy"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/restapi/internal/layout"
)

// Row is a service in a list.
type Row struct {
	schema.Row
	// Unsettled are the VMs of roles whose state does not imply that they all run.
	Unsettled []int `json:"-"`
	settled   int
}

// OfService returns a service's row. An unreadable body is shown as a service in WARNING.
func OfService(id int, name string, owner one.Identity, text []byte) Row {
	row := Row{Row: schema.Row{ID: id, Name: name, Owner: owner.UName, Group: owner.GName, State: spec.ServiceWarning.String()}}
	body, _, err := spec.ReadService(text)
	if err != nil {
		return row
	}
	row.RoleCount = len(body.Roles)
	if body.State != nil {
		row.State = body.State.String()
	}
	row.Started = seconds(body.StartTime)
	for _, role := range body.Roles {
		row.Wanted += role.Cardinality
		if role.CurrentState() == spec.RoleRunning {
			row.settled += len(role.Nodes)
		} else {
			row.Unsettled = append(row.Unsettled, spec.VMIDs(role)...)
		}
	}
	return row
}

// Count sets Running, by which of the unsettled VMs run.
func (r *Row) Count(runs func(vm int) bool) {
	running := r.settled
	for _, vm := range r.Unsettled {
		if runs(vm) {
			running++
		}
	}
	r.Running = &running
}

// Query chooses rows.
type Query struct {
	// Words must each be in a row's name or owner, or be its id.
	Words string
	// States are the wanted states; none for all.
	States []string
	// Sort is a column's name, behind a minus for descending order.
	Sort   string
	Offset int
	Limit  int
}

// List is a page of rows.
type List struct {
	// Total counts the rows that match, on all pages.
	Total int `json:"total"`
	// Counts are the rows that match the words, by state.
	Counts map[string]int `json:"counts"`
	Rows   []Row          `json:"services"`
}

// Columns compare rows by the columns that they can be sorted by.
var Columns = map[string]func(a, b Row) int{
	"id":      func(a, b Row) int { return cmp.Compare(a.ID, b.ID) },
	"name":    func(a, b Row) int { return cmp.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name)) },
	"owner":   func(a, b Row) int { return cmp.Compare(a.Owner, b.Owner) },
	"state":   func(a, b Row) int { return cmp.Compare(a.State, b.State) },
	"vms":     func(a, b Row) int { return cmp.Compare(a.Wanted, b.Wanted) },
	"started": func(a, b Row) int { return a.Started.Compare(b.Started) },
}

// Choose returns the page that a query asks for.
func Choose(rows []Row, query Query) List {
	list := List{Counts: map[string]int{}, Rows: []Row{}}
	var chosen []Row
	for _, row := range rows {
		if !Matches(query.Words, row.ID, row.Name, row.Owner) {
			continue
		}
		list.Counts[row.State]++
		if len(query.States) == 0 || slices.Contains(query.States, row.State) {
			chosen = append(chosen, row)
		}
	}
	column, descending := strings.CutPrefix(query.Sort, "-")
	if compare := Columns[column]; compare != nil {
		slices.SortStableFunc(chosen, func(a, b Row) int {
			if descending {
				a, b = b, a
			}
			return cmp.Or(compare(a, b), cmp.Compare(a.ID, b.ID))
		})
	}
	list.Total = len(chosen)
	list.Rows = append(list.Rows, Page(chosen, query)...)
	return list
}

// Matches reports whether each word is in the name or the owner, or is the id.
func Matches(words string, id int, name, owner string) bool {
	text := strings.ToLower(name + " " + owner)
	return !slices.ContainsFunc(strings.Fields(strings.ToLower(words)), func(word string) bool {
		return !strings.Contains(text, word) && word != strconv.Itoa(id)
	})
}

// Page returns the part of all that a query asks for.
func Page[T any](all []T, query Query) []T {
	from := min(query.Offset, len(all))
	return all[from : from+min(query.Limit, len(all)-from)]
}

// Service is a service as the page shows it.
type Service struct {
	schema.Service
	Graph Graph `json:"graph"`
	// VMLink is the address of a VM elsewhere, with {id} in place of its number.
	VMLink string `json:"vm_link,omitempty"`
}

// Graph is the drawing of the roles, whose boxes are in the order of the roles.
type Graph struct {
	layout.Drawing
	BoxWidth  float64 `json:"box_width"`
	BoxHeight float64 `json:"box_height"`
}

// Whole returns a service with its VMs, and its graph with so many roles in a row.
func Whole(row Row, body spec.Body, vms map[int]opennebula.VMDetails, columns int) Service {
	shown := Service{Service: schema.Service{
		Row: row.Row, Deployment: cmp.Or(body.Deployment, "none"), Roles: []schema.Role{}, Log: []schema.Entry{}, Allowed: schema.Allowed{Scale: []string{}},
		Networks: networks(body.Networks, body.NetworksValues), Inputs: inputs(body.UserInputs, body.UserInputsValues),
	}}
	if body.Description != nil {
		shown.Description = *body.Description
	}
	shown.Running = new(int)
	for _, role := range body.Roles {
		made := ofRole(role, vms)
		*shown.Running += made.Running
		shown.Roles = append(shown.Roles, made)
	}
	for _, entry := range slices.Backward(body.Log) {
		shown.Log = append(shown.Log, schema.Entry{Time: time.Unix(entry.Timestamp, 0).UTC(), Severity: entry.Severity, Message: entry.Message})
	}
	shown.Graph = Graph{layout.Arrange(len(body.Roles), edges(body), columns), layout.BoxWidth, layout.BoxHeight}
	return shown
}

// edges returns the roles that wait for others, parents first; none unless parents count.
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
		Name: role.Name, Type: role.Type, State: role.CurrentState().String(), Wanted: role.Cardinality, Min: role.MinVMs, Max: role.MaxVMs,
		Cooldown: role.Cooldown, Template: role.TemplateID, Parents: append([]string{}, role.Parents...), VMs: []schema.VM{},
		Policies: policies(role.ElasticityPolicies, role.ScheduledPolicies), Inputs: inputs(role.UserInputs, role.UserInputsValues), Heal: policy.HealText(&role),
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
	shown := schema.VM{ID: vm.ID, Name: vm.Name, State: vm.StateText(), Kind: "working", Host: vm.Host, IPs: vm.IPs, Started: vm.Started, Error: vm.Error}
	switch {
	case vm.Running():
		shown.Kind = "running"
	case vm.Failed():
		shown.Kind = "failed"
	case vm.Troubled():
		shown.Kind = "warning"
	case vm.State == one.VMHold:
		shown.Kind = "waiting"
	case vm.Gone():
		shown.Kind = "done"
	}
	return shown
}

// policies returns a role's elasticity policies, then its scheduled ones.
func policies(elasticity, scheduled json.RawMessage) []schema.Policy {
	shown := []schema.Policy{}
	for _, by := range policy.Adjustments(elasticity) {
		shown = append(shown, schema.Policy{
			When: by.Expression, Type: by.Type, Adjust: strconv.Itoa(by.Adjust), Last: seconds(by.LastEval),
			Evaluated: by.Evaluated, True: by.TrueEvals, Needed: max(1, by.PeriodNumber),
		})
	}
	for _, by := range policy.Adjustments(scheduled) {
		made := schema.Policy{When: by.Recurrence, Type: by.Type, Adjust: strconv.Itoa(by.Adjust), Last: seconds(by.LastEval)}
		if made.When == "" {
			var start any
			_ = json.Unmarshal(by.StartTime, &start) // none is shown as none
			made.When = scalar(start)
			if at, err := strconv.ParseInt(made.When, 10, 64); err == nil && at > 0 {
				made.When = seconds(at).Format(time.RFC3339)
			}
		}
		shown = append(shown, made)
	}
	return shown
}

// seconds returns a time given in unix seconds; the zero time for none.
func seconds(at int64) time.Time {
	if at <= 0 {
		return time.Time{}
	}
	return time.Unix(at, 0).UTC()
}

// inputs reads descriptions such as "M|list|Size|1,2,4|2" and their values, by name. A
// value without a description is not shown: it might be a secret.
func inputs(descriptions, values json.RawMessage) []schema.Input {
	var asked map[string]json.RawMessage
	var given map[string]any
	_ = json.Unmarshal(descriptions, &asked) // unreadable descriptions ask for nothing
	_ = json.Unmarshal(values, &given)
	list := []schema.Input{}
	for _, name := range slices.Sorted(maps.Keys(asked)) {
		declared := spec.ParseInput(asked[name])
		input := schema.Input{Name: name, Mandatory: !declared.Optional, Type: declared.Kind, Description: declared.Description}
		if strings.HasPrefix(input.Type, "range") {
			input.Options = strings.Split(declared.Options, "..")
		} else if declared.Options != "" {
			input.Options = strings.Split(declared.Options, ",")
		}
		value, set := given[name]
		if input.Set = set; input.Type != "password" {
			input.Default = declared.Initial
			input.Value = scalar(value)
		}
		list = append(list, input)
	}
	return list
}

func scalar(value any) string {
	switch value := value.(type) {
	case nil:
		return ""
	case string:
		return value
	}
	text, _ := json.Marshal(value) // it was read from JSON
	return string(text)
}

// networks reads descriptions such as "M|network|Public| |id:0" and the values that a service has.
func networks(descriptions, values json.RawMessage) []schema.Network {
	sources := []string{"id", "reserve_from", "template_id"}
	var asked map[string]json.RawMessage
	var given []map[string]map[string]any
	_ = json.Unmarshal(descriptions, &asked) // unreadable descriptions ask for nothing
	_ = json.Unmarshal(values, &given)
	have := map[string]map[string]any{}
	for _, each := range given {
		maps.Copy(have, each)
	}
	list := []schema.Network{}
	for _, name := range slices.Sorted(maps.Keys(asked)) {
		declared := spec.ParseInput(asked[name])
		network := schema.Network{Name: name, Mandatory: !declared.Optional, Description: declared.Description}
		network.From, network.Of, _ = strings.Cut(declared.Initial, ":")
		network.Of, _, _ = strings.Cut(network.Of, ":")
		if !slices.Contains(sources, network.From) { // Sunstone writes undefined or null for what was left open
			network.From = ""
		}
		if _, err := strconv.Atoi(network.Of); err != nil || network.From == "" {
			network.Of = ""
		}
		for _, from := range sources {
			if value, found := have[name][from]; found {
				network.From, network.Of = from, scalar(value)
			}
		}
		network.ID = scalar(have[name]["id"])
		list = append(list, network)
	}
	return list
}

// OfTemplate shows a service template.
func OfTemplate(id int, name string, owner one.Identity, body spec.Body) schema.Template {
	shown := schema.Template{
		ID: id, Name: name, Owner: owner.UName, Group: owner.GName, Roles: []schema.TemplateRole{},
		Inputs: inputs(body.UserInputs, body.UserInputsValues), Networks: networks(body.Networks, body.NetworksValues),
	}
	if body.Description != nil {
		shown.Description = *body.Description
	}
	for _, role := range body.Roles {
		shown.Roles = append(shown.Roles, schema.TemplateRole{
			Name: role.Name, Cardinality: role.Cardinality, Min: role.MinVMs, Max: role.MaxVMs,
			Parents: append([]string{}, role.Parents...), Inputs: inputs(role.UserInputs, role.UserInputsValues),
		})
	}
	return shown
}
