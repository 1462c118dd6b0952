package restapi

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/internal/testcert"
	"github.com/flowjet/flowjet/internal/testlog"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/command"
	"github.com/flowjet/flowjet/pipeline/inspect"
)

// fakeQueue is a pipeline that panics, fails, is away, or does not answer who asks for
// a command until it has hung up.
type fakeQueue struct {
	queue
	away  bool
	err   error
	asked chan struct{}
}

func (q *fakeQueue) SubmitCommand(context.Context, flow.Command, time.Duration) (pipeline.Reply, error) {
	return pipeline.Reply{}, q.err
}

func (q *fakeQueue) CommandStatus(ctx context.Context, id string) (pipeline.CommandStatus, error) {
	switch {
	case id == "boom":
		panic("a secret inside")
	case q.asked != nil:
		close(q.asked)
		<-ctx.Done()
	}
	return pipeline.CommandStatus{}, q.err
}

func (*fakeQueue) FollowCommands(context.Context, func(command.Change)) error {
	return pipeline.ErrClosed
}

func (*fakeQueue) Observe() (*inspect.Observer, error) { return nil, pipeline.ErrClosed }

func (*fakeQueue) LoadRecord(context.Context, int) (pipeline.Record, uint64, error) {
	return pipeline.Record{}, 0, nil
}

func (q *fakeQueue) State() pipeline.ConnectionState {
	return pipeline.ConnectionState{Connected: !q.away, Error: "nobody there"}
}

func fakeServer(t *testing.T, config Config, q *fakeQueue) (*Server, *fakeOned) {
	t.Helper()
	users := &fakeOned{}
	s, err := newServer(withDefaults(config), q, users, testBox)
	if err != nil {
		t.Fatal(err)
	}
	return s, users
}

func ask(s *Server, method, path, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.SetBasicAuth("bob", "right")
	w := httptest.NewRecorder()
	s.handler.ServeHTTP(w, r)
	return w
}

func TestAPanicIsAnAnswer(t *testing.T) {
	log := &testlog.Log{}
	s, _ := fakeServer(t, Config{Logger: log.Logger()}, &fakeQueue{})
	w := ask(s, "GET", "/flowjet/v1/commands/boom", "")
	id := w.Header().Get("X-Request-Id")
	if w.Code != 500 || id == "" || !strings.Contains(w.Body.String(), id) || strings.Contains(w.Body.String(), "secret") {
		t.Errorf("got %d %q", w.Code, w.Body)
	}
	if !strings.Contains(log.String(), "a secret inside") || !strings.Contains(log.String(), id) {
		t.Errorf("the log says %s", log)
	}
	if again := ask(s, "GET", "/flowjet/v1/version", ""); again.Code != 200 {
		t.Errorf("afterwards: %d", again.Code)
	}
}

func TestWhoHangsUpIsNoFailureOfOurs(t *testing.T) {
	log := &testlog.Log{}
	q := &fakeQueue{err: errors.New("no answer from stream"), asked: make(chan struct{})}
	s, _ := fakeServer(t, Config{Logger: log.Logger()}, q)
	server := httptest.NewServer(s.handler)
	defer server.Close()
	ctx, hangUp := context.WithCancel(t.Context())
	go func() {
		<-q.asked
		hangUp()
	}()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/flowjet/v1/commands/x", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.SetBasicAuth("bob", "right")
	answer, err := server.Client().Do(r)
	if err == nil {
		answer.Body.Close()
	}
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v %v", answer, err)
	}
	log.Await(t, "path=/flowjet/v1/commands/x")
	if text := log.String(); !strings.Contains(text, "status=499") || strings.Contains(text, "level=WARN") {
		t.Errorf("the log says %s", text)
	}
}

