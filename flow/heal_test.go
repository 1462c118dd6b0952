package flow_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/flow/template"
)

// healing is a body of one role of three VMs that is kept whole by the rule.
func healing(rule string) string {
	return fmt.Sprintf(`{"name":"web","roles":[{"name":"a","type":"vm","cardinality":3,"template_id":0,"cooldown":0,"heal":%s}]}`, rule)
}

// on says on which hosts the VMs 100, 101, ... are.
func (s *stage) on(hosts ...string) {
	for i, host := range hosts {
		vm := s.facts[100+i]
		vm.Host = host
		s.facts[100+i] = vm
	}
}

func TestFailedVMIsReplaced(t *testing.T) {
	s := runningStage(t, healing(`{"action":"recreate","after":"60s","max":2}`))
	s.set(one.VMActive, one.LCMBootFailure, 101)
	s.plan()
	s.wantState(spec.ServiceWarning)
	s.wantActions()
	if due := s.state.Deadlines[flow.DeadlineHeal]; !due.Equal(s.now.Add(time.Minute)) {
		t.Fatalf("the VM is replaced at %s", due)
	}
	if next := flow.Explain(s.state, s.facts, s.now).Next; next[0] != "wait: failed VMs are healed automatically at "+s.now.Add(time.Minute).UTC().Format(time.RFC3339) {
		t.Errorf("what to do begins with %q", next[0])
	}
	s.planAfter(time.Minute)
	s.wantActions("terminate-hard 101", "create a/3")
	s.wantNodes("a", 3, 100, 102)
	s.wantState(spec.ServiceWarning)
	s.create()
	s.wantState(spec.ServiceWarning)
	s.run(103)
	s.wantState(spec.ServiceRunning)
	s.end(101)
	s.wantNodes("a", 3, 100, 102, 103)
	s.wantState(spec.ServiceRunning)
}

// TestHealedVMHasTheOthersWait: also those that come before it.
func TestHealedVMHasTheOthersWait(t *testing.T) {
	s := runningStage(t, healing(`{"action":"recreate","after":"60s","max":2}`))
	s.set(one.VMActive, one.LCMBootFailure, 102)
	s.plan()
	s.now = s.now.Add(58 * time.Second)
	s.set(one.VMActive, one.LCMUnknown, 100)
	s.plan()
	s.planAfter(2 * time.Second)
	s.wantActions("terminate-hard 102", "create a/3")
	if due := s.state.Deadlines[flow.DeadlineHeal]; !due.Equal(s.now.Add(time.Minute)) {
		t.Errorf("the other VM is replaced %s later", due.Sub(s.now))
	}
}

// TestVMThatComesBackIsLeftAlone: what ends in time is no reason to heal.
func TestVMThatComesBackIsLeftAlone(t *testing.T) {
	s := runningStage(t, healing(`{"action":"recreate","after":60}`))
	s.set(one.VMActive, one.LCMUnknown, 101)
	s.plan()
	s.planAfter(50 * time.Second)
	s.run(101)
	s.wantState(spec.ServiceRunning)
	s.planAfter(time.Hour)
	s.wantActions()
	s.set(one.VMPoweroff, one.LCMInit, 101)
	s.plan()
	s.planAfter(time.Hour)
	s.wantState(spec.ServiceWarning)
	s.wantNodes("a", 3, 100, 101, 102)
}

func TestFailedVMIsRecovered(t *testing.T) {
	s := runningStage(t, healing(`{"action":"recover","after":"10s","max":3}`))
	s.set(one.VMActive, one.LCMUnknown, 100)
	s.set(one.VMActive, one.LCMPrologFailure, 102)
	s.plan()
	s.planAfter(10 * time.Second)
	s.wantActions("resume 100")
	s.planAfter(10 * time.Second)
	s.wantActions("recover 102")
	s.run(100, 102)
	s.wantState(spec.ServiceRunning)
}

