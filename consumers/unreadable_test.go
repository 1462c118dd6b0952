package consumers_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nuid"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/pipeline"
)

// givenUp sends a command that cannot be carried out: it is answered, its status says so, and
// it is among the dead letters.
func (w *world) givenUp(service int, verb flow.Verb, arguments any) {
	w.t.Helper()
	text, err := json.Marshal(arguments)
	must(w.t, err)
	command := flow.Command{ID: nuid.Next(), Verb: verb, Service: service, User: one.Identity{UID: 2, UName: "alice"}, Arguments: text}
	reply, err := w.pipe.SubmitCommand(w.t.Context(), command, poll.Limit)
	must(w.t, err)
	if reply.Refused != flow.RefusedFailed || !strings.Contains(reply.Message, "read the document's body") {
		w.t.Errorf("the answer is %+v", reply)
	}
	poll.Until(w.t, "the status to say so", func() bool { // it is stored after the answer
		status, err := w.pipe.CommandStatus(w.t.Context(), command.ID)
		if errors.Is(err, pipeline.ErrNotFound) {
			return false
		}
		must(w.t, err)
		return status.State == pipeline.CommandRefused && !status.Ended.IsZero() && status.Message == reply.Message
	})
	poll.Until(w.t, "the dead letter", func() bool {
		letters, err := w.pipe.DeadLetters(w.t.Context(), 10)
		must(w.t, err)
		return slices.ContainsFunc(letters, func(letter pipeline.DeadLetter) bool {
			return letter.Service() == service && strings.Contains(string(letter.Data), command.ID)
		})
	})
}

// TestCommandsForADocumentThatCannotBeRead are given up, and say so, until it can be.
func TestCommandsForADocumentThatCannotBeRead(t *testing.T) {
	w := newWorld(t)
	w.startWorker("one", quick())
	w.hear()
	broken := w.service(`{"name":"svc","state":0,"roles":5}`)
	w.givenUp(broken, flow.VerbDeploy, nil)
	w.givenUp(broken, flow.VerbRecover, flow.RecoverArguments{Delete: true})
	w.exactly(w.deployed(masterSlave, 1, 1), 2)
	must(t, w.oned.Server().UpdateDocument(t.Context(), broken, []byte(`{"name":"svc","state":0,"roles":[{"name":"a","type":"vm","cardinality":1,"template_id":0}]}`)))
	w.accepted(broken, flow.VerbDeploy, nil)
	w.await(broken, spec.ServiceRunning)
}

// TestDocumentBrokenWhileTheServiceRuns: what runs is left alone, and goes on when the
// document has been mended.
func TestDocumentBrokenWhileTheServiceRuns(t *testing.T) {
	w := newWorld(t)
	w.startWorker("one", quick())
	w.hear()
	service := w.deployed(masterSlave, 1, 1)
	document, err := w.oned.Server().Document(t.Context(), service)
	must(t, err)
	must(t, w.oned.Server().UpdateDocument(t.Context(), service, []byte(`{"name":"svc","state":2,"roles":"none"}`)))
	w.givenUp(service, flow.VerbScale, flow.ScaleArguments{Role: "Slave", Cardinality: 2})
	w.givenUp(service, flow.VerbUndeploy, nil)
	if vms := w.vms(service); len(vms) != 2 {
		t.Errorf("of two VMs %d are left", len(vms))
	}
	must(t, w.oned.Server().UpdateDocument(t.Context(), service, document.Body))
	w.accepted(service, flow.VerbScale, flow.ScaleArguments{Role: "Slave", Cardinality: 2})
	w.await(service, spec.ServiceRunning)
	w.exactly(service, 3)
}

