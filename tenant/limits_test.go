package tenant

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/flowjet/flowjet/internal/terminal"
)

// What a file may be: whatever a user's editor makes of YAML or JSON becomes the object that it says, and nothing else is sent.
func TestFilesThatUsersWrite(t *testing.T) {
	t.Parallel()
	c := newCloud(t, map[string]http.HandlerFunc{"PUT /service/3": answering(http.StatusNoContent, "")})
	for text, want := range map[string]string{
		`{"a": 1.50, "b": [1, null]}`:       `{"a":1.5,"b":[1,null]}`,
		"\n\t {\"a\": 12345678901234567}\n": `{"a":12345678901234567}`,
		"a: 1\nb: yes\nc: 'yes'\n":          `{"a":1,"b":"yes","c":"yes"}`,
		"a: &x {b: 1}\nc: *x\n":             `{"a":{"b":1},"c":{"b":1}}`,
		"# a comment\na:\n  - b\n":          `{"a":["b"]}`,
		"a: |\n  two\n  lines\n":            `{"a":"two\nlines\n"}`,
		"\xef\xbb\xbfa: 1\n":                `{"a":1}`,
		"1: one\n":                          `{"1":"one"}`,
		"a: ''\nb: ~\n":                     `{"a":"","b":null}`,
	} {
		before := len(c.changes())
		c.does("service", "update", "3", c.file("new.yaml", text))
		sent := c.changes()[before:]
		var object map[string]any
		if err := json.Unmarshal([]byte(want), &object); err != nil {
			t.Fatal(err)
		}
		if len(sent) != 1 || fmt.Sprint(sent[0].body) != fmt.Sprint(object) {
			t.Errorf("%q is sent as %v, want %s", text, sent, want)
		}
	}
	before := len(c.changes())
	for text, want := range map[string]string{
		"":                 "it is empty",
		"# only a comment": "it is empty",
		"null":             "it is empty",
		"5":                "it is something else",
		`"text"`:           "it is something else",
		`[{"a": 1}]`:       "it is something else",
		"- a\n":            "it is something else",
		"a: [1\n":          "is not an object in YAML or JSON",
		"a: 1\na: 2\n":     "is not an object in YAML or JSON",
		`{"a": 1, "a": 2}`: `is not an object in YAML or JSON: it has the key "a" twice, in lines 1 and 1`,
		"a: 1\nb:\n- c: secret\n  d: 1\n  c: 2\n": `is not an object in YAML or JSON: it has the key "c" twice, in lines 3 and 5`,
		"\x00\x01":          "is not an object in YAML or JSON",
		"a: *unknown\n":     "unknown anchor",
		"a: {1: {b: .nan}}": "is not an object in YAML or JSON",
	} {
		c.fails(terminal.ExitUsage, want, "service", "update", "3", c.file("new.yaml", text))
	}
	if sent := c.changes()[before:]; len(sent) > 0 {
		t.Errorf("it sends %v", sent)
	}
}

// A plan has names that others gave and may wait for much: its words command no terminal and are cut, and an action of a newer API is told, too.
func TestPlansOfStrangers(t *testing.T) {
	t.Parallel()
	plan := `{"steps":[{"changes":[{"kind":"role","role":"we\u001bb","old":"RUNNING","new":"SCALING"},{"kind":"vm","vm":1,"new":"created"}],"actions":[
		{"do":"create_vm","name":"web_1","on_hold":true},{"do":"vm_action","vm":7,"call":"terminate-hard"},{"do":"create_network","network":"Priv"},{"do":"something_new"}]},
		{"waits_for":"` + strings.Repeat("é", 200) + `"}],"complete":true,"ends_in":"RUNNING"}`
	c := newCloud(t, map[string]http.HandlerFunc{"POST /service/3/scale": answering(http.StatusOK, plan)})
	out := c.does("service", "scale", "3", "web", "2", "--dry-run")
	for _, want := range []string{"Nothing was changed. This would be done:\n", " 1  at once\n", "create web_1 on hold\n", "create network Priv\n", "something new\n", " 2  when " + strings.Repeat("é", mostShown-1) + "…\n", "Then it is RUNNING.\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("it lacks %q:\n%s", want, out)
		}
	}
	if strings.ContainsRune(out, '\x1b') || strings.Contains(out, "created") {
		t.Errorf("it has control characters, or VMs twice: %q", out)
	}
	if sent := c.changes(); len(sent) != 1 || sent[0].query != "dry_run=true" {
		t.Errorf("it sends %+v", sent)
	}
	if out := c.does("service", "scale", "3", "web", "2", "--dry-run", "--wait", "-o", "json"); !json.Valid([]byte(out)) || !strings.Contains(out, `"complete": true`) {
		t.Errorf("for scripts it is %s", out)
	}
	c.answers = map[string]http.HandlerFunc{"POST /service/3/scale": answering(http.StatusOK, "<html>")}
	c.fails(terminal.ExitFailed, "read the plan", "service", "scale", "3", "web", "2", "--dry-run")
}
