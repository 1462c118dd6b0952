package bridge

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	events            *prometheus.CounterVec
	deadLetters       prometheus.Counter
	overflows         prometheus.Counter
	queueBytes        prometheus.Gauge
	resyncs           *prometheus.CounterVec
	resyncDifferences prometheus.Counter
	lastEvent         prometheus.Gauge
}

func newMetrics(registerer prometheus.Registerer) *metrics {
	counter := func(name, help string) prometheus.Counter {
		return register(registerer, prometheus.NewCounter(prometheus.CounterOpts{Name: "flowjet_bridge_" + name, Help: help}))
	}
	counters := func(name, help string, labels ...string) *prometheus.CounterVec {
		return register(registerer, prometheus.NewCounterVec(prometheus.CounterOpts{Name: "flowjet_bridge_" + name, Help: help}, labels))
	}
	gauge := func(name, help string) prometheus.Gauge {
		return register(registerer, prometheus.NewGauge(prometheus.GaugeOpts{Name: "flowjet_bridge_" + name, Help: help}))
	}
	return &metrics{
		events:            counters("events_total", "Hook events stored in JetStream.", "object"),
		deadLetters:       counter("dead_letters_total", "Hook events that could not be parsed."),
		overflows:         counter("overflows_total", "Hook events that waited because the queue was full."),
		queueBytes:        gauge("queue_bytes", "Memory used by hook events that are not stored yet."),
		resyncs:           counters("resyncs_total", "Comparisons of oned's objects with the stored events.", "outcome"),
		resyncDifferences: counter("resync_differences_total", "Missing events that a comparison found and published."),
		lastEvent:         gauge("last_event_timestamp_seconds", "Time at which the newest stored event was received, in unix seconds."),
	}
}

// register gives back the collector that an earlier bridge of this process has registered.
func register[C prometheus.Collector](registerer prometheus.Registerer, collector C) C {
	err := registerer.Register(collector)
	if known, is := err.(prometheus.AlreadyRegisteredError); is { //nolint:errorlint // returned as it is
		if existing, same := known.ExistingCollector.(C); same {
			return existing
		}
	}
	return collector
}

// statusCollector tells Prometheus what Status tells, one series a feed.
type statusCollector struct{ bridge *Bridge }

type feedGauge struct {
	description *prometheus.Desc
	kind        prometheus.ValueType
	value       func(s FeedStatus, now time.Time) float64
}

var feedGauges = []feedGauge{
	gaugeOf("connected", "1 while the hook manager's publisher is connected.", func(s FeedStatus, _ time.Time) float64 { return boolean(s.Connected) }),
	gaugeOf("silent_seconds", "Time since the last message.", func(s FeedStatus, now time.Time) float64 { return s.SilentFor(now).Seconds() }),
	gaugeOf("leads", "1 while the endpoint's oned is the leader of its zone or its only server.", func(s FeedStatus, _ time.Time) float64 { return boolean(s.Leads()) }),
	gaugeOf("holding", "1 while this bridge publishes the feed.", func(s FeedStatus, _ time.Time) float64 { return boolean(s.Holding) }),
	gaugeOf("heard_per_second", "Messages received per second, over the last seconds.", func(s FeedStatus, _ time.Time) float64 { return s.Rate }),
	gaugeOf("waiting_events", "Events that are not stored yet.", func(s FeedStatus, _ time.Time) float64 { return float64(s.QueueLength) }),
	gaugeOf("spilled_events", "Events in the spill file.", func(s FeedStatus, _ time.Time) float64 { return float64(s.Spilled) }),
	gaugeOf("last_resync_timestamp_seconds", "Time of the last comparison of oned with the stored events, in unix seconds; 0 for never.",
		func(s FeedStatus, _ time.Time) float64 {
			if s.LastResync.IsZero() {
				return 0
			}
			return float64(s.LastResync.UnixMicro()) / 1e6
		}),
	counterOf("heard_total", "Messages received.", func(s FeedStatus) uint64 { return s.Heard }),
	counterOf("published_total", "Events stored by this bridge.", func(s FeedStatus) uint64 { return s.Published }),
	counterOf("gaps_total", "Interruptions in which events may have been lost: a lost connection, a full queue.", func(s FeedStatus) uint64 { return s.Gaps }),
	counterOf("dropped_total", "Events dropped because memory and disk were full; a comparison with oned replaces them.", func(s FeedStatus) uint64 { return s.Dropped }),
}

func gaugeOf(name, help string, value func(FeedStatus, time.Time) float64) feedGauge {
	return feedGauge{prometheus.NewDesc("flowjet_bridge_"+name, help, []string{"endpoint"}, nil), prometheus.GaugeValue, value}
}

func counterOf(name, help string, value func(FeedStatus) uint64) feedGauge {
	return feedGauge{
		prometheus.NewDesc("flowjet_bridge_feed_"+name, help, []string{"endpoint"}, nil), prometheus.CounterValue,
		func(s FeedStatus, _ time.Time) float64 { return float64(value(s)) },
	}
}

func boolean(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// Describe is part of prometheus.Collector.
func (c *statusCollector) Describe(to chan<- *prometheus.Desc) {
	for _, gauge := range feedGauges {
		to <- gauge.description
	}
}

// Collect is part of prometheus.Collector.
func (c *statusCollector) Collect(to chan<- prometheus.Metric) {
	now := time.Now()
	for _, status := range c.bridge.Status() {
		for _, gauge := range feedGauges {
			to <- prometheus.MustNewConstMetric(gauge.description, gauge.kind, gauge.value(status, now), status.Endpoint)
		}
	}
}
