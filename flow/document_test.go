package flow_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/fixtures"
)

func reread(t *testing.T, text string) (spec.Body, string) {
	t.Helper()
	body, err := spec.ParseBody([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return body, asJSON(t, body)
}

func TestUnknownAttributesAreKept(t *testing.T) {
	text := `{"name":"web","foo":"bar","nested":{"a":[1,2,{"b":null}]},"big":12345678901234567890,"state":2,"roles":[
		{"name":"vr","type":"vr","cardinality":1,"template_id":3,"vrouter_id":8,"vrouter_ips":[{"ip":"10.0.0.1"}],"x":1.50,
		 "nodes":[{"deploy_id":4,"running":true,"scale_up":false,"vm_info":{"VM":{
			"ID":"4","UID":"0","GID":"0","UNAME":"oneadmin","GNAME":"oneadmin","NAME":"vr"}}}]}]}`
	body, written := reread(t, text)
	wantSameJSON(t, written, text)
	if !strings.Contains(written, "12345678901234567890") || !strings.Contains(written, "1.50") {
		t.Fatalf("numbers were rewritten: %s", written)
	}
	if body.Roles[0].Nodes[0].DeployID != 4 || *body.State != spec.ServiceRunning {
		t.Fatalf("read %+v", body)
	}
}

func TestUnknownAttributesSurviveADecision(t *testing.T) {
	s := newStage(t, `{"name":"web","foo":"bar","roles":[{"name":"a","type":"vm","cardinality":1,"template_id":0,"mine":[1]}]}`)
	s.bringUp()
	s.state = afterCrash(t, s.state)
	if text := asJSON(t, s.state.Service.Body); !strings.Contains(text, `"foo":"bar"`) || !strings.Contains(text, `"mine":[1]`) {
		t.Fatalf("attributes were lost: %s", text)
	}
}

// Attributes whose names differ in case only are other attributes: a client's
// NAME neither replaces the name nor is lost.
func TestAttributeNamesAreTakenExactly(t *testing.T) {
	text := `{"NAME":"other","name":"web","State":5,"roles":[{"Cardinality":9,"name":"a","type":"vm","cardinality":1,"template_id":0,"NODES":"x"}]}`
	body, written := reread(t, text)
	if body.Name != "web" || body.State != nil || body.Roles[0].Cardinality != 1 {
		t.Fatalf("read %+v", body)
	}
	wantSameJSON(t, written, text)
	for _, only := range []string{`{"NAME":"other","roles":[]}`, `{"name":"web","ROLES":[{"name":"a"}],"roles":[]}`} {
		body, _ := reread(t, only)
		if body.Name == "other" || len(body.Roles) > 0 {
			t.Fatalf("%s was read as %+v", only, body)
		}
	}
}

// What a client asked for is shown as it was asked for, empty values included.
func TestEmptyAttributesAreNotInvented(t *testing.T) {
	for _, text := range []string{
		`{"name":"web","roles":[]}`,
		`{"name":"web","roles":[],"description":""}`,
		`{"name":"web","roles":[{"name":"a","type":"vm","cardinality":0,"template_id":0}]}`,
		`{"name":"web","roles":[{"name":"a","type":"vm","cardinality":0,"template_id":0,"nodes":[],"on_hold":false,"template_contents":{},"min_vms":0,"cooldown":0,"last_vmname":0,"scale_way":0,"state":0}]}`,
		`{"name":"web","roles":[],"ready_status_gate":false,"automatic_deletion":false,"user_inputs":{},"networks":{},"networks_values":[],"state":0}`,
	} {
		_, written := reread(t, text)
		wantSameJSON(t, written, text)
	}
}

func TestUnreadableBodies(t *testing.T) {
	for _, text := range []string{``, `[]`, `"text"`, `{"name":"web","roles":{}}`, `{"name":"web","roles":[7]}`, `{bad`, `{"name":3,"roles":[]}`} {
		if body, err := spec.ParseBody([]byte(text)); err == nil {
			t.Errorf("%q was read as %+v", text, body)
		}
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

func TestRecordedBodiesSurvive(t *testing.T) {
	for _, body := range recordedBodies(t) {
		_, written := reread(t, string(body))
		wantSameJSON(t, written, string(body))
		_, again := reread(t, written)
		if again != written {
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