// TestHealingIsLimited: so many times an hour, one VM after the other, and the
// log says when it is given up.
func TestHealingIsLimited(t *testing.T) {
	s := runningStage(t, healing(`{"action":"recreate","after":"60s","max":2}`))
	replaced := 0
	for range 60 {
		for _, id := range s.state.Service.RoleNodes("a") {
			s.set(one.VMActive, one.LCMBootFailure, id)
		}
		s.plan()
		s.planAfter(30 * time.Second)
		for _, change := range s.changes {
			if change.New == "replaced" {
				replaced++
			}
		}
		s.create()
	}
	if replaced != 2 {
		t.Errorf("%d VMs were replaced within half an hour, want 2", replaced)
	}
	s.wantState(spec.ServiceWarning)
	told := 0
	for _, entry := range s.state.Service.Body.Log {
		if strings.Contains(entry.Message, "is not healed") {
			told++
		}
	}
	if told != 1 {
		t.Errorf("it is said %d times that the operator has to do it: %s", told, s.messages())
	}
	s.planAfter(time.Hour)
	if !slices.ContainsFunc(s.changes, func(c flow.Change) bool { return c.New == "replaced" }) {
		t.Errorf("an hour later the role is not healed again: %s", s.messages())
	}
}

// TestFailedHostIsGivenTime: all of the service's VMs on a host are in trouble.
func TestFailedHostIsGivenTime(t *testing.T) {
	s := runningStage(t, healing(`{"action":"recreate","after":"60s"}`))
	s.on("h1", "h1", "h2")
	s.set(one.VMActive, one.LCMUnknown, 100, 101)
	s.plan()
	s.planAfter(5 * time.Minute)
	s.wantActions()
	if !strings.Contains(s.messages(), "host h1") {
		t.Errorf("nobody is told: %s", s.messages())
	}
	s.run(100)
	s.wantActions("terminate-hard 101", "create a/3")
	s.set(one.VMActive, one.LCMUnknown, 100)
	s.create()
	s.run(103)
	s.end(101)
	s.planAfter(2 * time.Minute)
	s.wantActions("terminate-hard 100", "create a/4")
}

// TestFailedHostIsReplacedInTheEnd, one VM at a time.
func TestFailedHostIsReplacedInTheEnd(t *testing.T) {
	s := runningStage(t, healing(`{"action":"recreate","after":"60s"}`))
	s.on("h1", "h1", "h1")
	s.set(one.VMActive, one.LCMUnknown, 100, 101, 102)
	s.plan()
	s.planAfter(6 * time.Minute)
	s.wantActions("terminate-hard 100", "create a/3")
	s.create()
	s.run(103)
	s.end(100)
	s.planAfter(6 * time.Minute)
	s.wantActions("terminate-hard 101", "create a/4")
	s.create()
	s.run(104)
	s.end(101)
	s.planAfter(time.Minute)
	s.wantActions("terminate-hard 102", "create a/5")
	s.create()
	s.run(105)
	s.end(102)
	s.wantState(spec.ServiceRunning)
	s.wantNodes("a", 3, 103, 104, 105)
}

// TestHealingHelpsADeployment: a role that is healed does not fail at once.
func TestHealingHelpsADeployment(t *testing.T) {
	s := newStage(t, healing(`{"action":"recreate","after":"5s","max":1}`))
	s.plan()
	s.create()
	s.set(one.VMActive, one.LCMBootFailure, 100)
	s.run(101, 102)
	s.wantState(spec.ServiceDeploying)
	s.planAfter(5 * time.Second)
	s.wantActions("terminate-hard 100", "create a/3")
	s.create()
	s.set(one.VMActive, one.LCMBootFailure, 103)
	s.end(100)
	s.wantState(spec.ServiceFailedDeploying)
	s.recover()
	s.wantActions("recover 103")
	s.run(103)
	s.wantState(spec.ServiceRunning)
}

// TestRefusedReplacementIsTriedAgain and the role is not whole until it is there.
func TestRefusedReplacementIsTriedAgain(t *testing.T) {
	s := runningStage(t, healing(`{"action":"recreate","after":"60s"}`))
	s.set(one.VMActive, one.LCMBootFailure, 101)
	s.plan()
	s.planAfter(time.Minute)
	s.take(flow.Decide(s.in(), refusal(flow.Action{Kind: flow.ActionCreateVM, Intent: flow.Intent{Key: s.state.Intents[0].Key}}, "no quota")))
	s.wantActions()
	s.wantState(spec.ServiceWarning)
	s.end(101)
	s.wantNodes("a", 3, 100, 102)
	s.end(102)
	s.wantNodes("a", 2, 100)
	s.wantState(spec.ServiceWarning)
	s.planAfter(time.Minute)
	s.wantActions("create a/4")
	s.create()
	s.run(103)
	s.wantState(spec.ServiceRunning)
}

