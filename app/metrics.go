package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/inspect"
	"github.com/flowjet/flowjet/restapi"
)

// statusView is the answer of GET /health of a process without an API.
type statusView struct {
	Ready   bool                 `json:"ready"`
	Reasons []string             `json:"reasons"`
	Feeds   []restapi.FeedHealth `json:"feeds"`
}

// startStatus serves metrics, health and profiles, for processes without an API and for administrators of this host. It
// needs no password, and serves profiles to this host only.
func startStatus(ctx context.Context, a *App) error {
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", a.config.Status.Listen)
	if err != nil {
		return fmt.Errorf("serve metrics on %s: %w: choose another address with --status-listen", a.config.Status.Listen, err)
	}
	a.statusAddress = listener.Addr().String()
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(a.metrics, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) {
		view := statusView{Reasons: heldUp(a), Feeds: feedsOf(a.bridge.Load())}
		view.Ready = len(view.Reasons) == 0
		w.Header().Set("Content-Type", "application/json")
		if !view.Ready {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_ = json.NewEncoder(w).Encode(view) // the client has disconnected
	})
	// For liveness probes: waiting for NATS or oned is no reason to restart.
	mux.HandleFunc("GET /health/live", func(http.ResponseWriter, *http.Request) {})
	for path, handler := range map[string]http.HandlerFunc{"": pprof.Index, "profile": pprof.Profile, "symbol": pprof.Symbol, "trace": pprof.Trace} {
		mux.HandleFunc("GET /debug/pprof/"+path, overLoopback(handler))
	}
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute}
	go func() {
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			a.logger.Error("the metrics endpoint has stopped", "error", err)
		}
	}()
	a.onStop(server.Shutdown)
	return nil
}

// overLoopback refuses requests from other hosts: profiles reveal a process's memory and cost processor time, while metrics
// and health may be opened to a monitoring system.
func overLoopback(handler http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		from, err := netip.ParseAddrPort(r.RemoteAddr)
		if err != nil || !from.Addr().Unmap().IsLoopback() {
			http.Error(w, "profiles are served on this host's loopback address only", http.StatusForbidden)
			return
		}
		handler(w, r)
	}
}

// heldUp returns the reasons why this process does not work at the moment.
func heldUp(a *App) []string {
	reasons := append([]string{}, a.notReady()...)
	if a.server != nil && !a.server.Ready() {
		reasons = append(reasons, "JetStream is not available on the local NATS server: it is starting, its cluster has no leader, or it does not reach a server that others reach and its log names")
	}
	if a.pipe != nil {
		if state := a.pipe.State(); !state.Connected {
			reasons = append(reasons, "NATS has been unreachable since "+state.Since.UTC().Format(time.RFC3339))
		}
	}
	feeds, connected := feedsOf(a.bridge.Load()), false
	for _, feed := range feeds {
		connected = connected || feed.Connected
	}
	if len(feeds) > 0 && !connected {
		reasons = append(reasons, "no endpoint of hook events is connected: "+feeds[0].Error)
	}
	return reasons
}

func oneIf(condition bool) float64 {
	if condition {
		return 1
	}
	return 0
}

const (
	// overviewTTL is how long an overview is reused: every API exposes the same, and each costs about twenty requests to
	// NATS.
	overviewTTL      = 5 * time.Second
	overviewPatience = 3 * time.Second
)

// measureWhole registers the API's metrics of all parts together, until release.
func measureWhole(pipe *pipeline.Pipeline, metrics prometheus.Registerer) (release func(context.Context) error, err error) {
	observer, err := inspect.New(pipe).Observe()
	if err != nil {
		return nil, err
	}
	release = func(context.Context) error { observer.Stop(); return nil }
	overview := func(into chan<- prometheus.Metric) { collectOverview(into, observer) }
	return release, errors.Join(metrics.Register(collector((&serviceMetrics{pipe: pipe}).collect)), metrics.Register(collector(overview)))
}

