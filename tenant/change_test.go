package tenant

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/flowjet/flowjet/client/schema"
	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/internal/terminal"
)

// TestWhatCommandsAskFor: the request of each command that changes something.
func TestWhatCommandsAskFor(t *testing.T) {
	t.Parallel()
	made := answering(http.StatusCreated, `{"DOCUMENT":{"ID":"9","NAME":"copy"}}`)
	done := answering(http.StatusNoContent, "")
	answers := map[string]http.HandlerFunc{
		"GET /templates":                   answering(http.StatusOK, `{"templates":[{"id":7,"name":"web","roles":[{"name":"front","cardinality":1}]}]}`),
		"POST /service_template":           made,
		"POST /service_template/7/action":  made,
		"DELETE /service_template/7":       done,
		"PUT /service_template/7":          done,
		"DELETE /service/3/sched_action/0": done, "DELETE /service/3/role/a%2Fb/sched_action/2": done,
		"POST /service/3/action": done, "POST /service/3/role/a%2Fb/action": done, "POST /service/3/role_action": done,
		"POST /service/3/scale": done, "DELETE /service/3": done, "PUT /service/3": done,
	}
	c := newCloud(t, answers)
	role, set := c.file("role.yaml", "name: cache\ncardinality: 1\n"), c.file("set.json", `{"description": "A shop"}`)
	for _, test := range []struct{ line, request, says string }{
		{"service scale 3 a/b 5", `POST /service/3/scale {"cardinality":5,"force":false,"role_name":"a/b"}`, "service 3: role a/b is set to 5 VMs\n"},
		{"service scale 3 web 0 --force", `POST /service/3/scale {"cardinality":0,"force":true,"role_name":"web"}`, "is set to 0 VMs"},
		{"service recover 3", `POST /service/3/action {"action":{"params":{"delete":false},"perform":"recover"}}`, "it recovers"},
		{"service recover 3 --delete", `POST /service/3/action {"action":{"params":{"delete":true},"perform":"recover"}}`, "it is being removed"},
		{"service release 3", `POST /service/3/action {"action":{"params":{},"perform":"release"}}`, "its VMs are released"},
		{"service release 3 a/b", `POST /service/3/role/a%2Fb/action {"action":{"params":{},"perform":"release"}}`, "the VMs of role a/b are released"},
		{"service undeploy 3", `DELETE /service/3 null`, "it is being undeployed"},
		{"service delete 3", `DELETE /service/3 null`, "it is being undeployed"},
		{"service add-role 3 " + role, `POST /service/3/role_action {"action":{"params":{"role":{"cardinality":1,"name":"cache"}},"perform":"add_role"}}`, "the role is added"},
		{"service remove-role 3 cache", `POST /service/3/role_action {"action":{"params":{"role":"cache"},"perform":"remove_role"}}`, "role cache is being removed"},
		{"service action 3 reboot", `POST /service/3/action {"action":{"params":{},"perform":"reboot"}}`, "reboot is scheduled on its VMs"},
		{"service action 3 a/b snapshot-create --number 2 --period 5m --args x,y", `POST /service/3/role/a%2Fb/action {"action":{"params":{"args":"x,y","number":2,"period":300},"perform":"snapshot-create"}}`, "on the VMs of role a/b"},
		{"service action 3 reboot --period 0", `POST /service/3/action {"action":{"params":{"period":0},"perform":"reboot"}}`, ""},
		{"service sched-delete 3 0", `DELETE /service/3/sched_action/0 null`, "scheduled action 0 is deleted from its VMs"},
		{"service sched-delete 3 a/b 2", `DELETE /service/3/role/a%2Fb/sched_action/2 null`, "from the VMs of role a/b"},
		{"service rename 3 shop", `POST /service/3/action {"action":{"params":{"name":"shop"},"perform":"rename"}}`, "its name is shop"},
		{"service chmod 3 640", `POST /service/3/action {"action":{"params":{"octet":"640"},"perform":"chmod"}}`, "its permissions are 640"},
		{"service chown 3 2", `POST /service/3/action {"action":{"params":{"owner_id":"2"},"perform":"chown"}}`, "its owner is "},
		{"service chown 3 2 100", `POST /service/3/action {"action":{"params":{"group_id":"100","owner_id":"2"},"perform":"chown"}}`, "its owner is "},
		{"service chgrp 3 100", `POST /service/3/action {"action":{"params":{"group_id":"100"},"perform":"chgrp"}}`, "its group is 100"},
		{"service update 3 " + set, `PUT /service/3 {"description":"A shop"}`, "it is updated"},
		{"service update 3 --append " + set, `PUT /service/3 {"append":true,"template":{"description":"A shop"}}`, "it is updated"},
		{"template update 7 " + set, `PUT /service_template/7 {"description":"A shop"}`, "service template 7: it is updated"},
		{"template create " + role, `POST /service_template {"cardinality":1,"name":"cache"}`, "service template 9 (copy): it is created"},
		{"template create --name other " + role, `POST /service_template {"cardinality":1,"name":"other"}`, "it is created"},
		{"template clone 7 copy", `POST /service_template/7/action {"action":{"params":{"name":"copy","recursive":"none"},"perform":"clone"}}`, "service template 9 (copy): it is a copy of 7"},
		{"template clone web copy --vm-templates", `POST /service_template/7/action {"action":{"params":{"name":"copy","recursive":"templates"},"perform":"clone"}}`, ""},
		{"template clone web copy --images", `POST /service_template/7/action {"action":{"params":{"name":"copy","recursive":"all"},"perform":"clone"}}`, ""},
		{"template delete 7", `DELETE /service_template/7 {"delete_type":"none"}`, "it is deleted"},
		{"template delete web --images", `DELETE /service_template/7 {"delete_type":"all"}`, "it is deleted"},
		{"template instantiate web", `POST /service_template/7/action {"action":{"params":{"merge_template":{}},"perform":"instantiate"}}`, "service 9 (copy): it is being deployed"},
		{"service instantiate 7 --name shop --cardinality front=4", `POST /service_template/7/action {"action":{"params":{"merge_template":{"name":"shop","roles":[{"cardinality":4,"name":"front"}]}},"perform":"instantiate"}}`, "it is being deployed"},
	} {
		before := len(c.changes())
		out := c.does(strings.Fields(test.line)...)
		sent := c.changes()[before:]
		if len(sent) != 1 || sent[0].String() != test.request || sent[0].key == "" {
			t.Errorf("%s sends\n%v\nwant\n%s", test.line, sent, test.request)
		}
		if !strings.Contains(out, test.says) {
			t.Errorf("%s says %q, want %q", test.line, out, test.says)
		}
	}
}

