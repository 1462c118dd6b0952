package app

import (
	"context"
	"fmt"
	"net/url"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// startTracing has traces sent to the collector that the configuration names. A
// collector that is away costs nothing but the traces.
func (a *App) startTracing(ctx context.Context) error {
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(a.config.Trace.Endpoint), otlptracehttp.WithURLPath(tracePath(a.config.Trace.Endpoint)))
	if err != nil {
		return fmt.Errorf("send traces to %s: %w: correct --trace-otlp-endpoint", a.config.Trace.Endpoint, err)
	}
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithBatcher(exporter),
		sdktrace.WithResource(resource.NewSchemaless(
			attribute.String("service.name", "flowjet"), attribute.String("service.version", a.version),
			attribute.String("service.instance.id", name(string(a.role()))),
		)),
	)
	otel.SetTracerProvider(provider)
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { a.logger.Debug("traces were not sent", "error", err) }))
	a.onStop(provider.Shutdown)
	return nil
}

// tracePath is where OTLP takes traces, unless the endpoint says.
func tracePath(endpoint string) string {
	parsed, err := url.Parse(endpoint)
	if err != nil || parsed.Path == "" || parsed.Path == "/" {
		return "/v1/traces"
	}
	return parsed.Path
}
