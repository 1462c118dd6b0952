package restapi

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"strings"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/seal"
)

const ownPrefix = "/flowjet/v1"

func (s *Server) routes(users *authenticator, oned sessions, box *seal.Box) map[string]http.Handler {
	shared := &reservations{queue: s.queue, wait: s.config.ReplyWait, logger: s.logger}
	serve := &dispatcher{
		authenticator: users, admission: s.admission,
		oned:        ahead{newLists(&writes{sessions: oned}, s.queue, s.config.HearingCalls), box},
		idempotency: &idempotency{reservations: shared, box: box, now: s.config.now},
	}
	queued := &commands{
		queue: s.queue, backlog: s.backlog, box: box, wait: s.config.ReplyWait,
		planner: &planner{queue: s.queue, settings: s.config.Settings},
	}
	vms := &vmActions{number: s.config.ActionNumber, period: s.config.ActionPeriod, now: s.config.now, commands: queued}
	services := &services{commands: queued, shared: shared, ownership: &ownership{oned: oned, commands: queued, logger: s.logger}, vms: vms}
	templates := &templates{commands: queued, shared: shared, logger: s.logger}
	rendered := newRendered()
	all := map[string]http.Handler{}
	// OneFlow's calls are there twice: below ownPrefix with statuses that say what they mean.
	for pattern, call := range map[string]endpoint{
		"GET /service":                                        listDocuments(spec.DocumentTypeService, rendered),
		"GET /service/{id}":                                   showDocument(spec.DocumentTypeService),
		"PUT /service/{id}":                                   queued.changing(readUpdate),
		"DELETE /service/{id}":                                queued.changing(readUndeploy),
		"POST /service/{id}/action":                           services.act,
		"POST /service/{id}/scale":                            queued.changing(readScale),
		"POST /service/{id}/role_action":                      queued.changing(readRoleChange),
		"POST /service_pool/purge_done":                       purgeDone,
		"POST /service/{id}/role/{role}/action":               vms.actOnRole,
		"DELETE /service/{id}/sched_action/{sid}":             vms.unschedule,
		"DELETE /service/{id}/role/{role}/sched_action/{sid}": vms.unschedule,
		"GET /service_template":                               listDocuments(spec.DocumentTypeServiceTemplate, rendered),
		"POST /service_template":                              templates.create,
		"GET /service_template/{id}":                          showDocument(spec.DocumentTypeServiceTemplate),
		"PUT /service_template/{id}":                          templates.replace,
		"DELETE /service_template/{id}":                       templates.delete,
		"POST /service_template/{id}/action":                  templates.act,
	} {
		method, path, _ := strings.Cut(pattern, " ")
		all[pattern] = serve.handler(call)
		all[method+" "+ownPrefix+path] = all[pattern]
	}
	people := newViews(queued.planner, s.config.VMLink)
	state := &health{queue: s.queue, oned: oned.server(), version: s.config.Version, feeds: s.config.Feeds, notReady: s.config.NotReady}
	maps.Copy(all, map[string]http.Handler{
		"GET /flowjet/v1/services":          serve.handler(people.services),
		"GET /flowjet/v1/services/{id}":     serve.handler(people.service),
		"GET /flowjet/v1/templates":         serve.handler(people.templates),
		"GET /flowjet/v1/commands/{id}":     serve.handler(queued.show),
		"GET /flowjet/v1/services/{id}/why": serve.handler((&diagnosis{queue: s.queue, oned: oned.server()}).why),
		"GET /flowjet/v1/work":              serve.handler(s.overview.show),
		"GET /flowjet/v1/events":            failing((&events{dispatcher: serve, queue: s.queue, recheckAfter: s.config.CredentialTTL, stopping: s.stopping}).stream),
		"GET /flowjet/v1/session":           serve.handler(showLogin),
		"POST /flowjet/v1/session":          serve.handler(users.logins.begin),
		"DELETE /flowjet/v1/session":        failing(users.logins.end),
		"GET /flowjet/v1/health":            failing(state.show),
		"GET /flowjet/v1/version":           failing(state.showVersion),
		"GET /flowjet/v1/openapi.json":      http.HandlerFunc(describe),
	})
	if s.config.Metrics != nil {
		all["GET /metrics"] = promhttp.HandlerFor(s.config.Metrics, promhttp.HandlerOpts{})
	}
	return all
}

// mux serves all paths. What does not match exactly is not found, other methods
// and trailing slashes included, as with OneFlow.
func (s *Server) mux() http.Handler {
	mux := http.NewServeMux()
	for pattern, handler := range s.patterns {
		mux.Handle(pattern, handler)
	}
	// The live page's paths need no user: the page asks for one, and reads the API as that user.
	mux.Handle("GET /flowjet", http.RedirectHandler(pageRoot, http.StatusPermanentRedirect))
	mux.Handle("GET /{$}", http.RedirectHandler(pageRoot, http.StatusTemporaryRedirect))
	mux.HandleFunc("GET /flowjet/{$}", servePage)
	mux.HandleFunc("GET /flowjet/page/{file}", servePage)
	mux.HandleFunc("/", notFound)
	return mux
}

func notFound(w http.ResponseWriter, r *http.Request) {
	fail(w, r, failure(http.StatusNotFound, "there is no %s %s", r.Method, r.URL.Path))
}

// dispatcher turns endpoints into HTTP handlers: it authenticates the user,
// holds the request to the limits and to its Idempotency-Key, and writes the answer.
type dispatcher struct {
	authenticator *authenticator
	admission     *admission
	idempotency   *idempotency
	oned          ahead
}

// identify returns the request of a user whose credentials are accepted and who is within the rate.
func (d *dispatcher) identify(r *http.Request) (*request, error) {
	who, err := d.authenticator.caller(r)
	if err != nil {
		return nil, err
	}
	a, key := d.admission, bucketKey{uid: who.Identity.UID, changes: r.Method != http.MethodGet}
	most := a.limits.Reads
	if key.changes {
		most = a.limits.Changes
	}
	if wait, ok := a.throttle.take(key, 1, most, int(2*most)); !ok {
		return nil, &busyError{http.StatusTooManyRequests, wait, fmt.Sprintf("more than %g requests of this kind a second; try again in a moment", most)}
	}
	noteOf(r.Context()).user = who.Identity.UName
	dryRun, err := readDryRun(r)
	if err != nil {
		return nil, err
	}
	asked := &request{Request: r, caller: who, oned: d.oned.as(who.target()), own: isOwn(r), dryRun: dryRun}
	if asked.dryRun {
		asked.oned = readOnly(asked.oned)
	}
	return asked, nil
}

func (d *dispatcher) handler(serve endpoint) http.Handler {
	return failing(func(w http.ResponseWriter, r *http.Request) error { return d.answer(w, r, serve) })
}

// failing is a handler whose error is its answer.
type failing func(w http.ResponseWriter, r *http.Request) error

func (f failing) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := f(w, r); err != nil {
		fail(w, r, err)
	}
}

func (d *dispatcher) answer(w http.ResponseWriter, r *http.Request, serve endpoint) error {
	asked, err := d.identify(r)
	if err != nil {
		return err
	}
	release, err := d.admission.admit(w, asked)
	if err != nil {
		return err
	}
	defer release()
	ctx := r.Context()
	if r.Header.Get("Cache-Control") == "no-cache" {
		ctx = context.WithValue(ctx, uncached{}, true)
	}
	reply, err := d.idempotency.once(ctx, asked, serve)
	if err == nil {
		reply.write(w, r)
	}
	return err
}
