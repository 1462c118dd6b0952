package main

import (
	"regexp"
	"testing"

	"github.com/flowjet/flowjet/flow"
)

// templateShown is a service template in a command to be pasted.
var templateShown = regexp.MustCompile(`(?s)-d '(\{\s*"name".*?"roles".*?)'`)

// TestTemplatesOnPagesAreValid holds the templates that readers paste.
func TestTemplatesOnPagesAreValid(t *testing.T) {
	count := 0
	for path, text := range pages(t) {
		for _, match := range templateShown.FindAllStringSubmatch(text, -1) {
			count++
			body, err := flow.ParseBody([]byte(match[1]))
			if wrong := flow.Validate(body); err != nil || len(wrong) > 0 {
				t.Errorf("%s shows a template that is refused: %v %v\n%s", path, err, wrong, match[1])
			}
		}
	}
	if count < 2 {
		t.Errorf("%d templates are shown on the pages", count)
	}
}