// TestAReplacementWaitsForTheEndOfItsVM, which counts in its owner's quotas until then: a quota that is full fails no role.
func TestAReplacementWaitsForTheEndOfItsVM(t *testing.T) {
	for _, running := range []bool{true, false} {
		s := newStage(t, healing(`{"action":"recreate","after":"60s"}`))
		s.plan()
		s.create()
		want := spec.ServiceDeploying
		if running {
			s.run(100, 101, 102)
			want = spec.ServiceWarning
		}
		s.set(one.VMActive, one.LCMBootFailure, 101)
		s.plan()
		s.planAfter(time.Minute)
		s.wantActions("terminate-hard 101", "create a/3")
		for range 4 {
			s.take(flow.Decide(s.in(), refusal(s.actions[len(s.actions)-1], "limit of 3 reached for VMS quota")))
			s.wantActions()
			s.wantState(want)
			if text := explained(flow.Explain(s.state, s.facts, s.now)); !strings.Contains(text, "limit of 3 reached") {
				t.Errorf("it is explained as %s", text)
			}
			s.planAfter(2 * time.Second)
			s.wantActions("create a/3")
		}
		s.end(101)
		s.create()
		s.run(100, 102, 103)
		s.wantState(spec.ServiceRunning)
	}
}

// TestARefusedReplacementIsLoggedOnce, and explained for as long as it is refused.
func TestARefusedReplacementIsLoggedOnce(t *testing.T) {
	s := runningStage(t, healing(`{"action":"recreate","after":"60s"}`))
	s.set(one.VMActive, one.LCMBootFailure, 101)
	s.plan()
	s.planAfter(time.Minute)
	s.end(101)
	for range 5 {
		s.wantActions("create a/" + strconv.Itoa(s.state.Intents[0].Ordinal))
		s.take(flow.Decide(s.in(), refusal(s.actions[0], "limit of 2 reached for VMS quota")))
		s.wantActions()
		s.wantState(spec.ServiceWarning)
		s.planAfter(30 * time.Second)
		s.wantActions()
		text := explained(flow.Explain(s.state, s.facts, s.now))
		if !strings.Contains(text, "role a has 2 VMs and should have 3 (lacks a VM that could not be created from template 0: limit of 2 reached") || !strings.Contains(text, "healed automatically at") {
			t.Errorf("it is explained as %s", text)
		}
		s.planAfter(30 * time.Second)
	}
	if count := strings.Count(s.messages(), "limit of 2"); count != 1 {
		t.Errorf("the log has it %d times: %s", count, s.messages())
	}
	s.create()
	s.run(103)
	s.wantState(spec.ServiceRunning)
	if len(s.state.Heals["a"].Logged) > 0 {
		t.Errorf("the role is whole, and has %+v", s.state.Heals)
	}
}

func TestHealRulesAreChecked(t *testing.T) {
	for rule, want := range map[string]string{
		`"yes"`: "must be an object", `{}`: "it can be", `{"action":"restart"}`: "it can be",
		`{"action":"recover","after":"soon"}`: "after", `{"action":"recover","after":0}`: "after",
		`{"action":"recover","max":0}`: "max", `{"action":"recreate","max":"3","after":"90"}`: "",
		`{"action":"recover","after":"5m","max":10}`: "",
	} {
		body, err := spec.ParseBody([]byte(healing(rule)))
		if err != nil {
			t.Fatal(err)
		}
		found := template.Validate(body)
		if want == "" && found != nil || want != "" && (len(found) != 1 || !strings.Contains(found[0].Message, want)) {
			t.Errorf("%s: found %v", rule, found)
		}
	}
}

// TestVMsThatAreMissingLowerTheCardinality: a service found RUNNING with fewer
// VMs than it should have tells the truth, unless it is to be healed.
func TestVMsThatAreMissingLowerTheCardinality(t *testing.T) {
	s := runningStage(t, oneRole(3))
	s.state.Service.Body.Roles[0].Nodes = s.state.Service.Body.Roles[0].Nodes[:2]
	s.plan()
	s.wantNodes("a", 2, 100, 101)
}
