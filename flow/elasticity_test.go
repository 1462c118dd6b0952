package flow_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/policy"
	"github.com/flowjet/flowjet/flow/spec"
)

// elastic is a body of one role of two VMs, 1 to 5, with one elasticity policy.
func elastic(policy string) string {
	return fmt.Sprintf(`{"name":"web","roles":[{"name":"a","type":"vm","cardinality":2,"min_vms":1,"max_vms":5,"template_id":0,
		"cooldown":20,"elasticity_policies":[%s]}]}`, policy)
}

// measure lets a pass of the autoscaler come to its end now, with so much CPU
// on each VM of role a.
func (s *stage) measure(cpu float64) {
	samples := map[int]policy.Sample{}
	for _, id := range s.state.Service.RoleNodes("a") {
		samples[id] = policy.Sample{"CPU": cpu}
	}
	measures := policy.Measure(s.state.Service, samples, s.now, s.now.Add(time.Minute))
	s.take(flow.Decide(s.in(), flow.Measured{Measures: measures}))
}

// measureAfter lets time pass first.
func (s *stage) measureAfter(wait time.Duration, cpu float64) {
	s.now = s.now.Add(wait)
	s.measure(cpu)
}

// policy is the first elasticity or scheduled policy of role a as it stands in
// the document.
func (s *stage) policy(text json.RawMessage) map[string]any {
	s.t.Helper()
	var policies []map[string]any
	if err := json.Unmarshal(text, &policies); err != nil {
		s.t.Fatal(err)
	}
	return policies[0]
}

func (s *stage) wantCardinality(want int) {
	s.t.Helper()
	if got := s.state.Service.Body.Roles[0].Cardinality; got != want {
		s.t.Fatalf("the cardinality is %d, want %d", got, want)
	}
}

func TestPolicyScalesAfterPeriodNumberOfPeriods(t *testing.T) {
	s := runningStage(t, elastic(`{"type":"CHANGE","adjust":1,"expression":"CPU > 80","period":10,"period_number":3,"cooldown":7}`))
	for i, step := range []struct {
		wait      time.Duration
		cpu       float64
		trueEvals float64
	}{
		{time.Second, 90, 1}, {5 * time.Second, 90, 1}, {5 * time.Second, 90, 2}, {10 * time.Second, 70, 0},
		{10 * time.Second, 90, 1}, {10 * time.Second, 90, 2},
	} {
		s.measureAfter(step.wait, step.cpu)
		s.wantState(spec.ServiceRunning)
		if got := s.policy(s.state.Service.Body.Roles[0].ElasticityPolicies)["true_evals"]; got != step.trueEvals {
			t.Fatalf("step %d: true_evals is %v, want %v", i, got, step.trueEvals)
		}
	}
	s.measureAfter(10*time.Second, 80.004)
	s.measureAfter(10*time.Second, 80.006)
	written := s.policy(s.state.Service.Body.Roles[0].ElasticityPolicies)
	if written["expression_evaluated"] != "CPU[80.01] > 80" || written["last_eval"] != float64(s.now.Unix()) {
		t.Fatalf("the policy is %v", written)
	}
	s.measureAfter(10*time.Second, 90)
	s.measureAfter(10*time.Second, 90)
	s.wantState(spec.ServiceScaling)
	s.wantCardinality(3)
	if _, counts := s.policy(s.state.Service.Body.Roles[0].ElasticityPolicies)["true_evals"]; counts {
		t.Errorf("a role that scales goes on counting")
	}
	s.create()
	s.run(102)
	s.wantState(spec.ServiceCooldown)
	if want := s.now.Add(7 * time.Second); !s.state.CooldownUntil.Equal(want) {
		t.Errorf("the cooldown ends %s, want the policy's %s", s.state.CooldownUntil, want)
	}
	s.measureAfter(time.Second, 90)
	s.planAfter(6 * time.Second)
	s.wantState(spec.ServiceRunning)
	s.scale("a", 4)
	s.create()
	s.run(103)
	if want := s.now.Add(20 * time.Second); !s.state.CooldownUntil.Equal(want) {
		t.Errorf("after a command the cooldown ends %s, want the role's %s", s.state.CooldownUntil, want)
	}
}

