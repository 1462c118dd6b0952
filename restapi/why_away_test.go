package restapi

import (
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/sim"
)

// TestWhyOfADocumentThatCannotBeRead says so, also where no worker could do anything.
func TestWhyOfADocumentThatCannotBeRead(t *testing.T) {
	w := newWorld(t, Config{})
	id := w.bareService("alice", `{"name":"a","roles":[`)
	said := w.why(alice, id, 200)
	if len(said.Failed) != 1 || said.Failed[0].Kind != flow.FoundUnreadable || !strings.Contains(strings.Join(said.Next, " "), "one.document.update") {
		t.Errorf("it says %+v", said)
	}
	_, err := w.pipe.SaveRecord(t.Context(), id, pipeline.Record{State: flow.State{Service: spec.Service{ID: id, Body: spec.Body{Name: "a"}}}}, 0)
	w.must(err)
	if said = w.why(alice, id, 200); len(said.Failed) != 1 || said.Failed[0].Kind != flow.FoundUnreadable {
		t.Errorf("with a record it says %+v", said)
	}
}

// TestWhyWhileOnedIsAway is answered from what NATS has, to the owner and administrators.
func TestWhyWhileOnedIsAway(t *testing.T) {
	w := newWorld(t, Config{})
	text := `{"name":"a","state":1,"roles":[{"name":"S","cardinality":1,"state":1,"nodes":[{"deploy_id":5}]}]}`
	id := w.bareService("alice", text)
	body, err := spec.ParseBody([]byte(text))
	w.must(err)
	user, err := w.oned.For("alice").User(t.Context(), -1)
	w.must(err)
	_, err = w.pipe.SaveRecord(t.Context(), id, pipeline.Record{State: flow.State{Service: spec.Service{ID: id, Owner: user.Identity, Body: body}}}, 0)
	w.must(err)
	admins := w.bareService("oneadmin", text)
	_, err = w.pipe.SaveRecord(t.Context(), admins, pipeline.Record{State: flow.State{Service: spec.Service{ID: admins, Body: body}}}, 0)
	w.must(err)
	w.why(alice, admins, 403)
	w.why(alice, id, 200) // who alice is, is known from here on
	w.why(admin, id, 200)
	w.bounded(w.sim.Stop)
	for _, who := range []string{alice, admin} {
		if said := w.why(who, id, 200); said.OnedAway == "" || said.State != "DEPLOYING" || len(said.Waits) == 0 {
			t.Errorf("it says %+v", said)
		}
	}
	w.why(alice, admins, 503)
}

// TestWhatTheLeaderHasLostIsNotMissing: a service of which the zone's leader lacks the document, or a VM, and another server has it, is
// neither gone nor without that VM for those who may see it.
func TestWhatTheLeaderHasLostIsNotMissing(t *testing.T) {
	w := newWorldOf(t, Config{}, sim.Config{BootDelay: sim.NoDelay, Others: []sim.ServerAddress{{}, {}}, ElectionTime: 300 * time.Millisecond})
	w.oned.Follow(t.Context(), 0)
	w.whole()
	service := w.service(alice)
	poll.Until(t, "the service to run", func() bool { return stateIn(w.call(alice, "GET", service, "").body) == spec.ServiceRunning })
	id, err := strconv.Atoi(path.Base(service))
	w.must(err)
	record, _, err := w.pipe.LoadRecord(t.Context(), id)
	w.must(err)
	vm := spec.VMIDs(record.State.Service.Body.Roles...)[0]
	text := fmt.Sprintf(`{"name":"a","state":1,"roles":[{"name":"S","cardinality":1,"state":1,"nodes":[{"deploy_id":%d}]}]}`, vm)
	deploying := w.bareService("alice", text)
	body, err := spec.ParseBody([]byte(text))
	w.must(err)
	_, err = w.pipe.SaveRecord(t.Context(), deploying, pipeline.Record{State: flow.State{Service: spec.Service{ID: deploying, Body: body}}}, 0)
	w.must(err)
	leads := slices.IndexFunc(w.sim.Servers(), func(server sim.ServerState) bool { return server.Leader })
	for i, server := range w.sim.Servers() {
		poll.Until(t, "each server to have the last document", func() bool {
			_, err := w.oned.At(server.Endpoint).Document(t.Context(), deploying)
			return i == leads || err == nil
		})
	}
	const reason = "oned's servers have different data"
	w.must(w.sim.LoseWrites(leads, []int{id}, []int{vm}))
	w.expect(alice, "GET", service, "", 503, reason)
	w.expect(alice, "DELETE", service, "", 503, reason)
	w.expect(alice, "GET", "/service/"+unknownID, "", 404, "there is no service")
	for _, service := range []int{id, deploying} {
		if said := w.why(alice, service, 200); !strings.Contains(said.OnedAway, reason) {
			t.Errorf("service %d is explained by %+v", service, said)
		}
	}
	w.must(w.sim.LoseWrites(leads, nil, nil))
	w.expect(alice, "GET", service, "", 200, `"state": 2`)
}
