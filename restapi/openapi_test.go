package restapi

import (
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/restapi/internal/dryrun"
)

type openAPIDocument struct {
	OpenAPI string                                `json:"openapi"`
	Paths   map[string]map[string]json.RawMessage `json:"paths"`
	Parts   struct {
		Schemas    map[string]json.RawMessage `json:"schemas"`
		Parameters map[string]json.RawMessage `json:"parameters"`
	} `json:"components"`
}

var httpMethods = []string{"get", "put", "post", "delete"}

// described are the routes that the document describes.
func (d openAPIDocument) described(t *testing.T) []string {
	t.Helper()
	var routes []string
	for path, item := range d.Paths {
		var servers []struct {
			URL string `json:"url"`
		}
		if err := json.Unmarshal(item["servers"], &servers); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		for _, server := range servers {
			for _, method := range httpMethods {
				if item[method] != nil {
					routes = append(routes, strings.ToUpper(method)+" "+strings.TrimSuffix(server.URL, "/")+path)
				}
			}
		}
	}
	slices.Sort(routes)
	return routes
}

func TestTheDocumentDescribesEveryRouteAndNoOther(t *testing.T) {
	registry := prometheus.NewRegistry()
	s, _ := fakeServer(t, Config{Metrics: registry}, &fakeQueue{})
	served := ask(s, "GET", "/flowjet/v1/openapi.json", "")
	var document openAPIDocument
	if err := json.Unmarshal(served.Body.Bytes(), &document); err != nil || served.Code != 200 {
		t.Fatalf("%d: %v", served.Code, err)
	}
	routes := slices.Sorted(maps.Keys(s.patterns))
	described := document.described(t)
	for _, route := range routes {
		if !slices.Contains(described, route) {
			t.Errorf("%s is not described in openapi.json", route)
		}
	}
	for _, route := range described {
		if !slices.Contains(routes, route) {
			t.Errorf("openapi.json describes %s, which is not served", route)
		}
	}
	if !strings.HasPrefix(document.OpenAPI, "3.1") {
		t.Errorf("it is OpenAPI %s", document.OpenAPI)
	}
}

var reference = regexp.MustCompile(`"#/components/(schemas|parameters)/([^"]+)"`)

func TestTheDocumentIsWhole(t *testing.T) {
	var document openAPIDocument
	if err := json.Unmarshal(openAPI, &document); err != nil {
		t.Fatal(err)
	}
	for _, found := range reference.FindAllSubmatch(openAPI, -1) {
		parts := document.Parts.Schemas
		if string(found[1]) == "parameters" {
			parts = document.Parts.Parameters
		}
		if parts[string(found[2])] == nil {
			t.Errorf("%s is not defined", found[0])
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
			for _, name := range regexp.MustCompile(`\{(\w+)\}`).FindAllStringSubmatch(path, -1) {
				if !strings.Contains(string(item["parameters"]), `"`+name[1]+`"`) {
					t.Errorf("%s: the parameter %s is not described", path, name[1])
				}
			}
		}
	}
}

// TestTheDocumentNamesTheAttributesOfAnswers holds the schemas against what the
// code writes.
func TestTheDocumentNamesTheAttributesOfAnswers(t *testing.T) {
	var document openAPIDocument
	if err := json.Unmarshal(openAPI, &document); err != nil {
		t.Fatal(err)
	}
	shown, err := show(200, opennebula.Document{Body: []byte("{}")})
	if err != nil {
		t.Fatal(err)
	}
	var outer struct{ Document any }
	if err := json.Unmarshal(shown.body, &outer); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]any{"Health": healthView{}, "Work": workView{}, "Plan": dryrun.View{}, "DocumentBody": outer.Document} {
		text, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		var written map[string]any
		var schema struct {
			Properties map[string]any `json:"properties"`
		}
		if json.Unmarshal(text, &written) != nil || json.Unmarshal(document.Parts.Schemas[name], &schema) != nil {
			t.Fatalf("%s cannot be read", name)
		}
		if got, want := slices.Sorted(maps.Keys(written)), slices.Sorted(maps.Keys(schema.Properties)); !slices.Equal(got, want) {
			t.Errorf("%s has %v and is described with %v", name, got, want)
		}
	}
}

// The description names the limits of what a template and a service may hold, as the code has
// them.
func TestOpenAPINamesTheLimits(t *testing.T) {
	var described struct {
		Info struct {
			Limits map[string]int `json:"x-limits"`
		} `json:"info"`
	}
	if err := json.Unmarshal(openAPI, &described); err != nil {
		t.Fatal(err)
	}
	for _, limit := range flow.Limits() {
		if got := described.Info.Limits[limit.Name]; got != limit.Most {
			t.Errorf("%s: %d, want %d", limit.Name, got, limit.Most)
		}
	}
	if len(described.Info.Limits) != len(flow.Limits()) {
		t.Errorf("%d limits are described", len(described.Info.Limits))
	}
}
