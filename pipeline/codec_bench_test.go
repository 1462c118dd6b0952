package pipeline

import (
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
)

// usualRecord is that of a running service of ten VMs, one of which has come into
// trouble.
func usualRecord() Record {
	state, running := spec.ServiceRunning, spec.RoleRunning
	role := spec.Role{Name: "web", Type: spec.RoleTypeVM, Cardinality: 10, State: &running}
	for i := range 10 {
		role.Nodes = append(role.Nodes, spec.NewNode(one.VM{ID: i, Name: "web_0_(service_7)", Owner: one.Identity{UName: "oneadmin", GName: "oneadmin"}}))
	}
	now := time.Now()
	return Record{
		Applied: 7, Saved: "0123456789abcdef0123456789abcdef", Digests: []string{"0123456789abcdef0123456789abcdef"},
		State: flow.State{
			Service:   spec.Service{ID: 7, Body: spec.Body{Name: "bench", State: &state, Roles: []spec.Role{role}}},
			Deadlines: map[string]time.Time{flow.DeadlineCheck: now},
		},
		Timers: map[string]TimerState{flow.DeadlineCheck: {Generation: 1, Due: now}},
		Outbox: Outbox{First: 1, Transitions: []Transition{
			{Version: 1, Service: 7, Change: flow.Change{Kind: "role", Role: "web", Old: "RUNNING", New: "WARNING"}, Time: now, Cause: Cause{Kind: "event", ID: "vm 7"}},
			{Version: 1, Service: 7, Change: flow.Change{Kind: "service", Old: "RUNNING", New: "WARNING"}, Time: now, Cause: Cause{Kind: "event", ID: "vm 7"}, Next: "look at it"},
		}},
	}
}

func BenchmarkEncodeRecord(b *testing.B) {
	record := usualRecord()
	b.ReportAllocs()
	for b.Loop() {
		Encode(record)
	}
}

func BenchmarkDecodeRecord(b *testing.B) {
	text := Encode(usualRecord())
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		var record Record
		must(b, Decode(text, &record))
	}
}