func TestAdjustmentsAreKeptWithinLimits(t *testing.T) {
	for policy, want := range map[string]int{
		`{"type":"CHANGE","adjust":2}`:                                    4,
		`{"type":"CHANGE","adjust":9}`:                                    5,
		`{"type":"CHANGE","adjust":-9}`:                                   1,
		`{"type":"CARDINALITY","adjust":4}`:                               4,
		`{"type":"CARDINALITY","adjust":0}`:                               1,
		`{"type":"PERCENTAGE_CHANGE","adjust":1}`:                         3,
		`{"type":"PERCENTAGE_CHANGE","adjust":150}`:                       5,
		`{"type":"PERCENTAGE_CHANGE","adjust":50,"min_adjust_step":2}`:    4,
		`{"type":"PERCENTAGE_CHANGE","adjust":-10}`:                       1,
		`{"type":"PERCENTAGE_CHANGE","adjust":0,"min_adjust_step":2}`:     2,
		`{"type":"SOMETHING","adjust":1}`:                                 2,
		`{"type":"CHANGE","adjust":"1","period":"5","period_number":"1"}`: 3,
	} {
		s := runningStage(t, elastic(policy[:len(policy)-1]+`,"expression":"CPU > 80"}`))
		s.measureAfter(time.Second, 90)
		if got := s.state.Service.Body.Roles[0].Cardinality; got != want {
			t.Errorf("%s: the cardinality is %d, want %d", policy, got, want)
		}
	}
}

func TestRoleForcedBeyondItsLimitsComesBackInSteps(t *testing.T) {
	s := runningStage(t, elastic(`{"type":"CHANGE","adjust":-1,"expression":"CPU < 10"},{"type":"CHANGE","adjust":1,"expression":"CPU > 80"}`))
	s.command(flow.VerbScale, flow.ScaleArguments{Role: "a", Cardinality: 8, Force: true})
	s.create()
	s.run(102, 103, 104, 105, 106, 107)
	s.planAfter(20 * time.Second)
	s.wantState(spec.ServiceRunning)
	s.measureAfter(time.Second, 90)
	s.wantCardinality(8)
	s.measureAfter(time.Second, 1)
	s.wantCardinality(7)
}

func TestOldOrForeignMeasuresChangeNothing(t *testing.T) {
	s := runningStage(t, elastic(`{"type":"CHANGE","adjust":1,"expression":"CPU > 80","period_number":2}`))
	s.measureAfter(time.Second, 90)
	before := asJSON(t, s.state)
	same := policy.Measures{At: s.now, Until: s.now.Add(time.Hour), Roles: map[string]map[string]float64{"a": {"CPU": 90}, "gone": {"CPU": 90}}}
	late := policy.Measures{At: s.now.Add(time.Second), Until: s.now, Roles: same.Roles}
	none := policy.Measures{At: s.now.Add(time.Second), Until: s.now.Add(time.Hour), Roles: map[string]map[string]float64{"gone": {"CPU": 90}}}
	for name, measures := range map[string]policy.Measures{"twice": same, "too late": late, "a role that is gone": none} {
		s.take(flow.Decide(s.in(), flow.Measured{Measures: measures}))
		if after := asJSON(t, s.state); after != before {
			t.Errorf("measures that come %s change\n%s\nto\n%s", name, before, after)
		}
	}
	s.measureAfter(time.Second, 90)
	s.wantState(spec.ServiceScaling)
	s.measureAfter(time.Second, 90)
	s.wantCardinality(3)
}

