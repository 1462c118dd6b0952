package one_test

import (
	"strings"
	"testing"

	"github.com/flowjet/flowjet/flow/one"
)

func TestVMStateNames(t *testing.T) {
	for name, want := range map[string]int{"INIT": 0, "PENDING": 1, "ACTIVE": 3, "DONE": 6, "POWEROFF": 8, "CLONING_FAILURE": 11} {
		if got := one.VMState(want).String(); got != name {
			t.Errorf("%d is %s, want %s", want, got, name)
		}
	}
	for name, want := range map[string]int{
		"LCM_INIT": 0, "RUNNING": 3, "EPILOG": 11, "UNKNOWN": 16, "BOOT_FAILURE": 36, "PROLOG_UNDEPLOY_FAILURE": 50,
		"PROLOG_MIGRATE_UNKNOWN_FAILURE": 61, "BACKUP": 69, "RESTORE": 71,
	} {
		got, ok := one.ParseLCMState(name)
		if !ok || int(got) != want || got.String() != name {
			t.Errorf("%s is %d (%v), want %d", name, got, ok, want)
		}
	}
	if _, ok := one.ParseLCMState("running"); ok {
		t.Error("a name that oned does not have was read")
	}
}

// The failed states are those whose names say so.
func TestFailedLifeCycleStates(t *testing.T) {
	for n := range 72 {
		vm := one.VM{State: one.VMActive, LCMState: one.LCMState(n)}
		if want := strings.HasSuffix(vm.LCMState.String(), "_FAILURE"); vm.Failed() != want {
			t.Errorf("%s failed: %v, want %v", vm.LCMState, vm.Failed(), want)
		}
		if vm.Failed() && vm.Running() || vm.Ending() && vm.Failed() {
			t.Errorf("%s is two things at once", vm.LCMState)
		}
		stopped := one.VM{State: one.VMPoweroff, LCMState: one.LCMState(n)}
		if stopped.Failed() || stopped.Running() || stopped.Ending() {
			t.Errorf("the LCM_STATE %s counts outside ACTIVE", vm.LCMState)
		}
	}
}
