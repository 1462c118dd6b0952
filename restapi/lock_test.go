package restapi

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// A lock on a service's document keeps from changing the service whom it keeps from
// changing the document, as far as oned says so.
func TestLocksAreKept(t *testing.T) {
	const use, manage, admin3 = 1, 2, 3
	for name, test := range map[string]struct {
		level   int
		owner   string
		refused bool
	}{
		"locked for use by another":     {use, admin, true},
		"locked for changes by another": {manage, admin, true},
		"locked for owners by another":  {admin3, admin, false},
		"locked for changes by oneself": {manage, alice, true},
		"not locked":                    {0, admin, false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, Config{})
			w.worker(accept)
			service := w.service(alice)
			id := idOf(t, service)
			if test.level > 0 {
				w.lock(test.owner, id, test.level)
			}
			want, part := 204, ""
			if test.refused {
				want, part = 401, "MANAGE DOCUMENT"
			}
			for _, change := range [][3]string{
				{"POST", "/scale", `{"role_name":"Master","cardinality":2}`},
				{"POST", "/action", `{"action":{"perform":"recover"}}`},
				{"POST", "/role_action", `{"action":{"perform":"remove_role","params":{"role":"Master"}}}`},
				{"PUT", "", `{"append":true,"template":"{\"description\":\"x\"}"}`},
				{"DELETE", "", ""},
			} {
				w.expect(alice, change[0], service+change[1], change[2], want, part)
			}
			if test.refused {
				part = "locked" // administrators are told so
			}
			// It changes the VMs alone, with the caller's rights on them.
			w.expect(alice, "POST", service+"/role/Master/action", perform("hold", "{}"), 204, "")
			w.expect(admin, "POST", service+"/scale", `{"role_name":"Master","cardinality":2}`, want, part)
		})
	}
}

// lock locks a document as a user at the level, straight at oned.
func (w *world) lock(user string, document, level int) {
	w.t.Helper()
	call := fmt.Sprintf(`<?xml version="1.0"?><methodCall><methodName>one.document.lock</methodName><params>
		<param><value><string>%s</string></value></param><param><value><int>%d</int></value></param>
		<param><value><int>%d</int></value></param><param><value><boolean>0</boolean></value></param></params></methodCall>`, user, document, level)
	answer, err := http.Post(w.sim.Endpoint(), "text/xml", strings.NewReader(call))
	w.must(err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	w.must(err)
	if !strings.Contains(string(text), "<boolean>1</boolean>") {
		w.t.Fatalf("lock document %d: %s", document, text)
	}
}
