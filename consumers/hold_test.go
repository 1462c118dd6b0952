package consumers_test

import (
	"testing"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/poll"
)

const heldService = `{"name":"svc","deployment":"straight","state":0,"on_hold":true,"roles":[
 {"name":"Master","type":"vm","cardinality":2,"template_id":0,"state":0},
 {"name":"Slave","type":"vm","cardinality":1,"template_id":0,"parents":["Master"],"state":0}]}`

func TestHeldServiceIsReleased(t *testing.T) {
	w := newWorld(t)
	w.startWorker("one", quick())
	w.hear()
	service := w.service(heldService)
	w.command(service, flow.VerbDeploy, nil)
	poll.Until(t, "all VMs to be on hold", func() bool {
		held := 0
		for _, vm := range w.vms(service) {
			if vm.State == one.VMHold {
				held++
			}
		}
		body, _ := w.body(service)
		return held == 3 && len(body.Roles[0].Nodes) == 2 && len(body.Roles[1].Nodes) == 1
	})
	w.await(service, spec.ServiceHold)
	w.accepted(service, flow.VerbRelease, flow.ReleaseArguments{})
	w.await(service, spec.ServiceRunning)
	w.exactly(service, 3)
	if reply := w.command(service, flow.VerbRelease, flow.ReleaseArguments{}); reply.Refused != flow.RefusedState {
		t.Errorf("releasing what runs: refused %q", reply.Refused)
	}
}