// collector collects metrics that are known only when they are collected.
type collector func(into chan<- prometheus.Metric)

func (collector) Describe(chan<- *prometheus.Desc) {}

func (c collector) Collect(into chan<- prometheus.Metric) { c(into) }

// gauge sends a gauge's value; label is the name and value of an optional label.
func gauge(into chan<- prometheus.Metric, name, help string, value float64, label ...string) {
	var names, values []string
	if len(label) > 0 {
		names, values = label[:1], label[1:]
	}
	into <- prometheus.MustNewConstMetric(prometheus.NewDesc("flowjet_"+name, help, names, nil), prometheus.GaugeValue, value, values...)
}

// collectOverview collects the metrics of all of Flowjet, which any API can read from NATS. While NATS does not answer there
// are none: an old figure would look like a good one.
func collectOverview(into chan<- prometheus.Metric, observer *inspect.Observer) {
	ctx, cancel := context.WithTimeout(context.Background(), overviewPatience)
	defer cancel()
	work, err := observer.Work(ctx, overviewTTL)
	if err != nil {
		return
	}
	unreachable, away := 0.0, 0.0
	for _, worker := range work.Workers {
		unreachable += oneIf(worker.OnedUnreachable)
	}
	for _, server := range work.Servers {
		away += oneIf(server.Away)
	}
	gauge(into, "workers", "Running workers.", float64(len(work.Workers)))
	gauge(into, "workers_blind", "Workers that cannot reach oned.", unreachable)
	gauge(into, "events_waiting", "Stored events that the router has not processed yet.", float64(work.EventsWaiting))
	gauge(into, "dead_letters", "Messages that could not be processed and are kept as dead letters.", float64(work.DeadLetters))
	for _, member := range work.Members {
		gauge(into, "members_missing", "1 while a process that ran before does not report; else 0.", oneIf(!member.Missing.IsZero()), "member", member.Name)
	}
	gauge(into, "nats_servers_away", "NATS servers with replicas of streams that the other servers cannot reach.", away)
	for _, partition := range work.Partitions {
		gauge(into, "wakeups_waiting", "Wake-ups of services that are not processed yet, by partition.",
			float64(partition.Waiting), "partition", strconv.Itoa(partition.Partition))
	}
}

const (
	// countEvery is the least time between two counts of all services. A count reads every record: it may use one part in
	// countShare of the time.
	countEvery, countShare = 5 * time.Second, 50
	countPatience          = 8 * time.Second // bounds a count; Prometheus waits 10 s for a scrape
	countStale             = 5 * time.Minute // the age at which a count is dropped
)

// serviceMetrics counts all services by state on a scrape.
type serviceMetrics struct {
	pipe *pipeline.Pipeline

	mutex        sync.Mutex
	last         inspect.ServiceCounts
	counted, due time.Time // counted is when last was counted, due when to count again
}

// collect sends the previous count if the services cannot be counted, and none if that is old.
func (s *serviceMetrics) collect(into chan<- prometheus.Metric) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if began := time.Now(); began.After(s.due) {
		ctx, cancel := context.WithTimeout(context.Background(), countPatience)
		defer cancel()
		counts, err := inspect.CountServices(ctx, s.pipe)
		now := time.Now()
		s.due = now.Add(max(countEvery, countShare*now.Sub(began)))
		if err == nil {
			s.last, s.counted = counts, now
		}
	}
	if time.Since(s.counted) > countStale {
		return
	}
	for state, count := range s.last.States {
		gauge(into, "services", "Services that have not ended, by state.", float64(count), "state", state.String())
	}
	gauge(into, "services_stuck", "Services that have been in a transient state for more than 30 minutes.", float64(s.last.Stuck))
}

// OpenTelemetry's own variables, which its SDKs read, for the collector of traces.
var collectorVariables = []string{"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"}

// startTracing sends a process's traces to the collector that OpenTelemetry's variables name, until release. If the
// collector is away only the traces are lost.
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
