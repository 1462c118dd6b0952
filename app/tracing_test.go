package app

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"go.opentelemetry.io/otel"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/flowjet/flowjet/internal/poll"
)

// simulated are the flags of a process with everything in it.
func simulated(t *testing.T, more ...string) []string {
	t.Helper()
	return append([]string{
		"--sim", "--data-dir", t.TempDir(), "--api-listen", "127.0.0.1:0", "--nats-listen", "127.0.0.1:0",
		"--sim-listen", "127.0.0.1:0,127.0.0.1:0,127.0.0.1:0",
	}, more...)
}

// TestATraceGoesThroughEverything: a request leads, through JetStream and the
// worker, to the calls to oned that it caused, in one trace; and so does a hook
// event.
func TestATraceGoesThroughEverything(t *testing.T) {
	spans := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans))
	otel.SetTracerProvider(provider)
	t.Cleanup(func() { otel.SetTracerProvider(noop.NewTracerProvider()) })
	config, err := ReadConfig("", flagsOf(t, simulated(t)...))
	must(t, err)
	running := New(config, Everything(config), "test", io.Discard, slog.New(slog.DiscardHandler))
	must(t, running.Start(t.Context()))
	t.Cleanup(func() { must(t, running.Stop(context.Background())) })
	api := "http://" + running.APIAddress()
	template := call(t, http.MethodPost, api+"/service_template", `{"name": "pair", "deployment": "straight", "roles": [
		{"name": "a", "type": "vm", "cardinality": 1, "template_id": 0},
		{"name": "b", "type": "vm", "cardinality": 1, "template_id": 0, "parents": ["a"]}]}`, http.StatusCreated)
	service := call(t, http.MethodPost, fmt.Sprintf("%s/service_template/%d/action", api, template), `{"action": {"perform": "instantiate"}}`, http.StatusCreated)
	poll.Until(t, "the service to run", func() bool { return stateOf(t, fmt.Sprintf("%s/service/%d", api, service)) == 2 })
	for _, way := range [][]string{
		{"POST /service_template/{id}/action", "oned one.document.allocate"},
		{"POST /service_template/{id}/action", "service turn", "oned one.template.instantiate"},
		{"hook event", "service turn"}, // of several events that come together, the turn belongs to one
	} {
		poll.Until(t, strings.Join(way, " -> "), func() bool { return leads(spans.GetSpans(), way) })
	}
	for _, span := range spans.GetSpans() {
		if said := fmt.Sprint(span.Attributes, span.Status, span.Events); strings.Contains(said, "opennebula:") || strings.Contains(said, "serveradmin:") {
			t.Errorf("the span %s holds credentials: %s", span.Name, said)
		}
	}
}

// leads reports whether there is a chain of spans, each the parent of the next, with
// the names given.
func leads(spans tracetest.SpanStubs, names []string) bool {
	byID := map[string]tracetest.SpanStub{}
	for _, span := range spans {
		byID[span.SpanContext.SpanID().String()] = span
	}
	for _, span := range spans {
		found := true
		for i := len(names) - 1; i >= 0 && found; i-- {
			found = span.Name == names[i]
			if i == 0 && found {
				return true
			}
			parent, known := byID[span.Parent.SpanID().String()]
			found = found && known && parent.SpanContext.TraceID() == span.SpanContext.TraceID()
			span = parent
		}
	}
	return false
}

// TestTracesAreSentToACollector over OTLP, and a collector that is away harms nobody.
func TestTracesAreSentToACollector(t *testing.T) {
	t.Cleanup(func() { otel.SetTracerProvider(noop.NewTracerProvider()) })
	var sent atomic.Int64
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		text, err := io.ReadAll(r.Body)
		if err == nil && r.URL.Path == "/v1/traces" && strings.Contains(string(text), "flowjet") {
			sent.Add(1)
		}
	}))
	defer collector.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	config, err := ReadConfig("", flagsOf(t, simulated(t)...))
	must(t, err)
	running := New(config, Everything(config), "test", io.Discard, slog.New(slog.DiscardHandler))
	must(t, running.Start(t.Context()))
	status, _ := ask(t, http.MethodGet, "http://"+running.APIAddress()+"/service", "")
	if status != http.StatusOK {
		t.Errorf("status %d", status)
	}
	must(t, running.Stop(t.Context())) // sends what is left
	if sent.Load() == 0 {
		t.Error("no trace came to the collector")
	}
}
