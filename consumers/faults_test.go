package consumers_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/sim"
)

func TestLostAnswerMakesNoSecondVM(t *testing.T) {
	w := newWorld(t)
	w.startWorker("one", quick())
	w.hear()
	for nth := 1; nth <= 3; nth++ {
		must(t, w.sim.DropAnswer("one.template.instantiate", nth))
	}
	service := w.deployed(masterSlave, 3, 3)
	w.exactly(service, 6)
}

func TestLostAnswersToBookkeepingAreMadeGood(t *testing.T) {
	w := newWorld(t)
	w.startWorker("one", quick())
	w.hear()
	must(t, w.sim.DropAnswer("one.document.update", 1))
	must(t, w.sim.DropAnswer("one.document.update", 3))
	must(t, w.sim.DropAnswer("one.vm.action", 1))
	must(t, w.sim.DropAnswer("one.document.delete", 1))
	service := w.deployed(masterSlave, 1, 1)
	w.exactly(service, 2)
	w.command(service, flow.VerbUndeploy, nil)
	w.gone(service)
}

func TestUnreachableOnedIsWaitedFor(t *testing.T) {
	w := newWorld(t)
	w.startWorker("one", quick())
	w.hear()
	service := w.service(masterSlave, 1, 1)
	must(t, w.sim.FailCall(sim.CallFailure{Method: "one.template.instantiate", Count: 3, Code: opennebula.CodeReplication}))
	w.command(service, flow.VerbDeploy, nil)
	w.await(service, spec.ServiceRunning)
	w.exactly(service, 2)
}

func TestNoEventIsNeeded(t *testing.T) {
	w := newWorld(t)
	w.startWorker("one", quick())
	service := w.deployed(masterSlave, 1, 1)
	w.exactly(service, 2)
}

func TestPendingServiceWithoutCommandIsFound(t *testing.T) {
	w := newWorld(t)
	service := w.service(masterSlave, 1, 1)
	w.startWorker("one", quick())
	w.hear()
	w.await(service, spec.ServiceRunning)
	w.exactly(service, 2)
}

func TestServiceGoesOnWithAnotherWorker(t *testing.T) {
	w := newWorld(t)
	w.hear()
	stop := w.startWorker("one", quick())
	w.sim.PauseBoots()
	service := w.service(masterSlave, 2, 2)
	w.command(service, flow.VerbDeploy, nil)
	w.await(service, spec.ServiceDeploying)
	stop()
	w.sim.ResumeBoots()
	w.startWorker("two", quick())
	w.await(service, spec.ServiceRunning)
	w.exactly(service, 4)
}

func TestTwoWorkersDoNotActTwice(t *testing.T) {
	w := newWorld(t)
	w.hear()
	w.startWorker("one", quick())
	w.startWorker("two", quick())
	services := make([]int, 12)
	for i := range services {
		services[i] = w.service(masterSlave, 1, 2)
		w.command(services[i], flow.VerbDeploy, nil)
	}
	for _, service := range services {
		w.await(service, spec.ServiceRunning)
		w.exactly(service, 3)
	}
}

func TestForeignChangeOfTheDocumentCounts(t *testing.T) {
	w := newWorld(t)
	w.startWorker("one", quick())
	w.hear()
	service := w.deployed(masterSlave, 1, 1)
	document, err := w.oned.Server().Document(t.Context(), service)
	must(t, err)
	body, err := spec.ParseBody(document.Body)
	must(t, err)
	text := "by hand"
	body.Description = &text
	must(t, w.oned.Server().UpdateDocument(t.Context(), service, encode(t, body)))
	w.command(service, flow.VerbScale, flow.ScaleArguments{Role: "Master", Cardinality: 2})
	w.await(service, spec.ServiceRunning)
	after, _ := w.body(service)
	if after.Description == nil || *after.Description != text {
		t.Error("what somebody else wrote into the document is lost")
	}
	w.exactly(service, 3)
}

