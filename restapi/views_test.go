package restapi

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/flowjet/flowjet/client/schema"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/restapi/internal/view"
)

func (w *world) listed(user, query string) view.List {
	w.t.Helper()
	var list view.List
	w.must(json.Unmarshal([]byte(w.expect(user, "GET", "/flowjet/v1/services"+query, "", 200, "").body), &list))
	return list
}

func TestServicesAreListedPageByPage(t *testing.T) {
	w := newWorld(t, Config{})
	for i := range 7 {
		state := []spec.ServiceState{spec.ServiceRunning, spec.ServiceWarning}[i%2]
		user := []string{"alice", "oneadmin"}[i%3%2]
		_, err := w.oned.For(user).AllocateDocument(t.Context(), spec.DocumentTypeService, fmt.Sprintf("Shop %d", i),
			fmt.Appendf(nil, `{"name":"x","state":%d,"start_time":%d,"roles":[{"name":"r","cardinality":%d,"template_id":0,"state":2}]}`, state, 1_800_000_000+i, 10-i))
		w.must(err)
	}
	all := w.listed(admin, "?limit=3&sort=name")
	if all.Total != 7 || len(all.Rows) != 3 || all.Rows[0].Name != "Shop 0" || all.Counts["RUNNING"] != 4 || all.Counts["WARNING"] != 3 {
		t.Errorf("got %+v", all)
	}
	for query, want := range map[string]string{
		"?sort=-name&limit=2":              "Shop 6 Shop 5",
		"?sort=name&offset=5":              "Shop 5 Shop 6",
		"?sort=vms&limit=1":                "Shop 6",
		"?sort=started&limit=1":            "Shop 0",
		"?limit=1":                         "Shop 6",
		"?state=WARNING&sort=id&limit=1":   "Shop 1",
		"?q=shop+alice&sort=id&limit=2":    "Shop 0 Shop 2",
		"?q=3&sort=id":                     "Shop 3",
		"?q=nothing":                       "",
		"?offset=100":                      "",
		"?state=RUNNING,WARNING&offset=6":  "Shop 0",
		"?q=SHOP&state=RUNNING&offset=3":   "Shop 0",
		"?limit=1000000&sort=id&offset=6":  "Shop 6",
		"?sort=state&offset=0&limit=1":     "Shop 0",
		"?sort=-owner&offset=0&limit=1":    "Shop 4",
		"?sort=owner&offset=0&limit=1&q=5": "Shop 5",
	} {
		var names []string
		for _, row := range w.listed(admin, query).Rows {
			names = append(names, row.Name)
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%s: got %q, want %q", query, got, want)
		}
	}
	if hers := w.listed(alice, ""); hers.Total != 5 {
		t.Errorf("alice sees %d", hers.Total)
	}
	for _, bad := range []string{"?sort=foo", "?state=foo", "?limit=x", "?offset=-1"} {
		w.expect(admin, "GET", "/flowjet/v1/services"+bad, "", 400, "must be")
	}
}

const inputs = `{"name":"form","deployment":"straight","description":"d",
	"user_inputs":{"SIZE":"M|list|How large|1,2,4|2","SECRET":"M|password|A secret| |hush","NOTE":"O|text|A note| |"},
	"networks":{"Public":"M|network|The outside| |id:0"},
	"roles":[{"name":"db","type":"vm","template_id":0,"cardinality":1,"min_vms":1,"max_vms":3,"user_inputs":{"PORT":"O|number|Its port| |5432"},
		"elasticity_policies":[{"type":"CHANGE","adjust":1,"expression":"CPU>90","period":5,"period_number":2}],
		"scheduled_policies":[{"type":"CHANGE","adjust":-1,"recurrence":"0 8 * * 1-5"}]},
	{"name":"web","type":"vm","template_id":0,"cardinality":2,"parents":["db"]}]}`

func (w *world) inspect(user, id string) (view.Service, reply) {
	w.t.Helper()
	got := w.expect(user, "GET", "/flowjet/v1/services/"+id, "", 200, "")
	var shown view.Service
	w.must(json.Unmarshal([]byte(got.body), &shown))
	return shown, got
}

