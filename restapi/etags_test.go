package restapi

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/pipeline"
)

func TestETags(t *testing.T) {
	w := newWorld(t, Config{})
	w.worker(accept)
	service := w.service(alice)
	etag := w.call(alice, "GET", service, "").header.Get("ETag")
	if etag == "" || w.call(alice, "GET", service, "", "If-None-Match", etag).status != 304 {
		t.Fatalf("the ETag is %q", etag)
	}
	scale := `{"role_name":"Master","cardinality":2}`
	for given, status := range map[string]int{etag: 204, `"other", ` + etag: 204, "*": 204, `"other"`: 412} {
		if got := w.call(alice, "POST", service+"/scale", scale, "If-Match", given); got.status != status {
			t.Errorf("If-Match %s: %+v", given, got)
		}
	}
	if got := w.call(alice, "POST", service+"/action", perform("rename", `{"name":"new"}`), "If-Match", etag); got.status != 204 {
		t.Errorf("got %+v", got)
	}
	for method, path := range map[string]string{"DELETE": "", "PUT": "", "POST": "/scale"} {
		if got := w.call(alice, method, service+path, scale, "If-Match", etag); got.status != 412 {
			t.Errorf("%s after a change: %+v", method, got)
		}
	}
}

// running makes a service and waits until it runs.
func (w *world) running(user string) string {
	w.t.Helper()
	service := w.service(user)
	poll.Until(w.t, service+" to run", func() bool {
		return stateIn(w.call(user, "GET", service, "").body) == spec.ServiceRunning
	})
	return service
}

// TestOneOfManyChangesWhatItHasSeen: of clients that change the same service
// with the same ETag, through two APIs at once, one succeeds.
func TestOneOfManyChangesWhatItHasSeen(t *testing.T) {
	w := newWorld(t, Config{})
	w.whole()
	apis := []*world{w, w.second(Config{})}
	service, template := w.running(alice), w.template(alice)
	for what, change := range map[string]struct {
		method, path string
		body         func(client int) string
	}{
		"a command": {"PUT", service, func(client int) string {
			return fmt.Sprintf(`{"append":true,"template":{"description":"by %d"}}`, client)
		}},
		"a change of a service's document": {"POST", service + "/action", func(client int) string {
			return perform("rename", fmt.Sprintf(`{"name":"service %d"}`, client))
		}},
		"a change of a template": {"PUT", template, func(client int) string {
			return strings.Replace(twoRoles, `"name":"svc"`, fmt.Sprintf(`"name":"template %d"`, client), 1)
		}},
	} {
		for round := range 3 {
			path := strings.TrimSuffix(change.path, "/action")
			etag := w.call(alice, "GET", path, "").header.Get("ETag")
			replies := make([]reply, 8)
			var group sync.WaitGroup
			for i := range replies {
				group.Go(func() {
					// One that has waited for too many others is told to try again, and when.
					for replies[i].status == 0 || replies[i].status == 409 && replies[i].header.Get("Retry-After") != "" {
						replies[i] = apis[i%2].call(alice, change.method, change.path, change.body(round*100+i), "If-Match", etag)
					}
				})
			}
			group.Wait()
			oneDid(t, what, replies)
			if w.call(alice, "GET", path, "").header.Get("ETag") == etag {
				t.Errorf("%s: the ETag is still the same", what)
			}
		}
	}
}

func oneDid(t *testing.T, what string, replies []reply) {
	t.Helper()
	did := 0
	for _, got := range replies {
		switch {
		case got.status == 204 || got.status == 200:
			did++
		case got.status != 412 || !strings.Contains(got.body, "has changed since it was read"):
			t.Errorf("%s: got %d %q", what, got.status, got.body)
		}
	}
	if did != 1 {
		t.Errorf("%s: %d of %d succeeded", what, did, len(replies))
	}
}

// TestTheWorkerHoldsTheETag: what changes the service between a request's
// arrival and the worker's turn counts.
func TestTheWorkerHoldsTheETag(t *testing.T) {
	w := newWorld(t, Config{replyWait: time.Millisecond})
	service := w.service(alice)
	etag := w.call(alice, "GET", service, "").header.Get("ETag")
	queued := w.call(alice, "DELETE", service, "", "If-Match", etag)
	if queued.status != 202 {
		t.Fatalf("without a worker: %+v", queued)
	}
	w.whole() // the deployment, queued before, changes the service first
	var status pipeline.CommandStatus
	poll.Until(t, "the worker to refuse", func() bool {
		w.must(json.Unmarshal([]byte(w.call(alice, "GET", queued.header.Get("Location"), "").body), &status))
		return status.State != pipeline.CommandQueued
	})
	if status.State != pipeline.CommandRefused || !strings.Contains(status.Message, "has changed since it was read") {
		t.Errorf("got %+v", status)
	}
}

// TestALockEndsWithItsLease: an API that died with a document locked does not
// keep others from it for ever.
func TestALockEndsWithItsLease(t *testing.T) {
	w := newWorld(t, Config{replyWait: 100 * time.Millisecond})
	template := w.template(alice)
	etag := w.call(alice, "GET", template, "").header.Get("ETag")
	lock := "lock-" + strings.TrimPrefix(template, "/service_template/")
	held := pipeline.Reservation{Command: "dead", Taken: time.Now()}
	_, revision, err := w.pipe.Reserve(t.Context(), lock, held)
	w.must(err)
	rename := perform("rename", `{"name":"new"}`)
	if got := w.call(alice, "POST", template+"/action", rename, "If-Match", etag); got.status != 409 || got.header.Get("Retry-After") == "" {
		t.Errorf("locked: %+v", got)
	}
	held.Taken = time.Now().Add(-2 * longDead)
	_, err = w.pipe.UpdateReservation(t.Context(), lock, held, revision)
	w.must(err)
	if got := w.call(alice, "POST", template+"/action", rename, "If-Match", etag); got.status != 204 {
		t.Errorf("after the lease: %+v", got)
	}
}
