package main

import (
	"encoding/json"
	"regexp"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/flow/template"
)

// templateShown is a service template in a command to be pasted: in curl's, or in that of
// `flowjet template create`.
var templateShown = regexp.MustCompile(`(?s)-d '(\{\s*"name".*?"roles".*?)'|template create - <<'END'\n(.*?)\nEND`)

// TestTemplatesOnPagesAreValid holds the templates that readers paste.
func TestTemplatesOnPagesAreValid(t *testing.T) {
	count := 0
	for path, text := range pages(t) {
		for _, match := range templateShown.FindAllStringSubmatch(text, -1) {
			count++
			shown := match[1] + match[2]
			var held any
			if err := yaml.Unmarshal([]byte(shown), &held); err != nil { // JSON is YAML
				t.Errorf("%s shows a template that cannot be read: %v\n%s", path, err, shown)
			}
			asJSON, err := json.Marshal(held)
			if err != nil {
				t.Fatal(err)
			}
			body, err := spec.ParseBody(asJSON)
			if wrong := template.Validate(body); err != nil || len(wrong) > 0 {
				t.Errorf("%s shows a template that is refused: %v %v\n%s", path, err, wrong, shown)
			}
		}
	}
	if count < 3 {
		t.Errorf("%d templates are shown on the pages", count)
	}
}
