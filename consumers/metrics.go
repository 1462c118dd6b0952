package consumers

import "github.com/prometheus/client_golang/prometheus"

// metrics are the worker's figures; none has a label without bound.
type metrics struct {
	inputs, routed, commits, conflicts, retries, panics, dead, measured prometheus.Counter
	actions                                                             *prometheus.CounterVec
	owned                                                               prometheus.Gauge
}

func newMetrics(registerer prometheus.Registerer) *metrics {
	if registerer == nil {
		registerer = prometheus.NewRegistry()
	}
	counter := func(name, help string) prometheus.Counter {
		made := prometheus.NewCounter(prometheus.CounterOpts{Namespace: "flowjet", Subsystem: "worker", Name: name, Help: help})
		registerer.MustRegister(made)
		return made
	}
	m := &metrics{
		inputs:    counter("inputs_total", "Inputs read from the work stream."),
		routed:    counter("routed_total", "Events routed to their service."),
		commits:   counter("commits_total", "Records committed."),
		conflicts: counter("conflicts_total", "Commits refused because another worker had committed first."),
		retries:   counter("retries_total", "Inputs postponed because oned or NATS was unreachable."),
		panics:    counter("panics_total", "Decisions that panicked: a defect of Flowjet."),
		measured:  counter("measured_total", "Services measured for their elasticity policies."),
		dead:      counter("dead_letters_total", "Inputs moved to the dead letters."),
	}
	m.actions = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "flowjet", Subsystem: "worker", Name: "actions_total", Help: "Calls made to oned, by kind of action.",
	}, []string{"kind"})
	m.owned = prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: "flowjet", Subsystem: "worker", Name: "owned_keys", Help: "Partitions, router and autoscaler that this worker runs.",
	})
	registerer.MustRegister(m.actions, m.owned)
	return m
}