func TestJetStreamAway(t *testing.T) {
	s, _ := fakeServer(t, Config{}, &fakeQueue{err: errors.New("no answer from stream")})
	if w := ask(s, "GET", "/flowjet/v1/commands/x", ""); w.Code != 503 || w.Header().Get("Retry-After") == "" {
		t.Errorf("got %d %q", w.Code, w.Body)
	}
	s, _ = fakeServer(t, Config{NotReady: func() []string { return []string{"no worker"} }}, &fakeQueue{away: true})
	w := ask(s, "GET", "/flowjet/v1/health", "")
	for _, part := range []string{`"live": true`, `"ready": false`, "nobody there", "no worker"} {
		if w.Code != 503 || !strings.Contains(w.Body.String(), part) {
			t.Errorf("got %d %q", w.Code, w.Body)
		}
	}
}

// TestNothingIsCreatedWithoutNATS takes NATS away from a running API.
func TestNothingIsCreatedWithoutNATS(t *testing.T) {
	w := newWorld(t, Config{})
	service := w.service(admin)
	template := w.template(admin)
	w.expect(admin, "GET", "/flowjet/v1/health", "", 200, `"ready": true`)
	w.nats.Stop()
	poll.Until(t, "the pipeline to notice", func() bool { return !w.pipe.State().Connected })
	before := w.sim.CallCounts()["one.document.allocate"]
	got := w.expect(admin, "POST", template+"/action", perform("instantiate", "{}"), 503, "NATS")
	if got.header.Get("Retry-After") == "" {
		t.Error("there is no Retry-After")
	}
	w.expect(admin, "DELETE", service, "", 503, "NATS")
	if now := w.sim.CallCounts()["one.document.allocate"]; now != before {
		t.Errorf("%d documents were created", now-before)
	}
	w.expect(admin, "GET", "/flowjet/v1/health", "", 503, `"ready": false`)
	// What needs no queue works on.
	w.expect(admin, "GET", service, "", 200, `"NAME": "svc"`)
}

// TestAServiceWithoutItsCommandIsNotMadeTwice loses JetStream between the
// document and the command.
func TestAServiceWithoutItsCommandIsNotMadeTwice(t *testing.T) {
	w := newWorld(t, Config{})
	template := w.template(admin)
	broken, err := newServer(withDefaults(Config{}), &fakeQueue{err: errors.New("no answer from stream")}, oned{w.oned}, w.oned.Box())
	w.must(err)
	r := httptest.NewRequest(http.MethodPost, template+"/action", strings.NewReader(perform("instantiate", "{}")))
	r.SetBasicAuth("oneadmin", "opennebula")
	got := httptest.NewRecorder()
	broken.handler.ServeHTTP(got, r)
	if got.Code != 503 || got.Header().Get("Retry-After") != "" || !strings.Contains(got.Body.String(), "do not instantiate again") {
		t.Errorf("got %d %q, Retry-After %q", got.Code, got.Body, got.Header().Get("Retry-After"))
	}
	w.expect(admin, "GET", "/service", "", 200, `"state": 0`)
}

// TestADroppedAnswerIsNotToBeRepeated has oned create a document and say nothing.
func TestADroppedAnswerIsNotToBeRepeated(t *testing.T) {
	w := newWorld(t, Config{})
	w.must(w.sim.DropAnswer("one.document.allocate", 1))
	if got := w.call(admin, "POST", "/service_template", twoRoles); got.status != 503 || got.header.Get("Retry-After") != "" || !strings.Contains(got.body, "may have executed") {
		t.Errorf("got %+v", got)
	}
	// The service's command goes out even if it cannot be shown.
	seen := w.worker(accept)
	template := w.template(admin)
	w.must(w.sim.DropAnswer("one.document.info", 2))
	w.expect(admin, "POST", template+"/action", perform("instantiate", "{}"), 503, "do not instantiate again")
	if command := <-seen; command.Verb != flow.VerbDeploy {
		t.Errorf("queued %+v", command)
	}
}

