package flow_test

import (
	"strings"
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/policy"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/flow/template"
)

// withDeadlines is a service with a role of so many VMs; either has deadlines.
func withDeadlines(cardinality int, service, role string) string {
	body := oneRole(cardinality)
	if role != "" {
		body = strings.Replace(body, `"type"`, `"deadlines":`+role+`,"type"`, 1)
	}
	if service != "" {
		body = strings.Replace(body, `"roles"`, `"deadlines":`+service+`,"roles"`, 1)
	}
	return body
}

const noHost = "Cannot dispatch VM: no host meets its requirements"

// pendingIn opens with a service that deploys and whose VM 100 waits for a host.
func pendingIn(t *testing.T, body string) *stage {
	t.Helper()
	s := newStage(t, body)
	s.plan()
	s.create()
	s.set(one.VMPending, one.LCMInit, 100)
	s.plan()
	return s
}

func TestVMThatNoHostTakesFailsItsRole(t *testing.T) {
	for name, body := range map[string]string{
		"role's":                       withDeadlines(1, "", `{"pending":60}`),
		"service's":                    withDeadlines(1, `{"pending":"60"}`, ""),
		"role's before the service's":  withDeadlines(1, `{"pending":5,"then":"undeploy"}`, `{"pending":60,"then":"fail"}`),
		"shrink has nothing to shrink": withDeadlines(1, `{"pending":60,"then":"shrink"}`, ""),
	} {
		t.Run(name, func(t *testing.T) {
			s := pendingIn(t, body)
			s.lookFor(noHost, 59*time.Second)
			s.wantState(spec.ServiceDeploying)
			s.lookFor(noHost, time.Second)
			s.wantState(spec.ServiceFailedDeploying)
			s.wantLog("E Role a : VM 100 has been in PENDING since 2026-05-04T10:00:00Z ("+noHost+"), longer than the deadline of 60 s", "I New state: FAILED_DEPLOYING")
			s.recover()
			s.wantState(spec.ServiceDeploying)
			s.lookFor(noHost, 59*time.Second)
			s.wantState(spec.ServiceDeploying)
			s.run(100)
			s.wantState(spec.ServiceRunning)
		})
	}
}

func TestVMThatNoHostTakesEndsItsService(t *testing.T) {
	s := pendingIn(t, withDeadlines(1, `{"pending":60,"then":"undeploy"}`, ""))
	s.lookFor(noHost, time.Minute)
	s.wantState(spec.ServiceUndeploying)
	s.wantActions("terminate 100")
	s.wantLog("E Role a : VM 100 has been in PENDING since 2026-05-04T10:00:00Z ("+noHost+"), longer than the deadline of 60 s; the service is undeployed", "I New state: UNDEPLOYING")
}

// Without a deadline, or with 0 where the configuration has one, it waits.
func TestNoDeadlineIsAny(t *testing.T) {
	s := pendingIn(t, withDeadlines(1, "", `{"pending":0}`))
	s.settings.Deadlines.Pending = time.Minute
	s.lookFor(noHost, time.Hour)
	s.wantState(spec.ServiceDeploying)
}

// What no host takes in a scaling is taken back; what else is on its way is waited for.
func TestVMThatNoHostTakesIsTakenBack(t *testing.T) {
	s := runningStage(t, withDeadlines(1, "", `{"pending":60,"then":"shrink"}`))
	s.scale("a", 4)
	s.create()
	s.set(one.VMPending, one.LCMInit, 101, 102)
	s.plan()
	s.lookFor(noHost, time.Minute)
	s.lookFor(noHost, 0)
	s.wantState(spec.ServiceScaling)
	s.wantNodes("a", 2, 100, 103)
	if log := s.messages(); !strings.Contains(log, "("+noHost+"), longer than the deadline of 60 s; the scaling is reverted: ") || !strings.Contains(log, "2 of 4 VMs stay") {
		t.Errorf("the log does not say so: %s", log)
	}
	s.run(103)
	s.wantState(spec.ServiceCooldown)
}

