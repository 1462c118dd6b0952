package consumers_test

import (
	"context"
	"testing"
	"time"

	"github.com/flowjet/flowjet/consumers"
	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/internal/testlog"
)

// oned gives a document's body back as it was written, to the letter: by that a service loop
// knows its own without reading it.
func TestAWorkersOwnDocumentIsKnownByItsText(t *testing.T) {
	w := newWorld(t)
	stop := w.startWorker("one", patient())
	w.hear()
	service := w.deployed(`{"name":"svc","description":"ümläut \"<&>\" ]]> \\ \n end","state":0,"mine":[1, 2],"roles":[
		{"name":"a","type":"vm","cardinality":2,"template_id":0,"state":0,"template_contents":{ "A" : "<b>&" }}]}`)
	stop()
	record, _, err := w.pipe.LoadRecord(t.Context(), service)
	must(t, err)
	record.State.Service.Body, err = record.State.Service.Body.Opened(w.oned.Box().Open)
	must(t, err)
	document, err := w.oned.Server().Document(t.Context(), service)
	must(t, err)
	if spec.DigestOf(document.Body) != record.State.Service.Body.Digest() {
		t.Errorf("the document is\n%s\nand not\n%s", document.Body, encode(t, record.State.Service.Body))
	}
}

// A worker that was suspended, and does not know yet that another has its service, does not report what that one has saved as another
// program's.
func TestASuccessorsDocumentIsNotAnotherPrograms(t *testing.T) {
	w := newWorld(t)
	w.hear()
	var log testlog.Log
	worker := consumers.New(consumers.Config{ID: "suspended", Settings: patient(), Logger: log.Logger()}, w.pipe.Pipeline, w.oned)
	must(t, worker.Start(t.Context()))
	t.Cleanup(func() { must(t, worker.Stop(context.Background())) })
	service := w.deployed(masterSlave, 1, 1)
	record, revision, err := w.pipe.LoadRecord(t.Context(), service)
	must(t, err)
	poll.Until(t, "the worker to have been suspended for longer than it trusts a commit", func() bool { return time.Since(record.Written) > time.Second })
	body, err := record.State.Service.Body.Opened(w.oned.Box().Open)
	must(t, err)
	body.Description = new("as the successor has it")
	record.State.Service.Body, record.Saved = body, body.Digest()
	record.Digests = append(record.Digests, record.Saved)
	_, err = w.pipe.SaveRecord(t.Context(), service, record, revision)
	must(t, err)
	must(t, w.oned.Server().UpdateDocument(t.Context(), service, encode(t, body)))
	w.accepted(service, flow.VerbScale, flow.ScaleArguments{Role: "Slave", Cardinality: 2})
	w.await(service, spec.ServiceRunning)
	if found, _ := w.body(service); found.Description == nil || *found.Description != *body.Description {
		t.Errorf("the description is lost")
	}
	if log.Count("another program") > 0 {
		t.Errorf("the successor's document is reported as another program's:\n%s", log.String())
	}
}
