package app

import (
	"strings"
	"testing"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/pipeline"
)

func TestSentencesNameWhatHappenedToWhat(t *testing.T) {
	first, network := 0, 7
	for want, change := range map[string]flow.Change{
		"PENDING -> DEPLOYING [":                   {Kind: "service", Old: "PENDING", New: "DEPLOYING"},
		"role Master: RUNNING -> WARNING (VM 0 is": {Kind: "role", Role: "Master", Old: "RUNNING", New: "WARNING", Reason: "VM 0 is in POWEROFF"},
		"role Master: VM 0 created [":              {Kind: "vm", Role: "Master", VM: &first, New: "created"},
		"network Private 7: READY -> DONE [":       {Kind: "network", Network: "Private", ID: &network, Old: "READY", New: "DONE"},
		"network Private: created [":               {Kind: "network", Network: "Private", New: "created"},
		"role Gate: virtual router 7: created [":   {Kind: "router", Role: "Gate", ID: &network, New: "created"},
		"DELETED [event vm 0 DONE/LCM_INIT]":       {Kind: "service", New: "DELETED"},
	} {
		got := Sentence(pipeline.Transition{Change: change, Cause: pipeline.Cause{Kind: "event", ID: "vm 0 DONE/LCM_INIT"}})
		if plain := strings.Join(strings.Fields(got), " "); !strings.Contains(plain, want) {
			t.Errorf("a change reads %q, want %q in it", plain, want)
		}
	}
}
