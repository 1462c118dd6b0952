package flow_test

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/flow/template"
)

// TestDocumentedTemplates: what docs/services.md prints can be sent as it is, and each of
// its attributes is read.
func TestDocumentedTemplates(t *testing.T) {
	text, err := os.ReadFile("../docs/services.md")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Unix(1_900_000_000, 0)
	printed := regexp.MustCompile("(?s)```json\n(.*?)```").FindAllStringSubmatch(string(text), -1)
	for i, found := range printed {
		t.Run(fmt.Sprint(i+1), func(t *testing.T) {
			held := found[1]
			switch {
			case strings.HasPrefix(held, `"`): // attributes of a role
				held = `{"name":"s","roles":[{"name":"r","type":"vm","template_id":0,"cardinality":2,"min_vms":1,"max_vms":9,` + held + `}]}`
			case !strings.Contains(held, `"roles"`):
				held = `{"name":"s","roles":[` + held + `]}`
			}
			if _, err := template.Read([]byte(held), now); err != nil {
				t.Fatalf("it is refused: %v\n%s", err, held)
			}
			body, err := template.Instantiate([]byte(held), []byte(`{"user_inputs_values":{"RAM":"64"}}`), now)
			if err != nil {
				t.Fatalf("it cannot be instantiated: %v\n%s", err, held)
			}
			state := flow.State{Service: spec.Service{ID: 1, Body: body}}
			for _, note := range flow.Explain(state, nil, now).Notes {
				if note.Kind == flow.FoundIgnored {
					t.Error(note.Message)
				}
			}
		})
	}
	if len(printed) < 7 {
		t.Errorf("there are %d examples", len(printed))
	}
}
