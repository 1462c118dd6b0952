package consumers_test

import (
	"testing"

	"github.com/flowjet/flowjet/flow/spec"
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
