package webhooks

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/flowjet/flowjet/pipeline"
)

// servicesLabel stands for all receivers that services name: a label for each would have no bound.
const servicesLabel = "services"

type metrics struct {
	outcomes *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	pending  prometheus.Gauge
}

func newMetrics(registerer prometheus.Registerer) *metrics {
	if registerer == nil {
		registerer = prometheus.NewRegistry()
	}
	m := &metrics{
		outcomes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Namespace: "flowjet", Subsystem: "webhooks", Name: "attempts_total",
			Help: "Deliveries to webhooks by receiver (services: all receivers set in services) and outcome: delivered, failed (will be retried), dead.",
		}, []string{"receiver", "outcome"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: "flowjet", Subsystem: "webhooks", Name: "attempt_seconds",
			Help: "Response time of receivers.", Buckets: []float64{.01, .05, .1, .5, 1, 5, 10, 30},
		}, []string{"receiver"}),
		pending: prometheus.NewGauge(prometheus.GaugeOpts{
			Namespace: "flowjet", Subsystem: "webhooks", Name: "pending",
			Help: "Waiting deliveries, as seen by the worker that runs the router.",
		}),
	}
	registerer.MustRegister(m.outcomes, m.seconds, m.pending)
	return m
}

func labelOf(delivery pipeline.Delivery) string {
	if delivery.Receiver == "" {
		return servicesLabel
	}
	return delivery.Receiver
}

func (m *metrics) outcome(delivery pipeline.Delivery, outcome string) {
	m.outcomes.WithLabelValues(labelOf(delivery), outcome).Inc()
}
