package restapi

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/flowjet/flowjet/client/schema"
	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/restapi/internal/view"
)

const (
	// maxPage and defaultPage are services on one page, and maxCounted the VMs that are read to count the running ones.
	maxPage, defaultPage = 200, 50
	maxCounted           = 1000
	// maxColumns bounds how many roles a graph has side by side.
	maxColumns, defaultColumns = 12, 4
)

// views show services and templates to people, as the calling user sees them.
type views struct {
	planner *planner
	// vmLink is the address of a VM elsewhere, with {id} in place of its number.
	vmLink string

	rows  memo[view.Row]
	forms memo[schema.Template]
}

func newViews(p *planner, vmLink string) *views {
	return &views{
		planner: p, vmLink: vmLink,
		rows: memo[view.Row]{size: sizeOf[view.Row], make: func(d opennebula.Document) view.Row {
			return view.OfService(d.ID, d.Name, d.Owner, d.Body)
		}},
		forms: memo[schema.Template]{size: sizeOf[schema.Template], make: func(d opennebula.Document) schema.Template {
			body, _ := spec.ParseBody(d.Body) // an unreadable template is listed with its name
			return view.OfTemplate(d.ID, d.Name, d.Owner, body)
		}},
	}
}

// sizeOf returns about how many bytes are kept of a document with some of its texts.
func sizeOf[T any](document opennebula.Document, _ T) int {
	return 2*len(document.Body) + documentFrame
}

// services lists services: ?q=words&state=RUNNING,WARNING&sort=-name&offset=0&limit=50.
func (v *views) services(ctx context.Context, r *request) (answer, error) {
	query, err := readQuery(r.URL.Query())
	if err != nil {
		return answer{}, err
	}
	documents, err := r.list(ctx, spec.DocumentTypeService)
	if err != nil {
		return answer{}, err
	}
	rows := make([]view.Row, len(documents))
	for i, document := range documents {
		rows[i] = v.rows.of(document)
	}
	list := view.Choose(rows, query)
	// Running VMs are counted; rows that would need too many reads have no count.
	var ids []int
	last := 0
	for ; last < len(list.Rows) && len(ids)+len(list.Rows[last].Unsettled) <= maxCounted; last++ {
		ids = append(ids, list.Rows[last].Unsettled...)
	}
	vms, err := r.oned.Details(ctx, ids)
	if err != nil {
		return answer{}, fmt.Errorf("read VMs: %w", err)
	}
	for i := range list.Rows[:last] {
		list.Rows[i].Count(func(id int) bool { return vms[id].Running() })
	}
	return pretty(http.StatusOK, list)
}

func readQuery(values url.Values) (view.Query, error) {
	query := view.Query{Words: values.Get("q"), Sort: cmp.Or(values.Get("sort"), "-id"), Limit: defaultPage}
	if view.Columns[strings.TrimPrefix(query.Sort, "-")] == nil {
		return query, badRequest("sort must be id, name, owner, state, vms or started, with a leading minus for the reverse order")
	}
	if text := values.Get("state"); text != "" {
		query.States = strings.Split(text, ",")
	}
	known := spec.ServiceStateNames()
	if at := slices.IndexFunc(query.States, func(state string) bool { return !slices.Contains(known, state) }); at >= 0 {
		return query, badRequest("state must be states of a service such as RUNNING, separated by commas; %q is not a state", query.States[at])
	}
	if err := readPage(values, &query); err != nil {
		return query, err
	}
	query.Limit = min(query.Limit, maxPage)
	return query, nil
}

func readPage(values url.Values, query *view.Query) error {
	for name, into := range map[string]*int{"offset": &query.Offset, "limit": &query.Limit} {
		if text := values.Get(name); text != "" {
			number, err := strconv.Atoi(text)
			if err != nil || number < 0 {
				return badRequest("%s must be a whole number, 0 or more", name)
			}
			*into = number
		}
	}
	return nil
}

