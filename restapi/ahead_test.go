package restapi

import (
	"strconv"
	"strings"
	"testing"

	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/sim"
)

// TestServicesAreReadAsDecided: the record is ahead of oned's document, and what is answered
// is not older than the record. What somebody else has written counts.
func TestServicesAreReadAsDecided(t *testing.T) {
	w := newWorld(t, Config{})
	w.whole()
	w.sim.PauseBoots()
	template, _ := w.document(w.expect(alice, "POST", "/service_template", strings.Replace(twoRoles, "straight", "none", 1), 201, ""))
	id, _ := w.document(w.expect(alice, "POST", "/service_template/"+template+"/action", perform("instantiate", `{}`), 201, ""))
	service := "/service/" + id
	number, err := strconv.Atoi(id)
	w.must(err)
	written := func() string {
		documents, err := w.oned.Server().Documents(t.Context(), spec.DocumentTypeService, allVisible)
		w.must(err)
		return string(documents[0].Body)
	}
	// Otherwise the VMs wait for the document, too.
	poll.Until(t, "both VMs and the document", func() bool {
		return len(w.sim.VMs()) == 2 && strings.Contains(written(), "New state: DEPLOYING")
	})
	w.must(w.sim.FailCall(sim.CallFailure{
		Method: "one.document.update", Count: 1000, Code: opennebula.CodeInternal, Message: "[one.document.update] Error updating the document.",
	}))
	w.sim.ResumeBoots()
	poll.Until(t, "the service to be read as RUNNING", func() bool {
		return stateIn(w.call(alice, "GET", service, "").body) == spec.ServiceRunning
	})
	if list := w.call(alice, "GET", "/service", "").body; !strings.Contains(list, "New state: RUNNING") {
		t.Errorf("the list shows\n%s", list)
	}
	if text := written(); strings.Contains(text, "New state: RUNNING") {
		t.Fatalf("oned's document says %s", text)
	}
	w.sim.ClearFaults()
	poll.Until(t, "oned's document to be written", func() bool { return strings.Contains(written(), "New state: RUNNING") })
	w.must(w.oned.Server().UpdateDocument(t.Context(), number, []byte(`{"name":"other","roles":[],"state":2,"log":[]}`)))
	if got := w.call(alice, "GET", service, "").body; !strings.Contains(got, `"name": "other"`) {
		t.Errorf("a document that somebody else has changed is shown as\n%s", got)
	}
}

// TestServicesThatWereJustMade are answered as they are read.
func TestServicesThatWereJustMade(t *testing.T) {
	w := newWorld(t, Config{})
	template := w.template(alice)
	for range 2 {
		made := w.call(alice, "POST", template+"/action", `{"action":{"perform":"instantiate"}}`)
		id, _ := w.document(made)
		if read := w.call(alice, "GET", "/service/"+id, ""); made.status != 201 || made.body != read.body {
			t.Errorf("%d %s\nis read as\n%s", made.status, made.body, read.body)
		}
	}
	if reads := w.sim.CallCounts()["one.document.info"]; reads != 2+1+2+1 {
		t.Errorf("%d reads, want three of the template, one of the first service for its answer, and the test's two", reads)
	}
}
