package restapi

import (
	"context"
	"net/http"
	"strconv"
	"strings"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// request is what an endpoint gets: an authenticated user's request.
type request struct {
	*http.Request
	caller caller
	// oned is the session in which the caller's calls are made.
	oned session
	// keyed is set for a request with an Idempotency-Key.
	keyed *keyed
	// own reports whether it came by Flowjet's own API.
	own bool
}

// endpoint answers a request of an authenticated user.
type endpoint func(ctx context.Context, r *request) (answer, error)

// ownPrefix is where Flowjet's own API is.
const ownPrefix = "/flowjet/v1"

// oneflow are OneFlow's calls. Under ownPrefix there are the same again, with
// statuses that say what they mean.
func (s *Server) oneflow() map[string]endpoint {
	return map[string]endpoint{
		"GET /service":                                        s.listServices,
		"GET /service/{id}":                                   s.showService,
		"PUT /service/{id}":                                   s.updateService,
		"DELETE /service/{id}":                                s.undeploy,
		"POST /service/{id}/action":                           s.actOnService,
		"POST /service/{id}/scale":                            s.scale,
		"POST /service/{id}/role_action":                      s.changeRoles,
		"POST /service/{id}/role/{role}/action":               s.actOnRole,
		"DELETE /service/{id}/sched_action/{sid}":             s.unscheduleOnService,
		"DELETE /service/{id}/role/{role}/sched_action/{sid}": s.unscheduleOnRole,
		"POST /service_pool/purge_done":                       s.purgeDone,
		"GET /service_template":                               s.listTemplates,
		"POST /service_template":                              s.createTemplate,
		"GET /service_template/{id}":                          s.showTemplate,
		"PUT /service_template/{id}":                          s.replaceTemplate,
		"DELETE /service_template/{id}":                       s.deleteTemplate,
		"POST /service_template/{id}/action":                  s.actOnTemplate,
	}
}

// own are the calls that only Flowjet has.
func (s *Server) own() map[string]http.Handler {
	calls := map[string]http.Handler{
		"GET /flowjet/v1/commands/{id}":     s.authenticated(s.showCommand, true),
		"GET /flowjet/v1/services/{id}/why": s.authenticated(s.why, true),
		"GET /flowjet/v1/work":              s.authenticated(s.work, true),
		"GET /flowjet/v1/events":            http.HandlerFunc(s.events),
		"GET /flowjet/v1/health":            http.HandlerFunc(s.health),
		"GET /flowjet/v1/version":           http.HandlerFunc(s.version),
		"GET /flowjet/v1/openapi.json":      http.HandlerFunc(s.describe),
	}
	if s.config.Metrics != nil {
		calls["GET /metrics"] = promhttp.HandlerFor(s.config.Metrics, promhttp.HandlerOpts{})
	}
	return calls
}

// patterns are all paths with what serves them.
func (s *Server) patterns() map[string]http.Handler {
	all := s.own()
	for pattern, serve := range s.oneflow() {
		method, path, _ := strings.Cut(pattern, " ")
		all[pattern] = s.authenticated(serve, false)
		all[method+" "+ownPrefix+path] = s.authenticated(serve, true)
	}
	return all
}

// routes serve all paths. What does not match exactly is not found, other
// methods and trailing slashes included, as with OneFlow.
func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	for pattern, handler := range s.patterns() {
		mux.Handle(pattern, handler)
	}
	for pattern, handler := range s.pages() {
		mux.Handle(pattern, handler)
	}
	mux.HandleFunc("/", s.notFound)
	return mux
}

func (s *Server) notFound(w http.ResponseWriter, r *http.Request) {
	s.fail(w, r, &statusError{http.StatusNotFound, "there is no " + r.Method + " " + r.URL.Path})
}

// authenticated lets a request through whose user oned knows.
func (s *Server) authenticated(serve endpoint, own bool) http.Handler {
	serve = s.once(serve)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who, err := s.gate.caller(r)
		if err == nil {
			err = s.rated(who, r.Method)
		}
		if err != nil {
			s.fail(w, r, err)
			return
		}
		noteUser(r.Context(), who.Identity.UName)
		release, err := s.admit(w, r, who.Identity.UID)
		if err != nil {
			s.fail(w, r, err)
			return
		}
		defer release()
		asked := &request{Request: r, caller: who, oned: s.oned.as(who.target()), own: own}
		if asked.dryRun() {
			asked.oned = readOnly{asked.oned}
		}
		reply, err := serve(r.Context(), asked)
		if err != nil {
			s.fail(w, r, err)
			return
		}
		reply.write(w)
	})
}

// dryRun reports whether the request is to change nothing.
func (r *request) dryRun() bool { return r.URL.Query().Get("dry_run") == "true" }

// id is the document's id in the path. What is not a number is the id of nothing.
func (r *request) id(what string) (int, error) {
	text := r.PathValue("id")
	id, err := strconv.ParseInt(text, 10, 32)
	if err != nil || id < 0 {
		return 0, &statusError{http.StatusNotFound, "there is no " + what + " " + strconv.Quote(text) + ": ids are whole numbers from 0 on"}
	}
	return int(id), nil
}
