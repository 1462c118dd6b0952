package consumers_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/flowjet/flowjet/consumers"
	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/internal/poll"
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
	others := map[string]bool{strconv.Itoa(w.service(oneRole, 1)): true, strconv.Itoa(w.service(oneRole, 1)): true}
	var mutex sync.Mutex
	held, reads := 0, 0
	release := make(chan struct{})
	w.sim.OnCall(func(call sim.Call) {
		if call.Method != "one.document.info" {
			return
		}
		mutex.Lock()
		other := others[call.Arguments[0]]
		if other {
			held++
		} else {
			reads++
		}
		mutex.Unlock()
		if other {
			<-release
		}
	})
	worker := consumers.New(consumers.Config{ID: "one", Settings: quick(), MaxCalls: 1, Logger: slog.New(slog.DiscardHandler)}, w.pipe, w.oned)
	must(t, worker.Start(t.Context()))
	t.Cleanup(func() { must(t, worker.Stop(context.Background())) })
	t.Cleanup(func() { close(release) })

	// The others have all places that events can have. What is told of the service
	// waits until a command comes, for which there is one more.
	wake := func(service int) {
		_, err := w.pipe.PublishWork(t.Context(), pipeline.Work{Service: service, Reason: "test"}, "")
		must(t, err)
	}
	for other := range others {
		id, err := strconv.Atoi(other)
		must(t, err)
		wake(id)
	}
	poll.Until(t, "the others to have all places", func() bool { mutex.Lock(); defer mutex.Unlock(); return held == len(others) })
	service := w.service(oneRole, 1)
	wake(service)
	w.accepted(service, flow.VerbUpdate, described)
	mutex.Lock()
	defer mutex.Unlock()
	if reads != 1 {
		t.Errorf("the document was read %d times", reads)
	}
}