// Each way of writing what became of a change, for people and for scripts.
func TestWhatBecameOfAChange(t *testing.T) {
	t.Parallel()
	replayed := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Idempotent-Replayed", "true")
		w.Header().Set("Warning", `299 flowjet "the role has no max_vms"`)
		w.WriteHeader(http.StatusNoContent)
	}
	c := newCloud(t, map[string]http.HandlerFunc{"POST /service/3/scale": replayed, "DELETE /service/3": answering(http.StatusAccepted, "")})
	scale := []string{"service", "scale", "3", "web", "2", "--idempotency-key", "once", "--if-match", `"tag"`}
	out, notes, err := c.types(scale...)
	if err != nil || out != "service 3: role web is set to 2 VMs (requested before with the same key)\n" || notes != "warning: the role has no max_vms\n" {
		t.Errorf("%q, %q, %v", out, notes, err)
	}
	if sent := c.changes()[0]; sent.key != "once" || sent.ifMatch != `"tag"` {
		t.Errorf("sent is %+v", sent)
	}
	if out := c.does(append(scale, "-o", "name")...); out != "3\n" {
		t.Errorf("-o name writes %q", out)
	}
	var said result
	if err := json.Unmarshal([]byte(c.does(append(scale, "-o", "json")...)), &said); err != nil || said != (result{Kind: "service", ID: 3, Replayed: true}) {
		t.Errorf("-o json writes %+v, %v", said, err)
	}
	if out := c.does("service", "undeploy", "3"); out != "service 3: it is queued: no worker has executed it yet (--wait waits for it)\n" {
		t.Errorf("what is queued says %q", out)
	}
	if err := json.Unmarshal([]byte(c.does("service", "undeploy", "3", "-o", "json")), &said); err != nil || !said.Queued {
		t.Errorf("-o json of what is queued writes %+v, %v", said, err)
	}
}

// A dry run asks for a plan and for nothing else, also with --wait.
func TestADryRunChangesNothing(t *testing.T) {
	t.Parallel()
	var queries []string
	plan := func(w http.ResponseWriter, r *http.Request) {
		queries = append(queries, r.URL.RawQuery)
		_, _ = w.Write([]byte(`{"complete":true,"ends_in":"DONE","steps":[
			{"changes":[{"kind":"service","old":"RUNNING","new":"UNDEPLOYING"},{"kind":"vm","new":"hidden"}],"actions":[{"do":"vm_action","call":"terminate","vm":7}]},
			{"waits_for":"VM 7 is gone","changes":[{"kind":"service","old":"UNDEPLOYING","new":"DONE"}]}]}`))
	}
	c := newCloud(t, map[string]http.HandlerFunc{"DELETE /service/3": plan})
	out := c.does("service", "undeploy", "3", "--dry-run", "--wait")
	for _, want := range []string{"Nothing was changed. This would be done:\n", " 1  at once\n", "RUNNING -> UNDEPLOYING", " 2  when VM 7 is gone\n", "Then the service is gone.\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("the plan lacks %q:\n%s", want, out)
		}
	}
	if strings.Contains(out, "hidden") || len(queries) != 1 || queries[0] != "dry_run=true" {
		t.Errorf("asked with %q: %s", queries, out)
	}
	if text := c.does("service", "undeploy", "3", "--dry-run", "-o", "json"); !json.Valid([]byte(text)) || !strings.Contains(text, `"ends_in"`) {
		t.Errorf("for scripts it is %s", text)
	}
	refused := newCloud(t, map[string]http.HandlerFunc{"DELETE /service/3": refusing(http.StatusConflict, "it is UNDEPLOYING"), "POST /service/3/scale": answering(http.StatusOK, "<html>")})
	refused.fails(terminal.ExitFailed, "it is UNDEPLOYING", "service", "undeploy", "3", "--dry-run")
	refused.fails(terminal.ExitFailed, "read the plan", "service", "scale", "3", "web", "1", "--dry-run")
}

