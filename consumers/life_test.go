package consumers_test

import (
	"testing"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/internal/poll"
)

func TestServiceLivesFromDeployToUndeploy(t *testing.T) {
	w := newWorld(t)
	w.startWorker("one", quick())
	w.hear()
	service := w.service(masterSlave, 1, 2)
	if reply := w.command(service, flow.VerbDeploy, nil); reply.Refused != "" {
		t.Fatalf("deploy was refused: %s", reply.Message)
	}
	w.await(service, flow.ServiceRunning)
	w.exactly(service, 3)

	if reply := w.command(service, flow.VerbScale, flow.ScaleArguments{Role: "Slave", Cardinality: 4}); reply.Refused != "" {
		t.Fatalf("scaling up was refused: %s", reply.Message)
	}
	w.await(service, flow.ServiceRunning)
	w.exactly(service, 5)
	if reply := w.command(service, flow.VerbScale, flow.ScaleArguments{Role: "Slave", Cardinality: 1}); reply.Refused != "" {
		t.Fatalf("scaling down was refused: %s", reply.Message)
	}
	w.await(service, flow.ServiceRunning)
	w.exactly(service, 2)

	vm := w.vms(service)[0].ID
	must(t, w.sim.PoweroffVM(vm))
	w.await(service, flow.ServiceWarning)
	must(t, w.sim.ResumeVM(vm))
	w.await(service, flow.ServiceRunning)

	if reply := w.command(service, flow.VerbUndeploy, nil); reply.Refused != "" {
		t.Fatalf("undeploy was refused: %s", reply.Message)
	}
	w.gone(service)
}

func TestRefusalsChangeNothing(t *testing.T) {
	w := newWorld(t)
	w.startWorker("one", quick())
	w.hear()
	service := w.service(masterSlave, 1, 1)
	w.command(service, flow.VerbDeploy, nil)
	w.await(service, flow.ServiceRunning)
	for name, c := range map[string]struct {
		verb      flow.Verb
		arguments any
		kind      flow.RefusalKind
	}{
		"recover in RUNNING":   {flow.VerbRecover, flow.RecoverArguments{}, flow.RefusedState},
		"scale unknown role":   {flow.VerbScale, flow.ScaleArguments{Role: "zz", Cardinality: 2}, flow.RefusedMissing},
		"scale to the same":    {flow.VerbScale, flow.ScaleArguments{Role: "Master", Cardinality: 1}, flow.RefusedState},
		"scale below nothing":  {flow.VerbScale, flow.ScaleArguments{Role: "Master", Cardinality: -1}, flow.RefusedInput},
		"an unknown verb":      {"dance", nil, flow.RefusedInput},
		"arguments of no form": {flow.VerbScale, []int{1}, flow.RefusedInput},
	} {
		if reply := w.command(service, c.verb, c.arguments); reply.Refused != c.kind || reply.Message == "" {
			t.Errorf("%s: refused %q (%s), want %q", name, reply.Refused, reply.Message, c.kind)
		}
	}
	if reply := w.command(4711, flow.VerbUndeploy, nil); reply.Refused != flow.RefusedMissing {
		t.Errorf("a service that does not exist: refused %q, want %q", reply.Refused, flow.RefusedMissing)
	}
	w.await(service, flow.ServiceRunning)
	w.exactly(service, 2)
}

func TestFailureIsToldAndRecovered(t *testing.T) {
	w := newWorld(t)
	w.startWorker("one", quick())
	w.hear()
	w.sim.FailBoots(1)
	service := w.service(masterSlave, 2, 1)
	w.command(service, flow.VerbDeploy, nil)
	w.await(service, flow.ServiceFailedDeploying)
	if reply := w.command(service, flow.VerbUndeploy, nil); reply.Refused != flow.RefusedState {
		t.Errorf("undeploying a failed service: refused %q, want %q", reply.Refused, flow.RefusedState)
	}
	if reply := w.command(service, flow.VerbRecover, flow.RecoverArguments{}); reply.Refused != "" {
		t.Fatalf("recover was refused: %s", reply.Message)
	}
	w.await(service, flow.ServiceRunning)
	w.exactly(service, 3)
}

func TestRefusedCreationFailsTheRole(t *testing.T) {
	w := newWorld(t)
	w.startWorker("one", quick())
	w.hear()
	service := w.service(`{"name":"x","deployment":"none","state":0,"roles":[{"name":"a","type":"vm","cardinality":2,"template_id":777,"state":0}]}`)
	w.command(service, flow.VerbDeploy, nil)
	w.await(service, flow.ServiceFailedDeploying)
	body, _ := w.body(service)
	last := body.Log[len(body.Log)-2]
	if last.Severity != "E" {
		t.Errorf("the log does not say why: %+v", body.Log)
	}
	if reply := w.command(service, flow.VerbRecover, flow.RecoverArguments{Delete: true}); reply.Refused != "" {
		t.Fatalf("recover with delete was refused: %s", reply.Message)
	}
	poll.Until(t, "the document to be gone", func() bool { _, exists := w.body(service); return !exists })
}
