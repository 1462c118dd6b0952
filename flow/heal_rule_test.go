package flow

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow/policy"
	"github.com/flowjet/flowjet/flow/spec"
)

func TestHealsAreDescribed(t *testing.T) {
	for text, want := range map[string]string{
		`{"action": "recreate"}`:                          "recreate after 1m0s, at most 3 an hour",
		`{"action": "recover", "after": "90s", "max": 5}`: "recover after 1m30s, at most 5 an hour",
		`{"action": "pray"}`:                              "", `null`: "",
	} {
		role := spec.Role{Heal: json.RawMessage(text)}
		if got := policy.HealText(&role); got != want {
			t.Errorf("%s is described as %q, want %q", text, got, want)
		}
	}
	now := time.Now()
	state := State{Heals: map[string]Heal{"web": {Done: []time.Time{now.Add(-2 * time.Hour), now.Add(-time.Minute), now}}}}
	if got := state.HealedLately("web", now); got != 2 {
		t.Errorf("%d VMs were healed within the last hour, want 2", got)
	}
	if got := state.HealedLately("db", now); got != 0 {
		t.Errorf("%d VMs were healed of a role without heal", got)
	}
}
