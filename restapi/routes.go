package restapi

import (
	"context"
	"maps"
	"net/http"
	"strings"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/seal"
)

// ownPrefix is the path of Flowjet's own API.
const ownPrefix = "/flowjet/v1"

// routes returns all paths of both APIs with their handlers.
func (s *Server) routes(users *authenticator, oned sessions, box *seal.Box) map[string]http.Handler {
	shared := &reservations{queue: s.queue, wait: s.config.ReplyWait, logger: s.logger}
	written := &writes{sessions: oned}
	serve := &dispatcher{
		authenticator: users, admission: s.admission,
		oned:        ahead{written, newLists(written, s.queue, s.config.HearingCalls), s.queue, box},
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
		"PUT /service/{id}":                                   services.update,
		"DELETE /service/{id}":                                services.undeploy,
		"POST /service/{id}/action":                           services.act,
		"POST /service/{id}/scale":                            services.scale,
		"POST /service/{id}/role_action":                      services.changeRoles,
		"POST /service_pool/purge_done":                       services.purgeDone,
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
		"GET /flowjet/v1/events":            &events{dispatcher: serve, queue: s.queue, recheckAfter: s.config.CredentialTTL, stopping: s.stopping},
		"GET /flowjet/v1/session":           serve.handler(showLogin),
		"POST /flowjet/v1/session":          serve.handler(users.logins.begin),
		"DELETE /flowjet/v1/session":        http.HandlerFunc(users.logins.end),
		"GET /flowjet/v1/health":            http.HandlerFunc(state.show),
		"GET /flowjet/v1/version":           http.HandlerFunc(state.showVersion),
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
	fail(w, r, &statusError{http.StatusNotFound, "there is no " + r.Method + " " + r.URL.Path})
}

// dispatcher turns endpoints into HTTP handlers: it authenticates the user,
// holds the request to the limits and to its Idempotency-Key, and writes the answer.
type dispatcher struct {
	authenticator *authenticator
	admission     *admission
	idempotency   *idempotency
	oned          sessions
}

// identify returns the request of a user whose credentials are accepted and who
// is within the rate.
func (d *dispatcher) identify(r *http.Request) (*request, error) {
	who, err := d.authenticator.caller(r)
	if err != nil {
		return nil, err
	}
	if err := d.admission.rate(who, r.Method); err != nil {
		return nil, err
	}
	noteOf(r.Context()).user = who.Identity.UName
	return &request{Request: r, caller: who, oned: d.oned.as(who.target()), own: isOwn(r)}, nil
}

// handler serves an endpoint. It answers a missing right with 403 under /flowjet/v1, where
// 401 is for credentials that are not accepted. OneFlow's clients know it as 401.
func (d *dispatcher) handler(serve endpoint) http.Handler {
	forbidding := func(ctx context.Context, r *request) (answer, error) {
		reply, err := serve(ctx, r)
		if err != nil && r.own && statusOf(err) == http.StatusUnauthorized {
			err = &statusError{http.StatusForbidden, err.Error()}
		}
		return reply, err
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked, err := d.identify(r)
		if err != nil {
			fail(w, r, err)
			return
		}
		release, err := d.admission.admit(w, r, asked.caller.Identity.UID)
		if err != nil {
			fail(w, r, err)
			return
		}
		defer release()
		if asked.dryRun() {
			asked.oned = readOnly{asked.oned}
		}
		ctx := r.Context()
		if r.Header.Get("Cache-Control") == "no-cache" {
			ctx = context.WithValue(ctx, uncached{}, true)
		}
		reply, err := d.idempotency.once(ctx, asked, forbidding)
		if err != nil {
			fail(w, r, err)
			return
		}
		reply.write(w, r)
	})
}
