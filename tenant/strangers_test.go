package tenant

import (
	"net/http"
	"strings"
	"testing"
)

// Whatever another user has for a text in a service or template that he shares, this user's terminal does not obey it.
func TestTextsOfOthersDoNotCommandTheTerminal(t *testing.T) {
	t.Parallel()
	const evil = `bad\u001b]0;owned\u0007\rname\u009b2J\u007f`
	shared := `{"id":3,"name":"E","owner":"E","group":"E","state":"E","permissions":"E","deployment":"E","description":"E","role_count":1,
		"roles":[{"name":"E","state":"E","parents":["E"],"heal":"E","vms":[{"id":1,"state":"E","host":"E","ips":["E"],"error":"E"}],
			"policies":[{"type":"E","adjust":"E","when":"E"}],"inputs":[{"name":"E","type":"E","value":"E","description":"E"}]}],
		"networks":[{"name":"E","id":"E","from":"E","of":"E"}],"inputs":[{"name":"E","value":"E"}],"log":[{"severity":"E","message":"E"},{"severity":"I","message":"E"}]}`
	templates := `{"templates":[{"id":7,"name":"E","owner":"E","group":"E","description":"E","roles":[{"name":"E","parents":["E"],"inputs":[{"name":"E","type":"E"}]}],
		"inputs":[{"name":"E","type":"E","default":"E","options":["E"],"description":"E"}],"networks":[{"name":"E","from":"E","of":"E","description":"E"}]}]}`
	why := `{"state":"E","reason":"E","next":["E"],"oned_away":"E","waits":[{"message":"E","role":"E","vm":1}]}`
	event := `{"service":3,"kind":"role","role":"E","old":"E","new":"E","reason":"E","time":"2026-11-28T12:00:00Z"}`
	with := func(text string) string { return strings.NewReplacer(`"E"`, `"`+evil+`"`, "\n", "").Replace(text) }
	c := newCloud(t, map[string]http.HandlerFunc{
		"GET /services/3": answering(http.StatusOK, with(shared)), "GET /services/3/why": answering(http.StatusOK, with(why)), "GET /services": list(with(shared)),
		"GET /templates": answering(http.StatusOK, with(templates)), "GET /service_template/7": answering(http.StatusOK, with(`{"DOCUMENT":{"TEMPLATE":{"BODY":{"name":"E"}}}}`)),
		"GET /events": events(with(event), turned(3, "UNDEPLOYING", "DONE")),
	})
	for _, line := range []string{
		"service show 3", "service show 3 -o wide", "service show 3 -o json", "service show 3 -o yaml", "service show 3 --watch", "service list", "service list -o wide", "service list -o json",
		"template show 7", "template show 7 -o json", "template show 7 -o yaml", "template list", "template list -o wide", "template list -o yaml",
	} {
		out, notes, err := c.types(strings.Fields(line)...)
		if err != nil || strings.ContainsAny(out+notes, "\x1b\x07\r\x7f\u009b") {
			t.Errorf("%s writes control characters, or ends with %v: %q", line, err, out+notes)
		}
	}
}
