package app

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/natstest"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/deadletters"
	"github.com/flowjet/flowjet/pipeline/inspect"
	"github.com/flowjet/flowjet/pipeline/work"
)

// gathered are a registry's metrics: name{label values} and value.
func gathered(t *testing.T, registry *prometheus.Registry) map[string]float64 {
	t.Helper()
	families, err := registry.Gather()
	must(t, err)
	all := map[string]float64{}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			var labels []string
			for _, label := range metric.GetLabel() {
				labels = append(labels, label.GetValue())
			}
			all[strings.TrimSuffix(family.GetName()+"{"+strings.Join(labels, ",")+"}", "{}")] = metric.GetGauge().GetValue()
		}
	}
	return all
}

// What any API tells of all parts is what NATS holds; without NATS it tells nothing, for an old figure would look like a good one.
func TestMetricsOfTheWhole(t *testing.T) {
	t.Parallel()
	pipe, err := pipeline.Open(t.Context(), pipeline.Config{URL: natstest.Server(t)})
	must(t, err)
	joined, err := work.Join(t.Context(), pipe, "fe1")
	must(t, err)
	joined.SetTrouble(true, "")
	records := work.NewRecords(pipe)
	for id, state := range []spec.ServiceState{spec.ServiceRunning, spec.ServiceRunning, spec.ServiceFailedDeploying} {
		_, err := records.SaveRecord(t.Context(), id, recordOf(id, state), 0)
		must(t, err)
	}
	gone := recordOf(9, spec.ServiceDone)
	gone.Deleted = true
	_, err = records.SaveRecord(t.Context(), 9, gone, 0)
	must(t, err)
	must(t, deadletters.New(pipe).DeadLetter(t.Context(), pipeline.DeadLetter{Where: "bridge", Reason: "it is no XML"}))
	_, err = work.NewQueue(pipe).PublishWork(t.Context(), pipeline.Work{Service: 1}, "")
	must(t, err)
	must(t, pipe.Bucket(pipeline.BucketCheckpoint).Put(t.Context(), pipeline.MembersKey, []byte(`[{"name":"fe2 worker","host":"fe2","parts":["worker"],"release":"1"}]`)))

	registry := prometheus.NewRegistry()
	release, err := measureWhole(pipe, registry)
	must(t, err)
	partition := strconv.Itoa(pipeline.Partition(1))
	var got map[string]float64
	poll.Until(t, "the worker to be heard, and the other process to be missed", func() bool {
		got = gathered(t, registry)
		return got["flowjet_workers"] == 1 && got["flowjet_members_missing{fe2 worker}"] == 1
	})
	for name, want := range map[string]float64{
		"flowjet_workers": 1, "flowjet_dead_letters": 1, "flowjet_nats_servers_away": 0, "flowjet_members_missing{fe2 worker}": 1,
		"flowjet_services{RUNNING}": 2, "flowjet_services{FAILED_DEPLOYING}": 1, "flowjet_services_stuck": 0, "flowjet_wakeups_waiting{" + partition + "}": 1,
	} {
		if value, has := got[name]; !has || value != want {
			t.Errorf("%s is %v (%t), want %v", name, value, has, want)
		}
	}
	if got["flowjet_services{DONE}"] > 0 {
		t.Error("a service that has ended is counted")
	}
	waiting := 0
	for name := range got {
		if strings.HasPrefix(name, "flowjet_wakeups_waiting{") {
			waiting++
		}
	}
	if waiting != pipeline.Partitions {
		t.Errorf("%d partitions are told, want %d", waiting, pipeline.Partitions)
	}
	if again := gathered(t, registry); again["flowjet_dead_letters"] != 1 {
		t.Errorf("a second scrape tells %v", again)
	}
	must(t, release(t.Context()))
	joined.Leave(t.Context())
	pipe.Close()

	without := prometheus.NewRegistry()
	observer := observerOf(t)
	must(t, without.Register(collector(func(into chan<- prometheus.Metric) { collectOverview(into, observer) })))
	if got := gathered(t, without); len(got) > 0 {
		t.Errorf("without NATS it tells %v", got)
	}
}

// observerOf is one whose connection is closed.
func observerOf(t *testing.T) *inspect.Observer {
	t.Helper()
	pipe, err := pipeline.Open(t.Context(), pipeline.Config{URL: natstest.Server(t)})
	must(t, err)
	observer, err := inspect.New(pipe).Observe()
	must(t, err)
	pipe.Close()
	return observer
}

// A count of services is shown for some minutes while they cannot be counted again, and then no more.
func TestAnOldCountOfServicesIsNotShown(t *testing.T) {
	t.Parallel()
	pipe, err := pipeline.Open(t.Context(), pipeline.Config{URL: natstest.Server(t)})
	must(t, err)
	pipe.Close()
	s := &serviceMetrics{pipe: pipe, last: inspect.ServiceCounts{States: map[spec.ServiceState]int{spec.ServiceRunning: 7}, Stuck: 2}}
	registry := prometheus.NewRegistry()
	must(t, registry.Register(collector(s.collect)))
	s.counted = time.Now().Add(-countStale / 2)
	if got := gathered(t, registry); got["flowjet_services{RUNNING}"] != 7 || got["flowjet_services_stuck"] != 2 {
		t.Errorf("the count of some minutes ago is %v", got)
	}
	if s.due.Before(time.Now()) {
		t.Error("after a failure it is counted again at once")
	}
	s.counted = time.Now().Add(-countStale - time.Second)
	if got := gathered(t, registry); len(got) > 0 {
		t.Errorf("an old count is shown: %v", got)
	}
}
