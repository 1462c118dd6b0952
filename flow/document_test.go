package flow_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/fixtures"
)

func TestUnknownAttributesSurviveADecision(t *testing.T) {
	s := newStage(t, `{"name":"web","foo":"bar","roles":[{"name":"a","type":"vm","cardinality":1,"template_id":0,"mine":[1]}]}`)
	s.bringUp()
	s.state = afterCrash(t, s.state)
	if text := asJSON(t, s.state.Service.Body); !strings.Contains(text, `"foo":"bar"`) || !strings.Contains(text, `"mine":[1]`) {
		t.Fatalf("attributes were lost: %s", text)
	}
}

// recordedExchange is one line of rest.jsonl.
type recordedExchange struct {
	Name         string `json:"name"`
	ResponseBody string `json:"response_body"`
}

// recordedBodies are all service and template bodies that a real OneFlow answered.
func recordedBodies(t *testing.T) []json.RawMessage {
	t.Helper()
	type document struct {
		Template struct {
			Body json.RawMessage `json:"BODY"`
		} `json:"TEMPLATE"`
	}
	var bodies []json.RawMessage
	for _, exchange := range fixtures.Lines[recordedExchange](t, "rest.jsonl") {
		var answer struct {
			Document document `json:"DOCUMENT"`
			Pool     struct {
				Document []document `json:"DOCUMENT"`
			} `json:"DOCUMENT_POOL"`
		}
		if json.Unmarshal([]byte(exchange.ResponseBody), &answer) != nil {
			continue // an error's text
		}
		for _, found := range append(answer.Pool.Document, answer.Document) {
			if len(found.Template.Body) > 0 {
				bodies = append(bodies, found.Template.Body)
			}
		}
	}
	if len(bodies) < 100 {
		t.Fatalf("only %d bodies in the recording", len(bodies))
	}
	return bodies
}

// reread is a body as it is written after it was read.
func reread(t *testing.T, text string) string {
	t.Helper()
	body, err := spec.ParseBody([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return asJSON(t, body)
}

func TestRecordedBodiesSurvive(t *testing.T) {
	for _, body := range recordedBodies(t) {
		written := reread(t, string(body))
		wantSameJSON(t, written, string(body))
		if again := reread(t, written); again != written {
			t.Fatalf("written differently the second time:\n%s\n%s", written, again)
		}
	}
}

// Every recorded service can be taken over from where OneFlow left it: planned
// without facts it stays where it is or goes on, and it can be deleted.
func TestRecordedServicesCanBeTakenOver(t *testing.T) {
	taken := 0
	for _, body := range recordedBodies(t) {
		s := newStage(t, string(body))
		if s.state.Service.Body.State == nil {
			continue
		}
		taken++
		s.plan()
		s.recoverDelete()
		for range 10 {
			s.endNetworks()
			s.endRouters()
			for _, role := range s.state.Service.Body.Roles {
				for _, node := range role.Nodes {
					s.set(one.VMDone, one.LCMInit, node.DeployID)
				}
			}
			s.plan()
		}
		s.wantState(spec.ServiceDone)
	}
	if taken == 0 {
		t.Fatal("no service in the recording")
	}
}
