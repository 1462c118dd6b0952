package app

import (
	"context"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/inspect"
)

// measureProcess registers what a process tells of itself.
func measureProcess(a *App) {
	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "flowjet_build_info", Help: "1, with the version as a label."}, []string{"version", "go"})
	build.WithLabelValues(a.version, runtime.Version()).Set(1)
	a.metrics.MustRegister(build,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "flowjet_nats_connected", Help: "1 while the process is connected to NATS."}, func() float64 {
			return oneIf(a.pipe.State().Connected)
		}),
	)
	if a.has(PartWorker) {
		a.metrics.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "flowjet_worker_held_up", Help: "1 while services wait because oned or NATS is unreachable or refuses.",
		}, func() float64 { return oneIf(len(a.notReady()) > 0) }))
	}
}

func oneIf(condition bool) float64 {
	if condition {
		return 1
	}
	return 0
}

const (
	// standingTTL is for how long an answer about the whole stands: every API
	// tells the same, and each answer costs about twenty questions to NATS.
	standingTTL      = 5 * time.Second
	standingPatience = 3 * time.Second
)

// standing tells of the whole of Flowjet what any API sees on NATS.
type standing struct {
	observer *inspect.Observer
	workers, blind, events, dead, missing, away,
	wakeups *prometheus.Desc

	mutex sync.Mutex
	last  inspect.Work
	asked time.Time
}

// measureWhole registers what the API tells of all parts together, until release.
func measureWhole(pipe *pipeline.Pipeline, metrics prometheus.Registerer) (release func(context.Context) error, err error) {
	observer, err := inspect.New(pipe).Observe()
	if err != nil {
		return nil, err
	}
	describe := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("flowjet_"+name, help, labels, nil)
	}
	return func(context.Context) error { observer.Stop(); return nil }, metrics.Register(&standing{
		observer: observer,
		workers:  describe("workers", "Running workers."),
		blind:    describe("workers_blind", "Workers that cannot reach oned."),
		events:   describe("events_waiting", "Stored events that the router has not processed yet."),
		dead:     describe("dead_letters", "Messages that could not be processed and are kept as dead letters."),
		missing:  describe("members_missing", "1 while a process that ran before does not report; else 0.", "member"),
		away:     describe("nats_servers_away", "NATS servers with replicas of streams that the other servers cannot reach."),
		wakeups:  describe("wakeups_waiting", "Wake-ups of services that are not processed yet, by partition.", "partition"),
	})
}

// Describe is prometheus.Collector's.
func (s *standing) Describe(into chan<- *prometheus.Desc) {
	for _, description := range []*prometheus.Desc{s.workers, s.blind, s.events, s.dead, s.missing, s.away, s.wakeups} {
		into <- description
	}
}

// Collect is prometheus.Collector's. While NATS does not answer there is nothing
// to tell: an old figure would look like a good one.
func (s *standing) Collect(into chan<- prometheus.Metric) {
	seen, ok := s.now()
	if !ok {
		return
	}
	tell := func(description *prometheus.Desc, value float64, labels ...string) {
		into <- prometheus.MustNewConstMetric(description, prometheus.GaugeValue, value, labels...)
	}
	blind := 0
	for _, worker := range seen.Workers {
		if worker.OnedUnreachable {
			blind++
		}
	}
	tell(s.workers, float64(len(seen.Workers)))
	tell(s.blind, float64(blind))
	tell(s.events, float64(seen.EventsWaiting))
	tell(s.dead, float64(seen.DeadLetters))
	for _, member := range seen.Members {
		tell(s.missing, oneIf(member.Missing != nil), member.Name)
	}
	away := 0
	for _, server := range seen.Servers {
		if server.Away {
			away++
		}
	}
	tell(s.away, float64(away))
	for _, partition := range seen.Partitions {
		tell(s.wakeups, float64(partition.Waiting), strconv.Itoa(partition.Partition))
	}
}

func (s *standing) now() (inspect.Work, bool) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if time.Since(s.asked) < standingTTL {
		return s.last, true
	}
	ctx, cancel := context.WithTimeout(context.Background(), standingPatience)
	defer cancel()
	seen, err := s.observer.Status(ctx)
	if err != nil {
		return inspect.Work{}, false
	}
	s.last, s.asked = seen.Work(), time.Now()
	return s.last, true
}
