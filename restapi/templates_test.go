package restapi

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"

	"github.com/flowjet/flowjet/flow/spec"
)

func itoa(n int) string { return strconv.Itoa(n) }

// idOf is the id at the end of a path.
func idOf(t testing.TB, path string) int {
	t.Helper()
	id, err := strconv.Atoi(path[strings.LastIndexByte(path, '/')+1:])
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestTemplateActionsRefuse(t *testing.T) {
	w := newWorld(t, Config{})
	template := w.template(admin)
	for _, test := range []struct{ body, part string }{
		{`{bad`, "must be a JSON object"},
		{`{}`, `"action" is missing`},
		{`{"action":null}`, `"action" is missing`},
		{perform("bogus", `{}`), `supported are chgrp, chmod, chown, clone, instantiate, rename, update`},
		{perform("rename", `{}`), `"name" is missing`},
		{perform("rename", `{"name":" "}`), `"name" is empty`},
		{perform("rename", `{"name":"a\u0007"}`), `none of them control characters`},
		{perform("rename", `{"name":"a\ud83d\ude00"}`), `must not have emoji`},
		{perform("clone", `{"name":"a\ud83d\ude00"}`), `must not have emoji`},
		{perform("chmod", `{}`), `"octet" is missing`},
		{perform("chmod", `{"octet":"999"}`), `three octal digits`},
		{perform("chown", `{}`), `"owner_id" is missing`},
		{perform("chown", `{"owner_id":"x"}`), `"owner_id" is "x", which is not the name of a user or group that you may see`},
		{perform("chgrp", `{}`), `"group_id" is missing`},
		{perform("clone", `{}`), `"name" is missing`},
		{perform("update", `{}`), `"template_json" is missing`},
		{perform("update", `{"template_json":"{bad"}`), `not JSON`},
		{perform("update", `{"append":true,"template_json":"{\"registration_time\":5}"}`), `cannot be changed`},
		{perform("update", `{"append":true,"template_json":"{\"deployment\":\"x\"}"}`), `none or straight`},
		{perform("instantiate", `{"merge_template":[]}`), `merge_template`},
		{perform("instantiate", `{"merge_template":{"user_inputs":{"A":"M|text"}}}`), `lacks a value for A`},
	} {
		w.expect(admin, "POST", template+"/action", test.body, 400, test.part)
	}
	w.expect(admin, "DELETE", template, `{"delete_type":"some"}`, 400, `none, templates or all`)
	w.expect(admin, "DELETE", template, `{"delete_type":"none"}`, 204, "")
	w.expect(admin, "DELETE", template, "", 404, "")
}

// oned takes no characters above U+FFFF; in JSON they can be escaped.
func TestEmojiInADocument(t *testing.T) {
	w := newWorld(t, Config{})
	template := w.template(alice)
	w.expect(alice, "PUT", template, `{"name":"shop","description":"a 😀","roles":[],"x":{"y":"😀"}}`, 200, "")
	for range 2 {
		if got := w.expect(alice, "GET", template, "", 200, "").body; !strings.Contains(got, `"a \ud83d\ude00"`) || !strings.Contains(got, `"y": "\ud83d\ude00"`) {
			t.Errorf("the emoji is lost: %s", got)
		}
	}
}

func TestTemplateUpdate(t *testing.T) {
	w := newWorld(t, Config{})
	template := w.template(alice)
	w.expect(alice, "POST", template+"/action", perform("update", `{"append":true,"template_json":{"description":"a<b & c","x":[1]}}`), 204, "")
	got := w.expect(alice, "GET", template, "", 200, `"description": "a<b & c"`)
	if _, body := w.document(got); len(body.Roles) != 2 || string(body.Extra["x"]) == "" {
		t.Errorf("got %s", got.body)
	}
	w.expect(alice, "POST", template+"/action", perform("update", `{"template_json":"{\"name\":\"n\",\"roles\":[]}"}`), 204, "")
	if got := w.expect(alice, "GET", template, "", 200, `"name": "n"`); strings.Contains(got.body, "a<b") {
		t.Errorf("got %s", got.body)
	}
	stored, err := w.oned.For("alice").Document(t.Context(), idOf(t, template))
	w.must(err)
	if stored.Name != "svc" {
		t.Errorf("the document is now called %q", stored.Name)
	}
}

func TestOneUnreadableBodyDoesNotBreakTheList(t *testing.T) {
	w := newWorld(t, Config{})
	broken, good := w.service(admin), w.service(admin)
	for _, body := range []string{"not json", "[]", `"x"`, strings.Repeat("[", 200) + strings.Repeat("]", 200), `{"a":`} {
		w.must(w.oned.For("oneadmin").UpdateDocument(t.Context(), idOf(t, broken), []byte(body)))
		for _, path := range []string{"/service", broken} {
			got := w.expect(admin, "GET", path, "", 200, "is not valid JSON; `oneflow recover "+itoa(idOf(t, broken))+"`")
			if path == "/service" && !strings.Contains(got.body, `"ID": "`+itoa(idOf(t, good))+`"`) {
				t.Errorf("the other service is missing in %s", got.body)
			}
		}
	}
}

func TestReadableUndoesOnlyWhatWasEscaped(t *testing.T) {
	for text, want := range map[string]string{
		`{"a":"CPU \u003e 1 \u0026\u0026 B \u003c 2"}`: `{"a":"CPU > 1 && B < 2"}`,
		`{"a":"\\u003e"}`:                  `{"a":"\\u003e"}`,
		`{"a":"\\\u003E"}`:                 `{"a":"\\>"}`,
		`{"a":"\u0000\u00e9\"\u003c"}`:     `{"a":"\u0000\u00e9\"<"}`,
		`{"a":"\u003`:                      `{"a":"\u003`,
		`{"a":"x\`:                         `{"a":"x\`,
		`{"plain":1}`:                      `{"plain":1}`,
		`{"a":"\u00`:                       `{"a":"\u00`,
		`{"expression":"A \u003c= \"B\""}`: `{"expression":"A <= \"B\""}`,
	} {
		if got := string(readable([]byte(text))); got != want {
			t.Errorf("%s becomes %s, want %s", text, got, want)
		}
	}
}

func TestExpressionsAreKeptReadable(t *testing.T) {
	w := newWorld(t, Config{})
	body := `{"name":"s","roles":[{"name":"a","type":"vm","cardinality":1,"template_id":0,"min_vms":1,"max_vms":3,"elasticity_policies":[{"type":"CHANGE","adjust":1,"expression":"CPU > 1 && !(A <= 2)"}]}]}`
	w.expect(admin, "POST", "/service_template", body, 201, `"expression": "CPU > 1 && !(A <= 2)"`)
	documents, err := w.oned.For("oneadmin").Documents(t.Context(), spec.DocumentTypeServiceTemplate, allVisible)
	w.must(err)
	if text := string(documents[0].Body); !strings.Contains(text, "CPU > 1 && !(A <= 2)") {
		t.Errorf("oned holds %s", text)
	}
}

// Sunstone's form writes a template anew and leaves out what it does not know.
func TestAttributesThatAClientDropsAreNamed(t *testing.T) {
	w := newWorld(t, Config{})
	const own = `{"name":"svc","flowjet_webhooks":[{"url":"https://receiver.example/x"}],"roles":[{"name":"a","type":"vm","cardinality":1,"template_id":0,"heal":{"action":"recover"}}]}`
	const form = `{"name":"svc","roles":[{"name":"a","type":"vm","cardinality":1,"template_id":0}]}`
	for _, replace := range []func(path string) reply{
		func(path string) reply { return w.call(admin, "PUT", path, form) },
		func(path string) reply {
			text, err := json.Marshal(form)
			w.must(err)
			return w.call(admin, "POST", path+"/action", perform("update", `{"append":false,"template_json":`+string(text)+`}`))
		},
	} {
		id, _ := w.document(w.expect(admin, "POST", "/service_template", own, 201, ""))
		got := replace("/service_template/" + id)
		if warning := got.header.Get("Warning"); got.status >= 300 || !strings.Contains(warning, "flowjet_webhooks, heal of role a") {
			t.Errorf("got %d %s, Warning %q", got.status, got.body, warning)
		}
		if !strings.Contains(w.log.String(), "heal of role a") {
			t.Error("the log does not tell")
		}
		if again := replace("/service_template/" + id); again.header.Get("Warning") != "" {
			t.Errorf("nothing was dropped: %q", again.header.Get("Warning"))
		}
	}
}
