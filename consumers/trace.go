package consumers

import (
	"context"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/flowjet/flowjet/pipeline"
)

// tracer is OpenTelemetry's for this package; without a provider it does nothing.
func tracer() trace.Tracer { return otel.Tracer("github.com/flowjet/flowjet/consumers") }

// traceInput goes on with the trace of the event or request that an input came
// from: the calls to oned that follow are part of it.
func traceInput(ctx context.Context, service int, input pipeline.Input) (context.Context, trace.Span) {
	ctx, span := tracer().Start(pipeline.WithTrace(ctx, input.Trace), "service turn", trace.WithSpanKind(trace.SpanKindConsumer))
	if !span.IsRecording() {
		return ctx, span
	}
	cause := causeOf(input)
	span.SetAttributes(attribute.Int("service", service), attribute.Int64("sequence", int64(input.Sequence)), //nolint:gosec // sequences fit
		attribute.String("cause.kind", cause.Kind), attribute.String("cause.id", cause.ID))
	return ctx, span
}
