package pipeline

import (
	"context"

	"go.opentelemetry.io/otel/propagation"
)

// WithTrace is a context in which spans go on with the trace that a message
// carried; an empty text changes nothing.
func WithTrace(ctx context.Context, carried string) context.Context {
	if carried == "" {
		return ctx
	}
	return propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{HeaderTrace: carried})
}
