package spec_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/flowjet/flowjet/flow/spec"
)

func reread(t *testing.T, text string) (spec.Body, string) {
	t.Helper()
	body, err := spec.ParseBody([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	written, err := body.Text()
	if err != nil {
		t.Fatal(err)
	}
	return body, string(written)
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

// wantSameJSON compares documents by what they mean.
func wantSameJSON(t *testing.T, got, want string) {
	t.Helper()
	var g, w any
	if err := errors.Join(json.Unmarshal([]byte(got), &g), json.Unmarshal([]byte(want), &w)); err != nil || !reflect.DeepEqual(g, w) {
		t.Fatalf("document is\n%s\nwant\n%s (%v)", got, want, err)
	}
}