func TestScalingThatTakesTooLong(t *testing.T) {
	for name, test := range map[string]struct {
		service, role string
		state         spec.ServiceState
		cardinality   int
	}{
		"fails":                  {"", `{"scaling":90}`, spec.ServiceFailedScaling, 3},
		"is taken back":          {"", `{"scaling":90,"then":"shrink"}`, spec.ServiceCooldown, 2},
		"ends the service":       {`{"scaling":90,"then":"undeploy"}`, "", spec.ServiceUndeploying, 3},
		"by the service's limit": {`{"scaling":90}`, `{"then":"shrink"}`, spec.ServiceFailedScaling, 3},
		"the sooner counts":      {`{"scaling":900}`, `{"scaling":90,"then":"shrink"}`, spec.ServiceCooldown, 2},
	} {
		t.Run(name, func(t *testing.T) {
			s := runningStage(t, withDeadlines(1, test.service, test.role))
			s.scale("a", 3)
			s.create()
			s.run(101)
			s.lookFor("", 89*time.Second)
			s.wantState(spec.ServiceScaling)
			s.planAfter(time.Second)
			s.wantState(spec.ServiceScaling) // nothing is done on what was only heard
			s.lookFor("", 0)
			s.wantState(test.state)
			if role := s.role("a"); role.Cardinality != test.cardinality {
				t.Errorf("the cardinality is %d", role.Cardinality)
			}
			if log := s.messages(); !strings.Contains(log, "E Role a : it has been SCALING since 2026-05-04T10:00:00Z, longer than its deadline of 90 s: VM 102 is in BOOT") {
				t.Errorf("the log does not say why: %s", log)
			}
			for _, change := range s.changes {
				if change.Kind == "service" && test.state != spec.ServiceCooldown && !strings.Contains(change.Reason, "longer than its deadline of 90 s") {
					t.Errorf("the history does not say why: %+v", change)
				}
			}
		})
	}
}

// A VM that is taken back is asked to end until it has, and the service runs meanwhile.
func TestWhatIsTakenBackEnds(t *testing.T) {
	s := runningStage(t, withDeadlines(1, "", `{"scaling":90,"then":"shrink"}`))
	s.scale("a", 2)
	s.create()
	s.lookFor("", 90*time.Second)
	s.wantActions("terminate-hard 101")
	s.wantState(spec.ServiceCooldown)
	s.wantNodes("a", 1, 100)
	s.run(101)
	s.wantActions("terminate-hard 101")
	s.end(101)
	s.planAfter(300 * time.Second)
	s.wantState(spec.ServiceRunning)
	s.wantNodes("a", 1, 100)
}

func TestProtectedVMIsNotTakenBack(t *testing.T) {
	s := runningStage(t, withDeadlines(1, "", `{"scaling":90,"then":"shrink"}`))
	s.scale("a", 2)
	s.create()
	s.protect(101)
	s.lookFor("", 90*time.Second)
	s.wantState(spec.ServiceFailedScaling)
}

func TestDeploymentThatTakesTooLong(t *testing.T) {
	s := newStage(t, strings.Replace(masterSlave, `"roles"`, `"deadlines":{"deploying":120},"ready_status_gate":true,"roles"`, 1))
	s.plan()
	s.create()
	s.run(100)
	s.lookFor("", time.Minute)
	s.ready(100)
	s.plan()
	s.create()
	s.run(101)
	s.lookFor("", time.Minute) // it is the service's time, and not each role's
	s.wantState(spec.ServiceFailedDeploying)
	s.wantLog("E Role Slave : it has been DEPLOYING since 2026-05-04T10:00:00Z, longer than its deadline of 120 s: VM 101 has not reported READY=YES",
		"I New state: FAILED_DEPLOYING")
}

func TestEndThatTakesTooLong(t *testing.T) {
	for name, test := range map[string]struct {
		body  string
		begin func(s *stage)
		want  spec.ServiceState
	}{
		"undeploying":          {withDeadlines(2, `{"undeploying":90,"then":"undeploy"}`, ""), func(s *stage) { s.command(flow.VerbUndeploy, nil) }, spec.ServiceFailedUndeploying},
		"undeploying the role": {withDeadlines(2, "", `{"undeploying":90}`), func(s *stage) { s.command(flow.VerbRemoveRole, flow.RemoveRoleArguments{Role: "a"}) }, spec.ServiceFailedUndeploying},
		"scaling down":         {withDeadlines(2, "", `{"scaling":90,"then":"shrink"}`), func(s *stage) { s.scale("a", 1) }, spec.ServiceFailedScaling},
	} {
		t.Run(name, func(t *testing.T) {
			s := runningStage(t, test.body)
			test.begin(s)
			s.move(one.LCMShutdown, 100)
			s.lookFor("", 90*time.Second)
			s.wantState(test.want)
			if log := s.messages(); !strings.Contains(log, "longer than its deadline of 90 s: VM 100 is in SHUTDOWN") {
				t.Errorf("the log does not say why: %s", log)
			}
		})
	}
}

