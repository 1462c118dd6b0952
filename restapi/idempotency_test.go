package restapi

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/sim"
)

// second is another API over the same NATS and oned.
func (w *world) second(config Config) *world {
	w.t.Helper()
	other := *w
	var err error
	other.api, err = newServer(withDefaults(config), w.pipe, oned{w.oned}, w.oned.Box())
	w.must(err)
	other.api.begin()
	w.t.Cleanup(other.api.end)
	server := httptest.NewServer(other.api.handler)
	w.t.Cleanup(server.Close)
	other.url = server.URL
	return &other
}

func (w *world) services(user string) int {
	return strings.Count(w.call(user, "GET", "/service", "").body, `"TYPE": "100"`)
}

const key = "Idempotency-Key"

// TestTextOfAStoreThatDoesNotAnswer: "context deadline exceeded" alone tells a client nothing.
func TestTextOfAStoreThatDoesNotAnswer(t *testing.T) {
	for _, silent := range []error{context.DeadlineExceeded, jetstream.ErrNoStreamResponse} {
		err := asQueueError(fmt.Errorf("reserve a request's key: %w", silent))
		want := fmt.Sprintf("reserve a request's key: %v: NATS does not answer: most of its servers are down, or their disks are full; repeat the request later", silent)
		if err.Error() != want {
			t.Errorf("got %q", err)
		}
	}
	if other := asQueueError(pipeline.ErrConflict); other.Error() != pipeline.ErrConflict.Error() {
		t.Errorf("got %q", other)
	}
}

func TestAKeyMakesOneService(t *testing.T) {
	w := newWorld(t, Config{})
	seen := w.worker(accept)
	other := w.second(Config{})
	action, body := w.template(alice)+"/action", perform("instantiate", `{}`)
	var group sync.WaitGroup
	replies := make([]reply, 8)
	for i := range replies {
		from := []*world{w, other}[i%2]
		group.Go(func() { replies[i] = from.call(alice, "POST", action, body, key, "k1") })
	}
	group.Wait()
	for _, got := range replies {
		if got.status != 201 || got.body != replies[0].body {
			t.Errorf("got %d %.200s", got.status, got.body)
		}
	}
	if <-seen; w.services(alice) != 1 || len(seen) != 0 {
		t.Errorf("%d services, %d more commands", w.services(alice), len(seen))
	}
	again := other.call(alice, "POST", action, body, key, "k1")
	if again.header.Get("Idempotent-Replayed") != "true" || again.header.Get("Content-Type") != textType {
		t.Errorf("the repetition has %v", again.header)
	}
	if got := w.call(alice, "POST", action, perform("instantiate", `{"merge_template":{"name":"x"}}`), key, "k1"); got.status != 422 {
		t.Errorf("another request with the key: %+v", got)
	}
	// Another user's key of the same name is another key.
	if got := w.call(admin, "POST", action, body, key, "k1"); got.status != 201 || w.services(alice) != 1 {
		t.Errorf("another user: %d", got.status)
	}
	if got := w.call(alice, "POST", action, body, key, "a b"); got.status != 400 {
		t.Errorf("a bad key: %+v", got)
	}
}

func TestARefusalIsAnAnswerForItsKey(t *testing.T) {
	w := newWorld(t, Config{})
	seen := w.worker(func(flow.Command) pipeline.Reply {
		return pipeline.Reply{Refused: flow.RefusedState, Message: "not now"}
	})
	service := w.service(alice)
	<-seen
	for range 3 {
		got := w.call(alice, "POST", service+"/scale", `{"role_name":"Master","cardinality":2}`, key, "k2")
		if got.status != 500 || got.body != "not now" {
			t.Errorf("got %+v", got)
		}
	}
	if <-seen; len(seen) != 0 {
		t.Errorf("%d more commands", len(seen))
	}
}

func TestAKeyFindsItsCommandWhenTheWorkerComesLate(t *testing.T) {
	w := newWorld(t, Config{replyWait: 20 * time.Millisecond})
	service := w.service(alice)
	scale := func() reply {
		return w.call(alice, "POST", service+"/scale", `{"role_name":"Master","cardinality":2}`, key, "k3")
	}
	first, second := scale(), scale()
	if first.status != 202 || second.status != 202 || first.header.Get("Location") != second.header.Get("Location") {
		t.Fatalf("got %+v and %+v", first, second)
	}
	seen := w.worker(accept)
	<-seen // deploy
	<-seen // scale
	if got := scale(); got.status != 204 || len(seen) != 0 {
		t.Errorf("got %+v and %d more commands", got, len(seen))
	}
}

