package restapi

import (
	"context"
	"net/http"
	"strconv"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// request is what an endpoint gets: an authenticated user's request.
type request struct {
	*http.Request
	caller caller
	// oned is the session in which the caller's calls are made.
	oned session
}

// endpoint answers a request of an authenticated user.
type endpoint func(ctx context.Context, r *request) (answer, error)

// routes are all paths. What does not match exactly is not found, other
// methods and trailing slashes included, as with OneFlow.
func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	for pattern, serve := range map[string]endpoint{
		"GET /service":                       s.listServices,
		"GET /service/{id}":                  s.showService,
		"DELETE /service/{id}":               s.undeploy,
		"POST /service/{id}/action":          s.actOnService,
		"POST /service/{id}/scale":           s.scale,
		"GET /service_template":              s.listTemplates,
		"POST /service_template":             s.createTemplate,
		"GET /service_template/{id}":         s.showTemplate,
		"PUT /service_template/{id}":         s.replaceTemplate,
		"DELETE /service_template/{id}":      s.deleteTemplate,
		"POST /service_template/{id}/action": s.actOnTemplate,
		"GET /flowjet/v1/commands/{id}":      s.showCommand,
	} {
		mux.Handle(pattern, s.authenticated(serve))
	}
	mux.HandleFunc("GET /flowjet/v1/health", s.health)
	mux.HandleFunc("GET /flowjet/v1/version", s.version)
	if s.config.Metrics != nil {
		mux.Handle("GET /metrics", promhttp.HandlerFor(s.config.Metrics, promhttp.HandlerOpts{}))
	}
	mux.HandleFunc("/", s.notFound)
	return mux
}

func (s *Server) notFound(w http.ResponseWriter, r *http.Request) {
	s.fail(w, r, &statusError{http.StatusNotFound, "there is no " + r.Method + " " + r.URL.Path})
}

// authenticated lets a request through whose user oned knows.
func (s *Server) authenticated(serve endpoint) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who, err := s.gate.caller(r)
		if err != nil {
			s.fail(w, r, err)
			return
		}
		noteUser(r.Context(), who.Identity.UName)
		r.Body = http.MaxBytesReader(w, r.Body, s.config.Limits.Body)
		reply, err := serve(r.Context(), &request{Request: r, caller: who, oned: s.oned.as(who.target())})
		if err != nil {
			s.fail(w, r, err)
			return
		}
		reply.write(w)
	})
}

// id is the document's id in the path. What is not a number is the id of nothing.
func (r *request) id(what string) (int, error) {
	text := r.PathValue("id")
	id, err := strconv.ParseInt(text, 10, 32)
	if err != nil || id < 0 {
		return 0, &statusError{http.StatusNotFound, "there is no " + what + " " + strconv.Quote(text) + ": ids are whole numbers from 0 on"}
	}
	return int(id), nil
}
