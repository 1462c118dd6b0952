package policy_test

import (
	"encoding/json"
	"testing"

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
}
