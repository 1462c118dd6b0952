package app

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// OpenTelemetry's own variables, which its SDKs read, name the collector of traces.
var collectorVariables = []string{"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"}

func collectorNamed() bool {
	return slices.ContainsFunc(collectorVariables, func(name string) bool { return os.Getenv(name) != "" })
}

// startTracing has traces sent to the collector that OpenTelemetry's variables name. A
// collector that is away costs nothing but the traces.
func (a *App) startTracing(ctx context.Context) error {
	exporter, err := otlptracehttp.New(ctx)
	if err != nil {
		return fmt.Errorf("send traces to the collector: %w: correct %s", err, strings.Join(collectorVariables, " or "))
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
