package pipeline

import (
	"context"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// tracer is OpenTelemetry's for this package; without a provider it does nothing.
func tracer() trace.Tracer { return otel.Tracer("github.com/flowjet/flowjet/pipeline") }

var traceContext propagation.TraceContext

// traceCarrier is a message's header, in which HeaderTrace has the name that the
// W3C gave it.
type traceCarrier nats.Header

func (c traceCarrier) Get(key string) string        { return nats.Header(c).Get(key) }
func (c traceCarrier) Set(key, value string)        { nats.Header(c).Set(key, value) }
func (c traceCarrier) Keys() []string               { return nil }
func isTraced(ctx context.Context) bool             { return trace.SpanContextFromContext(ctx).IsValid() }
func traceOf(header nats.Header) string             { return header.Get(HeaderTrace) }
func noteTrace(ctx context.Context, to nats.Header) { traceContext.Inject(ctx, traceCarrier(to)) }

// carryTrace notes the context's trace on a message that belongs to none yet.
func carryTrace(ctx context.Context, message *nats.Msg) {
	if message.Header != nil && isTraced(ctx) && traceOf(message.Header) == "" {
		noteTrace(ctx, message.Header)
	}
}

// WithTrace is a context in which spans go on with the trace that a message
// carried; an empty text changes nothing.
func WithTrace(ctx context.Context, carried string) context.Context {
	if carried == "" {
		return ctx
	}
	return traceContext.Extract(ctx, propagation.MapCarrier{HeaderTrace: carried})
}

// traceEvents begins a trace for each event that is stored: it is where
// everything that follows from a hook event comes from.
func traceEvents(ctx context.Context, events []FeedEvent, messages []*nats.Msg) (end func(error)) {
	var spans []trace.Span
	for i, event := range events {
		started, span := tracer().Start(ctx, "hook event", trace.WithNewRoot(), trace.WithSpanKind(trace.SpanKindProducer))
		if !span.SpanContext().IsValid() {
			return func(error) {} // nobody traces
		}
		span.SetAttributes(attribute.String("subject", event.Subject), attribute.Int("id", event.Event.ID))
		noteTrace(started, messages[i].Header)
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
