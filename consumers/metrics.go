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
		routed:    counter("routed_total", "Events given to the service that they concern."),
		commits:   counter("commits_total", "Records committed."),
		conflicts: counter("conflicts_total", "Commits refused because another worker had committed."),
		retries:   counter("retries_total", "Inputs put off because oned or NATS was away."),
		panics:    counter("panics_total", "Decisions that failed by a defect of the program."),
		measured:  counter("measured_total", "Services that were passed the means for their elasticity policies."),
		dead:      counter("dead_letters_total", "Inputs given up and put into the dead letters."),
	}
	m.actions = prometheus.NewCounterVec(prometheus.CounterOpts{
		Namespace: "flowjet", Subsystem: "worker", Name: "actions_total", Help: "Calls made to oned, by kind of action.",
	}, []string{"kind"})
	m.owned = prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: "flowjet", Subsystem: "worker", Name: "owned_keys", Help: "Partitions, the router and the autoscaler, as far as this worker runs them.",
	})
	registerer.MustRegister(m.actions, m.owned)
	return m
}
