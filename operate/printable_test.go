package operate

import (
	"strings"
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/terminal"
	"github.com/flowjet/flowjet/pipeline"
)

// Whatever tenants, receivers and messages have for a text, an operator's terminal does not
// obey it: no command writes a control character of theirs.
func TestTextsOfOthersDoNotCommandTheTerminal(t *testing.T) {
	t.Parallel()
	d := newDesk(t)
	const evil = "bad\x1b]0;owned\x07\rname\u009b2J\x7f"
	state, role := spec.ServiceWarning, spec.RoleWarning
	record := pipeline.Record{Version: pipeline.Version}
	record.State.Service = spec.Service{ID: 3, Owner: one.Identity{UName: evil}, Body: spec.Body{
		Name: evil, Deployment: evil, State: &state,
		Roles: []spec.Role{{Name: evil, Cardinality: 1, State: &role, Parents: []string{evil}, Nodes: []spec.Node{{DeployID: 11}}}},
		Log:   []spec.LogEntry{{Timestamp: time.Now().Unix(), Severity: "E", Message: evil}},
	}}
	record.State.Networks = []flow.Network{{Name: evil, ID: 7}}
	_, err := d.pipe.SaveRecord(t.Context(), 3, record, 0)
	d.must(err)
	vm := 11
	d.must(d.pipe.PublishTransitions(t.Context(), []pipeline.Transition{
		{Service: 3, Change: flow.Change{Kind: "service", Old: "RUNNING", New: "WARNING", Reason: evil}, Cause: pipeline.Cause{Kind: "command", ID: evil, User: evil}, Time: time.Now().UTC()},
		{Service: 3, Change: flow.Change{Kind: "vm", VM: &vm, Role: evil, New: evil, Reason: evil}, Cause: pipeline.Cause{Kind: "wake", ID: evil}, Time: time.Now().UTC()},
	}, 1))
	d.must(d.pipe.DeadLetter(t.Context(), pipeline.DeadLetter{Where: "worker", Reason: evil, Origin: "flow.work.3", Data: []byte(evil)}))
	for _, receiver := range []string{"ops", "=7a9752ee3fefe46a"} {
		d.must(d.pipe.SaveAttempts(t.Context(), pipeline.HookSubject(receiver, 3), pipeline.Attempts{Count: 3, Error: evil}))
	}
	for _, line := range []string{
		"service records", "service records -o wide", "service record 3", "service why 3", "service watch 3 --until WARNING", "service look 3",
		"events", "events --service 3 --with dead-letters", "dlq ls", "dlq ls -o wide", "dlq show 1", "dlq show 1 -o yaml", "commands", "status", "top",
		"service record 3 -o json", "service record 3 -o yaml", "events -o json", "events -o yaml",
	} {
		out, err := d.run(strings.Fields(line)...)
		if err != nil {
			t.Errorf("%s: %v", line, err)
		}
		if strings.ContainsAny(out, "\x1b\x07\r\u009b\x7f") {
			t.Errorf("%s writes control characters: %q", line, out)
		}
	}
	var out strings.Builder
	found := diagnosis{now: time.Now()}
	found.checkWebhooks(t.Context(), d.pipe)
	d.must(writeDiagnosis(terminal.New(&out, terminal.Table), found.findings))
	if text := out.String(); strings.ContainsAny(text, "\x1b\x07\r") || !strings.Contains(text, "warning webhooks: failing: ") ||
		!strings.Contains(text, "ops for service 3 (3 times") || !strings.Contains(text, "a receiver of service 3 (3 times") {
		t.Errorf("doctor writes %q", text)
	}
}
