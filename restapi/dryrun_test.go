package restapi

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/flowjet/flowjet/client/schema"
)

// planned is a plan in a few words a step.
func (w *world) planned(r reply) string {
	w.t.Helper()
	if r.status != 200 || r.header.Get("Content-Type") != jsonType {
		w.t.Fatalf("got %d %s", r.status, r.body)
	}
	var view schema.Plan
	w.must(json.Unmarshal([]byte(r.body), &view))
	var steps []string
	for _, step := range view.Steps {
		var actions []string
		for _, action := range step.Actions {
			actions = append(actions, strings.TrimSpace(fmt.Sprintf("%s %s %s", action.Do, action.Call, action.Name)))
		}
		steps = append(steps, strings.Join(actions, ", "))
	}
	return fmt.Sprintf("%s -> %s %v", strings.Join(steps, " | "), view.EndsIn, view.Complete)
}

func TestADryRunSaysWhatWouldHappenAndChangesNothing(t *testing.T) {
	w := newWorld(t, Config{})
	action := w.template(alice) + "/action"
	got := w.planned(w.call(alice, "POST", action+"?dry_run=true", perform("instantiate", `{}`)))
	if want := "create_vm  Master_0_(service_0) | create_vm  Slave_0_(service_0) | "; !strings.HasPrefix(got, want) || !strings.HasSuffix(got, "-> RUNNING true") {
		t.Errorf("got %q", got)
	}
	if w.services(alice) != 0 {
		t.Error("a service was made")
	}
	service, vms := w.serviceOf(admin, 2)
	before := w.call(admin, "GET", service, "").body
	for _, test := range []struct{ method, path, body, want string }{
		{"POST", "/scale", `{"role_name":"r0","cardinality":3}`, "create_vm  r0_2"},
		{"POST", "/scale", `{"role_name":"r0","cardinality":1}`, "vm terminate"},
		{"DELETE", "", "", "vm terminate"},
		{"POST", "/action", perform("recover", `{"delete":true}`), "vm terminate"},
	} {
		got := w.planned(w.call(admin, test.method, service+test.path+"?dry_run=true", test.body))
		if !strings.HasPrefix(got, test.want) || !strings.HasSuffix(got, "true") {
			t.Errorf("%s %s: %q", test.method, test.path, got)
		}
	}
	cooled := w.call(admin, "POST", service+"/scale?dry_run=true", `{"role_name":"r0","cardinality":1}`).body
	if !strings.Contains(cooled, `"waits_for": "cooldown of 5m0s"`) || !strings.Contains(cooled, `is DONE`) {
		t.Errorf("got %s", cooled)
	}
	read := w.call(admin, "GET", service, "")
	dry := w.call(admin, "POST", service+"/scale?dry_run=true", `{"role_name":"r0","cardinality":1}`)
	if tag := dry.header.Get("ETag"); tag == "" || tag != read.header.Get("ETag") {
		t.Errorf("the plan is for version %q, the service has %q", tag, read.header.Get("ETag"))
	}
	if after := read.body; after != before {
		t.Errorf("it was changed to %s", after)
	}
	for _, id := range vms[0] {
		if vm, err := w.oned.For("oneadmin").VM(t.Context(), id); err != nil || vm.Gone() {
			t.Errorf("VM %d: %+v, %v", id, vm, err)
		}
	}
	if ids := w.commandsSent(); ids != 0 {
		t.Errorf("%d commands were queued", ids)
	}
}

func TestADryRunForeseesNetworksAndRouters(t *testing.T) {
	w := newWorld(t, Config{})
	for body, want := range map[string]string{
		`{"name":"n","networks":{"Priv":"M|network| | |template_id:0"},"networks_values":[{"Priv":{"template_id":"0"}}],
			"roles":[{"name":"a","type":"vm","cardinality":1,"template_id":0,"template_contents":{"NIC":[{"NETWORK_ID":"$Priv"}]}}]}`: "create_network |",
		`{"name":"r","roles":[{"name":"vr","type":"vr","cardinality":1,"template_id":1,"template_contents":{"NIC":[{"NETWORK_ID":"0","FLOATING_IP":"yes"}]}}]}`: "create_router",
	} {
		id, _ := w.document(w.expect(admin, "POST", "/service_template", body, 201, ""))
		got := w.planned(w.call(admin, "POST", "/service_template/"+id+"/action?dry_run=true", perform("instantiate", `{}`)))
		if !strings.HasPrefix(got, want) || !strings.HasSuffix(got, "-> RUNNING true") {
			t.Errorf("got %q", got)
		}
	}
}

// commandsSent is how many messages the work stream holds.
func (w *world) commandsSent() int {
	stream, err := w.pipe.JetStream().Stream(w.t.Context(), "WORK")
	w.must(err)
	// serviceOf makes its service through the API: that is one.
	return int(stream.CachedInfo().State.Msgs) - 1
}

