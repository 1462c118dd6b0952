package consumers_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/poll"
	"github.com/flowjet/flowjet/pipeline"
)

// brisk are quick settings with an autoscaler that runs each second.
func brisk() flow.Settings {
	settings := quick()
	settings.AutoscalerInterval = time.Second
	return settings
}

const elasticService = `{"name":"svc","state":0,"roles":[{"name":"a","type":"vm","cardinality":1,"min_vms":1,"max_vms":%d,"template_id":0,
 "cooldown":0,"state":0,"elasticity_policies":[{"type":"CHANGE","adjust":1,"expression":"CPU > 80 && LOAD >= 2","period_number":2}]}]}`

// load sets the figures that a service's VMs show.
func (w *world) load(service int, figures map[string]string) {
	w.t.Helper()
	for _, vm := range w.vms(service) {
		must(w.t, w.sim.SetMonitoring(vm.ID, figures))
	}
}

func (w *world) awaitCardinality(service, want int) {
	w.t.Helper()
	poll.Until(w.t, "the role's cardinality to change", func() bool {
		body, exists := w.body(service)
		return exists && body.Roles[0].Cardinality == want && (spec.Service{Body: body}).State() == spec.ServiceRunning
	})
}

// TestServicesScaleWithTheirLoad: one pass over the monitoring serves all
// services, and each is passed its own figures.
func TestServicesScaleWithTheirLoad(t *testing.T) {
	w := newWorld(t)
	w.startWorker("one", brisk())
	w.hear()
	busy, idle, plain := w.deployed(elasticService, 2), w.deployed(elasticService, 2), w.deployed(masterSlave, 1, 1)
	began := time.Now()
	before := w.sim.CallCounts()["one.vmpool.monitoring"]
	w.load(busy, map[string]string{"CPU": "95", "LOAD": "2.5"})
	w.load(idle, map[string]string{"CPU": "95", "LOAD": "1"})
	w.awaitCardinality(busy, 2)
	poll.Until(t, "the idle service to be evaluated", func() bool {
		body, _ := w.body(idle)
		var policies []map[string]any
		return json.Unmarshal(body.Roles[0].ElasticityPolicies, &policies) == nil &&
			policies[0]["expression_evaluated"] == "CPU[95.0] > 80 && LOAD[1.0] >= 2"
	})
	w.exactly(busy, 2)
	w.exactly(idle, 1)
	w.exactly(plain, 2)
	passes := w.sim.CallCounts()["one.vmpool.monitoring"] - before
	if most := int(time.Since(began)/time.Second) + 2; passes > most {
		t.Errorf("%d passes over the monitoring in the time of %d", passes, most)
	}
}

// TestAutoscalerGoesOnWithAnotherWorker: the one that measures stops, and
// the next measurements come from the other one.
func TestAutoscalerGoesOnWithAnotherWorker(t *testing.T) {
	w := newWorld(t)
	stop := w.startWorker("one", brisk())
	w.hear()
	service := w.deployed(elasticService, 3)
	w.load(service, map[string]string{"CPU": "95", "LOAD": "2"})
	w.awaitCardinality(service, 2)
	w.startWorker("two", brisk())
	stop()
	w.load(service, map[string]string{"CPU": "95", "LOAD": "2"})
	w.awaitCardinality(service, 3)
	w.exactly(service, 3)
}

// TestScheduleFiresAcrossARestart: a policy comes due while no worker runs.
func TestScheduleFiresAcrossARestart(t *testing.T) {
	w := newWorld(t)
	stop := w.startWorker("one", brisk())
	w.hear()
	comes := time.Now().Add(3 * time.Second).Truncate(time.Second)
	service := w.deployed(`{"name":"svc","state":0,"roles":[{"name":"a","type":"vm","cardinality":1,"min_vms":1,"max_vms":9,"template_id":0,
	 "cooldown":0,"state":0,"scheduled_policies":[{"type":"CHANGE","adjust":2,"start_time":%d}]}]}`, comes.Unix())
	poll.Until(t, "the schedule's timer", func() bool {
		record, _, err := w.pipe.LoadRecord(t.Context(), service)
		return err == nil && !record.Timers[flow.DeadlineSchedule].Due.IsZero() || !time.Now().Before(comes)
	})
	stop()
	due := time.NewTimer(time.Until(comes) + time.Second)
	<-due.C
	w.startWorker("two", brisk())
	w.startWorker("three", brisk())
	w.awaitCardinality(service, 3)
	w.exactly(service, 3)
}

// TestTimerThatComesEarlyIsSetAgain: NATS's clock may be ahead of a worker's.
func TestTimerThatComesEarlyIsSetAgain(t *testing.T) {
	w := newWorld(t)
	w.startWorker("one", quick())
	w.hear()
	service := w.deployed(`{"name":"svc","state":0,"roles":[{"name":"a","type":"vm","cardinality":1,"template_id":0,"cooldown":3,"state":0}]}`)
	w.accepted(service, flow.VerbScale, flow.ScaleArguments{Role: "a", Cardinality: 2})
	w.await(service, spec.ServiceCooldown)
	timer := func() pipeline.TimerState {
		record, _, err := w.pipe.LoadRecord(t.Context(), service)
		must(t, err)
		return record.Timers[flow.DeadlineCooldown]
	}
	poll.Until(t, "the cooldown's timer", func() bool { return timer().Generation > 0 })
	set := timer()
	early := pipeline.Work{Service: service, Timer: &pipeline.Timer{Name: flow.DeadlineCooldown, Generation: set.Generation, Due: set.Due}}
	_, err := w.pipe.PublishWork(t.Context(), early, "")
	must(t, err)
	poll.Until(t, "the timer to be set again", func() bool { return timer().Generation > set.Generation || time.Now().After(set.Due) })
	w.await(service, spec.ServiceRunning)
}

// TestRoleIsFilledUpToItsMinimum after somebody else has ended a VM of it.
func TestRoleIsFilledUpToItsMinimum(t *testing.T) {
	w := newWorld(t)
	w.startWorker("one", brisk())
	w.hear()
	service := w.deployed(`{"name":"svc","state":0,"roles":[{"name":"a","type":"vm","cardinality":2,"min_vms":2,"template_id":0,"state":0}]}`)
	lost := w.vms(service)[0].ID
	must(t, w.sim.DeleteVM(lost))
	poll.Until(t, "another VM in its place", func() bool {
		body, _ := w.body(service)
		ids := (spec.Service{Body: body}).RoleNodes("a")
		return len(ids) == 2 && ids[0] != lost && ids[1] != lost && (spec.Service{Body: body}).State() == spec.ServiceRunning
	})
	w.exactly(service, 2)
}
