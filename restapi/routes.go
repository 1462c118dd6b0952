package restapi

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"path"
	"regexp"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/compress/gzhttp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/flow/template"
	"github.com/flowjet/flowjet/internal/seal"
	"github.com/flowjet/flowjet/opennebula"
)

const ownPrefix = "/flowjet/v1"

func (s *Server) routes(users *authenticator, oned sessions, box *seal.Box) map[string]http.Handler {
	shared := &reservations{queue: s.queue, wait: s.config.replyWait, logger: s.logger}
	serve := &dispatcher{
		authenticator: users, admission: s.admission,
		lists:       &lists{oned: oned, queue: s.queue, hearing: s.config.HearingCalls, kept: map[listKey]*list{}},
		idempotency: &idempotency{reservations: shared, box: box, now: s.config.now},
	}
	queued := &commands{
		queue: s.queue, backlog: s.backlog, box: box, wait: s.config.replyWait,
		planner: &planner{queue: s.queue, settings: s.config.Settings},
	}
	vms := &vmActions{number: s.config.ActionNumber, period: s.config.ActionPeriod, now: s.config.now, commands: queued}
	services := &services{commands: queued, shared: shared, ownership: &ownership{oned: oned, commands: queued, logger: s.logger}, vms: vms}
	templates := &templates{commands: queued, shared: shared, logger: s.logger}
	rendered := newRendered()
	all := map[string]http.Handler{}
	// OneFlow's calls exist twice: below ownPrefix with the usual statuses.
	for pattern, call := range map[string]endpoint{
		"GET /service":                                        listDocuments(spec.DocumentTypeService, rendered),
		"GET /service/{id}":                                   about(spec.DocumentTypeService, showDocument),
		"PUT /service/{id}":                                   queued.changing(readUpdate),
		"DELETE /service/{id}":                                queued.changing(func(*request) (flow.Verb, any, error) { return flow.VerbUndeploy, nil, nil }),
		"POST /service/{id}/action":                           services.act,
		"POST /service/{id}/scale":                            queued.changing(readScale),
		"POST /service/{id}/role_action":                      queued.changing(readRoleChange),
		"POST /service_pool/purge_done":                       purgeDone,
		"POST /service/{id}/role/{role}/action":               vms.actOnRole,
		"DELETE /service/{id}/sched_action/{sid}":             vms.unschedule,
		"DELETE /service/{id}/role/{role}/sched_action/{sid}": vms.unschedule,
		"GET /service_template":                               listDocuments(spec.DocumentTypeServiceTemplate, rendered),
		"POST /service_template":                              templates.create,
		"GET /service_template/{id}":                          about(spec.DocumentTypeServiceTemplate, showDocument),
		"PUT /service_template/{id}":                          about(spec.DocumentTypeServiceTemplate, templates.shared.alone(templates.replace)),
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
		"GET /flowjet/v1/services/{id}":     serve.handler(about(spec.DocumentTypeService, people.service)),
		"GET /flowjet/v1/templates":         serve.handler(people.templates),
		"GET /flowjet/v1/commands/{id}":     serve.handler(queued.show),
		"GET /flowjet/v1/services/{id}/why": serve.handler((&diagnosis{queue: s.queue, oned: oned.server()}).why),
		"GET /flowjet/v1/work":              serve.handler(s.overview.show),
		"GET /flowjet/v1/events":            failing((&events{dispatcher: serve, queue: s.queue, recheckAfter: s.config.credentialTTL, aliveEvery: s.config.aliveEvery, stopping: s.stopping}).stream),
		"GET /flowjet/v1/session":           serve.handler(showLogin),
		"POST /flowjet/v1/session":          serve.handler(users.logins.begin),
		"DELETE /flowjet/v1/session":        failing(users.logins.end),
		"GET /flowjet/v1/health":            failing(state.show),
		"GET /flowjet/v1/version":           failing(state.showVersion),
		"GET /flowjet/v1/openapi.json": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			answer{status: http.StatusOK, contentType: jsonType, body: openAPI}.write(w, r)
		}),
		"GET /metrics": promhttp.HandlerFor(s.config.Metrics, promhttp.HandlerOpts{}),
	})
	return all
}

// mux serves all paths. A path that does not match but for repeated slashes is not found, nor is one with another method or a
// trailing slash, as with OneFlow.
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
	lists         *lists
}