// TestUnreadableServiceBlocksNobody: what wakes a service whose document cannot
// be read goes to the dead letters, and its partition moves on.
func TestUnreadableServiceBlocksNobody(t *testing.T) {
	w := newWorld(t)
	stop := w.startWorker("one", quick())
	w.hear()
	broken := w.service(`not JSON`)
	first, err := w.pipe.PublishWork(t.Context(), pipeline.Work{Service: broken, Reason: "test"}, "")
	must(t, err)
	dead, err := w.pipe.JetStream().Stream(t.Context(), pipeline.StreamDead)
	must(t, err)
	poll.Until(t, "the dead letter", func() bool {
		letter, err := dead.GetLastMsgForSubject(t.Context(), pipeline.DeadSubject("worker"))
		return err == nil && letter.Header.Get(pipeline.HeaderReason) != ""
	})
	w.deployed(masterSlave, 1, 1)
	stop()
	cursor, err := w.pipe.LoadCursor(t.Context(), fmt.Sprintf("%s%d", pipeline.PartitionKeyPrefix, pipeline.Partition(broken)))
	must(t, err)
	if cursor < first {
		t.Errorf("the cursor stands at %d, before the dead letter's %d", cursor, first)
	}
}

// TestWorkGoesOnWhenNATSComesBack stops the server in the middle of a deploy.
func TestWorkGoesOnWhenNATSComesBack(t *testing.T) {
	w := newWorld(t)
	w.startWorker("one", quick())
	w.sim.PauseBoots()
	service := w.service(masterSlave, 2, 2)
	w.command(service, flow.VerbDeploy, nil)
	w.await(service, spec.ServiceDeploying)
	w.nats.Stop()
	w.sim.ResumeBoots()
	w.nats.Start()
	w.await(service, spec.ServiceRunning)
	w.exactly(service, 4)
}

// TestWorkGoesOnWhenOnedComesBack restarts oned in the middle of a deploy, which
// loses every event of the meantime.
func TestWorkGoesOnWhenOnedComesBack(t *testing.T) {
	w := newWorld(t)
	w.startWorker("one", quick())
	w.hear()
	service := w.service(masterSlave, 3, 3)
	w.command(service, flow.VerbDeploy, nil)
	must(t, w.sim.Restart(200*time.Millisecond))
	w.await(service, spec.ServiceRunning)
	w.exactly(service, 6)
}

// TestLateSaveOfAFormerOwnerIsUndone: a worker that was suspended before it saved
// a document saves it when it wakes, over what its heir has saved since.
func TestLateSaveOfAFormerOwnerIsUndone(t *testing.T) {
	w := newWorld(t)
	w.startWorker("one", quick())
	w.hear()
	service := w.deployed(masterSlave, 1, 1)
	old, err := w.oned.Server().Document(t.Context(), service)
	must(t, err)
	w.command(service, flow.VerbScale, flow.ScaleArguments{Role: "Master", Cardinality: 2})
	w.await(service, spec.ServiceRunning)
	must(t, w.oned.Server().UpdateDocument(t.Context(), service, old.Body))
	_, err = w.pipe.PublishWork(t.Context(), pipeline.Work{Service: service, Reason: "test"}, "")
	must(t, err)
	poll.Until(t, "the newer document to be back", func() bool {
		body, exists := w.body(service)
		return exists && body.Roles[0].Cardinality == 2
	})
	w.exactly(service, 3)
}

// TestADocumentOfBeforeTheFirstWriteIsUndone: what a leader has acknowledged that had lost the
// zone, the zone may not have, and the document is again as the API has made it.
func TestADocumentOfBeforeTheFirstWriteIsUndone(t *testing.T) {
	w := newWorld(t)
	w.startWorker("one", quick())
	w.hear()
	service := w.service(netsService)
	first, err := w.oned.Server().Document(t.Context(), service)
	must(t, err)
	w.accepted(service, flow.VerbDeploy, nil)
	w.await(service, spec.ServiceRunning)
	must(t, w.oned.Server().UpdateDocument(t.Context(), service, first.Body))
	_, err = w.pipe.PublishWork(t.Context(), pipeline.Work{Service: service, Reason: "test"}, "")
	must(t, err)
	poll.Until(t, "the document to be back", func() bool {
		body, exists := w.body(service)
		return exists && body.Roles[0].State != nil && len(body.Roles[0].Nodes) == 1
	})
	w.await(service, spec.ServiceRunning)
	w.exactly(service, 1)
	w.undeployed(service)
}
