package flow_test

import (
	"strings"
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow"
)

// TestUnreadAttributesAreNamed: what is misspelt, or only a client's, has no effect, and
// nothing else says so.
func TestUnreadAttributesAreNamed(t *testing.T) {
	state := stateOf(t, `{"name":"a","state":2,"ready_gate":true,"Deployment":"straight","flowjet_webhooks":[],"flowjet_command":"deploy X","custom_attrs":{},"roles":[
		{"name":"S","state":2,"shutdown":"terminate","cooldwn":5,"elasticity_policies":[{"type":"CHANGE","adjust":1,"expression":"CPU>1","min":1}]}]}`)
	explained := flow.Explain(state, nil, time.Now())
	var said strings.Builder
	for _, note := range explained.Notes {
		said.WriteString(note.Message + "\n")
	}
	for _, want := range []string{
		"the attribute Deployment is unknown and ignored; was deployment meant?",
		"the attribute ready_gate is unknown and ignored",
		"the attribute roles[S].shutdown is unknown and ignored; was shutdown_action meant?",
		"the attribute roles[S].cooldwn is unknown and ignored; was cooldown meant?",
		"the attribute roles[S].elasticity_policies[0].min is unknown and ignored",
	} {
		if !strings.Contains(said.String(), want) {
			t.Errorf("it does not say %q:\n%s", want, said.String())
		}
	}
	if len(explained.Notes) != 5 || len(explained.Failed)+len(explained.Waits) > 0 {
		t.Errorf("it says more than that:\n%s", said.String())
	}
}
