package bridge

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	events            *prometheus.CounterVec
	deadLetters       prometheus.Counter
	overflows         prometheus.Counter
	queueBytes        prometheus.Gauge
	resyncs           *prometheus.CounterVec
	resyncDifferences prometheus.Counter
	lastEvent         prometheus.Gauge
	connected         *prometheus.GaugeVec
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
		deadLetters:       counter("dead_letters_total", "Hook events that could not be understood."),
		overflows:         counter("overflows_total", "Hook events that had to wait because the queue was full."),
		queueBytes:        gauge("queue_bytes", "Memory taken by hook events that are not stored yet."),
		resyncs:           counters("resyncs_total", "Comparisons of oned's VMs with the stored events.", "outcome"),
		resyncDifferences: counter("resync_differences_total", "Events that were published because a comparison found them missing."),
		lastEvent:         gauge("last_event_timestamp_seconds", "When the newest stored event was heard, in unix seconds."),
		connected: register(registerer, prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "flowjet_bridge_connected", Help: "1 while the hook manager's publisher is connected.",
		}, []string{"endpoint"})),
	}
}

// register gives back the collector that an earlier bridge of this process has
// registered.
func register[C prometheus.Collector](registerer prometheus.Registerer, collector C) C {
	err := registerer.Register(collector)
	if known, is := err.(prometheus.AlreadyRegisteredError); is { //nolint:errorlint // returned as it is
		if existing, same := known.ExistingCollector.(C); same {
			return existing
		}
	}
	return collector
}
