package restapi

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the API's own. Routes are patterns, never paths, which clients choose.
type metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	panics   prometheus.Counter
	checks   *prometheus.CounterVec
}

func newMetrics() *metrics {
	return &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "flowjet_api_requests_total", Help: "Requests answered, by route and status; 499 if the client disconnected first.",
		}, []string{"route", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "flowjet_api_request_duration_seconds", Help: "Time to answer a request, by route.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"route"}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "flowjet_api_panics_total", Help: "Request handlers that panicked.",
		}),
		checks: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "flowjet_api_credential_checks_total", Help: "Credentials checked: cached, accepted, refused or failed.",
		}, []string{"result"}),
	}
}

// register adds the metrics, and a gauge of the commands that wait, to a registry; nil for none.
func (m *metrics) register(registerer prometheus.Registerer, waiting func() int) error {
	if registerer == nil {
		return nil
	}
	backlog := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "flowjet_api_commands_waiting", Help: "Commands of all APIs that wait for their workers, as seen by this API.",
	}, func() float64 { return float64(waiting()) })
	for _, collector := range []prometheus.Collector{m.requests, m.seconds, m.panics, m.checks, backlog} {
		if err := registerer.Register(collector); err != nil {
			return fmt.Errorf("register the API's metrics: %w", err)
		}
	}
	return nil
}
