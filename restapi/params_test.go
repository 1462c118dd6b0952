package restapi

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"
)

// TestParameters holds what each value means for each type of parameter. The table in docs/api.md says the same.
func TestParameters(t *testing.T) {
	const refused = "400"
	types := map[string]func(a attributes) (any, error){
		"owner":     func(a attributes) (any, error) { return a.owner("p") },
		"spacing":   func(a attributes) (any, error) { return a.spacing("p", 60) },
		"whole":     func(a attributes) (any, error) { return a.whole("p") },
		"flag":      func(a attributes) (any, error) { return a.flag("p") },
		"octet":     func(a attributes) (any, error) { return a.octet("p") },
		"recursive": func(a attributes) (any, error) { return a.recursive("p"), nil },
		"deletes":   func(a attributes) (any, error) { return a.deletes("p") },
		"note":      func(a attributes) (any, error) { return a.note("p") },
		"text":      func(a attributes) (any, error) { return a.text("p") },
	}
	for _, row := range []struct {
		value string
		want  map[string]string
	}{
		{``, map[string]string{"owner": refused, "spacing": "60", "whole": refused, "flag": "false", "octet": refused, "recursive": "templates", "deletes": "none", "note": "", "text": refused}},
		{`null`, map[string]string{"owner": refused, "spacing": "60", "whole": refused, "flag": "false", "octet": refused, "recursive": "templates", "deletes": "none", "note": "", "text": refused}},
		{`""`, map[string]string{"owner": "-1", "spacing": "0", "whole": refused, "flag": "false", "octet": refused, "recursive": "templates", "deletes": "none", "note": "", "text": refused}},
		{`-1`, map[string]string{"owner": "-1", "spacing": "0", "whole": refused, "flag": refused, "octet": refused, "recursive": "templates", "deletes": refused, "note": "-1", "text": refused}},
		{`"-1"`, map[string]string{"owner": "-1", "spacing": "0", "whole": refused, "flag": refused, "octet": refused, "recursive": "templates", "deletes": refused, "note": "-1", "text": "-1"}},
		{`-2`, map[string]string{"owner": refused, "spacing": "0", "whole": refused}},
		{`0`, map[string]string{"owner": "0", "spacing": "0", "whole": "0", "flag": "false", "octet": "000", "recursive": "templates", "deletes": refused, "note": "0", "text": refused}},
		{`"0"`, map[string]string{"owner": "0", "spacing": "0", "whole": "0", "flag": "false", "octet": "000", "text": "0"}},
		{`4`, map[string]string{"owner": "4", "spacing": "4", "whole": "4", "flag": refused, "octet": "004", "note": "4"}},
		{`" 44 "`, map[string]string{"owner": "44", "spacing": "44", "whole": "44", "octet": "044"}},
		{`640`, map[string]string{"owner": "640", "octet": "640"}},
		{`"0640"`, map[string]string{"octet": "640"}},
		{`"888"`, map[string]string{"octet": refused, "whole": "888"}},
		{`"1640"`, map[string]string{"octet": refused}},
		{`2.0`, map[string]string{"owner": "2", "spacing": "2", "whole": "2"}},
		{`1.5`, map[string]string{"owner": refused, "spacing": refused, "whole": refused, "octet": refused}},
		{`99999999999`, map[string]string{"owner": refused, "spacing": refused, "whole": refused}},
		{`"x"`, map[string]string{"owner": refused, "spacing": refused, "whole": refused, "flag": refused, "octet": refused, "recursive": "templates", "deletes": refused, "note": "x", "text": "x"}},
		{`true`, map[string]string{"owner": refused, "spacing": refused, "whole": refused, "flag": "true", "octet": refused, "recursive": "templates", "deletes": refused, "note": "true", "text": refused}},
		{`"true"`, map[string]string{"flag": "true", "recursive": "templates"}},
		{`false`, map[string]string{"owner": refused, "spacing": refused, "flag": "false", "recursive": "templates", "deletes": refused}},
		{`"none"`, map[string]string{"recursive": "none", "deletes": "none"}},
		{`"templates"`, map[string]string{"recursive": "templates", "deletes": "templates"}},
		{`"all"`, map[string]string{"recursive": "all", "deletes": "all"}},
		{`[]`, map[string]string{"owner": refused, "spacing": refused, "whole": refused, "flag": refused, "octet": refused, "recursive": "templates", "deletes": refused, "note": refused, "text": refused}},
		{`{}`, map[string]string{"owner": refused, "spacing": refused, "whole": refused, "flag": refused, "octet": refused, "recursive": "templates", "deletes": refused, "note": refused, "text": refused}},
	} {
		params := attributes{}
		if row.value != "" {
			params["p"] = json.RawMessage(row.value)
		}
		for kind, want := range row.want {
			got, err := types[kind](params)
			text := fmt.Sprint(got)
			if err != nil {
				text = fmt.Sprint(statusOf(err, false))
			}
			if text != want {
				t.Errorf("%s as %s: got %s, %v, want %s", row.value, kind, text, err, want)
			}
		}
	}
}