func TestAServiceIsShownAsAWhole(t *testing.T) {
	w := newWorld(t, Config{})
	w.whole()
	made, _ := w.document(w.expect(alice, "POST", "/service_template", inputs, 201, ""))
	values := `{"merge_template":{"user_inputs_values":{"SIZE":"4","SECRET":"s3cret","NOTE":"n"},"roles":[{"name":"db","user_inputs_values":{"PORT":"1"}}]}}`
	id, _ := w.document(w.expect(alice, "POST", "/service_template/"+made+"/action", perform("instantiate", values), 201, ""))
	poll.Until(t, "the service to run", func() bool { return stateIn(w.call(alice, "GET", "/service/"+id, "").body) == spec.ServiceRunning })
	shown, got := w.inspect(alice, id)
	if shown.State != "RUNNING" || *shown.Running != 3 || shown.Wanted != 3 || len(shown.Roles) != 2 || len(shown.Graph.Boxes) != 2 || len(shown.Graph.Edges) != 1 || got.header.Get("ETag") == "" {
		t.Errorf("got %s", got.body)
	}
	if strings.Contains(got.body, "s3cret") || strings.Contains(got.body, "hush") || !strings.Contains(got.body, `"value": "4"`) {
		t.Errorf("the inputs are %+v", shown.Inputs)
	}
	db := shown.Roles[0]
	if len(db.Policies) != 2 || db.Policies[0].When != "CPU>90" || db.Policies[0].Needed != 2 || db.Policies[1].When != "0 8 * * 1-5" || len(db.Inputs) != 1 {
		t.Errorf("the role is %+v", db)
	}
	vm := db.VMs[0]
	if vm.State != "RUNNING" || vm.Kind != "running" || vm.Host == "" || vm.Started.IsZero() || vm.Name == "" {
		t.Errorf("the VM is %+v", vm)
	}
	if len(shown.Networks) != 1 || shown.Networks[0].ID != "0" || len(shown.Log) == 0 || shown.Log[0].Time.Before(shown.Log[len(shown.Log)-1].Time) {
		t.Errorf("networks %+v, log %+v", shown.Networks, shown.Log)
	}
	if a := shown.Allowed; strings.Join(a.Scale, " ") != "db web" || !a.Undeploy || a.Release || a.Recover {
		t.Errorf("allowed is %+v", a)
	}
	// Who may see it and not manage it is shown nothing to press.
	w.expect(alice, "POST", "/service/"+id+"/action", perform("chmod", `{"octet":"604"}`), 204, "")
	w.must(w.oned.Server().ChownDocument(t.Context(), idOf(t, "/service/"+id), 0, 0))
	if theirs, _ := w.inspect(alice, id); theirs.Allowed.Undeploy || len(theirs.Allowed.Scale) > 0 {
		t.Errorf("allowed is %+v", theirs.Allowed)
	}
	// A VM in trouble is found, and the list counts it.
	w.must(w.oned.For("oneadmin").ActOnVM(t.Context(), "poweroff", vm.ID))
	poll.Until(t, "the service to warn", func() bool {
		list := w.listed(admin, "?state=WARNING")
		return list.Total == 1 && list.Rows[0].Running != nil && *list.Rows[0].Running == 2
	})
	if shown, _ = w.inspect(admin, id); shown.Roles[0].VMs[0].Kind != "warning" || *shown.Running != 2 {
		t.Errorf("got %+v", shown.Roles[0])
	}
}

func TestTemplatesAreFoundPageByPage(t *testing.T) {
	w := newWorld(t, Config{})
	for _, name := range []string{"web b", "Web a", "mail", "web c"} {
		w.expect(alice, "POST", "/service_template", strings.Replace(inputs, `"form"`, strconv.Quote(name), 1), 201, "")
	}
	for query, want := range map[string]string{
		"": "4 mail Web a web b web c", "?q=web": "3 Web a web b web c", "?q=WEB+alice&limit=1": "3 Web a", "?q=web&offset=1&limit=1": "3 web b",
		"?offset=9": "4", "?limit=0": "4", "?q=nothing": "0", "?q=web+mail": "0", "?offset=1": "4 Web a web b web c",
	} {
		var read struct {
			Total     int
			Templates []schema.Template
		}
		w.must(json.Unmarshal([]byte(w.expect(alice, "GET", "/flowjet/v1/templates"+query, "", 200, "").body), &read))
		got := strconv.Itoa(read.Total)
		for _, one := range read.Templates {
			got += " " + one.Name
		}
		if got != want || read.Templates == nil {
			t.Errorf("%q: %s, want %s", query, got, want)
		}
	}
	w.expect(alice, "GET", "/flowjet/v1/templates?limit=-1", "", 400, "limit must be a whole number")
}

func TestTemplatesAreShownAsForms(t *testing.T) {
	w := newWorld(t, Config{})
	w.expect(alice, "POST", "/service_template", inputs, 201, "")
	var read struct{ Templates []schema.Template }
	got := w.expect(alice, "GET", "/flowjet/v1/templates", "", 200, "").body
	w.must(json.Unmarshal([]byte(got), &read))
	form := read.Templates[0]
	if form.Name != "form" || len(form.Inputs) != 3 || len(form.Networks) != 1 || len(form.Roles) != 2 || len(form.Roles[0].Inputs) != 1 {
		t.Fatalf("got %+v", form)
	}
	size := form.Inputs[2]
	if size.Name != "SIZE" || size.Type != "list" || !size.Mandatory || strings.Join(size.Options, " ") != "1 2 4" || size.Default != "2" || size.Description != "How large" {
		t.Errorf("got %+v", size)
	}
	if network := form.Networks[0]; network.From != "id" || network.Of != "0" || !network.Mandatory {
		t.Errorf("got %+v", network)
	}
	if strings.Contains(got, "hush") {
		t.Error("a password's default is shown")
	}
}
