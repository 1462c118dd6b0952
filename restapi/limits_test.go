package restapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
)

func TestAUsersRateIsBounded(t *testing.T) {
	s, _ := fakeServer(t, Config{limits: limitedTo(func(l *limits) { l.reads = 1; l.changes = 0.5 })}, &fakeQueue{err: pipeline.ErrNotFound})
	now := time.Unix(1_800_000_000, 0)
	s.admission.throttle.now = func() time.Time { return now }
	get := func() int { return ask(s, "GET", "/flowjet/v1/commands/x", "").Code }
	if a, b, c := get(), get(), get(); a != 404 || b != 404 || c != 429 {
		t.Errorf("got %d %d %d", a, b, c)
	}
	// Changes are counted apart.
	if w := ask(s, "POST", "/service/x/scale", "{"); w.Code != 400 {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	if w := ask(s, "POST", "/service/x/scale", "{"); w.Code != 429 || w.Header().Get("Retry-After") != "2" {
		t.Errorf("got %d, Retry-After %q", w.Code, w.Header().Get("Retry-After"))
	}
	now = now.Add(time.Second)
	if a, b := get(), get(); a != 404 || b != 429 {
		t.Errorf("a second later: %d %d", a, b)
	}
}

// What a user has kept in NATS is bounded in bytes, whatever the requests are, and others are
// not held up.
func TestAUsersBytesAreBounded(t *testing.T) {
	w := newWorld(t, Config{limits: limitedTo(func(l *limits) { l.bytes = 1; l.bytesAtOnce = 2 * (storedOfChange + 1000) })})
	body := `{"name":"x","roles":[],"description":"` + strings.Repeat("d", 900) + `"}`
	for range 2 {
		w.expect(alice, "POST", "/service_template", body, http.StatusCreated, "")
	}
	if got := w.call(alice, "POST", "/service_template", body); got.status != http.StatusTooManyRequests || got.header.Get("Retry-After") == "" {
		t.Errorf("got %+v", got)
	}
	for _, change := range []string{"DELETE /service/77", "POST /service_pool/purge_done"} { // what is kept of a change without a body
		method, path, _ := strings.Cut(change, " ")
		w.expect(alice, method, path, "", http.StatusTooManyRequests, "")
	}
	w.expect(alice, "GET", "/service_template", "", http.StatusOK, "")
	w.expect(admin, "POST", "/service_template", body, http.StatusCreated, "")
}

// waiting reports whether so many requests are in progress, and some of them wait for room in answers.
func (w *world) waiting(requests int) func() bool {
	return func() bool {
		a := w.api.admission
		a.working.mu.Lock()
		defer a.working.mu.Unlock()
		a.showing.mu.Lock()
		defer a.showing.mu.Unlock()
		return a.working.taken == requests && a.showing.freed != nil
	}
}

// What is kept in memory for clients that read slowly is bounded in bytes, and shared among users.
func TestBytesOfDocumentsInAnswersAreBounded(t *testing.T) {
	w := newWorld(t, Config{limits: limitedTo(func(l *limits) { l.showing, l.patience = 8*documentFrame, time.Millisecond })})
	w.expect(alice, "POST", "/service_template", `{"name":"x","roles":[]}`, http.StatusCreated, "")
	const uid = 2 // alice's
	release, _ := w.api.admission.showing.acquire(uid, 4*documentFrame)
	for _, path := range []string{"/service_template", "/service_template/0", "/flowjet/v1/service_template", "/flowjet/v1/templates"} {
		if got := w.expect(alice, "GET", path, "", http.StatusServiceUnavailable, "too many long answers"); got.header.Get("Retry-After") == "" {
			t.Errorf("%s: got %+v", path, got)
		}
		w.expect(admin, "GET", path, "", http.StatusOK, "")
	}
	w.expect(alice, "POST", "/service_template/0/action", `{"action":{"perform":"rename","params":{"name":"y"}}}`, http.StatusServiceUnavailable, "too many long answers")
	w.api.admission.limits.patience = poll.Limit
	waits := make(chan reply, 3)
	for range cap(waits) {
		go func() { waits <- w.call(alice, "GET", "/service_template", "") }()
	}
	poll.Until(t, "the lists to wait", w.waiting(cap(waits)))
	other, _ := w.api.admission.showing.acquire(77, 4*documentFrame)
	passes := make(chan reply, 1)
	go func() { passes <- w.call(admin, "GET", "/service_template", "") }()
	poll.Until(t, "a list of another user to wait", w.waiting(cap(waits)+1))
	other()
	if got := <-passes; got.status != http.StatusOK || len(waits) > 0 {
		t.Errorf("a list behind those of a user who has his share: got %+v", got)
	}
	release()
	for range cap(waits) {
		if got := <-waits; got.status != http.StatusOK {
			t.Errorf("a list that has waited: got %+v", got)
		}
	}
	for range 10 { // they are given back
		w.expect(alice, "GET", "/service_template", "", http.StatusOK, "")
		w.expect(alice, "GET", "/service_template/0", "", http.StatusOK, "")
	}
}

// A long answer is not kept for a day: a retry finds what the first request made, and makes the
// answer anew.
func TestALongAnswerIsNotKept(t *testing.T) {
	w := newWorld(t, Config{})
	body := `{"name":"x","roles":[],"description":"` + strings.Repeat("d", maxKeptBody) + `"}`
	first := w.call(alice, "POST", "/service_template", body, "Idempotency-Key", "long")
	again := w.call(alice, "POST", "/service_template", body, "Idempotency-Key", "long")
	if first.status != http.StatusCreated || again.status != http.StatusCreated || first.body != again.body {
		t.Errorf("the first answer is %d %.300s, and the second %d %.300s", first.status, first.body, again.status, again.body)
	}
	who := caller{User: opennebula.User{Identity: one.Identity{UID: 2}}}
	held, _, err := w.api.queue.Reservation(t.Context(), keyName(who, "long"))
	if err != nil || held.Answer != nil {
		t.Errorf("the reservation is %+v (%v)", held, err)
	}
}

func TestWaitingCommandsAreBounded(t *testing.T) {
	w := newWorld(t, Config{replyWait: time.Millisecond, limits: limitedTo(func(l *limits) { l.queuedOfUser = 2 })})
	service := w.service(alice)
	scale := func() reply {
		return w.call(alice, "POST", service+"/scale", `{"role_name":"Master","cardinality":2}`)
	}
	if got := scale(); got.status != 202 {
		t.Fatalf("got %+v", got)
	}
	if got := scale(); got.status != 429 || got.header.Get("Retry-After") == "" {
		t.Fatalf("got %+v", got)
	}
	seen := w.worker(accept)
	<-seen
	<-seen
	poll.Until(t, "the others to have ended", func() bool { return w.api.backlog.size() == 0 })
	if got := scale(); got.status != 202 && got.status != 204 {
		t.Errorf("when the others have ended: %+v", got)
	}
}

// A few users who fill the queue leave room for the others.
func TestAFullQueueHasRoomForOthers(t *testing.T) {
	b := &backlog{all: 200, ofUser: 150, waiting: map[string]waitingCommand{}}
	admitted := map[int]int{}
	for uid := range 3 {
		for n := range 200 {
			if b.enter(fmt.Sprint(uid, "-", n), uid) == nil {
				admitted[uid]++
			}
		}
	}
	if admitted[0] != 150 || admitted[1] != 50 || admitted[2] != 2 {
		t.Errorf("admitted are %v", admitted)
	}
}

// TestWaitingCommandsAreBoundedAcrossAPIs: what one API has queued counts at the
// others, those that start later included, and a dead one's counts on.
func TestWaitingCommandsAreBoundedAcrossAPIs(t *testing.T) {
	limits := Config{replyWait: time.Millisecond, limits: limitedTo(func(l *limits) { l.queued = 3 })}
	w := newWorld(t, limits)
	early := w.second(limits)
	service := w.service(alice)
	scale := `{"role_name":"Master","cardinality":2}`
	for range 2 {
		if got := w.call(alice, "POST", service+"/scale", scale); got.status != 202 {
			t.Fatalf("got %+v", got)
		}
	}
	w.api.end()
	restarted := time.Now()
	late := w.second(limits)
	for name, other := range map[string]*world{"early": early, "late": late} {
		poll.Until(t, name+" to know of the commands", func() bool { return other.api.backlog.size() == 3 })
		if got := other.call(admin, "POST", service+"/scale", scale); got.status != 429 || !strings.Contains(got.body, "3 commands are already queued") {
			t.Errorf("%s: %+v", name, got)
		}
		other.api.backlog.mu.Lock()
		for id, waiting := range other.api.backlog.waiting {
			if !waiting.since.Before(restarted) {
				t.Errorf("%s: command %s waits since %s, when the API had started again, and not since it was queued", name, id, waiting.since)
			}
		}
		other.api.backlog.mu.Unlock()
	}
	w.worker(accept)
	poll.Until(t, "the commands to end", func() bool { return early.api.backlog.size()+late.api.backlog.size() == 0 })
	if got := late.call(admin, "POST", service+"/scale", scale); got.status != 202 && got.status != 204 {
		t.Errorf("when the others have ended: %+v", got)
	}
}

func TestASlowClientIsCutOff(t *testing.T) {
	s, _ := fakeServer(t, Config{Listen: "127.0.0.1:0", limits: limitedTo(func(l *limits) { l.headerTimeout = 50 * time.Millisecond; l.requestTimeout = 100 * time.Millisecond })}, &fakeQueue{})
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	for name, begin := range map[string]string{
		"nothing":     "",
		"half a head": "GET /service HTTP/1.1\r\nHost: x\r\n",
		"half a body": "POST /service_template HTTP/1.1\r\nHost: x\r\nAuthorization: Basic Ym9iOnJpZ2h0\r\nContent-Length: 100\r\n\r\n{",
	} {
		conn, err := net.Dial("tcp", s.Addr())
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.WriteString(conn, begin); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadAll(conn); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: the connection is kept", name)
		}
		conn.Close()
	}
	ctx, cancel := context.WithTimeout(t.Context(), poll.Limit)
	defer cancel()
	if err := s.Stop(ctx); err != nil {
		t.Error(err)
	}
}

func TestDeepAndLargeBodiesAreRefusedEverywhere(t *testing.T) {
	w := newWorld(t, Config{limits: limitedTo(func(l *limits) { l.body = 2000 })})
	service, template := w.service(admin), w.template(admin)
	for _, call := range []string{
		"PUT " + service, "POST " + service + "/action", "POST " + service + "/scale", "POST " + service + "/role_action",
		"POST " + service + "/role/Master/action", "POST /service_template", "PUT " + template, "DELETE " + template, "POST " + template + "/action",
	} {
		method, path, _ := strings.Cut(call, " ")
		w.expect(admin, method, path, strings.Repeat(`{"a":`, 300), http.StatusBadRequest, "nested deeper")
		w.expect(admin, method, path, `"`+strings.Repeat("x", 3000), http.StatusRequestEntityTooLarge, "larger than 2000 bytes")
	}
}
