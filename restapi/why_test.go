package restapi

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/inspect"
)

func TestWhyNamesWhatFailedAndTheCause(t *testing.T) {
	w := newWorld(t, Config{})
	id := w.bareService("alice", `{"name":"a","state":4,"roles":[{"name":"Slave","cardinality":1,"state":4,"nodes":[{"deploy_id":6}]}]}`)
	body, err := spec.ParseBody([]byte(`{"name":"a","state":4,"roles":[{"name":"Slave","cardinality":1,"state":4,"nodes":[{"deploy_id":6}]}]}`))
	w.must(err)
	_, err = w.pipe.SaveRecord(t.Context(), id, pipeline.Record{State: flow.State{Service: spec.Service{ID: id, Body: body}}}, 0)
	w.must(err)
	at := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	w.must(w.pipe.PublishTransitions(t.Context(), []pipeline.Transition{{
		Service: id, Change: flow.Change{Kind: "service", Old: "RUNNING", New: "WARNING", Reason: "role Slave: VM 6 is in POWEROFF"},
		Cause: pipeline.Cause{Kind: "event", ID: "vm 6 POWEROFF/LCM_INIT", Sequence: 3}, Time: at,
	}}, 1))
	said := w.why(alice, id, 200)
	if said.State != "WARNING" || said.Since.IsZero() || !said.Since.Equal(at) || said.Cause == nil || said.Cause.Sequence != 3 || len(said.Path) != 1 || len(said.Next) == 0 {
		t.Errorf("it says %+v", said)
	}
	w.why(alice, w.bareService("oneadmin", `{"name":"b","roles":[]}`), 403)
	w.why(alice, id+1000, 404)
}

func TestWhyOfAServiceThatNoWorkerHasSeen(t *testing.T) {
	w := newWorld(t, Config{})
	id := w.bareService("alice", `{"name":"a","roles":[{"name":"Slave","cardinality":1,"template_id":0}]}`)
	said := w.why(alice, id, 200)
	if said.State != "PENDING" || len(said.Waits) == 0 || len(said.Roles) != 1 {
		t.Errorf("it says %+v", said)
	}
}

func (w *world) bareService(user, body string) int {
	w.t.Helper()
	id, err := w.oned.For(user).AllocateDocument(w.t.Context(), spec.DocumentTypeService, "a", []byte(body))
	w.must(err)
	return id
}

func (w *world) why(user string, id, status int) inspect.Why {
	w.t.Helper()
	got := w.call(user, "GET", fmt.Sprintf("/flowjet/v1/services/%d/why", id), "")
	if got.status != status {
		w.t.Fatalf("%s gets %d: %s", user, got.status, got.body)
	}
	var said inspect.Why
	if status == 200 {
		w.must(json.Unmarshal([]byte(got.body), &said))
	}
	return said
}

// A document that cannot be read is what is wrong, and no fault of the API.
func TestWhyOfAServiceThatCannotBeRead(t *testing.T) {
	w := newWorld(t, Config{})
	for _, body := range []string{`{"name":"a","roles":5}`, `no JSON`, `{"name":"a","state":"x","roles":[]}`} {
		said := w.why(alice, w.bareService("alice", body), 200)
		if said.State != "UNREADABLE" || len(said.Failed) != 1 || !strings.Contains(said.Summary, "cannot be read") || len(said.Next) != 1 {
			t.Errorf("%s: it says %+v", body, said)
		}
	}
}

// Whatever needs the document says which service it is and what leads out.
func TestAServiceThatCannotBeReadIsRecovered(t *testing.T) {
	w := newWorld(t, Config{})
	id := w.bareService("alice", `no JSON`)
	way := fmt.Sprintf("service %d: read the document's body: ", id)
	for _, call := range []struct{ method, path, body string }{
		{"GET", fmt.Sprintf("/flowjet/v1/services/%d", id), ""},
		{"DELETE", fmt.Sprintf("/service/%d?dry_run=true", id), ""},
		{"POST", fmt.Sprintf("/service/%d/scale?dry_run=true", id), `{"role_name":"a","cardinality":2}`},
		{"POST", fmt.Sprintf("/service/%d/role/a/action", id), `{"action":{"perform":"poweroff"}}`},
	} {
		got := w.expect(alice, call.method, call.path, call.body, 500, fmt.Sprintf("`oneflow recover %d` writes it as Flowjet has it", id))
		if !strings.Contains(got.body, way) {
			t.Errorf("%s %s gets %s", call.method, call.path, got.body)
		}
	}
}
