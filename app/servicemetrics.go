package app

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/inspect"
)

const (
	// countEvery is the least time between two counts of all services. A count reads every
	// record: it takes no more than one part in countShare of the time.
	countEvery, countShare = 5 * time.Second, 50
	// countPatience bounds a count; Prometheus waits 10 s for a scrape.
	countPatience = 8 * time.Second
	// countStale is the age at which a count is not shown any more.
	countStale = 5 * time.Minute
)

// serviceMetrics counts all services by state, when it is asked.
type serviceMetrics struct {
	pipe         *pipeline.Pipeline
	state, stuck *prometheus.Desc

	mutex sync.Mutex
	last  inspect.ServiceCounts
	// counted is when last was counted, due when services are to be counted again.
	counted, due time.Time
}

func newServiceMetrics(pipe *pipeline.Pipeline) *serviceMetrics {
	return &serviceMetrics{
		pipe:  pipe,
		state: prometheus.NewDesc("flowjet_services", "Services that have not ended, by state.", []string{"state"}, nil),
		stuck: prometheus.NewDesc("flowjet_services_stuck", "Services that have been in a transient state for more than 30 minutes.", nil, nil),
	}
}

// Describe is prometheus.Collector's.
func (s *serviceMetrics) Describe(into chan<- *prometheus.Desc) {
	into <- s.state
	into <- s.stuck
}

// Collect is prometheus.Collector's. Where the services cannot be counted it shows the count
// before, and none where that is old.
func (s *serviceMetrics) Collect(into chan<- prometheus.Metric) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if time.Now().After(s.due) {
		s.count()
	}
	if time.Since(s.counted) > countStale {
		return
	}
	for state, count := range s.last.States {
		into <- prometheus.MustNewConstMetric(s.state, prometheus.GaugeValue, float64(count), state.String())
	}
	into <- prometheus.MustNewConstMetric(s.stuck, prometheus.GaugeValue, float64(s.last.Stuck))
}

func (s *serviceMetrics) count() {
	ctx, cancel := context.WithTimeout(context.Background(), countPatience)
	defer cancel()
	began := time.Now()
	counts, err := inspect.CountServices(ctx, s.pipe)
	now := time.Now()
	s.due = now.Add(max(countEvery, countShare*now.Sub(began)))
	if err == nil {
		s.last, s.counted = counts, now
	}
}
