package consumers_test

import (
	"fmt"
	"slices"
	"strings"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/pipeline/inspect"
)

// checkWhy holds the explanation of a service against the simulated OpenNebula and the
// record, each time that a test has waited for a state. What changes between two looks is
// looked at again.
func (w *world) checkWhy(service int) {
	w.t.Helper()
	wrong := ""
	poll.Until(w.t, "why to tell the truth", func() bool {
		before, revision, err := w.pipe.LoadRecord(w.t.Context(), service)
		if err != nil || revision == 0 || before.Deleted {
			return true
		}
		why, err := w.pipe.Why(w.t.Context(), service, w.oned.Server().Refresh)
		if err != nil {
			return false
		}
		told := w.contradicted(why)
		_, now, err := w.pipe.LoadRecord(w.t.Context(), service)
		must(w.t, err)
		if told == "" || now != revision {
			return told == ""
		}
		if told != wrong {
			wrong = told
			w.t.Logf("service %d in %s: %s", service, why.State, told)
		}
		return false
	})
}

// contradicted is what an explanation has wrong, empty for nothing.
func (w *world) contradicted(why inspect.Why) string {
	for _, found := range slices.Concat(why.Failed, why.Waits) {
		switch {
		case found.VM != nil && found.State != "":
			vm, err := w.oned.Server().VM(w.t.Context(), *found.VM)
			must(w.t, err)
			if now := stateOf(vm); now != found.State {
				return fmt.Sprintf("%q, and the VM is in %s", found.Message, now)
			}
		case strings.Contains(found.Message, "1 VMs"):
			return found.Message
		}
	}
	switch {
	case why.OnedAway != "":
		return "oned is said to be away: " + why.OnedAway
	case why.State == "RUNNING" && len(why.Failed)+len(why.Waits) > 0:
		return fmt.Sprintf("a running service is said to wait or to have failed: %+v %+v", why.Failed, why.Waits)
	case why.State == "WARNING" && len(why.Failed) == 0:
		return "nothing is said of a warning"
	case strings.HasPrefix(why.State, "FAILED_") && (len(why.Failed) == 0 || len(why.Next) == 0):
		return "nothing is said of a failure"
	}
	return ""
}

func stateOf(vm one.VM) string {
	if vm.State == one.VMActive {
		return vm.LCMState.String()
	}
	return vm.State.String()
}
