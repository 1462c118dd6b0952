package flow_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/spec"
)

// Every way that a service may go, by the names of the states; what is not here
// is not allowed.
var serviceWays = map[string]string{
	"PENDING":                 "DEPLOYING_NETS UNDEPLOYING",
	"DEPLOYING_NETS":          "DEPLOYING HOLD FAILED_DEPLOYING_NETS UNDEPLOYING",
	"DEPLOYING":               "RUNNING FAILED_DEPLOYING HOLD UNDEPLOYING",
	"HOLD":                    "DEPLOYING FAILED_DEPLOYING UNDEPLOYING",
	"RUNNING":                 "WARNING SCALING DEPLOYING UNDEPLOYING",
	"WARNING":                 "RUNNING SCALING DEPLOYING UNDEPLOYING",
	"SCALING":                 "COOLDOWN FAILED_SCALING UNDEPLOYING",
	"COOLDOWN":                "RUNNING UNDEPLOYING",
	"UNDEPLOYING":             "UNDEPLOYING_NETS DONE FAILED_UNDEPLOYING RUNNING DEPLOYING SCALING",
	"UNDEPLOYING_NETS":        "DONE FAILED_UNDEPLOYING_NETS",
	"FAILED_DEPLOYING_NETS":   "DEPLOYING_NETS UNDEPLOYING",
	"FAILED_DEPLOYING":        "DEPLOYING UNDEPLOYING",
	"FAILED_SCALING":          "SCALING UNDEPLOYING",
	"FAILED_UNDEPLOYING":      "UNDEPLOYING",
	"FAILED_UNDEPLOYING_NETS": "UNDEPLOYING_NETS UNDEPLOYING",
	"DONE":                    "",
}

var roleWays = map[string]string{
	"PENDING":            "DEPLOYING HOLD UNDEPLOYING",
	"HOLD":               "DEPLOYING FAILED_DEPLOYING UNDEPLOYING",
	"DEPLOYING":          "RUNNING FAILED_DEPLOYING UNDEPLOYING",
	"RUNNING":            "WARNING SCALING UNDEPLOYING",
	"WARNING":            "RUNNING SCALING UNDEPLOYING",
	"SCALING":            "COOLDOWN FAILED_SCALING UNDEPLOYING",
	"COOLDOWN":           "RUNNING UNDEPLOYING",
	"UNDEPLOYING":        "DONE FAILED_UNDEPLOYING",
	"FAILED_DEPLOYING":   "DEPLOYING HOLD UNDEPLOYING",
	"FAILED_SCALING":     "SCALING UNDEPLOYING",
	"FAILED_UNDEPLOYING": "UNDEPLOYING",
	"DONE":               "",
}

func TestEveryPairOfServiceStates(t *testing.T) {
	for _, from := range spec.ServiceStates() {
		allowed, listed := serviceWays[from.String()]
		if !listed {
			t.Errorf("%s is in no table", from)
		}
		for _, to := range spec.ServiceStates() {
			want := slices.Contains(strings.Fields(allowed), to.String())
			if got := from.CanBecome(to); got != want {
				t.Errorf("%s to %s: %v, want %v", from, to, got, want)
			}
		}
	}
}

func TestEveryPairOfRoleStates(t *testing.T) {
	for _, from := range spec.RoleStates() {
		allowed, listed := roleWays[from.String()]
		if !listed {
			t.Errorf("%s is in no table", from)
		}
		for _, to := range spec.RoleStates() {
			want := slices.Contains(strings.Fields(allowed), to.String())
			if got := from.CanBecome(to); got != want {
				t.Errorf("%s to %s: %v, want %v", from, to, got, want)
			}
		}
	}
}

// A command leads out of every state but DONE, or an event will.
func TestEveryStateHasAWayOutByACommand(t *testing.T) {
	for state, s := range stagesInEveryState(t) {
		if state == spec.ServiceDone {
			continue
		}
		s.recoverDelete()
		if got := s.state.Service.State(); got == state && state != spec.ServiceUndeploying {
			t.Errorf("recover with delete leaves the service in %s", got)
		}
	}
}

// A state that this version does not know, written by another server, can only
// be undeployed.
func TestUnknownStatesCanBeUndeployed(t *testing.T) {
	s := newStage(t, `{"name":"web","state":99,"roles":[{"name":"a","type":"vm","cardinality":0,"template_id":0,"state":77,"nodes":[]}]}`)
	s.plan()
	s.wantActions()
	if err := s.tryCommand(flow.VerbScale, flow.ScaleArguments{Role: "a", Cardinality: 1}); err == nil {
		t.Fatal("a service in an unknown state was scaled")
	}
	s.recoverDelete()
	s.wantState(spec.ServiceDone)
}

func TestCommandsThatMakeNoSense(t *testing.T) {
	s := runningStage(t, oneRole(1))
	s.wantRefusal(flow.RefusedInput, `"dance"`, "dance", nil)
	for _, verb := range []flow.Verb{flow.VerbScale, flow.VerbRecover} {
		s.wantRefusal(flow.RefusedInput, string(verb), verb, json.RawMessage(`[1]`))
	}
}

func TestChangesNameWhatHappenedToWhat(t *testing.T) {
	first, network := 0, 7
	for want, change := range map[string]flow.Change{
		"PENDING -> DEPLOYING":                                  {Kind: "service", Old: "PENDING", New: "DEPLOYING"},
		"role Master: RUNNING -> WARNING (VM 0 is in POWEROFF)": {Kind: "role", Role: "Master", Old: "RUNNING", New: "WARNING", Reason: "VM 0 is in POWEROFF"},
		"role Master: VM 0 created":                             {Kind: "vm", Role: "Master", VM: &first, New: "created"},
		"network Private 7: READY -> DONE":                      {Kind: "network", Network: "Private", ID: &network, Old: "READY", New: "DONE"},
		"network Private: created":                              {Kind: "network", Network: "Private", New: "created"},
		"role Gate: virtual router 7: created":                  {Kind: "router", Role: "Gate", ID: &network, New: "created"},
		"DELETED":                                               {Kind: "service", New: "DELETED"},
	} {
		if got := change.Text(); got != want {
			t.Errorf("a change reads %q, want %q", got, want)
		}
	}
}