// identify returns the request of a user whose credentials are accepted and who is within the rate.
func (d *dispatcher) identify(r *http.Request) (*request, error) {
	who, err := d.authenticator.caller(r)
	if err != nil {
		return nil, err
	}
	a, key := d.admission, bucketKey{uid: who.Identity.UID, changes: r.Method != http.MethodGet}
	most := a.limits.reads
	if key.changes {
		most = a.limits.changes
	}
	if wait, ok := a.throttle.take(key, 1, most, int(2*most)); !ok {
		return nil, busy(http.StatusTooManyRequests, wait, "more than %g requests of this kind a second; try again in a moment", most)
	}
	r.Context().Value(recorderKey{}).(*recorder).user = who.Identity.UName
	query, err := url.ParseQuery(r.URL.RawQuery)
	asked := max(len(dryRunNames.FindAllString(r.URL.RawQuery, -1)), len(query["dry_run"]))
	dryRun, known := readFlag(query.Get("dry_run"))
	if err != nil || !known || asked > 1 || asked == 1 && query.Get("dry_run") == "" { // a misspelled dry run must not make the change
		return nil, badRequest("dry_run must be true or false, spelled like this and given once, in a query that can be read")
	}
	user := who.target()
	guard := opennebula.Guard{Wrote: d.lists.own.add}
	if dryRun { // it changes nothing, whichever call it was requested for
		guard.Refusal = errNoDryRun
	}
	session := callerSession{d.lists.oned.as(user, guard), d.lists, d.idempotency.box, user}
	return &request{Request: r, caller: who, oned: session, own: isOwn(r), dryRun: dryRun, admission: a}, nil
}

func (d *dispatcher) handler(serve endpoint) http.Handler {
	return failing(func(w http.ResponseWriter, r *http.Request) error {
		asked, err := d.identify(r)
		if err != nil {
			return err
		}
		if asked.release, err = d.admission.admit(w, asked); err != nil {
			return err
		}
		defer func() { asked.release() }()
		ctx := r.Context()
		if r.Header.Get("Cache-Control") == "no-cache" {
			ctx = context.WithValue(ctx, uncached{}, true)
		}
		reply, err := d.idempotency.once(ctx, asked, serve)
		if err == nil {
			reply.write(w, r)
		}
		return err
	})
}

// failing is a handler whose error becomes its answer.
type failing func(w http.ResponseWriter, r *http.Request) error

func (f failing) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := f(w, r); err != nil {
		fail(w, r, err)
	}
}

// middleware wraps all paths: it logs, counts and traces requests, and recovers from panics.
type middleware struct {
	metrics *metrics
	logger  *slog.Logger
	// next serves requests; packed does the same and compresses its answers.
	next, packed http.Handler
}

// newMiddleware compresses the page and the answers of Flowjet's own API, but not event streams. OneFlow's paths answer as
// OneFlow does.
func newMiddleware(counts *metrics, logger *slog.Logger, next http.Handler) *middleware {
	types := []string{jsonType, problemType, "text/html", "text/css", "text/javascript", "image/svg+xml"}
	compress, err := gzhttp.NewWrapper(gzhttp.MinSize(1400), gzhttp.ContentTypes(types))
	if err != nil {
		panic("restapi: compression: " + err.Error()) // constants are wrong
	}
	return &middleware{counts, logger, next, compress(next)}
}

// recorder passes an answer on, and records what is logged of it.
type recorder struct {
	http.ResponseWriter
	status int
	bytes  int
	id     string
	user   string
	err    error
}

// recorderKey is the key of the recorder in the context of a request that has passed the middleware.
type recorderKey struct{}

// WriteHeader remembers the first status.
func (r *recorder) WriteHeader(status int) {
	r.status = cmp.Or(r.status, status)
	r.ResponseWriter.WriteHeader(status)
}

// Write counts the bytes.
func (r *recorder) Write(text []byte) (int, error) {
	r.status = cmp.Or(r.status, http.StatusOK)
	n, err := r.ResponseWriter.Write(text)
	r.bytes += n
	return n, err
}

// Unwrap is for http.ResponseController.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// givenID matches the request ids that are taken from clients; anything else would let them write into the log.
var givenID = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// slashes matches those that count as one, and dryRunNames the parameter dry_run, also misspelled.
var (
	slashes     = regexp.MustCompile(`/{2,}`)
	dryRunNames = regexp.MustCompile(`(?i)(^|[&;])dry[^a-z&;=]*run`)
)

// statusClientGone is the status in log, metrics and traces of a request whose client disconnected: failures because of
// that are not Flowjet's. The number is nginx's.
const statusClientGone = 499

