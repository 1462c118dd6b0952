package js

import (
	"context"

	"github.com/nats-io/nats.go"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

var traceContext propagation.TraceContext

// traceCarrier is a message's header, whose fields have the names that the W3C gave them:
// nats.Header changes no letter of them.
type traceCarrier nats.Header

func (c traceCarrier) Get(key string) string { return nats.Header(c).Get(key) }
func (c traceCarrier) Set(key, value string) { nats.Header(c).Set(key, value) }
func (c traceCarrier) Keys() []string        { return nil }

// InjectTrace notes the context's trace on a message.
func InjectTrace(ctx context.Context, message *nats.Msg) {
	traceContext.Inject(ctx, traceCarrier(message.Header))
}

// carryTrace is InjectTrace for a message that belongs to no trace yet.
func carryTrace(ctx context.Context, message *nats.Msg) {
	if message.Header == nil || !trace.SpanContextFromContext(ctx).IsValid() {
		return
	}
	if !trace.SpanContextFromContext(traceContext.Extract(context.Background(), traceCarrier(message.Header))).IsValid() {
		InjectTrace(ctx, message)
	}
}
