package consumers_test

import (
	"strings"
	"testing"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/poll"
)

// TestVMThatNoHostTakes: oned's scheduler is quoted, and the service ends as it asks for.
func TestVMThatNoHostTakes(t *testing.T) {
	const tooLarge = `{"name":"svc","state":0,"deadlines":{"pending":2,"then":"%s"},"roles":[
		{"name":"a","type":"vm","cardinality":1,"template_id":0,"state":0,"template_contents":{"MEMORY":"99999999"}}]}`
	w := newWorld(t)
	w.hear()
	w.startWorker("one", quick())
	fails, ends := w.service(tooLarge, "fail"), w.service(tooLarge, "undeploy")
	w.accepted(fails, flow.VerbDeploy, nil)
	w.accepted(ends, flow.VerbDeploy, nil)
	w.await(fails, spec.ServiceFailedDeploying)
	if log := w.logged(fails); !strings.Contains(log, "has been in PENDING since") || !strings.Contains(log, "Not enough capacity") {
		t.Errorf("the log does not say why:\n%s", log)
	}
	w.gone(ends)
	w.accepted(fails, flow.VerbUndeploy, nil)
	w.gone(fails)
}

// TestScalingIsTakenBack at its deadline, also by another worker; what was on its way ends.
func TestScalingIsTakenBack(t *testing.T) {
	w := newWorld(t)
	w.hear()
	stop := w.startWorker("one", quick())
	service := w.deployed("%s", strings.Replace(threeOfARole, `"type"`, `"deadlines":{"scaling":3,"then":"shrink"},"type"`, 1))
	w.sim.PauseBoots()
	w.accepted(service, flow.VerbScale, flow.ScaleArguments{Role: "a", Cardinality: 5})
	poll.Until(t, "the VMs to be made", func() bool { return len(w.vms(service)) == 5 })
	stop()
	w.startWorker("two", quick())
	w.await(service, spec.ServiceRunning)
	body, _ := w.body(service)
	if got := body.Roles[0].Cardinality; got != 3 {
		t.Errorf("the cardinality is %d", got)
	}
	w.sim.ResumeBoots()
	poll.Until(t, "what was taken back to end", func() bool { return len(w.vms(service)) == 3 })
	w.exactly(service, 3)
}