// ServeHTTP gives the request its id, counts it and logs it.
func (m *middleware) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	about := &recorder{ResponseWriter: w, id: r.Header.Get("X-Request-Id")}
	if !givenID.MatchString(about.id) {
		about.id = rand.Text()
	}
	header := w.Header()
	header.Set("X-Request-Id", about.id)
	// OneFlow's content type is HTML; no answer may run scripts.
	header.Set("Content-Security-Policy", "default-src 'none'; sandbox")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Cache-Control", "no-store")
	// The trace continues the client's, if the request has one. Without a provider the tracer does nothing.
	ctx := propagation.TraceContext{}.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
	ctx, span := otel.Tracer("github.com/flowjet/flowjet/restapi").Start(ctx, r.Method, trace.WithSpanKind(trace.SpanKindServer))
	defer span.End()
	r = r.WithContext(context.WithValue(ctx, recorderKey{}, about))
	m.serve(about, r)
	if about.status >= http.StatusInternalServerError && errors.Is(r.Context().Err(), context.Canceled) {
		about.status = statusClientGone
	}
	route, took := r.Pattern, time.Since(began)
	if route == "" || route == "/" {
		route = "none"
	} else {
		span.SetName(route)
	}
	m.metrics.requests.WithLabelValues(route, strconv.Itoa(about.status)).Inc()
	m.metrics.seconds.WithLabelValues(route).Observe(took.Seconds())
	span.SetAttributes(attribute.Int("http.response.status_code", about.status), attribute.String("request", about.id))
	level := slog.LevelInfo
	switch {
	case about.status >= http.StatusInternalServerError:
		span.SetStatus(codes.Error, http.StatusText(about.status))
		level = slog.LevelWarn
	case r.Method == http.MethodGet && about.status < http.StatusBadRequest:
		level = slog.LevelDebug // successful reads
	}
	attributes := []slog.Attr{
		slog.String("method", r.Method), slog.String("path", r.URL.Path), slog.Int("status", about.status), slog.Int("bytes", about.bytes),
		slog.Duration("took", took), slog.String("user", about.user), slog.String("from", r.RemoteAddr), slog.String("request", about.id),
	}
	if about.err != nil {
		attributes = append(attributes, slog.String("error", loggable(about.err)))
	}
	m.logger.LogAttrs(r.Context(), level, "request", attributes...)
}

// loggable returns an error's text, but not that of an error about a body, which only the client gets: it may quote the
// body.
func loggable(err error) string {
	if wrong, is := errors.AsType[template.Violations](err); is && len(wrong) > 0 {
		return fmt.Sprintf("the body was refused: %d mistakes, the first at %q", len(wrong), wrong[0].Path)
	}
	if _, is := errors.AsType[*template.SyntaxError](err); is {
		return "the body was refused: it is not a valid JSON object"
	}
	return err.Error()
}

// serve refuses paths that the mux would redirect. It turns a panic into a 500 that names the request and no internals.
func (m *middleware) serve(w *recorder, r *http.Request) {
	defer func() {
		cause := recover()
		if cause == nil {
			return
		}
		m.metrics.panics.Inc()
		m.logger.Error("a request handler panicked", "request", w.id, "path", r.URL.Path, "panic", fmt.Sprint(cause), "stack", string(debug.Stack()))
		if w.status == 0 {
			fail(w, r, fmt.Errorf("internal error; Flowjet's log has the details under request %s", w.id))
		}
	}()
	r.URL.Path = slashes.ReplaceAllString(r.URL.Path, "/") // as OneFlow: //service is asked for if a client's URL ends with a slash
	switch asked := r.URL.Path; {
	case path.Clean(asked) != asked && asked != pageRoot:
		notFound(w, r)
	case strings.HasPrefix(asked, pageRoot) && asked != ownPrefix+"/events":
		m.packed.ServeHTTP(w, r)
	default:
		m.next.ServeHTTP(w, r)
	}
}

// metrics are the API's own. Routes are patterns, never paths, because clients choose paths.
type metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	panics   prometheus.Counter
	checks   *prometheus.CounterVec
}

// newMetrics registers the metrics, with a gauge of the waiting commands.
func newMetrics(registerer prometheus.Registerer, waiting func() int) *metrics {
	made := promauto.With(registerer)
	made.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "flowjet_api_commands_waiting", Help: "Commands of all APIs that wait for their workers, as seen by this API.",
	}, func() float64 { return float64(waiting()) })
	return &metrics{
		requests: made.NewCounterVec(prometheus.CounterOpts{
			Name: "flowjet_api_requests_total", Help: "Requests answered, by route and status; 499 if the client disconnected first.",
		}, []string{"route", "status"}),
		seconds: made.NewHistogramVec(prometheus.HistogramOpts{
			Name: "flowjet_api_request_duration_seconds", Help: "Time to answer a request, by route.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"route"}),
		panics: made.NewCounter(prometheus.CounterOpts{
			Name: "flowjet_api_panics_total", Help: "Request handlers that panicked.",
		}),
		checks: made.NewCounterVec(prometheus.CounterOpts{
			Name: "flowjet_api_credential_checks_total", Help: "Credentials checked: cached, accepted, refused or failed.",
		}, []string{"result"}),
	}
}
