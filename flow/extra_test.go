package flow_test

import (
	"encoding/xml"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/flowjet/flowjet/flow/render"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/fixtures"
)

func TestUserInputsReachTheContents(t *testing.T) {
	s := newStage(t, `{"name":"web","user_inputs_values":{"DBUSER":"bob","PORT":80},"roles":[
		{"name":"a","type":"vm","cardinality":1,"template_id":0,"user_inputs_values":{"PORT":"81"},"template_contents":{"CONTEXT":{"DBUSER":"own"}}},
		{"name":"b","type":"vm","cardinality":0,"template_id":0}]}`)
	s.plan()
	for role, want := range map[string]string{
		"a": `{"CONTEXT":{"DBUSER":"own","PORT":"$PORT"},"DBUSER":"bob","PORT":"81"}`,
		"b": `{"CONTEXT":{"DBUSER":"$DBUSER","PORT":"$PORT"},"DBUSER":"bob","PORT":80}`,
	} {
		if got := string(s.role(role).TemplateContents); got != want {
			t.Errorf("role %s: got %s, want %s", role, got, want)
		}
	}
}

// call is a recorded XML-RPC call.
type call struct {
	Method  string `json:"method"`
	Request string `json:"request"`
}

// texts are the text parameters of a recorded call.
func (c call) texts(t *testing.T) []string {
	t.Helper()
	var request struct {
		Values []string `xml:"params>param>value>string"`
	}
	if err := xml.Unmarshal([]byte(c.Request), &request); err != nil {
		t.Fatal(err)
	}
	return request.Values
}

func TestExtraTemplateAsRecorded(t *testing.T) {
	named := regexp.MustCompile(`^(\w+)_\d+_\(service_(\d+)\)$`)
	for _, call := range fixtures.Lines[call](t, "xmlrpc.jsonl") {
		if call.Method != "one.template.instantiate" {
			continue
		}
		texts := call.texts(t)
		parts := named.FindStringSubmatch(texts[1])
		var service spec.Service
		if _, err := fmt.Sscan(parts[2], &service.ID); err != nil {
			t.Fatal(err)
		}
		service.Body.Roles = []spec.Role{{Name: parts[1]}}
		got, err := render.ExtraTemplate(service, render.Instance{Role: parts[1], Key: "k"}, nil, nil)
		if err != nil || strings.TrimSuffix(got, "FLOWJET_KEY = \"k\"\nAS_UID = \"0\"\n") != texts[2] {
			t.Errorf("got %q, %v, want %q", got, err, texts[2])
		}
	}
}