// service shows one service: ?columns=4 for a graph with so many roles side by side.
func (v *views) service(ctx context.Context, r *request, document opennebula.Document, _ attributes) (answer, error) {
	columns, err := strconv.Atoi(r.URL.Query().Get("columns"))
	if err != nil {
		columns = defaultColumns
	}
	body, err := readService(document)
	if err != nil {
		return answer{}, err
	}
	ids := spec.VMIDs(body.Roles...)
	vms, err := r.oned.Details(ctx, ids)
	if err != nil {
		return answer{}, fmt.Errorf("read the VMs of service %d: %w", document.ID, err)
	}
	row := view.OfService(document.ID, document.Name, document.Owner, document.Body)
	shown := view.Whole(row, body, vms, min(max(columns, 1), maxColumns))
	shown.Permissions = document.Permissions.Octet()
	shown.VMLink = v.vmLink
	if r.mayManage(ctx, document) == nil {
		v.allow(ctx, r, &shown, document, body, vms)
	}
	reply, err := pretty(http.StatusOK, shown)
	reply.etag = document.ETag()
	return reply, err
}

// allow fills in the actions that the service's worker would accept now, and the repaired VMs: none while NATS is away,
// because nothing can be changed without it.
func (v *views) allow(ctx context.Context, r *request, shown *view.Service, document opennebula.Document, body spec.Body, vms map[int]opennebula.VMDetails) {
	facts := flow.Facts{}
	for _, id := range spec.VMIDs(body.Roles...) {
		facts[id] = one.VM{ID: id, State: one.VMDone, Service: -1}
		if vm, found := vms[id]; found {
			facts[id] = vm.VM
		}
	}
	limited, cancel := context.WithTimeout(ctx, recordPatience)
	defer cancel()
	input, err := v.planner.input(limited, document, body, facts)
	if err != nil {
		return
	}
	allowed := &shown.Allowed
	allowed.Chown = r.caller.isAdmin() // oned lets nobody else by default
	for i := range shown.Roles {
		shown.Roles[i].Healed = input.State.HealedLately(shown.Roles[i].Name, input.Now)
	}
	admits := func(verb flow.Verb, arguments any) bool {
		_, err := flow.Apply(input, r.newCommand(document.ID, verb, arguments))
		return err == nil
	}
	allowed.Recover = admits(flow.VerbRecover, flow.RecoverArguments{})
	allowed.Delete = admits(flow.VerbRecover, flow.RecoverArguments{Delete: true})
	allowed.Release = admits(flow.VerbRelease, flow.ReleaseArguments{})
	allowed.Undeploy = admits(flow.VerbUndeploy, nil)
	for _, role := range body.Roles {
		if admits(flow.VerbScale, flow.ScaleArguments{Role: role.Name, Cardinality: role.Cardinality + 1, Force: true}) {
			allowed.Scale = append(allowed.Scale, role.Name)
		}
	}
}

// templates lists service templates by their names: ?q=words&offset=0&limit=50, else all.
func (v *views) templates(ctx context.Context, r *request) (answer, error) {
	values := r.URL.Query()
	query := view.Query{Words: values.Get("q"), Limit: math.MaxInt}
	if err := readPage(values, &query); err != nil {
		return answer{}, err
	}
	documents, err := r.list(ctx, spec.DocumentTypeServiceTemplate)
	if err != nil {
		return answer{}, err
	}
	list := make([]schema.Template, 0, len(documents))
	for _, document := range documents {
		if view.Matches(query.Words, document.ID, document.Name, document.Owner.UName) {
			list = append(list, v.forms.of(document))
		}
	}
	slices.SortStableFunc(list, func(a, b schema.Template) int {
		return strings.Compare(strings.ToLower(a.Name), strings.ToLower(b.Name))
	})
	return pretty(http.StatusOK, map[string]any{"total": len(list), "templates": view.Page(list, query)})
}