// TestALostAnswerOfOnedMakesNothingTwice has oned create the document and say
// nothing; the client, told 503, tries again.
func TestALostAnswerOfOnedMakesNothingTwice(t *testing.T) {
	w := newWorld(t, Config{})
	seen := w.worker(accept)
	action := w.template(alice) + "/action"
	w.must(w.sim.DropAnswer("one.document.allocate", 1))
	instantiate := func() reply {
		return w.call(alice, "POST", action, perform("instantiate", `{}`), key, "k4")
	}
	if got := instantiate(); got.status != 503 {
		t.Fatalf("got %+v", got)
	}
	if got := instantiate(); got.status != 201 || w.services(alice) != 1 {
		t.Errorf("got %d and %d services", got.status, w.services(alice))
	}
	<-seen
	w.must(w.sim.DropAnswer("one.document.allocate", 1))
	for _, status := range []int{503, 201} {
		if got := w.call(alice, "POST", "/service_template", twoRoles, key, "k5"); got.status != status {
			t.Errorf("got %+v", got)
		}
	}
	if list := w.call(alice, "GET", "/service_template", "").body; strings.Count(list, `"TYPE": "101"`) != 2 {
		t.Errorf("the templates are %s", list)
	}
}

// slowZone is a oned that executes what its zone does not agree on yet only after the next list of documents was read.
type slowZone struct {
	sessions
	owed *atomic.Int32
}

func (z slowZone) as(user string, guard opennebula.Guard) session {
	return slowSession{z.sessions.as(user, guard), z.owed}
}

type slowSession struct {
	session
	owed *atomic.Int32
}

func (s slowSession) Documents(ctx context.Context, documentType, filter int) ([]opennebula.Document, error) {
	documents, err := s.session.Documents(ctx, documentType, filter)
	if s.owed.Add(-1) >= 0 {
		return nil, err
	}
	return documents, err
}

// TestACallThatOnedExecutesLateMakesNothingTwice: the client's second request finds nothing of the first, makes a document, and then there are two.
func TestACallThatOnedExecutesLateMakesNothingTwice(t *testing.T) {
	w := newWorld(t, Config{})
	var owed atomic.Int32
	slow, err := newServer(withDefaults(Config{}), w.pipe, slowZone{oned{w.oned}, &owed}, w.oned.Box())
	w.must(err)
	server := httptest.NewServer(slow.handler)
	defer server.Close()
	action, here := w.template(alice)+"/action", w.url
	w.must(w.sim.DropAnswer("one.document.allocate", 1))
	seen := w.worker(accept)
	w.url = server.URL
	instantiate := func() reply { return w.call(alice, "POST", action, perform("instantiate", `{}`), key, "k7") }
	if got := instantiate(); got.status != 503 {
		t.Fatalf("got %+v", got)
	}
	owed.Store(1)
	got := instantiate()
	w.url = here
	if list := w.call(alice, "GET", "/service", "").body; got.status != 201 || strings.Count(list, `"TYPE": "100"`) != 1 {
		t.Errorf("got %d and the services %s", got.status, list)
	}
	if deploy := <-seen; owed.Load() > -1 || w.call(alice, "GET", fmt.Sprintf("/service/%d", deploy.Service), "").status != 200 {
		t.Errorf("deployed is service %d, and %d lists are owed", deploy.Service, owed.Load())
	}
}

func TestAFailureThatMayPassFreesItsKey(t *testing.T) {
	w := newWorld(t, Config{})
	w.must(w.sim.FailCall(sim.CallFailure{Method: "one.document.allocate", Nth: 1, Code: opennebula.CodeInternal, Message: "later"}))
	for _, status := range []int{500, 201, 201} {
		if got := w.call(alice, "POST", "/service_template", twoRoles, key, "k8"); got.status != status {
			t.Errorf("got %+v, want %d", got, status)
		}
	}
	if list := w.call(alice, "GET", "/service_template", "").body; strings.Count(list, `"TYPE": "101"`) != 1 {
		t.Errorf("the templates are %s", list)
	}
}

