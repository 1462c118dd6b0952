package restapi

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"path"
	"regexp"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/compress/gzhttp"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/flowjet/flowjet/flow/template"
)

// note holds what is logged of a request.
type note struct {
	id   string
	user string
	err  error
}

type noteKey struct{}

func noteOf(ctx context.Context) *note {
	if n, found := ctx.Value(noteKey{}).(*note); found {
		return n
	}
	return &note{}
}

// middleware is around all paths: it logs, counts and traces requests, and
// recovers from panics.
type middleware struct {
	metrics *metrics
	logger  *slog.Logger
}

// wrap turns away paths that the mux would redirect, and compresses what is sent of the
// page and of Flowjet's own API, but for event streams. OneFlow's paths answer as OneFlow
// does.
func (m *middleware) wrap(next http.Handler) http.Handler {
	types := []string{jsonType, problemType, "text/html", "text/css", "text/javascript", "image/svg+xml"}
	compress, err := gzhttp.NewWrapper(gzhttp.MinSize(1400), gzhttp.ContentTypes(types))
	if err != nil {
		panic("restapi: compression: " + err.Error()) // constants are wrong
	}
	packed := compress(next)
	return m.logged(m.recovered(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch asked := r.URL.Path; {
		case path.Clean(asked) != asked && asked != pageRoot:
			notFound(w, r)
		case strings.HasPrefix(asked, pageRoot) && asked != ownPrefix+"/events":
			packed.ServeHTTP(w, r)
		default:
			next.ServeHTTP(w, r)
		}
	})))
}

// givenID matches the request ids that are taken from clients; anything else would
// let them write into the log.
var givenID = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

// logged gives the request its id, counts it and writes its line.
func (m *middleware) logged(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		about := &note{id: r.Header.Get("X-Request-Id")}
		if !givenID.MatchString(about.id) {
			about.id = rand.Text()
		}
		header := w.Header()
		header.Set("X-Request-Id", about.id)
		// OneFlow's content type is HTML; nothing in an answer may act.
		header.Set("Content-Security-Policy", "default-src 'none'; sandbox")
		header.Set("X-Content-Type-Options", "nosniff")
		header.Set("Cache-Control", "no-store")
		recorded := &recorder{ResponseWriter: w}
		// The client's trace goes on, if it sends one. Without a provider the tracer does nothing.
		ctx := propagation.TraceContext{}.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
		ctx, span := otel.Tracer("github.com/flowjet/flowjet/restapi").Start(ctx, r.Method, trace.WithSpanKind(trace.SpanKindServer))
		r = r.WithContext(context.WithValue(ctx, noteKey{}, about))
		next.ServeHTTP(recorded, r)
		if recorded.status >= http.StatusInternalServerError && errors.Is(r.Context().Err(), context.Canceled) {
			recorded.status = statusClientGone
		}
		route, took := r.Pattern, time.Since(began)
		if route == "" || route == "/" {
			route = "none"
		}
		m.metrics.requests.WithLabelValues(route, strconv.Itoa(recorded.status)).Inc()
		m.metrics.seconds.WithLabelValues(route).Observe(took.Seconds())
		endSpan(span, r.Pattern, recorded.status, about.id)
		m.logRequest(r, recorded, about, took)
	})
}

// statusClientGone stands in log, metrics and traces for a request whose client hung up:
// what failed because of that is no failure of Flowjet's. The number is nginx's.
const statusClientGone = 499

// logRequest writes the access line: reads that worked are for debugging only.
func (m *middleware) logRequest(r *http.Request, recorded *recorder, about *note, took time.Duration) {
	level := slog.LevelInfo
	switch {
	case recorded.status >= http.StatusInternalServerError:
		level = slog.LevelWarn
	case r.Method == http.MethodGet && recorded.status < http.StatusBadRequest:
		level = slog.LevelDebug
	}
	attributes := []slog.Attr{
		slog.String("method", r.Method), slog.String("path", r.URL.Path), slog.Int("status", recorded.status),
		slog.Int("bytes", recorded.bytes), slog.Duration("took", took), slog.String("user", about.user),
		slog.String("from", r.RemoteAddr), slog.String("request", about.id),
	}
	if about.err != nil {
		text := about.err.Error()
		// Errors of a body go to the client alone: they may quote it.
		if wrong, is := errors.AsType[template.Violations](about.err); is && len(wrong) > 0 {
			text = fmt.Sprintf("the body was refused: %d mistakes, the first at %q", len(wrong), wrong[0].Path)
		} else if _, is := errors.AsType[*template.SyntaxError](about.err); is {
			text = "the body was refused: it is not a valid JSON object"
		}
		attributes = append(attributes, slog.String("error", text))
	}
	m.logger.LogAttrs(r.Context(), level, "request", attributes...)
}

// recovered turns a panic into a 500 that names the request, not its innards.
func (m *middleware) recovered(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			cause := recover()
			if cause == nil {
				return
			}
			m.metrics.panics.Inc()
			id := noteOf(r.Context()).id
			m.logger.Error("a request handler panicked", "request", id, "path", r.URL.Path, "panic", fmt.Sprint(cause), "stack", string(debug.Stack()))
			if recorded, ok := w.(*recorder); !ok || recorded.status == 0 {
				fail(w, r, fmt.Errorf("internal error; Flowjet's log has the details under request %s", id))
			}
		}()
		next.ServeHTTP(w, r)
	})
}

type recorder struct {
	http.ResponseWriter
	status int
	bytes  int
}

// WriteHeader remembers the first status.
func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

// Write counts the bytes.
func (r *recorder) Write(text []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	n, err := r.ResponseWriter.Write(text)
	r.bytes += n
	return n, err
}

// Unwrap is for http.ResponseController.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// endSpan names a request's span by its route.
func endSpan(span trace.Span, route string, status int, id string) {
	defer span.End()
	if !span.IsRecording() {
		return
	}
	if route != "" && route != "/" {
		span.SetName(route)
	}
	span.SetAttributes(attribute.Int("http.response.status_code", status), attribute.String("request", id))
	if status >= http.StatusInternalServerError {
		span.SetStatus(codes.Error, http.StatusText(status))
	}
}
