package flow_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
)

// postpone has oned leave open what became of the only action, again and again for so
// long, each time when the action is due.
func (s *stage) postpone(length time.Duration) (attempts int) {
	s.t.Helper()
	for end := s.now.Add(length); !s.now.After(end) && len(s.actions) > 0; attempts++ {
		s.take(flow.Decide(s.in(), flow.Postponed{Action: s.actions[0], Message: "inside"}))
		due, waits := s.state.Deadlines[flow.DeadlineRetry]
		if !waits {
			break
		}
		s.planAfter(due.Sub(s.now))
	}
	return attempts
}

func TestOpenCreationIsTriedForAWhile(t *testing.T) {
	s := newStage(t, oneRole(1))
	s.plan()
	s.take(flow.Decide(s.in(), flow.Postponed{Action: s.actions[0], Message: "inside"}))
	s.wantActions()
	s.wantDeadline(flow.DeadlineRetry, s.now.Add(250*time.Millisecond))
	if text := explained(flow.Explain(s.state, s.facts, s.now)); !strings.Contains(text, "inside") {
		t.Errorf("the explanation does not quote oned:\n%s", text)
	}
	s.planAfter(250 * time.Millisecond)
	s.wantActions("create a/0")
	if s.actions[0].Intent.Attempts != 1 {
		t.Error("the VM is not looked for first")
	}
	if attempts := s.postpone(time.Hour); attempts < 10 || attempts > 30 {
		t.Errorf("it was tried %d times", attempts)
	}
	s.wantState(spec.ServiceFailedDeploying)
	if took := s.now.Sub(stageStart); took < 2*time.Minute || took > 3*time.Minute {
		t.Errorf("it was tried for %s", took)
	}
	s.recover()
	s.wantActions("create a/1")
	s.bringUp()
	s.wantState(spec.ServiceRunning)
}

// What an outage or an election takes does not count.
func TestOutagesDoNotCount(t *testing.T) {
	s := newStage(t, oneRole(1))
	s.plan()
	s.postpone(time.Minute)
	s.planAfter(time.Hour)
	s.wantActions("create a/0")
	s.take(flow.Decide(s.in(), flow.Postponed{Action: s.actions[0], Message: "inside"}))
	s.wantState(spec.ServiceDeploying)
	for term := range 60 {
		s.state = flow.Lead(s.state, term+1, s.now)
		s.planAfter(10 * time.Second)
		s.take(flow.Decide(s.in(), flow.Postponed{Action: s.actions[0], Message: "inside"}))
		s.wantState(spec.ServiceDeploying)
	}
}

// A service that is to end does not wait for what it wanted before.
func TestDeletionOvertakesRetries(t *testing.T) {
	s := newStage(t, oneRole(2))
	s.plan()
	s.take(flow.Decide(s.in(), flow.Postponed{Action: s.actions[0], Message: "inside"}))
	s.recoverDelete()
	s.wantActions("find a/0")
	s.take(flow.Decide(s.in(), flow.NotFound{Action: flow.Action{Kind: flow.ActionFindVM, Intent: flow.Intent{Key: s.actions[0].Intent.Key}}}))
	s.wantActions("delete document")
	if len(s.state.Retries) > 0 {
		t.Errorf("what is not wanted any more is retried: %+v", s.state.Retries)
	}
}

// While one of a role's VMs is refused, the others wait.
func TestARoleIsRefusedAsAWhole(t *testing.T) {
	s := newStage(t, `{"name":"web","roles":[{"name":"a","type":"vm","cardinality":3,"template_id":0},{"name":"b","type":"vm","cardinality":1,"template_id":0}]}`)
	s.plan()
	s.take(flow.Decide(s.in(), flow.Postponed{Action: s.actions[0], Message: "inside"}))
	s.wantActions("create b/0")
}

// Behind a ready gate a VM that was stopped before it was ready has not come.
func TestStoppedBeforeReadyIsWaitedFor(t *testing.T) {
	s := newStage(t, `{"name":"web","deployment":"straight","ready_status_gate":true,"roles":[
		{"name":"db","type":"vm","cardinality":1,"template_id":0},{"name":"app","type":"vm","cardinality":1,"template_id":0,"parents":["db"]}]}`)
	s.plan()
	s.create()
	s.run(100)
	s.set(one.VMPoweroff, one.LCMInit, 100)
	s.plan()
	s.wantRole("db", spec.RoleDeploying)
	s.wantRole("app", spec.RolePending)
	vm := s.facts[100]
	vm.Ready = true
	s.facts[100] = vm
	s.run(100)
	s.wantRole("db", spec.RoleRunning)
}

// What oned refuses because of the VM's state is asked again when the VM has left that state,
// whatever it was to end for.
func TestRequestIsMadeAgainWhenTheVMHasMovedOn(t *testing.T) {
	const hotplug = 17
	for name, test := range map[string]struct {
		body  string
		begin func(s *stage)
		call  string
	}{
		"undeploy":    {oneRole(1), func(s *stage) { s.command(flow.VerbUndeploy, nil) }, "terminate 100"},
		"delete":      {oneRole(1), func(s *stage) { s.recoverDelete() }, "terminate 100"},
		"remove_role": {oneRole(1), func(s *stage) { s.command(flow.VerbRemoveRole, flow.RemoveRoleArguments{Role: "a"}) }, "terminate 100"},
		"scale down":  {oneRole(1), func(s *stage) { s.scale("a", 0) }, "terminate 100"},
		"heal": {strings.Replace(oneRole(1), `"type"`, `"heal":{"action":"recreate","after":"1s"},"type"`, 1), func(s *stage) {
			s.set(one.VMActive, one.LCMUnknown, 100)
			s.plan()
			s.planAfter(time.Second)
			s.actions = s.actions[:1]
		}, "terminate-hard 100"},
	} {
		t.Run(name, func(t *testing.T) {
			s := runningStage(t, test.body)
			test.begin(s)
			s.wantActions(test.call)
			action := s.actions[0]
			s.set(one.VMActive, hotplug, 100)
			for range 2 { // and seen to be in that state, it is refused once more
				s.take(flow.Decide(s.in(), flow.Postponed{Action: action, Message: "not available for state HOTPLUG"}))
			}
			s.planAfter(5 * time.Second)
			for _, action := range s.actions {
				if action.VM == 100 {
					t.Errorf("VM 100 is asked in HOTPLUG: %s", describeAction(action))
				}
			}
			s.run(100)
			if !slices.ContainsFunc(s.actions, func(a flow.Action) bool { return describeAction(a) == test.call }) {
				t.Errorf("the VM is not asked again: %+v", s.actions)
			}
			s.end(100)
			if state := s.state.Service.State(); state.Failed() {
				t.Errorf("the service is %s: %s", state, s.messages())
			}
		})
	}
}