// However it is spelled, a dry run changes nothing.
func TestADryRunIsReadAsAFlag(t *testing.T) {
	w := newWorld(t, Config{})
	service, _ := w.serviceOf(admin, 1)
	for _, spelled := range []string{"1", "True", "TRUE", "%20true"} {
		got := w.planned(w.call(admin, "DELETE", service+"?dry_run="+spelled, ""))
		if !strings.HasPrefix(got, "vm terminate") {
			t.Errorf("%s: got %q", spelled, got)
		}
	}
	for _, query := range []string{
		"dry_run=yes", "dry_run=", "dry_run", "dry_run=maybe", "dry_run=true;x=1", "x=1;dry_run=true", "dry_run=%zz", "dry_run=true%", "dry%5frun=",
		"dry_run=false&dry_run=true", "dry_run=true&dry_run=false", "dry%5frun=false&dry_run=true", "DRY_RUN=true", "dry-run=true", "dryRun=true", "dry_run[]=true",
	} {
		w.expect(admin, "DELETE", service+"?"+query, "", 400, "dry_run must be true or false")
	}
	if sent := w.commandsSent(); sent != 0 {
		t.Errorf("%d commands were queued", sent)
	}
	w.expect(admin, "GET", "/flowjet/v1/services?q=dryrun&state=RUNNING", "", 200, "")
	template := w.template(admin)
	w.expect(admin, "DELETE", template+"?dry_run=1", "", 400, "this call has no dry_run")
	w.expect(admin, "DELETE", template+"?dry_run=false", "", 204, "")
}

func TestADryRunRefusesAsTheRealOne(t *testing.T) {
	w := newWorld(t, Config{})
	service, _ := w.serviceOf(admin, 1)
	scale := "/scale?dry_run=true"
	w.expect(admin, "POST", service+scale, `{"role_name":"zz","cardinality":1}`, 500, `no role "zz"`)
	w.expect(admin, "POST", "/flowjet/v1"+service+scale, `{"role_name":"zz","cardinality":1}`, 404, `no role "zz"`)
	w.expect(admin, "POST", "/flowjet/v1"+service+scale, `{"role_name":"r0","cardinality":1}`, 409, "")
	w.expect(admin, "POST", "/flowjet/v1"+service+scale, `{"role_name":"r0"}`, 400, "cardinality")
	w.expect(alice, "POST", service+scale, `{"role_name":"r0","cardinality":2}`, 401, "")
	template := w.template(admin)
	w.expect(admin, "POST", template+"/action?dry_run=true", perform("instantiate", `{"merge_template":[]}`), 400, "merge_template")
	for _, call := range []string{
		"POST " + service + "/action rename {\"name\":\"x\"}", "POST " + service + "/action chown {\"owner_id\":0}",
		"POST " + service + "/action reboot {}", "POST " + service + "/action chmod {\"octet\":\"600\"}",
		"POST " + template + "/action clone {\"name\":\"x\"}",
	} {
		parts := strings.SplitN(call, " ", 4)
		got := w.call(admin, parts[0], "/flowjet/v1"+parts[1]+"?dry_run=true", perform(parts[2], parts[3]))
		if got.status != 400 || !strings.Contains(got.body, "this call has no dry_run") {
			t.Errorf("%s: %+v", call, got)
		}
	}
	w.expect(admin, "DELETE", template+"?dry_run=true", "", 400, "this call has no dry_run")
	w.expect(admin, "GET", template, "", 200, "")
}

// A plan ends before it costs much, however many VMs and steps there are: what is foretold so far is answered.
func TestADryRunOfThousandsOfVMsIsCutShort(t *testing.T) {
	w := newWorld(t, Config{})
	for name, roles := range map[string][]string{
		"one role of 10,000 VMs": {`{"name":"a","type":"vm","template_id":0,"cardinality":10000}`},
		"a chain of 1,000 roles": chain(1000, 9),
	} {
		body := fmt.Sprintf(`{"name":"large","deployment":"straight","roles":[%s]}`, strings.Join(roles, ","))
		id, _ := w.document(w.expect(alice, "POST", "/service_template", body, 201, ""))
		answer := w.call(alice, "POST", "/service_template/"+id+"/action?dry_run=true", perform("instantiate", `{}`))
		var view schema.Plan
		w.must(json.Unmarshal([]byte(answer.body), &view))
		if answer.status != 200 || view.Complete || len(view.Steps) < 20 || len(view.Steps) > 60 {
			t.Errorf("%s: got %d with %d steps, complete: %t", name, answer.status, len(view.Steps), view.Complete)
		}
	}
}

// chain are roles of which each waits for the one before.
func chain(count, vms int) (roles []string) {
	for i := range count {
		parents := ""
		if i > 0 {
			parents = fmt.Sprintf(`,"parents":["r%d"]`, i-1)
		}
		roles = append(roles, fmt.Sprintf(`{"name":"r%d","type":"vm","template_id":0,"cardinality":%d%s}`, i, vms, parents))
	}
	return roles
}
