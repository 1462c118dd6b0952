package consumers_test

import (
	"context"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/flowjet/flowjet/consumers"
	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/sim"
)

// letter waits for a dead letter of the service.
func (w *world) letter(service int, reason string) {
	w.t.Helper()
	poll.Until(w.t, "a dead letter about "+reason, func() bool {
		letters, err := w.pipe.DeadLetters(w.t.Context(), 100)
		for _, letter := range letters {
			if letter.Service() == service && strings.Contains(letter.Reason, reason) {
				return true
			}
		}
		return err != nil
	})
}

// A transition that can never be published is a dead letter; the service's commands go on, and
// so does what happened to it afterwards.
func TestATransitionThatCannotBePublished(t *testing.T) {
	w := newWorld(t)
	stop := w.startWorker("first", quick())
	w.hear()
	service := w.deployed(masterSlave, 1, 1)
	stop()
	record, revision, err := w.pipe.LoadRecord(t.Context(), service)
	must(t, err)
	for _, reason := range []string{"before", strings.Repeat("x", 2<<20), "after"} {
		record.Outbox.Transitions = append(record.Outbox.Transitions, pipeline.Transition{
			Service: service, Change: flow.Change{Kind: "service", New: "WARNING", Reason: reason},
		})
	}
	_, err = w.pipe.SaveRecord(t.Context(), service, record, revision)
	must(t, err)
	w.nats.Stop()
	w.nats.Change(func(o *server.Options) { o.MaxPayload = 1 << 20 })
	w.nats.Start()
	poll.Until(t, "NATS to be back", func() bool { return w.pipe.State().Connected })
	w.degrades(w.startedWorker("second", w.oned))
	w.accepted(service, flow.VerbScale, flow.ScaleArguments{Role: "Slave", Cardinality: 2})
	w.letter(service, "max_payload")
	w.await(service, spec.ServiceRunning)
	w.exactly(service, 3)
	last := record.Outbox.First + 3
	poll.Until(t, "what happened afterwards to be told", func() bool {
		told, err := w.pipe.LastTransition(t.Context(), service)
		return err == nil && told > last
	})
	w.deployed(masterSlave, 1, 1)
}

// startedWorker starts a worker that calls oned by the client given.
func (w *world) startedWorker(id string, oned *opennebula.Client) *consumers.Worker {
	w.t.Helper()
	settings := quick()
	settings.RetryFor = 2 * time.Second
	worker := consumers.New(consumers.Config{ID: id, Settings: settings, Logger: slog.New(slog.DiscardHandler)}, w.pipe.Pipeline, oned)
	must(w.t, worker.Start(w.t.Context()))
	w.t.Cleanup(func() {
		ending, cancel := context.WithTimeout(context.Background(), poll.Limit)
		defer cancel()
		must(w.t, worker.Stop(ending))
	})
	return worker
}

// degrades has the test fail if the worker is held up, for everybody, until the test ends.
func (w *world) degrades(worker *consumers.Worker) {
	w.t.Cleanup(func() {
		if reason, _ := worker.Degraded(); reason != "" {
			w.t.Errorf("the worker is held up: %s", reason)
		}
	})
}

// A call that panics ends the input that led to it, and nothing else: neither places nor
// connections are lost by it, and the next input tries again.
func TestAnActionThatPanics(t *testing.T) {
	w := newWorld(t)
	w.hear()
	credentials, err := opennebula.ParseCredentials(w.sim.ServerCredentials())
	must(t, err)
	var panics atomic.Int32
	oned := opennebula.NewClient(opennebula.Config{
		Endpoint: w.sim.Endpoint(), Credentials: credentials, Timeout: 5 * time.Second,
		Observe: func(method string, _ time.Duration) {
			if method == "one.vm.action" && panics.Add(-1) >= 0 {
				panic("an action that panics")
			}
		},
	})
	t.Cleanup(oned.Close)
	w.degrades(w.startedWorker("one", oned))
	service := w.deployed(masterSlave, 1, 4)
	panics.Store(40)
	w.accepted(service, flow.VerbScale, flow.ScaleArguments{Role: "Slave", Cardinality: 1})
	w.letter(service, "an action that panics")
	w.deployed(masterSlave, 1, 1)
	panics.Store(0)
	w.accepted(service, flow.VerbUpdate, flow.UpdateArguments{Append: true, Template: []byte(`{"description":"d"}`)})
	w.await(service, spec.ServiceRunning)
	w.exactly(service, 2)
}