// The configuration's deadlines are those of services that do not say.
func TestDeadlinesOfTheConfiguration(t *testing.T) {
	deadlines, err := policy.ParseDeadlines([]string{"scaling=90", " then = shrink"})
	if err != nil {
		t.Fatal(err)
	}
	s := runningStage(t, oneRole(1))
	s.settings.Deadlines = deadlines
	s.scale("a", 2)
	s.create()
	s.lookFor("", 90*time.Second)
	s.wantState(spec.ServiceCooldown)
	for _, wrong := range []string{"scaling", "scaling=1m", "deploy=5", "then=stop", "pending=-1", "pending=99999999"} {
		if _, err := policy.ParseDeadlines([]string{wrong}); err == nil {
			t.Errorf("%q is a deadline", wrong)
		}
	}
}

// Deadlines that are set while the service waits count from when they were seen.
func TestDeadlinesAreSetWhileTheServiceWaits(t *testing.T) {
	s := runningStage(t, oneRole(1))
	s.scale("a", 2)
	s.create()
	s.planAfter(time.Hour)
	s.command(flow.VerbUpdate, map[string]any{"append": true, "template": map[string]any{"deadlines": map[string]any{"scaling": 60, "then": "shrink"}}})
	s.lookFor("", 59*time.Second)
	s.wantState(spec.ServiceScaling)
	s.wantDeadline(flow.DeadlineStay, s.now.Add(time.Second))
	if notes := flow.Explain(s.state, s.facts, s.now).Notes; len(notes) != 1 || notes[0].Message !=
		"the deadline of the service for SCALING is 2026-05-04T11:01:00Z, in 1s; then the scaling is reverted to the VMs that run" {
		t.Errorf("why notes %+v", notes)
	}
	s.lookFor("", time.Second)
	s.wantState(spec.ServiceCooldown)
}

// A call that may have made a VM is settled before that VM is taken back.
func TestDoubtfulVMIsFoundBeforeItIsTakenBack(t *testing.T) {
	s := runningStage(t, withDeadlines(1, "", `{"scaling":90,"then":"shrink"}`))
	s.scale("a", 2)
	intent := s.state.Intents[0]
	s.take(flow.Decide(s.in(), flow.Postponed{Action: s.actions[0], Message: "no answer"}))
	s.lookFor("", 90*time.Second)
	s.wantState(spec.ServiceScaling)
	vm := s.vmOf(intent)
	s.facts[vm.ID] = vm
	s.plan()
	s.lookFor("", 0)
	s.wantState(spec.ServiceCooldown)
	s.wantActions("terminate-hard 101")
}

func TestDeadlinesAreChecked(t *testing.T) {
	for text, want := range map[string]string{
		`{"pending":600,"deploying":0,"scaling":"60","undeploying":5,"then":"shrink"}`: "",
		`{}`:                `""`,
		`60`:                `is 60; it must be an object`,
		`{"scaling":"10m"}`: `has scaling "10m"; it must be a whole number of seconds`,
		`{"deploy":5}`:      `has "deploy"; it can have pending, deploying, scaling, undeploying or then`,
		`{"then":"stop"}`:   `has then "stop"; it can be fail, shrink or undeploy`,
	} {
		if want == `""` {
			want = ""
		}
		for path, body := range map[string]string{
			"deadlines":          `{"name":"web","deadlines":` + text + `,"roles":[]}`,
			"roles[0].deadlines": `{"name":"web","roles":[{"name":"a","type":"vm","template_id":0,"deadlines":` + text + `}]}`,
		} {
			_, err := template.Read([]byte(body), stageStart)
			if got := errorText(err); (want == "") != (got == "") || !strings.Contains(got, want) || want != "" && !strings.HasPrefix(got, path) {
				t.Errorf("%s: %q, want %q", body, got, want)
			}
		}
	}
}