// oned refuses the sessions in which Flowjet acts for users, as with a wrong clock or a server user's password that was changed: the key is
// free for when it accepts them again.
func TestARefusedSessionFreesItsKey(t *testing.T) {
	w := newWorld(t, Config{})
	w.must(w.sim.FailCall(sim.CallFailure{Method: "one.document.allocate", Nth: 1, Code: opennebula.CodeAuthentication, Message: "not authenticated"}))
	for _, status := range []int{403, 201, 201} {
		if got := w.call(alice, "POST", "/service_template", twoRoles, key, "k8"); got.status != status {
			t.Errorf("got %+v, want %d", got, status)
		}
	}
}

// dyingQueue loses the API between the reservation and the command, as kill -9
// does: nothing is settled.
type dyingQueue struct {
	queue
	dead atomic.Bool
}

func (q *dyingQueue) SubmitCommand(context.Context, flow.Command, time.Duration) (pipeline.Reply, error) {
	q.dead.Store(true)
	return pipeline.Reply{}, errors.New("killed")
}

func (q *dyingQueue) UpdateReservation(ctx context.Context, name string, held pipeline.Reservation, revision uint64) (uint64, error) {
	if q.dead.Load() {
		return 0, errors.New("killed")
	}
	return q.queue.UpdateReservation(ctx, name, held, revision)
}

func TestAnotherAPIGoesOnForOneThatDied(t *testing.T) {
	w := newWorld(t, Config{replyWait: 50 * time.Millisecond})
	dying, err := newServer(withDefaults(Config{}), &dyingQueue{queue: w.pipe}, oned{w.oned}, w.oned.Box())
	w.must(err)
	server := httptest.NewServer(dying.handler)
	defer server.Close()
	action, body := w.template(alice)+"/action", perform("instantiate", `{}`)
	here := w.url
	w.url = server.URL
	if got := w.call(alice, "POST", action, body, key, "k6"); got.status != 503 {
		t.Fatalf("got %+v", got)
	}
	w.url = here
	if got := w.call(alice, "POST", action, body, key, "k6"); got.status != 409 || got.header.Get("Retry-After") == "" {
		t.Fatalf("while the dead one's lease lasts: %+v", got)
	}
	w.expire("k6", alice)
	seen := w.worker(accept)
	if got := w.call(alice, "POST", action, body, key, "k6"); got.status != 201 || w.services(alice) != 1 {
		t.Errorf("got %d and %d services", got.status, w.services(alice))
	}
	if command := <-seen; command.Verb != flow.VerbDeploy {
		t.Errorf("queued %+v", command)
	}
}

// expire ends the lease of a key's reservation.
func (w *world) expire(key, user string) {
	w.t.Helper()
	name, _, _ := strings.Cut(user, ":")
	who, err := w.oned.For(name).User(w.t.Context(), -1)
	w.must(err)
	stored := keyName(caller{who}, key)
	held, revision, err := w.pipe.Reservation(w.t.Context(), stored)
	w.must(err)
	held.Taken = held.Taken.Add(-2 * longDead)
	_, err = w.pipe.UpdateReservation(w.t.Context(), stored, held, revision)
	w.must(err)
}

func TestAKeyedUndeployIsAnsweredAfterTheServiceHasGone(t *testing.T) {
	w := newWorld(t, Config{})
	seen := w.worker(accept)
	service := w.service(alice)
	<-seen
	killed := w.dying()
	if got := w.call(alice, "DELETE", service, "", key, "k7"); got.status != 204 {
		t.Fatalf("got %+v", got)
	}
	killed()
	w.must(w.oned.Server().DeleteDocument(t.Context(), idOf(t, service)))
	w.expire("k7", alice)
	if got := w.call(alice, "DELETE", service, "", key, "k7"); got.status != 204 {
		t.Errorf("got %+v", got)
	}
}