func TestExpressionsAreEvaluated(t *testing.T) {
	means := map[string]float64{"CPU": 85.5, "MEMORY": 3}
	for expression, want := range map[string]string{
		"(cpu > 80.5 && MEMORY != 3) || !(ATT < -2)": "true: (CPU[85.5] > 80.5 && MEMORY[3.0] != 3) || !(ATT[--] < -2)",
		"ATT < 5":                    "false: ATT[--] < 5",
		"ATT >= 5 | MEMORY<=3":       "true: ATT[--] >= 5 || MEMORY[3.0] <= 3",
		`"CPU" = 85.5 & 'MEMORY'<>4`: "true: CPU[85.5] == 85.5 && MEMORY[3.0] != 4",
		"CPU < MEMORY":               "false: CPU[85.5] < MEMORY[3.0]",
		"!CPU < 1":                   "true: !CPU[85.5] < 1",
	} {
		s := runningStage(t, elastic(fmt.Sprintf(`{"type":"CHANGE","adjust":1,"expression":%s}`, asJSON(t, expression))))
		s.now = s.now.Add(time.Second)
		measures := policy.Measures{At: s.now, Until: s.now.Add(time.Hour), Roles: map[string]map[string]float64{"a": means}}
		s.take(flow.Decide(s.in(), flow.Measured{Measures: measures}))
		written := s.policy(s.state.Service.Body.Roles[0].ElasticityPolicies)["expression_evaluated"]
		if got := fmt.Sprintf("%v: %v", s.state.Service.State() == spec.ServiceScaling, written); got != want {
			t.Errorf("%s: got %s, want %s", expression, got, want)
		}
	}
}

func TestMeanIsOverVMsThatHaveTheAttribute(t *testing.T) {
	s := runningStage(t, elastic(`{"type":"CHANGE","adjust":1,"expression":"load > 3 || CPU == 1"}`))
	wanted := policy.MeasuredAttributes(s.state.Service)
	if !slices.Equal(wanted["a"], []string{"CPU", "LOAD"}) {
		t.Fatalf("the attributes are %v", wanted)
	}
	samples := map[int]policy.Sample{100: {"LOAD": 1.006}, 101: {}, 555: {"LOAD": 9}}
	measures := policy.Measure(s.state.Service, samples, s.now, s.now)
	if got := asJSON(t, measures.Roles); got != `{"a":{"LOAD":1.01}}` {
		t.Errorf("the means are %s", got)
	}
	s.scale("a", 1)
	if wanted := policy.MeasuredAttributes(s.state.Service); wanted != nil {
		t.Errorf("a service that scales is to be measured: %v", wanted)
	}
}

func TestExpressionWithoutAnAttributeIsEvaluated(t *testing.T) {
	s := runningStage(t, elastic(`{"type":"CHANGE","adjust":1,"expression":"2 > 1"}`))
	if wanted, has := policy.MeasuredAttributes(s.state.Service)["a"]; !has || len(wanted) != 0 {
		t.Fatalf("the attributes are %v, %v", wanted, has)
	}
	s.now = s.now.Add(time.Second)
	measures := policy.Measure(s.state.Service, nil, s.now, s.now.Add(time.Hour))
	s.take(flow.Decide(s.in(), flow.Measured{Measures: measures}))
	if s.state.Service.State() != spec.ServiceScaling {
		t.Errorf("the service is %s", s.state.Service.State())
	}
	if written := s.policy(s.state.Service.Body.Roles[0].ElasticityPolicies)["expression_evaluated"]; written != "2 > 1" {
		t.Errorf("evaluated is %v", written)
	}
}

func TestRoleBelowItsMinimumIsFilledUp(t *testing.T) {
	s := runningStage(t, elastic(""))
	s.command(flow.VerbScale, flow.ScaleArguments{Role: "a", Cardinality: 1})
	s.set(one.VMDone, one.LCMInit, 100)
	s.plan()
	s.planAfter(20 * time.Second)
	s.wantState(spec.ServiceRunning)
	s.set(one.VMDone, one.LCMInit, 101)
	s.plan()
	s.wantCardinality(0)
	if !policy.Overdue(s.state.Service, s.now) {
		t.Errorf("a service that nothing wakes would stay below its minimum")
	}
	due, set := s.state.Deadlines[flow.DeadlineRefill]
	if want := s.now.Add(90 * time.Second); !set || !due.Equal(want) {
		t.Fatalf("filled up at %s, want %s", due, want)
	}
	s.planAfter(89 * time.Second)
	s.wantCardinality(0)
	s.planAfter(time.Second)
	s.wantCardinality(1)
	s.wantState(spec.ServiceScaling)
	s.create()
	s.run(102)
	s.wantState(spec.ServiceRunning)
	if s.state.Service.Body.Roles[0].Cooldown == nil || *s.state.Service.Body.Roles[0].Cooldown != 20 {
		t.Errorf("the role's own cooldown has changed")
	}
}
