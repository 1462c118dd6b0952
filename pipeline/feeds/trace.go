package feeds

import (
	"context"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/flowjet/flowjet/pipeline/internal/js"
)

// traceEvents begins a trace for each event that is stored: it is where
// everything that follows from a hook event comes from.
func traceEvents(ctx context.Context, events []Event, messages []*nats.Msg) (end func(error)) {
	tracer := otel.Tracer("github.com/flowjet/flowjet/pipeline") // without a provider it does nothing
	var spans []trace.Span
	for i, event := range events {
		started, span := tracer.Start(ctx, "hook event", trace.WithNewRoot(), trace.WithSpanKind(trace.SpanKindProducer))
		if !span.SpanContext().IsValid() {
			return func(error) {} // nobody traces
		}
		span.SetAttributes(attribute.String("subject", event.Subject), attribute.Int("id", event.Event.ID))
		js.InjectTrace(started, messages[i])
		spans = append(spans, span)
	}
	return func(err error) {
		for _, span := range spans {
			if err != nil {
				span.RecordError(err)
			}
			span.End()
		}
	}
}