// What oned always refuses, for whatever reason, ends in a failed state with oned's words; the
// service's other commands go on, and other services.
func TestACallThatIsAlwaysRefused(t *testing.T) {
	for _, code := range []opennebula.Code{opennebula.CodeAuthorization, opennebula.CodeAction, opennebula.CodeInternal, opennebula.CodeAllocate, opennebula.CodeLocked} {
		t.Run(code.String(), func(t *testing.T) {
			w := newWorld(t)
			w.hear()
			w.degrades(w.startedWorker("one", w.oned))
			refused := w.service(masterSlave, 1, 1)
			must(t, w.sim.FailCall(sim.CallFailure{Method: "one.template.instantiate", Count: 1 << 30, Code: code, Message: "Never."}))
			w.accepted(refused, flow.VerbDeploy, nil)
			w.await(refused, spec.ServiceFailedDeploying)
			body, _ := w.body(refused)
			if log := string(encode(t, body)); !strings.Contains(log, "Never.") {
				t.Errorf("the document does not say why: %s", log)
			}
			w.accepted(refused, flow.VerbUpdate, flow.UpdateArguments{Append: true, Template: []byte(`{"description":"d"}`)})
			w.sim.ClearFaults()
			w.accepted(refused, flow.VerbRecover, nil)
			w.await(refused, spec.ServiceRunning)
			w.exactly(refused, 2)
			must(t, w.sim.FailCall(sim.CallFailure{Method: "one.vm.action", Count: 1 << 30, Code: code, Message: "Never."}))
			w.accepted(refused, flow.VerbUndeploy, nil)
			w.await(refused, spec.ServiceFailedUndeploying)
			w.sim.ClearFaults()
			w.accepted(refused, flow.VerbRecover, nil)
			w.gone(refused)
		})
	}
}

// A document that cannot be read is a dead letter and an answer for who commands it; as soon
// as it can be read the service goes on.
func TestADocumentThatCannotBeRead(t *testing.T) {
	for name, garbage := range map[string]string{
		"no JSON":        `{"name":"svc","roles":[`,
		"another type":   `{"name":"svc","state":"x","roles":{"a":1}}`,
		"nested deeply":  `{"name":"svc","roles":[],"x":` + strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000) + `}`,
		"not an object":  `[1,2,3]`,
		"huge number":    `{"name":"svc","state":1e999,"roles":[]}`,
		"roles of texts": `{"name":"svc","state":2,"roles":["a","b"]}`,
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.hear()
			w.degrades(w.startedWorker("one", w.oned))
			service := w.deployed(masterSlave, 1, 1)
			document, err := w.oned.Server().Document(t.Context(), service)
			must(t, err)
			must(t, w.oned.For("alice").UpdateDocument(t.Context(), service, []byte(garbage)))
			if reply := w.command(service, flow.VerbScale, flow.ScaleArguments{Role: "Slave", Cardinality: 3}); reply.Refused == "" {
				t.Errorf("it was scaled: %+v", reply)
			}
			w.letter(service, "")
			w.deployed(masterSlave, 1, 1)
			must(t, w.oned.For("alice").UpdateDocument(t.Context(), service, document.Body))
			w.accepted(service, flow.VerbScale, flow.ScaleArguments{Role: "Slave", Cardinality: 2})
			w.await(service, spec.ServiceRunning)
			w.exactly(service, 3)
		})
	}
}
