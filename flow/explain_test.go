package flow_test

import (
	"strings"
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
)

// explained is what an explanation says, a line each.
func explained(e flow.Explanation) string {
	var text strings.Builder
	for _, trouble := range e.Failed {
		text.WriteString("failed: " + trouble.Message + "\n")
	}
	for _, trouble := range e.Waits {
		text.WriteString("waits: " + trouble.Message + "\n")
	}
	for _, next := range e.Next {
		text.WriteString("next: " + next + "\n")
	}
	return text.String()
}

func stateOf(t *testing.T, body string) flow.State {
	t.Helper()
	parsed, err := spec.ParseBody([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	return flow.State{Service: spec.Service{ID: 42, Body: parsed}}
}

func TestExplanationNamesWhatFailedAndWhatIsWaitedFor(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	running := one.VM{ID: 5, State: one.VMActive, LCMState: one.LCMRunning}
	for name, test := range map[string]struct {
		body  string
		facts flow.Facts
		more  func(*flow.State)
		want  []string
	}{
		"VMs that a user has stopped or put on hold": {
			body: `{"name":"a","state":1,"ready_status_gate":true,"roles":[{"name":"Slave","cardinality":3,"state":1,
			 "nodes":[{"deploy_id":5},{"deploy_id":6},{"deploy_id":7}]}]}`,
			facts: flow.Facts{5: running, 6: {ID: 6, State: one.VMSuspended}, 7: {ID: 7, State: one.VMHold}},
			want:  []string{"waits: VM 6 is in SUSPENDED", "waits: VM 7 is in HOLD", "next: `onevm resume 6` starts VM 6", "next: `onevm release 7` lets VM 7 start"},
		},
		"warning": {
			body:  `{"name":"a","state":4,"roles":[{"name":"Slave","cardinality":2,"state":4,"nodes":[{"deploy_id":5},{"deploy_id":6}]}]}`,
			facts: flow.Facts{5: running, 6: {ID: 6, State: one.VMPoweroff}},
			want:  []string{"failed: VM 6 is in POWEROFF", "next: repair", "`oneflow recover 42`"},
		},
		"a VM that boots again": {
			body:  `{"name":"a","state":4,"roles":[{"name":"Slave","cardinality":2,"state":4,"nodes":[{"deploy_id":5},{"deploy_id":6}]}]}`,
			facts: flow.Facts{5: running, 6: {ID: 6, State: one.VMActive, LCMState: one.LCMBootPoweroff}},
			want:  []string{"failed: VM 6 is in BOOT_POWEROFF", "next: wait until VM 6 runs, or `onevm recover --failure 6` if its driver hangs"},
		},
		"a creation that was refused": {
			body: `{"name":"a","state":7,"roles":[{"name":"Slave","cardinality":1,"state":7}],"log":[
			 {"severity":"E","message":"Role Slave : an old story"},{"severity":"I","message":"New state: DEPLOYING"},
			 {"severity":"E","message":"Role Slave : VM 0 could not be created from template 9: no quota"},{"severity":"I","message":"New state: FAILED_DEPLOYING"}]}`,
			want: []string{"failed: Role Slave : VM 0 could not be created from template 9: no quota", "failed: role Slave has 0 VMs and should have 1"},
		},
		"the ready gate": {
			body:  `{"name":"a","state":1,"ready_status_gate":true,"roles":[{"name":"Slave","cardinality":1,"state":1,"nodes":[{"deploy_id":5}]}]}`,
			facts: flow.Facts{5: running},
			want:  []string{"waits: VM 5 is RUNNING but has not reported READY=YES"},
		},
		"parents": {
			body: `{"name":"a","state":1,"deployment":"straight","roles":[{"name":"M","cardinality":1,"state":1},{"name":"S","cardinality":1,"state":0,"parents":["M"]}]}`,
			more: func(s *flow.State) {
				s.Intents = []flow.Intent{{Role: "M", Name: "M_0", Attempts: 1}}
			},
			want: []string{"waits: a VM named M_0 is to be created, unless an earlier call has created it", "waits: role S waits for its parent M, which is DEPLOYING"},
		},
		"networks": {
			body: `{"name":"a","state":11,"roles":[]}`,
			more: func(s *flow.State) {
				s.Networks = []flow.Network{{Name: "Priv", Called: "Priv-42", ID: 3, State: one.NetworkLockCreate}, {Name: "Bad", Called: "Bad-42", ID: 4, State: one.NetworkError}}
			},
			want: []string{"failed: network Bad-42 (4) is in ERROR", "waits: network Priv-42 (3) is in LOCK_CREATE and has to become READY"},
		},
		"cooldown": {
			body: `{"name":"a","state":10,"roles":[]}`,
			more: func(s *flow.State) { s.CooldownUntil = now.Add(time.Minute) },
			want: []string{"waits: the cooldown after scaling, until 2026-11-23T12:01:00Z"},
		},
		"undeploying": {
			body: `{"name":"a","state":3,"roles":[{"name":"S","cardinality":2,"state":3,"nodes":[{"deploy_id":5},{"deploy_id":6}]}]}`,
			more: func(s *flow.State) {
				s.Asked = map[int]flow.Asked{5: {Action: "terminate", At: now}}
			},
			facts: flow.Facts{5: {ID: 5, State: one.VMActive, LCMState: one.LCMEpilog}},
			want:  []string{"waits: VM 5 was asked to terminate at 2026-11-23T12:00:00Z and is in EPILOG", "waits: 1 VM of role S is to be terminated"},
		},
		"undeploying, refused for now": {
			body:  `{"name":"a","state":3,"roles":[{"name":"S","cardinality":1,"state":3,"nodes":[{"deploy_id":5}]}]}`,
			more:  func(s *flow.State) { s.Asked = map[int]flow.Asked{5: {Action: "terminate", At: now, Refused: true}} },
			facts: flow.Facts{5: {ID: 5, State: one.VMActive, LCMState: one.LCMRunning}},
			want:  []string{"waits: VM 5 is to be asked to terminate and is in RUNNING"},
		},
		"hold":    {body: `{"name":"a","state":15,"roles":[{"name":"S","state":11}]}`, want: []string{"waits: role S is on hold", "next: `oneflow release 42`"}},
		"running": {body: `{"name":"a","state":2,"roles":[{"name":"S","state":2}]}`},
	} {
		t.Run(name, func(t *testing.T) {
			state := stateOf(t, test.body)
			if test.more != nil {
				test.more(&state)
			}
			for id, vm := range test.facts {
				vm.Service = state.Service.ID
				test.facts[id] = vm
			}
			got := explained(flow.Explain(state, test.facts, now))
			for _, want := range test.want {
				if !strings.Contains(got, want) {
					t.Errorf("it does not say %q:\n%s", want, got)
				}
			}
			if len(test.want) == 0 && got != "" {
				t.Errorf("nothing is wrong, and it says:\n%s", got)
			}
			if strings.Contains(got, "old story") {
				t.Errorf("it tells of an earlier failure:\n%s", got)
			}
		})
	}
}

// A policy that another program has written and that can never act is named with its fault and the remedy; one that can is not.
func TestExplanationNamesPoliciesWithoutEffect(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for _, test := range []struct{ list, policy, want string }{
		{"scheduled_policies", `{"type":"CHANGE","adjust":1,"start_time":"tomorrow"}`, `its start_time is "tomorrow", which is not a time`},
		{"scheduled_policies", `{"type":"CHANGE","adjust":1,"start_time":null}`, "it has no start_time, and no recurrence"},
		{"scheduled_policies", `{"type":"CHANGE","adjust":1,"recurrence":5}`, "it has no start_time, and no recurrence"},
		{"scheduled_policies", `{"type":"CHANGE","adjust":1,"recurrence":"at noon"}`, `its recurrence "at noon" cannot be read, or never occurs`},
		{"scheduled_policies", `{"type":"CHANGE","adjust":1,"recurrence":"0 0 30 2 *"}`, `its recurrence "0 0 30 2 *" cannot be read, or never occurs`},
		{"scheduled_policies", `{"type":"SET","adjust":1,"recurrence":"0 9 * * *"}`, `its type "SET" is not CHANGE`},
		{"scheduled_policies", `{"type":"CHANGE","adjust":"many","recurrence":"0 9 * * *"}`, "its adjust is 0 or not a whole number"},
		{"scheduled_policies", `5`, "it has no start_time, and no recurrence"},
		{"scheduled_policies", `{"type":"CHANGE","adjust":"1","recurrence":"0 9 * * *"}`, ""},
		{"scheduled_policies", `{"type":"CARDINALITY","adjust":0,"start_time":"2020-01-31 09:00"}`, ""}, // it has been applied
		{"elasticity_policies", `{"type":"CHANGE","adjust":1,"expression":"CPU >"}`, `its expression "CPU >" cannot be read`},
		{"elasticity_policies", `{"type":"CHANGE","adjust":1,"expression":"CPU > 5"}`, ""},
	} {
		state := stateOf(t, `{"name":"a","state":2,"roles":[{"name":"web","cardinality":0,"state":2,"`+test.list+`":[`+test.policy+`]}]}`)
		notes := flow.Explain(state, nil, now).Notes
		switch {
		case test.want == "" && len(notes) == 0:
		case len(notes) != 1 || notes[0].Kind != flow.FoundPolicy || notes[0].Role != "web" ||
			!strings.HasPrefix(notes[0].Message, "roles[web]."+test.list+"[0] has no effect: "+test.want) || !strings.HasSuffix(notes[0].Message, "; `oneflow update 42` corrects it"):
			t.Errorf("of %s it says %+v, want %q", test.policy, notes, test.want)
		}
	}
}

func TestWhatIsLoggedTwiceIsExplainedOnce(t *testing.T) {
	state := stateOf(t, `{"name": "s", "state": 7, "roles": [], "log": [
		{"timestamp": 1, "severity": "I", "message": "New state: DEPLOYING"}, {"timestamp": 2, "severity": "E", "message": "a fault"},
		{"timestamp": 3, "severity": "E", "message": "another"}, {"timestamp": 4, "severity": "E", "message": "a fault"}]}`)
	text := explained(flow.Explain(state, nil, time.Now()))
	if strings.Count(text, "a fault") != 1 || strings.Index(text, "another") > strings.Index(text, "a fault") {
		t.Errorf("want the fault once, where it was logged last:\n%s", text)
	}
}

func TestExplanationIsBounded(t *testing.T) {
	state := stateOf(t, `{"name":"a","state":4,"roles":[{"name":"S","state":4,"nodes":[]}]}`)
	facts := flow.Facts{}
	for id := range 1000 {
		vm := one.VM{ID: id, State: one.VMPoweroff, Service: state.Service.ID}
		facts[id] = vm
		state.Service.Body.Roles[0].Nodes = append(state.Service.Body.Roles[0].Nodes, spec.NewNode(vm))
	}
	failed := flow.Explain(state, facts, time.Now()).Failed
	if len(failed) > 25 || failed[len(failed)-1].Message != "and 980 more" {
		t.Errorf("%d troubles are named, the last is %+v", len(failed), failed[len(failed)-1])
	}
}
