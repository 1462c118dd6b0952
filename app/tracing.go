package app

import (
	"context"
	"fmt"
	"log/slog"
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

// startTracing has traces of a process sent to the collector that OpenTelemetry's variables
// name, until release. A collector that is away costs nothing but the traces.
func startTracing(ctx context.Context, version, instance string, logger *slog.Logger) (release func(context.Context) error, err error) {
	exporter, err := otlptracehttp.New(ctx)
	if err != nil {
		return nil, fmt.Errorf("send traces to the collector: %w: correct %s", err, strings.Join(collectorVariables, " or "))
	}
	provider := sdktrace.NewTracerProvider(
		sdktrace.WithBatcher(exporter),
		sdktrace.WithResource(resource.NewSchemaless(
			attribute.String("service.name", "flowjet"), attribute.String("service.version", version),
			attribute.String("service.instance.id", instance),
		)),
	)
	otel.SetTracerProvider(provider)
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { logger.Debug("traces could not be sent", "error", err) }))
	return provider.Shutdown, nil
}