// A retry of a change of the owner moves what was not moved yet when the API was killed, although the worker had answered already.
func TestARetriedChownMovesTheRest(t *testing.T) {
	w := newWorld(t, Config{})
	w.whole()
	service := w.running(alice)
	_, body := w.document(w.expect(alice, "GET", service, "", 200, ""))
	vm := body.Roles[0].Nodes[0].DeployID
	killed := w.dying()
	chown := perform("chown", `{"owner_id":0}`)
	if got := w.call(admin, "POST", service+"/action", chown, key, "k10"); got.status != 204 {
		t.Fatalf("got %+v", got)
	}
	killed()
	w.must(w.oned.Server().ChownVM(t.Context(), vm, w.userID("alice"), -1))
	w.expire("k10", admin)
	if got := w.call(admin, "POST", service+"/action", chown, key, "k10"); got.status != 204 {
		t.Fatalf("the retry got %+v", got)
	}
	if owners := w.owners(service, vm, vm); owners != [3]int{0, 0, 0} {
		t.Errorf("the owners are %v", owners)
	}
}

// dying has requests go to an API that never stores an answer, until it is killed.
func (w *world) dying() (killed func()) {
	w.t.Helper()
	dying, err := newServer(withDefaults(Config{}), &unsettled{w.pipe}, oned{w.oned}, w.oned.Box())
	w.must(err)
	server := httptest.NewServer(dying.handler)
	w.t.Cleanup(server.Close)
	here := w.url
	w.url = server.URL
	return func() { w.url = here }
}

// unsettled never stores an answer.
type unsettled struct{ queue }

func (q *unsettled) UpdateReservation(context.Context, string, pipeline.Reservation, uint64) (uint64, error) {
	return 0, errors.New("killed")
}

// A retry gets the outcome soon after the API that worked on the first request was killed,
// and not before it is known where the API lives.
func TestARetryAfterAKillGetsTheOutcome(t *testing.T) {
	for name, method := range map[string]string{"instantiate": "POST", "undeploy": "DELETE", "scale": "scale"} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, Config{replyWait: longDead})
			seen := w.worker(accept)
			path, body, want := w.template(alice)+"/action", perform("instantiate", `{}`), 201
			switch method {
			case "DELETE":
				path, body, want = w.service(alice), "", 204
				<-seen
			case "scale":
				path, body, method, want = w.service(alice)+"/scale", `{"role_name":"Master","cardinality":2}`, "POST", 204
				<-seen
			}
			dying, err := newServer(withDefaults(Config{}), &dyingQueue{queue: w.pipe}, oned{w.oned}, w.oned.Box())
			w.must(err)
			server := httptest.NewServer(dying.handler)
			defer server.Close()
			here := w.url
			w.url = server.URL
			if got := w.call(alice, method, path, body, key, "k8"); got.status != 503 {
				t.Fatalf("got %+v", got)
			}
			w.url = here
			began := time.Now()
			if got := w.call(alice, method, path, body, key, "k8"); got.status != want {
				t.Errorf("the retry got %+v, want %d", got, want)
			}
			if took := time.Since(began); took > longDead/2 {
				t.Errorf("the retry took %v", took)
			}
		})
	}
}

// A request that takes longer than the lease is not taken over while its API lives.
func TestALongRequestIsNotTakenOver(t *testing.T) {
	w := newWorld(t, Config{replyWait: 2 * keyLeaseLength})
	held := pipeline.Reservation{Command: "slow", Taken: time.Now()}
	_, revision, err := w.pipe.Reserve(t.Context(), "key-slow", held)
	w.must(err)
	lost := make(chan struct{})
	lease := (&reservations{queue: w.pipe}).hold("key-slow", held, revision, func() { close(lost) })
	watched, taken := watchedHolder{}, time.After(keyLeaseLength+keyRenewal)
	for waiting := true; waiting; {
		select {
		case <-taken:
			waiting = false
		case <-lost:
			t.Fatal("the lease was lost")
		case <-time.After(keyPoll):
			now, revision, err := w.pipe.Reservation(t.Context(), "key-slow")
			w.must(err)
			if watched.dead(now, revision) {
				t.Fatal("it counts as dead")
			}
		}
	}
	conflict := true
	for range 10 { // it may be renewed in between
		now, revision, err := w.pipe.Reservation(t.Context(), "key-slow")
		w.must(err)
		now.Taken = time.Now()
		if _, err = w.pipe.UpdateReservation(t.Context(), "key-slow", now, revision); err == nil {
			conflict = false
			break
		}
	}
	if conflict {
		t.Fatal("the key could not be changed")
	}
	<-lost
	if superseded := lease.end(t.Context(), nil); !superseded || lease.confirm(t.Context(), 0) == nil {
		t.Error("who was superseded does not know it")
	}
}
