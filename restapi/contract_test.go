package restapi

import (
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/flowjet/flowjet/internal/fixtures"
)

// exchange is one recorded call of OneFlow 7.4.
type exchange struct {
	Name        string  `json:"name"`
	Method      string  `json:"method"`
	Path        string  `json:"path"`
	Auth        string  `json:"auth"`
	Request     *string `json:"request_body"`
	Status      int     `json:"status"`
	ContentType *string `json:"content_type"`
	Response    string  `json:"response_body"`
}

// better are the recorded calls that are answered otherwise on purpose, by
// their line, with the status that they get here and why (section 5 of the
// contract's page unless it says something else).
var better = map[int]struct {
	status int
	why    string
}{
	4:  {404, "an id that is not a number is the id of nothing"},
	9:  {400, "bad JSON is bad input"},
	22: {400, "an unknown parent would hang the service"},
	23: {400, "a role that is its own parent would hang the service"},
	24: {400, "a circle of parents would hang the service"},
	38: {400, "an array is bad input"},
	47: {400, "an attribute that cannot be changed is not left unchanged in silence"},
	48: {400, "update without what to update"},
	51: {400, "rename without a name"},
	53: {400, "chmod without an octet"},
	56: {400, "chgrp without a group"},
	59: {400, "VM templates are not cloned with the service template; nothing is done by half"},
	60: {400, "an unknown action"},
	62: {400, "bad JSON is bad input"},
	63: {400, "an empty action is bad input"},
}

// otherBodies are the lines whose answer differs in what it says only.
var otherBodies = map[int]string{
	57: "without recursive OneFlow clones the VM templates too; here the default is none",
}

// lastTemplateLine is the last line before services come to life.
const lastTemplateLine = 70

func TestContractOfTemplates(t *testing.T) {
	recorded := fixtures.Lines[exchange](t, "rest.jsonl")
	w := newWorld(t, Config{})
	w.worker(accept)
	replayed := replay{world: w, ids: map[string]string{}}
	for line, call := range recorded[:lastTemplateLine+1] {
		replayed.line(line, call)
	}
}

// replay sends recorded calls to another server, where documents have other ids.
type replay struct {
	*world
	// ids are ours, by those of the recording.
	ids map[string]string
}

var documentPath = regexp.MustCompile(`^(/service(?:_template)?/)(\d+)(.*)$`)

// path is the recorded path with our id. An id that was never made stays.
func (r *replay) path(recorded string) string {
	parts := documentPath.FindStringSubmatch(recorded)
	if parts == nil || r.ids[parts[2]] == "" {
		return recorded
	}
	return parts[1] + r.ids[parts[2]] + parts[3]
}

func (r *replay) line(line int, call exchange) {
	body := ""
	if call.Request != nil {
		body = *call.Request
	}
	got := r.call(call.Auth, call.Method, r.path(call.Path), body)
	about := fmt.Sprintf("line %d (%s): %s %s", line, call.Name, call.Method, call.Path)
	status, contentType := call.Status, ""
	if call.ContentType != nil {
		contentType = *call.ContentType
	}
	if change, changed := better[line]; changed {
		status, contentType = change.status, textType
		if call.Status == status {
			r.t.Errorf("%s: it is listed as different (%s) and is not", about, change.why)
		}
	}
	if got.status != status || got.header.Get("Content-Type") != contentType {
		r.t.Errorf("%s: got %d %q, recorded %d %q: %s", about, got.status, got.header.Get("Content-Type"), status, contentType, got.body)
		return
	}
	r.compare(line, about, call, got)
}

// compare holds the bodies: documents by their content, errors only that there
// is one readable text.
func (r *replay) compare(line int, about string, call exchange, got reply) {
	switch {
	case got.status == 204:
		if got.body != "" {
			r.t.Errorf("%s: 204 with %q", about, got.body)
		}
	case got.status >= 400:
		if strings.TrimSpace(got.body) == "" || strings.HasPrefix(got.body, "{") {
			r.t.Errorf("%s: the error says %q", about, got.body)
		}
	case line == 40:
		r.compareLists(about, call, got)
	default:
		var want, have map[string]map[string]any
		r.must(json.Unmarshal([]byte(call.Response), &want))
		r.must(json.Unmarshal([]byte(got.body), &have))
		r.ids[fmt.Sprint(want["DOCUMENT"]["ID"])] = fmt.Sprint(have["DOCUMENT"]["ID"])
		if otherBodies[line] == "" {
			r.same(about, want["DOCUMENT"], have["DOCUMENT"])
		}
	}
}

// compareLists leaves out the templates that are refused here.
func (r *replay) compareLists(about string, call exchange, got reply) {
	var want, have map[string]map[string][]map[string]any
	r.must(json.Unmarshal([]byte(call.Response), &want))
	r.must(json.Unmarshal([]byte(got.body), &have))
	ours := have["DOCUMENT_POOL"]["DOCUMENT"]
	var known []map[string]any
	for _, document := range want["DOCUMENT_POOL"]["DOCUMENT"] {
		if r.ids[fmt.Sprint(document["ID"])] != "" {
			known = append(known, document)
		}
	}
	if len(known) != len(ours) {
		r.t.Errorf("%s: %d documents, want %d", about, len(ours), len(known))
		return
	}
	for i := range known {
		r.same(about+" element "+strconv.Itoa(i), known[i], ours[i])
	}
}

// same compares two documents without their times and ids.
func (r *replay) same(about string, want, have map[string]any) {
	for _, document := range []map[string]any{want, have} {
		delete(document, "ID")
		body := document["TEMPLATE"].(map[string]any)["BODY"].(map[string]any)
		for _, moment := range []string{"registration_time", "start_time"} {
			if _, isNumber := body[moment].(float64); isNumber {
				body[moment] = "a time"
			}
		}
	}
	if !reflect.DeepEqual(want, have) {
		wanted, _ := json.MarshalIndent(want, "", " ")
		had, _ := json.MarshalIndent(have, "", " ")
		r.t.Errorf("%s:\ngot  %s\nwant %s", about, had, wanted)
	}
}
