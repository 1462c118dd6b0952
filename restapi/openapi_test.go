package restapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/flowjet/flowjet/client/schema"
	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/inspect"
	"github.com/flowjet/flowjet/restapi/internal/layout"
	"github.com/flowjet/flowjet/restapi/internal/view"
)

type openAPIDocument struct {
	OpenAPI string                                `json:"openapi"`
	Paths   map[string]map[string]json.RawMessage `json:"paths"`
	Parts   map[string]map[string]json.RawMessage `json:"components"`
}

var httpMethods = []string{"get", "put", "post", "delete"}

// The document describes Flowjet's own API; OneFlow's calls are among it, below its prefix.
func TestTheDocumentDescribesEveryRouteAndNoOther(t *testing.T) {
	s, _ := fakeServer(t, Config{Metrics: prometheus.NewRegistry()}, &fakeQueue{})
	served := ask(s, "GET", "/flowjet/v1/openapi.json", "")
	var document openAPIDocument
	if err := json.Unmarshal(served.Body.Bytes(), &document); err != nil || served.Code != 200 {
		t.Fatalf("%d: %v", served.Code, err)
	}
	var described []string
	for path, item := range document.Paths {
		for _, method := range httpMethods {
			if item[method] != nil {
				described = append(described, strings.ToUpper(method)+" "+path)
			}
		}
	}
	for route := range s.patterns {
		method, path, _ := strings.Cut(route, " ")
		if !slices.Contains(described, route) && !slices.Contains(described, method+" "+ownPrefix+path) {
			t.Errorf("%s is not described in openapi.json", route)
		}
	}
	for _, route := range described {
		if s.patterns[route] == nil {
			t.Errorf("openapi.json describes %s, which is not served", route)
		}
	}
	if !strings.HasPrefix(document.OpenAPI, "3.0") {
		t.Errorf("it is OpenAPI %s, which fewer generators read", document.OpenAPI)
	}
}

var reference = regexp.MustCompile(`"#/components/(\w+)/([^"]+)"`)

func TestTheDocumentIsWhole(t *testing.T) {
	var document openAPIDocument
	if err := json.Unmarshal(openAPI, &document); err != nil {
		t.Fatal(err)
	}
	for _, found := range reference.FindAllSubmatch(openAPI, -1) {
		if document.Parts[string(found[1])][string(found[2])] == nil {
			t.Errorf("%s is not defined", found[0])
		}
	}
	for kind, parts := range document.Parts {
		for name := range parts {
			if kind != "securitySchemes" && !bytes.Contains(openAPI, []byte(`"#/components/`+kind+"/"+name+`"`)) {
				t.Errorf("%s %s is not used", kind, name)
			}
		}
	}
	ids := map[string]string{}
	for path, item := range document.Paths {
		for _, method := range httpMethods {
			var operation struct {
				ID        string                     `json:"operationId"`
				Summary   string                     `json:"summary"`
				Responses map[string]json.RawMessage `json:"responses"`
			}
			if item[method] == nil {
				continue
			}
			if err := json.Unmarshal(item[method], &operation); err != nil {
				t.Fatal(err)
			}
			if operation.Summary == "" || len(operation.Responses) == 0 || ids[operation.ID] != "" {
				t.Errorf("%s %s is incomplete, or its id %q is %s's", method, path, operation.ID, ids[operation.ID])
			}
			ids[operation.ID] = path
			if strings.HasPrefix(path, ownPrefix) && strings.Contains(string(item[method]), "text/html") {
				t.Errorf("%s %s is not described as JSON", method, path)
			}
		}
	}
}

// The schemas have the attributes of what the code writes, and no others.
func TestTheDocumentNamesTheAttributesOfAnswers(t *testing.T) {
	var document openAPIDocument
	if err := json.Unmarshal(openAPI, &document); err != nil {
		t.Fatal(err)
	}
	// These are kept among those that have no field.
	kept := map[string][]string{"ServiceBody": {"expand", "flowjet_webhooks"}, "ServiceRole": {"expand"}}
	for name, value := range map[string]any{
		"Problem": problem{}, "Health": healthView{}, "Feed": FeedHealth{}, "Work": workView{}, "Why": inspect.Why{}, "Trouble": flow.Finding{},
		"CommandStatus": pipeline.CommandStatus{}, "Plan": schema.Plan{}, "PlanStep": schema.PlanStep{}, "PlanAction": schema.PlanAction{},
		"Change": flow.Change{}, "Transition": pipeline.Transition{}, "Cause": pipeline.Cause{},
		"ServiceList": view.List{}, "ServiceRow": view.Row{}, "ServiceView": view.Service{}, "Allowed": schema.Allowed{}, "RoleView": schema.Role{},
		"VMView": schema.VM{}, "PolicyView": schema.Policy{}, "LogView": schema.Entry{}, "InputView": schema.Input{}, "NetworkView": schema.Network{},
		"Graph": view.Graph{}, "Edge": layout.Edge{}, "Point": layout.Point{}, "TemplateView": schema.Template{}, "TemplateRoleView": schema.TemplateRole{},
		"Login":       loginView{},
		"ServiceBody": spec.Body{}, "ServiceRole": spec.Role{}, "LogEntry": spec.LogEntry{},
	} {
		var schema struct {
			Properties map[string]any `json:"properties"`
		}
		if err := json.Unmarshal(document.Parts["schemas"][name], &schema); err != nil {
			t.Fatalf("%s cannot be read: %v", name, err)
		}
		written := attributesOf(reflect.TypeOf(value))
		written = append(written, kept[name]...)
		slices.Sort(written)
		if described := slices.Sorted(maps.Keys(schema.Properties)); !slices.Equal(written, described) {
			t.Errorf("%s has %v and is described with %v", name, written, described)
		}
	}
}

