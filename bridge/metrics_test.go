package bridge

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/flowjet/flowjet/internal/poll"
)

// What Status tells of each feed, Prometheus is told too, for as long as the
// bridge runs.
func TestMetricsTellOfEachFeed(t *testing.T) {
	registry := prometheus.NewRegistry()
	b, store, publisher := hearing(t, func(c *Config) { c.Registerer = registry })
	publisher.send(vmFrames(running(1)))
	storesSoon(t, store, "1 RUNNING")
	poll.Until(t, "the event to be counted", func() bool { return b.Status()[0].Published == 1 })
	values := map[string]float64{}
	families, err := registry.Gather()
	must(t, err)
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			if labels := metric.GetLabel(); len(labels) == 1 && labels[0].GetValue() == "tcp://"+publisher.address() {
				values[strings.TrimPrefix(family.GetName(), "flowjet_bridge_")] = metric.GetGauge().GetValue() + metric.GetCounter().GetValue()
			}
		}
	}
	for name, want := range map[string]float64{
		"connected": 1, "holding": 1, "leads": 0, "feed_heard_total": 1, "feed_published_total": 1, "feed_gaps_total": 0,
		"feed_dropped_total": 0, "waiting_events": 0, "spilled_events": 0, "last_resync_timestamp_seconds": 0, "heard_per_second": 0,
	} {
		if got, told := values[name]; !told || got != want {
			t.Errorf("%s is %v (told: %v), want %v", name, got, told, want)
		}
	}
	if silent := values["silent_seconds"]; silent <= 0 || silent > 60 {
		t.Errorf("silent for %v s", silent)
	}
	must(t, b.Stop(limited(t)))
	if families, _ := registry.Gather(); len(families) > 0 && strings.Contains(families[0].String(), "connected") {
		t.Error("a bridge that has stopped still tells of its feeds")
	}
}

func TestSilence(t *testing.T) {
	now := time.Now()
	for want, status := range map[time.Duration]FeedStatus{
		0:               {},
		time.Minute:     {Since: now.Add(-time.Minute)},
		time.Second:     {Since: now.Add(-time.Minute), LastHeard: now.Add(-time.Second)},
		2 * time.Second: {Since: now.Add(-2 * time.Second), LastHeard: now.Add(-time.Minute)},
	} {
		if got := status.SilentFor(now); got != want {
			t.Errorf("%+v is silent for %s, want %s", status, got, want)
		}
	}
}