func TestOnedAway(t *testing.T) {
	w := newWorld(t, Config{})
	w.expect(admin, "GET", "/service", "", 200, "")
	w.bounded(w.sim.Stop)
	got := w.expect(admin, "GET", "/service", "", 503, "list services: ")
	if got.header.Get("Retry-After") == "" || strings.Contains(got.body, "serveradmin") {
		t.Errorf("got %+v", got)
	}
	w.expect("oneadmin:other", "GET", "/service", "", 503, "the credentials cannot be checked: ")
	w.expect("", "GET", "/flowjet/v1/health", "", 503, "oned does not answer")
}

func TestLimits(t *testing.T) {
	w := newWorld(t, Config{limits: limitedTo(func(l *limits) { l.body = 1000 })})
	w.expect(admin, "POST", "/service_template", `{"name":"`+strings.Repeat("x", 2000)+`"}`, 413, "larger than 1000 bytes")
	w.expect(admin, "POST", "/service_template", `{"name":"`+strings.Repeat("x", 200)+`","roles":[]}`, 400, "too long")
	w.expect(admin, "POST", "/service_template", strings.Repeat("[", 500), 400, "nested deeper")
}

func TestTooManyRequestsAreTurnedAway(t *testing.T) {
	s, _ := fakeServer(t, Config{limits: limitedTo(func(l *limits) { l.requests = 1 })}, &fakeQueue{err: pipeline.ErrNotFound})
	release, _ := s.admission.working.acquire(1, 1)
	if w := ask(s, "GET", "/flowjet/v1/commands/x", ""); w.Code != 503 || w.Header().Get("Retry-After") == "" {
		t.Errorf("got %d %q", w.Code, w.Body)
	}
	if w := ask(s, "GET", "/flowjet/v1/version", ""); w.Code != 200 {
		t.Errorf("what needs no place got %d %q", w.Code, w.Body)
	}
	release()
	if w := ask(s, "GET", "/flowjet/v1/commands/x", ""); w.Code != 404 {
		t.Errorf("when there is a place again: %d %q", w.Code, w.Body)
	}
}

func TestUnknownPaths(t *testing.T) {
	s, _ := fakeServer(t, Config{}, &fakeQueue{})
	for _, path := range []string{"/nope", "/service/", "/service/1/", "//service/", "/service/./1", "/service/1/nope", "/service_template/", "/service/../service", "/flowjet/v1"} {
		if w := ask(s, "GET", path, ""); w.Code != 404 || w.Header().Get("Location") != "" {
			t.Errorf("GET %s: %d %q", path, w.Code, w.Body)
		}
	}
	for _, call := range []string{"PATCH /service", "POST /service", "PUT /service", "DELETE /service_template"} {
		method, path, _ := strings.Cut(call, " ")
		if w := ask(s, method, path, ""); w.Code != 404 {
			t.Errorf("%s: %d", call, w.Code)
		}
	}
	for _, id := range []string{"abc", "-1", "1.5", "99999999999", "0x1"} {
		if w := ask(s, "GET", "/service/"+id, ""); w.Code != 404 || !strings.Contains(w.Body.String(), "there is no service") {
			t.Errorf("GET /service/%s: %d %q", id, w.Code, w.Body)
		}
	}
}

// OneFlow takes repeated slashes for one. The oneflow command and OneGate ask for //service if the URL that they were given ends
// with a slash.
func TestRepeatedSlashesAreOne(t *testing.T) {
	w := newWorld(t, Config{})
	service := w.service(admin)
	for _, path := range []string{"//service", "//service_template", "/" + service, "/service///" + itoa(idOf(t, service))} {
		w.expect(admin, "GET", path, "", 200, "")
	}
	w.expect(admin, "POST", "/"+service+"//action", perform("rename", `{"name":"new"}`), 204, "")
}

