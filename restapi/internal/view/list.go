// Package view makes of services and service templates what people want to see of them: a
// list that can be searched, sorted and turned over page by page, and one service as a whole.
package view

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/flowjet/flowjet/client/schema"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
)

// Row is a service in a list.
type Row struct {
	schema.Row
	// Unsettled are the VMs of roles whose state does not say that they all run.
	Unsettled []int `json:"-"`
	settled   int
}

// OfService returns a service's row. A body that cannot be read is a service in WARNING.
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
	if body.StartTime > 0 {
		row.Started = time.Unix(body.StartTime, 0).UTC()
	}
	for _, role := range body.Roles {
		row.Wanted += role.Cardinality
		if role.State != nil && *role.State == spec.RoleRunning {
			row.settled += len(role.Nodes)
			continue
		}
		for _, node := range role.Nodes {
			row.Unsettled = append(row.Unsettled, node.DeployID)
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
	// Words have to be in a row's name or owner each, or be its id.
	Words string
	// States are those wanted; none for all.
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

// Matches reports whether each word is in what is called and owned so, or is its id.
func Matches(words string, id int, name, owner string) bool {
	text := strings.ToLower(name + " " + owner)
	for _, word := range strings.Fields(strings.ToLower(words)) {
		if !strings.Contains(text, word) && word != strconv.Itoa(id) {
			return false
		}
	}
	return true
}

// Page returns those of all that a query asks for.
func Page[T any](all []T, query Query) []T {
	from := min(query.Offset, len(all))
	return all[from : from+min(query.Limit, len(all)-from)]
}
