package flow_test

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
)

// tenVMs is a running service of ten VMs, with the log and the attributes that one
// made from a usual template has.
func tenVMs() spec.Body {
	state, running, zero, last := spec.ServiceRunning, spec.RoleRunning, 0, 10
	role := spec.Role{
		Name: "web", Type: spec.RoleTypeVM, Cardinality: 10, MinVMs: &zero, State: &running, LastVMName: &last,
		TemplateContents: json.RawMessage(`{"CONTEXT":{"PORT":"$PORT"},"NIC":[{"NAME":"NIC0","NETWORK_ID":"$private"}]}`),
	}
	for i := range 10 {
		role.Nodes = append(role.Nodes, spec.NewNode(one.VM{
			ID: 100 + i, Name: fmt.Sprintf("web_%d_(service_7)", i), Owner: one.Identity{UName: "oneadmin", GName: "oneadmin"},
		}))
	}
	body := spec.Body{
		Name: "bench", Deployment: spec.DeploymentStraight, State: &state, Roles: []spec.Role{role},
		RegistrationTime: 1784000000, StartTime: 1784000100,
	}
	for _, to := range []string{"DEPLOYING_NETS", "DEPLOYING", "RUNNING"} {
		body.Log = append(body.Log, spec.LogEntry{Timestamp: 1784000100, Severity: "I", Message: "New state: " + to})
	}
	return body
}

func BenchmarkDigest(b *testing.B) {
	body := tenVMs()
	b.ReportAllocs()
	for b.Loop() {
		body.Digest()
	}
}

func BenchmarkWriteBody(b *testing.B) {
	body := tenVMs()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := json.Marshal(body); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseBody(b *testing.B) {
	text, err := json.Marshal(tenVMs())
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := spec.ParseBody(text); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPlan(b *testing.B) {
	state := flow.State{Service: spec.Service{ID: 7, Body: tenVMs()}}
	facts := flow.Facts{}
	for _, node := range state.Service.Body.Roles[0].Nodes {
		facts[node.DeployID] = one.VM{ID: node.DeployID, State: one.VMActive, LCMState: one.LCMUnknown, Service: 7, Role: "web"}
	}
	b.ReportAllocs()
	for b.Loop() {
		flow.Decide(flow.Input{State: state, Facts: facts, Now: time.Unix(1784000200, 0)}, nil)
	}
}
