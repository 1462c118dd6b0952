package restapi

import (
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics are the API's own.
type metrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	panics   prometheus.Counter
	checks   *prometheus.CounterVec
	backlog  prometheus.Collector
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

// waiting adds the gauge of commands that wait for their workers.
func (m *metrics) waiting(count func() int) {
	m.backlog = prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "flowjet_api_commands_waiting", Help: "Commands of all APIs that wait for their workers, as seen by this API.",
	}, func() float64 { return float64(count()) })
}

func (m *metrics) register(registerer prometheus.Registerer) error {
	if registerer == nil {
		return nil
	}
	for _, collector := range []prometheus.Collector{m.requests, m.seconds, m.panics, m.checks, m.backlog} {
		if err := registerer.Register(collector); err != nil {
			return err
		}
	}
	return nil
}

// served counts a request. The route is the pattern, never the path, which
// clients choose.
func (m *metrics) served(r *http.Request, status int, took time.Duration) {
	route := r.Pattern
	if route == "" || route == "/" {
		route = "none"
	}
	m.requests.WithLabelValues(route, strconv.Itoa(status)).Inc()
	m.seconds.WithLabelValues(route).Observe(took.Seconds())
}
