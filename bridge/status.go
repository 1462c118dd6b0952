package bridge

import (
	"fmt"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

// Leads reports whether the endpoint's oned is the publishing one.
func (s FeedStatus) Leads() bool { return s.Role == "leader" || s.Role == "solo" }

// SilentFor returns how long nothing was received: since the last message, or since the connection was made or lost.
func (s FeedStatus) SilentFor(now time.Time) time.Duration {
	since := s.Since
	if s.LastHeard.After(since) {
		since = s.LastHeard
	}
	if since.IsZero() {
		return 0
	}
	return max(now.Sub(since), 0)
}

// FeedStatus is the status of one endpoint, which is a feed of its own.
type FeedStatus struct {
	// Endpoint is the publisher's address, Feed the name of its lease.
	Endpoint, Feed string
	// Connected reports whether the publisher is connected, Since when that has been so, Error why it is not.
	Connected bool
	Since     time.Time
	Error     string
	// Role is the role of the endpoint's oned in its zone: leader, follower, solo, candidate; empty if unknown.
	Role string
	// Heard counts the messages of this endpoint.
	Heard     uint64
	LastHeard time.Time
	// Rate is the number of messages a second, over the last seconds.
	Rate float64
	// Gaps counts the times when events may have been lost: the connection was lost, or the queue full.
	Gaps uint64
	// Holding reports whether this bridge has the feed's lease.
	Holding bool
	// Published counts the stored events.
	Published uint64
	// StoreError is the reason why JetStream stores no events; empty when it does.
	StoreError string
	// QueueLength counts the events that wait to be stored, Spilled those of them in the file.
	QueueLength int
	Spilled     int
	// Dropped counts the events for which there was no room anywhere.
	Dropped     uint64
	DeadLetters uint64

	// The rest is the bridge's, the same for all its feeds.

	// LastResync is when the last comparison with oned succeeded, and ResyncError the reason why the latest failed.
	LastResync  time.Time
	ResyncError string

	overflowed time.Time // the last time
}

// meter measures a rate over the seconds between two reads, or longer.
type meter struct {
	at    time.Time
	count uint64
	rate  float64
}

// rateOver is the shortest time that a rate is measured over.
const rateOver = 5 * time.Second

func (m *meter) measure(now time.Time, count uint64) float64 {
	if m.at.IsZero() {
		m.at = now
	}
	if passed := now.Sub(m.at); passed >= rateOver {
		m.rate = float64(count-m.count) / passed.Seconds()
		m.at, m.count = now, count
	}
	return m.rate
}

// Status returns the status of each feed. It is safe to call at any time after Start.
func (b *Bridge) Status() []FeedStatus {
	feeds := b.all()
	all := make([]FeedStatus, 0, len(feeds))
	for _, f := range feeds {
		f.mu.Lock()
		status := f.status
		status.Rate = f.meter.measure(time.Now(), status.Heard)
		f.mu.Unlock()
		status.Endpoint, status.Feed, status.Holding = f.listener.endpoint, f.name, f.holding.Load()
		f.buffer.report(&status)
		b.resyncer.mu.Lock()
		status.LastResync, status.ResyncError = b.resyncer.last, b.resyncer.failed
		b.resyncer.mu.Unlock()
		all = append(all, status)
	}
	return all
}

// Hears reports whether this bridge passes on the events of the oned that leads, and has
// compared since it connected: events lost before are made up for.
func (b *Bridge) Hears() bool { return slices.ContainsFunc(b.Status(), FeedStatus.complete) }

// complete is Hears for one feed.
func (s FeedStatus) complete() bool {
	return s.Holding && s.Connected && s.Leads() && s.StoreError == "" && s.ResyncError == "" && s.LastResync.After(s.Since)
}

// HearsCalls identifies the connection on which this bridge passes on all calls that change
// documents or who may see them; empty while it does not. No comparison makes up for a lost
// call: after a reconnect, or a gap, something may have changed unnoticed.
func (b *Bridge) HearsCalls() string {
	if slices.ContainsFunc(callsOfLists, func(call string) bool { return !slices.Contains(b.filter, call) }) {
		return ""
	}
	for _, s := range b.Status() {
		if s.complete() {
			return s.unbroken()
		}
	}
	return ""
}

// unbroken identifies a connection without a gap, of which no event was dropped or unreadable.
func (s FeedStatus) unbroken() string {
	return fmt.Sprintf("%s %d %d", s.Feed, s.Since.UnixNano(), s.Gaps+s.Dropped+s.DeadLetters)
}

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
	made := promauto.With(registerer)
	counters := func(name, help string, labels ...string) *prometheus.CounterVec {
		return made.NewCounterVec(prometheus.CounterOpts{Name: "flowjet_bridge_" + name, Help: help}, labels)
	}
	counter := func(name, help string) prometheus.Counter { return counters(name, help).WithLabelValues() }
	gauge := func(name, help string) prometheus.Gauge {
		return made.NewGauge(prometheus.GaugeOpts{Name: "flowjet_bridge_" + name, Help: help})
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

// statusCollector exports Status to Prometheus, one series a feed.
type statusCollector struct{ bridge *Bridge }

type feedGauge struct {
	description *prometheus.Desc
	kind        prometheus.ValueType
	value       func(s FeedStatus) float64
}

var feedGauges = []feedGauge{
	of("connected", prometheus.GaugeValue, "1 while the hook manager's publisher is connected.", func(s FeedStatus) float64 { return boolean(s.Connected) }),
	of("silent_seconds", prometheus.GaugeValue, "Time since the last message.", func(s FeedStatus) float64 { return s.SilentFor(time.Now()).Seconds() }),
	of("leads", prometheus.GaugeValue, "1 while the endpoint's oned is the leader of its zone or its only server.", func(s FeedStatus) float64 { return boolean(s.Leads()) }),
	of("holding", prometheus.GaugeValue, "1 while this bridge publishes the feed.", func(s FeedStatus) float64 { return boolean(s.Holding) }),
	of("heard_per_second", prometheus.GaugeValue, "Messages received per second, over the last seconds.", func(s FeedStatus) float64 { return s.Rate }),
	of("waiting_events", prometheus.GaugeValue, "Events that are not stored yet.", func(s FeedStatus) float64 { return float64(s.QueueLength) }),
	of("spilled_events", prometheus.GaugeValue, "Events in the spill file.", func(s FeedStatus) float64 { return float64(s.Spilled) }),
	of("last_resync_timestamp_seconds", prometheus.GaugeValue, "Time of the last comparison of oned with the stored events, in unix seconds; 0 for never.",
		func(s FeedStatus) float64 {
			if s.LastResync.IsZero() {
				return 0
			}
			return float64(s.LastResync.UnixMicro()) / 1e6
		}),
	of("feed_heard_total", prometheus.CounterValue, "Messages received.", func(s FeedStatus) float64 { return float64(s.Heard) }),
	of("feed_published_total", prometheus.CounterValue, "Events stored by this bridge.", func(s FeedStatus) float64 { return float64(s.Published) }),
	of("feed_gaps_total", prometheus.CounterValue, "Interruptions in which events may have been lost: a lost connection, a full queue.", func(s FeedStatus) float64 { return float64(s.Gaps) }),
	of("feed_dropped_total", prometheus.CounterValue, "Events dropped because memory and disk were full; a comparison with oned replaces them.",
		func(s FeedStatus) float64 { return float64(s.Dropped) }),
}

func of(name string, kind prometheus.ValueType, help string, value func(FeedStatus) float64) feedGauge {
	return feedGauge{prometheus.NewDesc("flowjet_bridge_"+name, help, []string{"endpoint"}, nil), kind, value}
}

func boolean(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// Describe implements prometheus.Collector.
func (c *statusCollector) Describe(to chan<- *prometheus.Desc) {
	for _, gauge := range feedGauges {
		to <- gauge.description
	}
}

// Collect implements prometheus.Collector.
func (c *statusCollector) Collect(to chan<- prometheus.Metric) {
	for _, status := range c.bridge.Status() {
		for _, gauge := range feedGauges {
			to <- prometheus.MustNewConstMetric(gauge.description, gauge.kind, gauge.value(status), status.Endpoint)
		}
	}
}
