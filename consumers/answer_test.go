package consumers_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flowjet/flowjet/consumers"
	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/sim"
)

var described = flow.UpdateArguments{Append: true, Template: json.RawMessage(`{"description":"new"}`)}

// TestWhoIsAnsweredReadsWhatWasChanged: a client that changes a service and reads it
// sees the change, also where the service's state stays what it was.
func TestWhoIsAnsweredReadsWhatWasChanged(t *testing.T) {
	w := newWorld(t)
	w.startWorker("one", quick())
	w.hear()
	service := w.deployed(oneRole, 1)
	w.sim.SetCallDelay("one.document.update", 100*time.Millisecond)
	w.accepted(service, flow.VerbUpdate, described)
	body, _ := w.body(service)
	if body.Description == nil || *body.Description != "new" {
		t.Errorf("whose update was answered reads %s", encode(t, body))
	}
}

// TestACommandUsesTheDocumentThatWasReadSinceItCame: of an event and a command behind
// it the document is read once.
func TestACommandUsesTheDocumentThatWasReadSinceItCame(t *testing.T) {
	w := newWorld(t)
	other := w.service(oneRole, 1)
	var reads atomic.Int32
	held, release := make(chan struct{}, 1), make(chan struct{})
	w.sim.OnCall(func(call sim.Call) {
		switch {
		case call.Method != "one.document.info":
		case call.Arguments[0] != strconv.Itoa(other):
			reads.Add(1)
		default:
			select {
			case held <- struct{}{}:
			default:
			}
			<-release
		}
	})
	worker := consumers.New(consumers.Config{ID: "one", Settings: quick(), MaxCalls: 1, Logger: slog.New(slog.DiscardHandler)}, w.pipe.Pipeline, w.oned)
	must(t, worker.Start(t.Context()))
	t.Cleanup(func() { must(t, worker.Stop(context.Background())) })
	t.Cleanup(func() { close(release) })

	// The other has the place that events can have. What is told of the service waits
	// until a command comes, for which there is one more.
	wake := func(service int) {
		_, err := w.pipe.PublishWork(t.Context(), pipeline.Work{Service: service, Reason: "test"}, "")
		must(t, err)
	}
	wake(other)
	<-held
	service := w.service(oneRole, 1)
	wake(service)
	w.accepted(service, flow.VerbUpdate, described)
	if reads.Load() != 1 {
		t.Errorf("the document was read %d times", reads.Load())
	}
}