// Who recovers a service whose document was made unreadable has it back as it was, and nothing
// is done to its VMs; where Flowjet has never read it, he is told what corrects it.
func TestRecoverWritesADocumentThatCannotBeRead(t *testing.T) {
	for name, garbage := range map[string]string{
		"no JSON": `{"name":"svc","roles":[`, "no object": `null`, "no roles": `{"name":"svc","state":2,"roles":"none"}`,
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			stop := w.startWorker("one", quick())
			w.hear()
			service := w.deployed(masterSlave, 1, 1)
			must(t, w.oned.For("alice").UpdateDocument(t.Context(), service, []byte(garbage)))
			stop()
			w.startWorker("two", quick()) // which has to read it
			for verb, arguments := range map[flow.Verb]any{flow.VerbUndeploy: nil, flow.VerbRecover: flow.RecoverArguments{Delete: true}} {
				if reply := w.command(service, verb, arguments); reply.Refused != flow.RefusedFailed || !strings.Contains(reply.Message, fmt.Sprintf("`oneflow recover %d`", service)) {
					t.Errorf("%s is answered %+v", verb, reply)
				}
			}
			why, err := w.pipe.Why(t.Context(), service, w.oned.Server().Refresh)
			must(t, err)
			why.Unreadable(errors.New("it cannot be read"))
			if !strings.Contains(strings.Join(why.Next, "\n"), fmt.Sprintf("`oneflow recover %d`", service)) {
				t.Errorf("why says %q", why.Next)
			}
			w.accepted(service, flow.VerbRecover, nil)
			w.await(service, spec.ServiceRunning)
			w.exactly(service, 2)
			w.accepted(service, flow.VerbScale, flow.ScaleArguments{Role: "Slave", Cardinality: 2})
			w.await(service, spec.ServiceRunning)
			w.exactly(service, 3)
			w.undeployed(service)
		})
	}
	w := newWorld(t)
	w.startWorker("one", quick())
	never := w.service(`[1]`)
	if reply := w.command(never, flow.VerbRecover, nil); reply.Refused == "" || !strings.Contains(reply.Message, "docs/troubleshooting.md") {
		t.Errorf("one that was never read is answered %+v", reply)
	}
}

// TestACursorPassesWhatCannotBeRead also where nothing comes behind it: what is a dead letter
// waits for nobody.
func TestACursorPassesWhatCannotBeRead(t *testing.T) {
	w := newWorld(t)
	w.startWorker("one", quick())
	const service = 7
	for subject, key := range map[string]string{
		pipeline.WorkSubject(service): pipeline.PartitionKey(pipeline.Partition(service)),
		"one.0.vm.1.ACTIVE.RUNNING":   pipeline.RouterKey,
	} {
		ack, err := w.pipe.JetStream().Publish(t.Context(), subject, []byte("no JSON"))
		must(t, err)
		poll.Until(t, "the cursor to pass "+subject, func() bool {
			at, err := w.pipe.LoadCursor(t.Context(), key)
			return err == nil && at >= ack.Sequence
		})
	}
	letters, err := w.pipe.DeadLetters(t.Context(), 10)
	must(t, err)
	if len(letters) != 2 {
		t.Errorf("there are %d dead letters, want 2", len(letters))
	}
}

// TestACursorThatWentBackIsSavedAgain: a NATS server that was suspended carries out late what it was sent before it.
func TestACursorThatWentBackIsSavedAgain(t *testing.T) {
	w := newWorld(t)
	w.startWorker("one", quick())
	const service = 7
	key := pipeline.PartitionKey(pipeline.Partition(service))
	ack, err := w.pipe.JetStream().Publish(t.Context(), pipeline.WorkSubject(service), []byte("no JSON"))
	must(t, err)
	for _, what := range []string{"the cursor to pass", "the cursor to be saved again"} {
		poll.Until(t, what, func() bool {
			at, err := w.pipe.LoadCursor(t.Context(), key)
			return err == nil && at >= ack.Sequence
		})
		must(t, w.pipe.SaveCursor(t.Context(), key, 0))
	}
}

// TestALaterCursorStays: a worker that was suspended goes on for a moment beside the one that has its partition by then.
func TestALaterCursorStays(t *testing.T) {
	w := newWorld(t)
	settings := quick()
	settings.CheckInterval = 100 * time.Millisecond
	w.startWorker("one", settings)
	const service = 7
	key := pipeline.PartitionKey(pipeline.Partition(service))
	ack, err := w.pipe.JetStream().Publish(t.Context(), pipeline.WorkSubject(service), []byte("no JSON"))
	must(t, err)
	cursor := func() uint64 {
		at, err := w.pipe.LoadCursor(t.Context(), key)
		must(t, err)
		return at
	}
	poll.Until(t, "the cursor to pass", func() bool { return cursor() >= ack.Sequence })
	later := ack.Sequence + 1000
	must(t, w.pipe.SaveCursor(t.Context(), key, later))
	for range 8 {
		time.Sleep(pipeline.SaveCursorEvery)
		if at := cursor(); at != later {
			t.Fatalf("the cursor of the other worker was %d and is %d", later, at)
		}
	}
}