// Owners and groups change by what Sunstone, goca and Terraform send: -1 for what is to stay.
func TestOwnersThatStay(t *testing.T) {
	w := newWorld(t, Config{replyWait: time.Millisecond})
	for _, path := range []string{w.template(admin), w.service(admin)} {
		for _, step := range []struct{ action, params, uid, gid string }{
			{"chown", `{"owner_id":"2","group_id":"-1"}`, "2", "0"},
			{"chown", `{"owner_id":"-1","group_id":"1"}`, "2", "1"},
			{"chown", `{"owner_id":0,"group_id":""}`, "0", "1"},
			{"chown", `{"owner_id":-1,"group_id":0}`, "0", "0"},
			{"chown", `{"owner_id":2}`, "2", "0"},
			{"chgrp", `{"group_id":"1"}`, "2", "1"},
			{"chgrp", `{"group_id":-1}`, "2", "1"},
			{"chown", `{"owner_id":"-1","group_id":"-1"}`, "2", "1"},
			{"chown", `{"owner_id":"oneadmin","group_id":"oneadmin"}`, "0", "0"},
			{"chown", `{"owner_id":"alice","group_id":-1}`, "2", "0"},
			{"chgrp", `{"group_id":"users"}`, "2", "1"},
		} {
			w.expect(admin, "POST", path+"/action", perform(step.action, step.params), 204, "")
			var got shown
			w.must(json.Unmarshal([]byte(w.expect(admin, "GET", path, "", 200, "").body), &got))
			if got.Document.UID != step.uid || got.Document.GID != step.gid {
				t.Errorf("%s %s %s: owner %s, group %s", path, step.action, step.params, got.Document.UID, got.Document.GID)
			}
		}
	}
	w.expect(admin, "POST", w.template(admin)+"/action", perform("chown", `{"owner_id":"nobody"}`), 400, `"owner_id" is "nobody", which is not the name of a user or group that you may see; give the id`)
	w.expect(admin, "POST", w.template(admin)+"/action", perform("chgrp", `{"group_id":"alice"}`), 400, `"group_id" is "alice"`)
	// oned shows alice neither other users nor groups that she is not in.
	w.expect(alice, "POST", w.template(alice)+"/action", perform("chown", `{"owner_id":"oneadmin"}`), 400, `"owner_id" is "oneadmin"`)
	w.expect(alice, "POST", w.template(alice)+"/action", perform("chgrp", `{"group_id":"oneadmin"}`), 400, `"group_id" is "oneadmin"`)
	w.expect(alice, "POST", w.template(alice)+"/action", perform("chgrp", `{"group_id":"users"}`), 204, "")
	// Who may not change the owner may not ask for no change either.
	w.expect(alice, "POST", w.template(admin)+"/action", perform("chown", `{"owner_id":-1,"group_id":-1}`), 401, "")
}

// goca sends null with every DELETE; others send what is no object.
func TestDeletionsWithBodiesThatSayNothing(t *testing.T) {
	w := newWorld(t, Config{})
	for _, body := range []string{"null", "", "[]", "x", "1", "{}", `{"delete_type":null}`, `{"delete_type":""}`} {
		w.expect(admin, "DELETE", w.template(admin), body, 204, "")
	}
	w.expect(admin, "DELETE", w.template(admin), `{"delete_type":"everything"}`, 400, "none, templates or all")
	w.expect(admin, "DELETE", "/service_template/999999", "null", 404, "")
}

// OneFlow's commands go through ranges of ids, in which services and templates lie beside each other.
func TestIDsOfTheOtherKind(t *testing.T) {
	w := newWorld(t, Config{})
	service, template := w.service(admin), w.template(admin)
	for _, path := range []string{"/service/" + itoa(idOf(t, template)), "/service_template/" + itoa(idOf(t, service))} {
		w.expect(admin, "GET", path, "", 500, "there is no service")
		w.expect(admin, "DELETE", path, "null", 500, "there is no service")
		w.expect(admin, "GET", "/flowjet/v1"+path, "", 404, "there is no service")
	}
}

func TestEmptyLists(t *testing.T) {
	w := newWorld(t, Config{})
	for _, path := range []string{"/service", "/service_template"} {
		got := w.expect(admin, "GET", path, "", 200, "")
		var read map[string]map[string]any
		w.must(json.Unmarshal([]byte(got.body), &read))
		if pool := read["DOCUMENT_POOL"]; pool == nil || len(pool) != 0 {
			t.Errorf("%s: %s", path, got.body)
		}
	}
}

// Of an attribute that a body has twice the last counts, whole, as for OneFlow.
func TestTheLastOfTwoCounts(t *testing.T) {
	w := newWorld(t, Config{})
	w.whole()
	made := w.expect(admin, "POST", "/service_template", `{"name":"first","name":"last","roles":[{"name":"x","type":"vm","template_id":0},{"name":"y","type":"vm","template_id":0}],
		"roles":[{"name":"a","type":"vm","cardinality":3,"cardinality":1,"template_id":7,"template_id":0}]}`, 201, "")
	id, body := w.document(made)
	if body.Name != "last" || len(body.Roles) != 1 || body.Roles[0].Cardinality != 1 || body.Roles[0].TemplateID != 0 {
		t.Errorf("the template is %s", made.body)
	}
	twice := `{"action":{"perform":"rename","params":{"name":"renamed","merge_template":{"name":"no"}}},"action":{"perform":"clone","perform":"instantiate","params":{"merge_template":{"name":"x","name":"service"}}}}`
	got := w.expect(admin, "POST", "/service_template/"+id+"/action", twice, 201, "")
	if service, body := w.document(got); body.Name != "service" {
		t.Errorf("the service %s is %s", service, got.body)
	}
	w.expect(admin, "POST", "/service_template/"+id+"/action", `{"action":{"perform":"rename","params":{"name":"kept"}},"action":{"perform":"rename"}}`, 400, `"name"`)
}
