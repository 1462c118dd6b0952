package consumers_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/opennebula"
)

// TestAServiceWhoseOwnerWasDeleted: oned takes nobody's word for a user that it does not have. The log says what mends that, and
// given to another user the service comes to its end.
func TestAServiceWhoseOwnerWasDeleted(t *testing.T) {
	w := newWorld(t)
	w.startWorker("one", quick())
	w.hear()
	service := w.deployed(masterSlave, 1, 1)
	vms := w.ids(service)
	w.failing("one.vm.action", 1, opennebula.CodeAuthentication, "User couldn't be authenticated, aborting call.")
	w.failing("one.user.info", forever, opennebula.CodeNoExists, "Error getting user [2].")
	w.accepted(service, flow.VerbUndeploy, nil)
	w.await(service, spec.ServiceFailedUndeploying)
	want := fmt.Sprintf("the service's owner alice (user 2) does not exist any more: `oneflow chown %d USER` gives it to another, then `oneflow recover %d`", service, service)
	if log := w.logged(service); !strings.Contains(log, want) {
		t.Errorf("the log is %q", log)
	}
	record, _, err := w.pipe.LoadRecord(t.Context(), service)
	must(t, err)
	if next := flow.Explain(record.State, nil, time.Now()).Next; len(next) != 1 || next[0] != want {
		t.Errorf("the advice is %q", next)
	}
	must(t, w.oned.Server().ChownDocument(t.Context(), service, 0, 0))
	for _, vm := range vms {
		must(t, w.oned.Server().ChownVM(t.Context(), vm, 0, 0))
	}
	w.accepted(service, flow.VerbRecover, nil)
	w.gone(service)
}
