package consumers_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nuid"

	"github.com/flowjet/flowjet/consumers"
	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/internal/testlog"
	"github.com/flowjet/flowjet/pipeline"
)

// startNewer starts a worker of the next schema version.
func (w *world) startNewer(id string, settings flow.Settings) (newer clients, stop func()) {
	w.t.Helper()
	pipe, err := pipeline.Open(w.t.Context(), pipeline.Config{URL: w.nats.URL(), Name: id, Schema: pipeline.Version + 1})
	must(w.t, err)
	worker := consumers.New(consumers.Config{ID: id, Settings: settings, Logger: slog.New(slog.DiscardHandler)}, pipe, w.oned)
	must(w.t, worker.Start(w.t.Context()))
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		ending, cancel := context.WithTimeout(context.Background(), poll.Limit)
		defer cancel()
		must(w.t, worker.Stop(ending))
		pipe.Close()
	}
	w.t.Cleanup(stop)
	return clientsOf(pipe), stop
}

// written is the schema version of a service's record.
func (w *world) written(service int) int {
	_, _, err := w.pipe.LoadRecord(w.t.Context(), service)
	if errors.Is(err, pipeline.ErrNewer) {
		return pipeline.Version + 1
	}
	must(w.t, err)
	return pipeline.Version
}

// submit queues a command and reports whether it was answered in a moment.
func (w *world) submit(pipe clients, service int, verb flow.Verb, arguments any) error {
	text, err := json.Marshal(arguments)
	must(w.t, err)
	command := flow.Command{ID: nuid.Next(), Verb: verb, Service: service, User: one.Identity{UID: 2, UName: "alice"}, Arguments: text}
	_, err = pipe.SubmitCommand(w.t.Context(), command, time.Second)
	return err
}

// TestOldAndNewWorkersSideBySide: the newer worker reads what the older one
// wrote and takes over from it. Without it, the older one goes on with what it
// can read and leaves the rest as it is.
func TestOldAndNewWorkersSideBySide(t *testing.T) {
	w := newWorld(t)
	w.hear()
	calm := quick()
	calm.CheckInterval = time.Hour // What the newer worker looks at, it writes.
	w.startWorker("old", calm)
	left, moved := w.deployed(masterSlave, 1, 1), w.deployed(masterSlave, 1, 1)
	_, stop := w.startNewer("new", calm)
	scale := func(cardinality int) flow.ScaleArguments {
		return flow.ScaleArguments{Role: "Slave", Cardinality: cardinality}
	}
	poll.Until(t, "the newer worker to have the service", func() bool {
		_ = w.submit(w.pipe, moved, flow.VerbScale, scale(2))
		return w.written(moved) > pipeline.Version
	})
	w.await(moved, spec.ServiceRunning)
	w.exactly(moved, 3)
	stop()

	if err := w.submit(w.pipe, moved, flow.VerbScale, scale(3)); !errors.Is(err, pipeline.ErrNoReply) {
		t.Errorf("the older worker answered for a record that it cannot read: %v", err)
	}
	w.accepted(left, flow.VerbScale, scale(2))
	w.await(left, spec.ServiceRunning)
	w.exactly(left, 3)
	w.exactly(moved, 3)

	w.startNewer("newer", calm)
	poll.Until(t, "the waiting command to be carried out", func() bool { return len(w.vms(moved)) == 4 })
	w.await(moved, spec.ServiceRunning)
	w.exactly(moved, 4)
	w.exactly(left, 3)
}

// TestNewerWorkWaitsForANewerWorker: it holds up its own service only, and the log says so once.
func TestNewerWorkWaitsForANewerWorker(t *testing.T) {
	w := newWorld(t)
	w.hear()
	var log testlog.Log
	w.start(consumers.Config{ID: "old", Settings: quick(), Hearing: func() bool { return w.hearing }, Logger: log.Logger()})
	waiting := w.deployed(masterSlave, 1, 1)
	future, err := pipeline.Open(t.Context(), pipeline.Config{URL: w.nats.URL(), Name: "api", Schema: pipeline.Version + 1})
	must(t, err)
	t.Cleanup(future.Close)
	if err := w.submit(clientsOf(future), waiting, flow.VerbScale, flow.ScaleArguments{Role: "Slave", Cardinality: 2}); !errors.Is(err, pipeline.ErrNoReply) {
		t.Errorf("the older worker answered what it cannot read: %v", err)
	}
	other := w.deployed(masterSlave, 1, 1)
	w.exactly(other, 2)
	w.exactly(waiting, 2)
	if said := strings.Count(log.String(), pipeline.ErrNewer.Error()); said != 1 {
		t.Errorf("the log says %d times that the service waits:\n%s", said, log.String())
	}
	dead, err := w.pipe.JetStream().Stream(t.Context(), pipeline.StreamDead)
	must(t, err)
	if letters := dead.CachedInfo().State.Msgs; letters > 0 {
		t.Errorf("%d dead letters", letters)
	}
	w.startNewer("new", quick())
	poll.Until(t, "the waiting command to be carried out", func() bool { return len(w.vms(waiting)) == 3 })
	w.exactly(other, 2)
}
