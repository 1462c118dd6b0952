package consumers

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/flowjet/flowjet/pipeline/work"
)

// health is whether the worker can do its work, logged once at each change.
type health struct {
	logger *slog.Logger

	mutex   sync.Mutex
	held    map[int]string // the reason for a service's delay, by service
	reason  string         // the first such reason
	changed time.Time
}

// note records the reason for a service's delay, empty for none or if it is no longer driven here.
func (h *health) note(service int, reason string) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	_, held := h.held[service]
	switch {
	case reason != "":
		h.held[service] = reason
		if h.reason == "" {
			h.reason, h.changed = reason, time.Now()
			h.logger.Warn("the worker is blocked, retrying; nothing is lost", "reason", reason)
		}
	case held:
		delete(h.held, service)
		if len(h.held) == 0 {
			h.logger.Info("the worker works again", "held_up_for", time.Since(h.changed).Round(time.Millisecond))
			h.reason, h.changed = "", time.Now()
		}
	}
}

const (
	// onedCheck is how often oned is checked, and how long its answer may take.
	onedCheck = 500 * time.Millisecond
	// longestCheck is how long the answer may take at most after oned was lost repeatedly: over a network that loses packets an answer
	// takes seconds, and services that move between workers all the time make no progress.
	longestCheck = 4 * time.Second
	// calmAfter is how long oned must have answered until the limit is onedCheck again.
	calmAfter = time.Minute
	// longSilence is how long an answer of oned may be missing before oned is checked.
	longSilence = time.Second
	// unreachableAfter is how many checks in a row must fail.
	unreachableAfter = 2
)

// watchOned lets the other workers take over while this one is cut off from oned, or its oned from the other servers of the zone, and not
// from NATS, and they are not. It costs oned nothing while it answers.
func (w *Worker) watchOned(ctx context.Context, members *work.Membership) {
	r := reach{limit: onedCheck}
	for tick := time.Tick(onedCheck); ; {
		select {
		case <-ctx.Done():
			return
		case <-tick:
		}
		if r.failures > 0 || w.oned.Silence() >= longSilence || w.oned.Doubt() >= w.config.DoubtOned {
			answers := w.onedAnswers(ctx, r.limit)
			if ctx.Err() != nil {
				return
			}
			if r.note(answers, time.Now()) {
				w.config.Logger.Warn("the connection of this worker to oned was lost or restored; while it is lost, other workers take over its services",
					"reaches", !r.lost)
			}
		}
		blocked, _ := w.Degraded()
		members.SetTrouble(r.lost, blocked)
	}
}

// onedAnswers reports whether oned answers within the time, and leads the zone as far as known. A refusal of the server user is an answer,
// too: other workers are refused as well.
func (w *Worker) onedAnswers(ctx context.Context, within time.Duration) bool {
	asking, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	return w.oned.Ping(asking) && w.oned.Doubt() < w.config.DoubtOned
}

// reach is whether a worker reaches oned.
type reach struct {
	failures int           // failed checks in a row
	lost     bool          // whether these are enough
	restored time.Time     // when it answered again
	limit    time.Duration // for an answer
}

// note records whether oned has answered, and reports whether that changed whether it is lost.
func (r *reach) note(answers bool, now time.Time) bool {
	was := r.lost
	if answers {
		r.failures = 0
	} else {
		r.failures++
	}
	r.lost = r.failures >= unreachableAfter
	switch {
	case r.lost == was:
		return false
	case !r.lost:
		r.restored = now
	case now.Sub(r.restored) < calmAfter:
		r.limit = min(2*r.limit, longestCheck)
	default:
		r.limit = onedCheck
	}
	return true
}

// metrics are the worker's figures; none has a label without bound.
type metrics struct {
	inputs, routed, commits, conflicts, retries, panics, dead, measured prometheus.Counter
	actions                                                             *prometheus.CounterVec
	owned                                                               prometheus.Gauge
}

// newMetrics registers the worker's figures, if there is a registerer.
func newMetrics(registerer prometheus.Registerer) *metrics {
	made := promauto.With(registerer)
	counter := func(name, help string) prometheus.Counter {
		return made.NewCounter(prometheus.CounterOpts{Namespace: "flowjet", Subsystem: "worker", Name: name, Help: help})
	}
	return &metrics{
		inputs:    counter("inputs_total", "Inputs read from the work stream."),
		routed:    counter("routed_total", "Events routed to their service."),
		commits:   counter("commits_total", "Records committed."),
		conflicts: counter("conflicts_total", "Commits refused because another worker had committed first."),
		retries:   counter("retries_total", "Inputs postponed because oned or NATS was unreachable."),
		panics:    counter("panics_total", "Decisions that panicked: a defect of Flowjet."),
		measured:  counter("measured_total", "Services measured for their elasticity policies."),
		dead:      counter("dead_letters_total", "Inputs moved to the dead letters."),
		actions: made.NewCounterVec(prometheus.CounterOpts{
			Namespace: "flowjet", Subsystem: "worker", Name: "actions_total", Help: "Calls made to oned, by kind of action.",
		}, []string{"kind"}),
		owned: made.NewGauge(prometheus.GaugeOpts{
			Namespace: "flowjet", Subsystem: "worker", Name: "owned_keys", Help: "Partitions, router and autoscaler that this worker runs.",
		}),
	}
}
