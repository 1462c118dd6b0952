package flow_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/policy"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/flow/template"
)

// scheduled is a body of one role of two VMs, 0 to 9, with scheduled policies.
func scheduled(policies string) string {
	return fmt.Sprintf(`{"name":"web","roles":[{"name":"a","type":"vm","cardinality":2,"min_vms":0,"max_vms":9,"template_id":0,
		"cooldown":0,"scheduled_policies":[%s]}]}`, policies)
}

// arrived brings all VMs that are to be created to RUNNING.
func (s *stage) arrived() {
	s.create()
	for id, vm := range s.facts {
		if !vm.Gone() {
			s.set(one.VMActive, one.LCMRunning, id)
		}
	}
	s.plan()
}

func (s *stage) wantDue(at time.Time) {
	s.t.Helper()
	if due := s.state.Deadlines[flow.DeadlineSchedule]; !due.Equal(at) {
		s.t.Fatalf("the next policy is due at %s, want %s", due, at)
	}
}

func TestScheduleFiresOnceEachTime(t *testing.T) {
	s := newStage(t, scheduled(`{"type":"CHANGE","adjust":1,"recurrence":"30 10 * * mon-fri"}`))
	s.bringUp()
	first := time.Date(2026, 5, 4, 10, 30, 0, 0, time.UTC)
	s.wantDue(first)
	s.now = first.Add(-time.Second)
	s.plan()
	s.wantCardinality(2)
	s.wantDue(first)
	s.now = first.Add(300 * time.Millisecond)
	s.plan()
	s.wantCardinality(3)
	s.arrived()
	s.plan()
	s.wantCardinality(3)
	s.wantDue(first.AddDate(0, 0, 1))
	if got := s.policy(s.state.Service.Body.Roles[0].ScheduledPolicies)["last_eval"]; got != float64(first.Unix()) {
		t.Errorf("last_eval is %v, want %d", got, first.Unix())
	}
}

// TestScheduleThatWasMissedFiresOnce: nobody was there for three days.
func TestScheduleThatWasMissedFiresOnce(t *testing.T) {
	s := newStage(t, scheduled(`{"type":"CHANGE","adjust":1,"recurrence":"0 12 * * *"},{"type":"CARDINALITY","adjust":7,"start_time":"2026-05-05 08:00:00"}`))
	s.bringUp()
	s.now = s.now.AddDate(0, 0, 3)
	if !policy.Overdue(s.state.Service, s.now) {
		t.Errorf("nobody would notice that schedules were missed")
	}
	for range 4 {
		s.plan()
		s.arrived()
	}
	s.wantCardinality(7)
	s.wantState(spec.ServiceRunning)
	s.wantDue(time.Date(2026, 5, 7, 12, 0, 0, 0, time.UTC))
	if policy.Overdue(s.state.Service, s.now) {
		t.Errorf("schedules that have fired count as missed")
	}
}

// TestScheduleOfAnUpdateFiresAfterTheDeployment: its time passed while the service was still deployed, as where a zone changed its leader.
func TestScheduleOfAnUpdateFiresAfterTheDeployment(t *testing.T) {
	s := newStage(t, scheduled(`{"type":"CHANGE","adjust":1,"recurrence":"0 12 * * *"}`))
	s.plan()
	s.command(flow.VerbUpdate, updating(true, fmt.Sprintf(`{"roles":[{"name":"a","scheduled_policies":[{"type":"CARDINALITY","adjust":5,"start_time":%q}]}]}`,
		s.now.Add(time.Minute).Format(time.RFC3339))))
	s.now = s.now.Add(2 * time.Minute)
	s.bringUp()
	s.plan()
	s.wantCardinality(5)
}

func TestOneShotFiresOnceAndNeverForThePast(t *testing.T) {
	s := newStage(t, scheduled(`{"type":"CARDINALITY","adjust":5,"start_time":1},{"type":"CARDINALITY","adjust":4,"start_time":"2026-05-04 10:05"}`))
	s.bringUp()
	s.wantCardinality(2)
	s.planAfter(10 * time.Minute)
	s.wantCardinality(4)
	s.arrived()
	s.planAfter(24 * time.Hour)
	s.wantCardinality(4)
	if due, set := s.state.Deadlines[flow.DeadlineSchedule]; set {
		t.Errorf("something is due again at %s", due)
	}
}

// TestScheduleWaitsForTheScaling: what is due while the service scales is done
// after it.
func TestScheduleWaitsForTheScaling(t *testing.T) {
	s := newStage(t, scheduled(`{"type":"CHANGE","adjust":2,"recurrence":"30 10 * * *"},{"type":"CHANGE","adjust":-1,"recurrence":"30 10 * * *"}`))
	s.bringUp()
	s.scale("a", 3)
	s.planAfter(45 * time.Minute)
	s.wantCardinality(3)
	s.arrived()
	s.wantCardinality(5)
	s.arrived()
	s.wantCardinality(4)
}

func TestScheduleIsInTheServersZone(t *testing.T) {
	zone := time.FixedZone("there", 5*60*60)
	s := newStage(t, scheduled(`{"type":"CHANGE","adjust":1,"recurrence":"0 9 * * *"},{"type":"CHANGE","adjust":1,"start_time":"2026-05-05 08:00:00"}`))
	s.now = s.now.In(zone)
	s.bringUp()
	s.wantDue(time.Date(2026, 5, 5, 8, 0, 0, 0, zone))
	s.now = time.Date(2026, 5, 5, 8, 0, 0, 0, zone)
	s.plan()
	s.arrived()
	s.wantDue(time.Date(2026, 5, 5, 9, 0, 0, 0, zone))
}

func TestScheduleThatNeverComesDueIsRefused(t *testing.T) {
	body, err := spec.ParseBody([]byte(scheduled(`{"type":"CHANGE","adjust":1,"recurrence":"0 0 31 2 *"}`)))
	if err != nil {
		t.Fatal(err)
	}
	found := template.Validate(body)
	if len(found) != 1 || found[0].Path != "roles[0].scheduled_policies[0].recurrence" {
		t.Errorf("found %v", found)
	}
}