// A plan that depends on how things go does not promise an end.
func TestAPlanThatIsNotComplete(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 300)
	c := newCloud(t, map[string]http.HandlerFunc{"POST /service/3/scale": answering(http.StatusOK, `{"complete":false,"ends_in":"","steps":[{"waits_for":"`+long+`\u001b[2J"}]}`)})
	out := c.does("service", "scale", "3", "web", "2", "--dry-run")
	if !strings.HasSuffix(out, "…\nFurther steps depend on the outcome, or are too many to be planned ahead.\n") || strings.Contains(out, strings.Repeat("x", 161)) || strings.Contains(out, "\x1b") {
		t.Errorf("the plan is %q", out)
	}
}

func TestActionsOfAPlanInWords(t *testing.T) {
	t.Parallel()
	for want, action := range map[string]schema.PlanAction{
		"create web_0":                           {Do: flow.ActionCreateVM, Name: "web_0"},
		"create web_0 on hold":                   {Do: flow.ActionCreateVM, Name: "web_0", OnHold: true},
		"terminate-hard VM 7":                    {Do: flow.ActionVM, Call: "terminate-hard", VM: 7},
		"release web_1":                          {Do: flow.ActionVM, Call: "release", VM: 7, Name: "web_1"},
		"recover VM 7":                           {Do: flow.ActionRecoverVM, VM: 7},
		"create network Priv":                    {Do: flow.ActionCreateNetwork, Network: "Priv"},
		"delete network Priv":                    {Do: flow.ActionDeleteNetwork, Network: "Priv"},
		"create the virtual router of role edge": {Do: flow.ActionCreateRouter, Role: "edge"},
		"delete the virtual router of role edge": {Do: flow.ActionDeleteRouter, Role: "edge"},
		"remove the service":                     {Do: flow.ActionDeleteDocument},
		"something new":                          {Do: "something_new"},
	} {
		if got := inWords(action); got != want {
			t.Errorf("%+v is %q, want %q", action, got, want)
		}
	}
}

// An edit replaces only what was read, and an edit that goes wrong changes nothing.
func TestEditing(t *testing.T) {
	body := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("ETag", `"read"`)
		_, _ = w.Write([]byte(`{"DOCUMENT":{"TEMPLATE":{"BODY":{"name":"web","description":"A shop"}}}}`))
	}
	c := newCloud(t, map[string]http.HandlerFunc{
		"GET /service_template/7": body, "PUT /service_template/7": inTurn(answering(http.StatusNoContent, ""), refusing(http.StatusPreconditionFailed, "it has changed")),
	})
	t.Setenv("VISUAL", "")
	t.Setenv("EDITOR", "true")
	if out, notes, err := c.types("template", "update", "7"); err != nil || out != "" || notes != "nothing was changed\n" || len(c.changes()) > 0 {
		t.Errorf("an edit without a change: %q, %q, %v", out, notes, err)
	}
	t.Setenv("EDITOR", "false")
	c.fails(terminal.ExitFailed, "set another editor with EDITOR", "template", "update", "7")
	t.Setenv("EDITOR", `sh -c 'echo "a: [" > "$1"' x`)
	c.fails(terminal.ExitUsage, "nothing was changed", "template", "update", "7")
	t.Setenv("EDITOR", `sh -c 'echo "- a" > "$1"' x`)
	c.fails(terminal.ExitUsage, "nothing was changed", "template", "update", "7")
	t.Setenv("EDITOR", `sh -c ': > "$1"' x`)
	c.fails(terminal.ExitUsage, "it is empty", "template", "update", "7")
	if sent := c.changes(); len(sent) > 0 {
		t.Fatalf("edits that went wrong send %v", sent)
	}
	t.Setenv("VISUAL", "sed -i s/shop/kiosk/") // it goes before EDITOR
	c.does("template", "update", "7")
	if sent := c.changes(); len(sent) != 1 || sent[0].ifMatch != `"read"` || sent[0].String() != `PUT /service_template/7 {"description":"A kiosk","name":"web"}` {
		t.Errorf("an edit sends %v", sent)
	}
	c.fails(terminal.ExitFailed, "service template 7 was changed by another user meanwhile", "template", "update", "7")
}