// attributesOf are the names under which a struct's fields are written.
func attributesOf(of reflect.Type) []string {
	var names []string
	for _, field := range reflect.VisibleFields(of) {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if name != "" && name != "-" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Below Flowjet's prefix everything is JSON; OneFlow's clients keep their texts.
func TestContentTypes(t *testing.T) {
	w := newWorld(t, Config{replyWait: time.Millisecond})
	service := w.service(alice)
	for _, test := range []struct {
		method, path, body string
		status             int
	}{
		{"GET", "/service", "", 200},
		{"GET", service, "", 200},
		{"GET", "/service/99999", "", 404},
		{"POST", "/service_template", "{", 400},
		{"POST", "/service_template", `{"name":"","roles":[]}`, 400},
		{"POST", service + "/scale", `{"role_name":"Master","cardinality":2}`, 202},
	} {
		if got := w.call(alice, test.method, test.path, test.body); got.status != test.status || got.header.Get("Content-Type") != textType {
			t.Errorf("%s %s: %+v", test.method, test.path, got)
		}
		want := jsonType
		if test.status >= 400 {
			want = problemType
		}
		got := w.call(alice, test.method, ownPrefix+test.path, test.body)
		if got.status != test.status || got.header.Get("Content-Type") != want || !json.Valid([]byte(got.body)) {
			t.Errorf("%s %s%s: %+v", test.method, ownPrefix, test.path, got)
		}
	}
	var refused problem
	got := w.call(alice, "POST", ownPrefix+"/service_template", `{"name":"x","roles":[{"name":"a b","type":"vm","template_id":0}]}`)
	w.must(json.Unmarshal([]byte(got.body), &refused))
	if refused.Status != 400 || refused.Title != "Bad Request" || refused.Type != "about:blank" || len(refused.Violations) != 1 || refused.Violations[0].Path != "roles[0].name" {
		t.Errorf("got %+v", refused)
	}
	// A kept answer is as the first one was.
	for range 2 {
		got := w.call(alice, "POST", ownPrefix+"/service_template", `{"name":"","roles":[]}`, key, "k")
		if got.header.Get("Content-Type") != problemType {
			t.Errorf("got %+v", got)
		}
	}
}

// The description and docs/security.md name the limits of requests, as the code has them.
func TestTheTableOfRequestLimits(t *testing.T) {
	var described struct {
		Info struct {
			Limits map[string]int `json:"x-request-limits"`
		} `json:"info"`
	}
	if err := json.Unmarshal(openAPI, &described); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	limits := standardLimits
	want := map[string]int{
		"bytes of a request's body":                                  int(limits.body),
		"reads of a user in a second, twice as many at once":         int(limits.reads),
		"changes of a user in a second, twice as many at once":       int(limits.changes),
		"bytes of bodies of a user in a second, on average":          limits.bytes,
		"bytes of bodies of a user at once":                          limits.bytesAtOnce,
		"requests worked on at once, shared among users":             limits.requests,
		"bodies received at once, shared among users":                limits.receiving,
		"bytes of documents in answers at once, shared among users":  limits.showing,
		"commands that wait for their workers, of all APIs together": limits.queued,
		"commands of one user that wait for their workers":           limits.queuedOfUser,
		"clients that follow events":                                 limits.streams,
		"clients of one user that follow events":                     limits.streamsOfUser,
		"seconds for a request's header":                             int(limits.headerTimeout.Seconds()),
		"seconds for the whole request":                              int(limits.requestTimeout.Seconds()),
		"characters of an Idempotency-Key":                           maxKey,
		"entity tags in If-Match":                                    maxTags,
	}
	if !maps.Equal(want, described.Info.Limits) {
		t.Errorf("described are %v, want %v", described.Info.Limits, want)
	}
	rows := strings.ReplaceAll(string(page), ",", "")
	for name, most := range want {
		if row := fmt.Sprintf("| %s | %d |", strings.ReplaceAll(name, ",", ""), most); !strings.Contains(rows, row) {
			t.Errorf("docs/security.md lacks %q", row)
		}
	}
}
