package consumers_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nuid"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/pipeline/embedded"
)

// Names in a document that was written through oned are of any length: the service goes
// on, and the others, and a worker that starts on the same record.
func TestLongNamesInADocument(t *testing.T) {
	long := strings.Repeat("n", 5000)
	for name, body := range map[string]string{
		"a role": `{"name":"svc","deployment":"none","state":0,"roles":[{"name":"` + long + `","type":"vm","cardinality":1,"template_id":0,"state":0}]}`,
		"a network": `{"name":"svc","deployment":"none","state":0,"networks":{"` + long + `":"M|network|n| |template_id:0"},
			"networks_values":[{"` + long + `":{"template_id":"0"}}],"roles":[]}`,
		"a router": `{"name":"svc","deployment":"none","state":0,"roles":[{"name":"` + long + `","type":"vr","cardinality":1,"template_id":0,"state":0}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			stop := w.startWorker("first", quick())
			w.hear()
			poisoned := w.service("%s", body)
			_ = w.command(poisoned, flow.VerbDeploy, nil)
			w.deployed(masterSlave, 1, 1)
			stop()
			w.startWorker("second", quick())
			w.deployed(masterSlave, 1, 1)
			select {
			case <-w.pipe.Lost():
				t.Error("NATS has closed the connection")
			default:
			}
		})
	}
}

// A document from which a record would come that NATS never takes is a dead letter, and
// holds up nobody.
func TestARecordThatNATSNeverTakes(t *testing.T) {
	w := newWorld(t)
	w.startWorker("w", quick())
	w.hear()
	poisoned := w.service(`{"name":"svc","deployment":"none","state":0,"roles":[],"description":"%s"}`, strings.Repeat("d", embedded.MaxPayload))
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	command := flow.Command{ID: nuid.Next(), Verb: flow.VerbDeploy, Service: poisoned, User: flow.Identity{UID: 2, UName: "alice"}}
	_, _ = w.pipe.SubmitCommand(ctx, command, time.Second)
	poll.Until(t, "a dead letter", func() bool {
		letters, err := w.pipe.DeadLetters(t.Context(), 10)
		return err == nil && len(letters) > 0 && letters[0].Service() == poisoned && strings.Contains(letters[0].Reason, "max_payload")
	})
	w.deployed(masterSlave, 1, 1)
}

// call is one call at oned as a user, with numbers behind the session.
func (w *world) call(user, method string, numbers ...int) {
	w.t.Helper()
	parameters := "<param><value><string>" + user + "</string></value></param>"
	for _, number := range numbers {
		parameters += fmt.Sprintf("<param><value><int>%d</int></value></param>", number)
	}
	if method == "one.document.lock" {
		parameters += "<param><value><boolean>0</boolean></value></param>"
	}
	answer, err := http.Post(w.sim.Endpoint(), "text/xml", strings.NewReader(
		"<?xml version=\"1.0\"?><methodCall><methodName>"+method+"</methodName><params>"+parameters+"</params></methodCall>"))
	must(w.t, err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	must(w.t, err)
	if !strings.Contains(string(text), "<boolean>1</boolean>") {
		w.t.Fatalf("%s: %s", method, text)
	}
}

// A service whose document is locked waits, for that oned refuses everybody, and holds up
// no other. It goes on when the lock is gone.
func TestALockedDocumentHoldsUpNobody(t *testing.T) {
	w := newWorld(t)
	w.startWorker("w", quick())
	w.hear()
	locked := w.deployed(masterSlave, 1, 1)
	w.call("alice:alice", "one.document.lock", locked, 1)
	must(t, w.oned.For("alice").ActOnVM(t.Context(), "poweroff-hard", w.vms(locked)[0].ID))
	w.deployed(masterSlave, 1, 1)
	w.call("alice:alice", "one.document.unlock", locked)
	w.await(locked, flow.ServiceWarning)
}
