package spec_test

import (
	"testing"

	"github.com/flowjet/flowjet/flow/spec"
)

// The numbers are what OneFlow writes into documents.
func TestStateNumbers(t *testing.T) {
	for n, name := range []string{
		"PENDING", "DEPLOYING", "RUNNING", "UNDEPLOYING", "WARNING", "DONE", "FAILED_UNDEPLOYING", "FAILED_DEPLOYING", "SCALING",
		"FAILED_SCALING", "COOLDOWN", "DEPLOYING_NETS", "UNDEPLOYING_NETS", "FAILED_DEPLOYING_NETS", "FAILED_UNDEPLOYING_NETS", "HOLD",
	} {
		if got := spec.ServiceState(n).String(); got != name {
			t.Errorf("service state %d is %s, want %s", n, got, name)
		}
		if role := spec.RoleState(n).String(); n <= 10 && role != name {
			t.Errorf("role state %d is %s, want %s", n, role, name)
		}
	}
	if got := spec.RoleState(11).String(); got != "HOLD" {
		t.Errorf("role state 11 is %s, want HOLD", got)
	}
	if got := spec.ServiceState(16).String(); got != "UNKNOWN_16" {
		t.Errorf("service state 16 is %s", got)
	}
}