func TestRequestIDsAndHeaders(t *testing.T) {
	s, _ := fakeServer(t, Config{}, &fakeQueue{})
	for given, kept := range map[string]bool{"abc-1.2_3": true, "with blank": false, "": false, strings.Repeat("x", 65): false, "a\"b": false} {
		r := httptest.NewRequest(http.MethodGet, "/flowjet/v1/version", http.NoBody)
		r.Header.Set("X-Request-Id", given)
		w := httptest.NewRecorder()
		s.handler.ServeHTTP(w, r)
		if got := w.Header().Get("X-Request-Id"); got == "" || (got == given) != kept {
			t.Errorf("%q becomes %q", given, got)
		}
		if w.Header().Get("X-Content-Type-Options") != "nosniff" || !strings.Contains(w.Header().Get("Content-Security-Policy"), "sandbox") {
			t.Errorf("headers %v", w.Header())
		}
	}
}

func TestMetrics(t *testing.T) {
	w := newWorld(t, Config{})
	w.expect(admin, "GET", "/service/1234567", "", 404, "")
	w.expect("", "GET", "/metrics", "", 200, `flowjet_api_requests_total{route="GET /service/{id}",status="404"} 1`)
}

func TestStatuses(t *testing.T) {
	for code, status := range map[opennebula.Code]int{
		opennebula.CodeAuthorization: 401, opennebula.CodeAuthentication: 403, opennebula.CodeNoExists: 404,
		opennebula.CodeAction: 500, opennebula.CodeInternal: 500, opennebula.CodeLocked: 500,
	} {
		if got := statusOf(&opennebula.Error{Code: code}, false); got != status {
			t.Errorf("%v: %d", code, got)
		}
	}
	if got := statusOf(errors.New("anything"), false); got != 500 {
		t.Error(got)
	}
}

func TestStartAndStop(t *testing.T) {
	s, _ := fakeServer(t, Config{Listen: "127.0.0.1:0"}, &fakeQueue{})
	if s.Addr() != "" {
		t.Errorf("listening on %s before Start", s.Addr())
	}
	for range 2 {
		if err := s.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	second, _ := fakeServer(t, Config{Listen: s.Addr()}, &fakeQueue{})
	err := second.Start(t.Context())
	if err == nil || !strings.Contains(err.Error(), s.Addr()) || !strings.Contains(err.Error(), "--api-listen") || strings.Contains(err.Error(), "\n") {
		t.Errorf("a taken port: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), poll.Limit)
	defer cancel()
	for range 2 {
		if err := s.Stop(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if err := second.Stop(ctx); err != nil {
		t.Error(err)
	}
}

func TestTLS(t *testing.T) {
	if _, err := newServer(withDefaults(Config{CertificateFile: "/nowhere/cert.pem"}), &fakeQueue{}, &fakeOned{}, testBox); err == nil || !strings.Contains(err.Error(), "/nowhere/cert.pem") {
		t.Errorf("got %v", err)
	}
	certificate, key, pool := testcert.SelfSigned(t)
	s, _ := fakeServer(t, Config{Listen: "127.0.0.1:0", CertificateFile: certificate, KeyFile: key}, &fakeQueue{})
	if err := s.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, browser := range []bool{false, true} {
		transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: "flowjet.test"}, ForceAttemptHTTP2: browser}
		response, err := (&http.Client{Transport: transport}).Get("https://" + s.Addr() + "/flowjet/v1/version")
		if err != nil {
			t.Fatal(err)
		}
		text, _ := io.ReadAll(response.Body)
		response.Body.Close()
		transport.CloseIdleConnections()
		if response.StatusCode != http.StatusOK || !strings.Contains(string(text), "version") || browser != (response.ProtoMajor == 2) {
			t.Errorf("got %d %s in %s", response.StatusCode, text, response.Proto)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), poll.Limit)
	defer cancel()
	if err := s.Stop(ctx); err != nil {
		t.Error(err)
	}
}

// selfSigned writes a certificate for flowjet.test and its key.
