package restapi

import (
	"context"
	"net/http"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// tracer is OpenTelemetry's for this package; without a provider it does nothing.
func tracer() trace.Tracer { return otel.Tracer("github.com/flowjet/flowjet/restapi") }

// traceRequest goes on with the client's trace, if it sends one.
func traceRequest(r *http.Request) (context.Context, trace.Span) {
	ctx := propagation.TraceContext{}.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
	return tracer().Start(ctx, r.Method, trace.WithSpanKind(trace.SpanKindServer))
}

// endRequest names the span by the route, never the path, which clients choose.
func endRequest(span trace.Span, r *http.Request, status int, about *note) {
	defer span.End()
	if !span.IsRecording() {
		return
	}
	if r.Pattern != "" && r.Pattern != "/" {
		span.SetName(r.Pattern)
	}
	span.SetAttributes(attribute.Int("http.response.status_code", status), attribute.String("request", about.id))
	if status >= http.StatusInternalServerError {
		span.SetStatus(codes.Error, http.StatusText(status))
	}
}
