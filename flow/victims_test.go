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

func withVictims(cardinality int, order string) string {
	return strings.Replace(oneRole(cardinality), `"type"`, `"victims":"`+order+`","type"`, 1)
}

// protect marks VMs in their user template.
func (s *stage) protect(ids ...int) {
	for _, id := range ids {
		vm := s.facts[id]
		vm.Protected = true
		s.facts[id] = vm
	}
}

func TestVMInTroubleGoesFirst(t *testing.T) {
	s := runningStage(t, oneRole(3))
	s.set(one.VMPoweroff, one.LCMInit, 102)
	s.plan()
	s.wantState(spec.ServiceWarning)
	s.scale("a", 2)
	s.wantActions("terminate 102")
	s.end(102)
	s.planAfter(300 * time.Second)
	s.wantState(spec.ServiceRunning)
	s.wantNodes("a", 2, 100, 101)
}

func TestOrderOfVictims(t *testing.T) {
	for name, test := range map[string]struct {
		order string
		set   func(s *stage)
		want  []string
	}{
		"oldest":                      {"oldest", func(*stage) {}, []string{"terminate 100", "terminate 101"}},
		"newest":                      {"newest", func(*stage) {}, []string{"terminate 103", "terminate 102"}},
		"not ready":                   {"not_ready", func(s *stage) { s.ready(100, 101, 103) }, []string{"terminate 102", "terminate 100"}},
		"lost":                        {"newest", func(s *stage) { s.set(one.VMActive, one.LCMUnknown, 101) }, []string{"terminate 101", "terminate 103"}},
		"failed":                      {"not_ready", func(s *stage) { s.ready(100, 101, 102); s.set(one.VMActive, one.LCMBootFailure, 101) }, []string{"terminate 101", "terminate 103"}},
		"booting":                     {"oldest", func(s *stage) { s.set(one.VMActive, one.LCMBootPoweroff, 103) }, []string{"terminate 103", "terminate 100"}},
		"suspended":                   {"oldest", func(s *stage) { s.set(one.VMSuspended, one.LCMInit, 103) }, []string{"terminate 103", "terminate 100"}},
		"undeployed and stopped":      {"newest", func(s *stage) { s.set(one.VMUndeployed, one.LCMInit, 100); s.set(one.VMStopped, one.LCMInit, 101) }, []string{"terminate 101", "terminate 100"}},
		"an unknown order":            {"youngest", func(*stage) {}, []string{"terminate 100", "terminate 101"}},
		"protected":                   {"oldest", func(s *stage) { s.protect(100, 102) }, []string{"terminate 101", "terminate 103"}},
		"protected though in trouble": {"oldest", func(s *stage) { s.set(one.VMPoweroff, one.LCMInit, 100); s.protect(100) }, []string{"terminate 101", "terminate 102"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := runningStage(t, withVictims(4, test.order))
			test.set(s)
			s.scale("a", 2)
			s.wantActions(test.want...)
		})
	}
}

func (s *stage) ready(ids ...int) {
	for _, id := range ids {
		vm := s.facts[id]
		vm.Ready = true
		s.facts[id] = vm
	}
}

func TestScalingBelowTheProtectedIsRefused(t *testing.T) {
	s := runningStage(t, oneRole(3))
	s.protect(100, 102)
	s.wantRefusal(flow.RefusedState, "VMs 100 and 102 are protected (FLOWJET_PROTECT=YES)", flow.VerbScale, flow.ScaleArguments{Role: "a", Cardinality: 1, Force: true})
	s.scale("a", 2)
	s.wantActions("terminate 101")
}

// Who protects a VM that is about to be ended has it kept, and is told.
func TestScalingEndsAtProtectedVMs(t *testing.T) {
	s := runningStage(t, oneRole(3))
	s.scale("a", 1)
	s.wantActions("terminate 100", "terminate 101")
	if !s.actions[0].Scaling {
		t.Error("the worker cannot tell that the VM ends by a scaling")
	}
	s.protect(100)
	s.take(flow.Decide(s.in(), flow.Spared{Action: s.actions[0]}))
	s.wantActions("terminate 102")
	s.protect(102)
	s.take(flow.Decide(s.in(), flow.Spared{Action: s.actions[0]}))
	s.wantLog("I New state: SCALING", "E Role a : the scaling down to 1 ends at 2 nodes: VMs 100 and 102 are protected (FLOWJET_PROTECT=YES)")
	s.end(101)
	s.wantState(spec.ServiceCooldown)
	s.wantNodes("a", 2, 100, 102)
}

// A policy goes as far down as it can, and does not act where it cannot.
func TestPoliciesKeepProtectedVMs(t *testing.T) {
	for protected, want := range map[int][]string{1: {"terminate 101"}, 2: {"terminate 102"}, 3: {}} {
		s := runningStage(t, strings.Replace(oneRole(3), `"type"`, `"min_vms":0,"max_vms":5,"elasticity_policies":[
			{"type":"CARDINALITY","adjust":2,"expression":"CPU < 20"}],"type"`, 1))
		for id := range protected {
			s.protect(100 + id)
		}
		measures := policy.Measures{At: s.now, Until: s.now.Add(time.Minute), Roles: map[string]map[string]float64{"a": {"CPU": 1}}}
		s.take(flow.Decide(s.in(), flow.Measured{Measures: measures}))
		s.wantActions(want...)
	}
}

// What ends the role or the service ends protected VMs, too.
func TestProtectionIsAgainstScalingOnly(t *testing.T) {
	s := runningStage(t, masterSlave)
	s.protect(100, 101)
	s.command(flow.VerbRemoveRole, flow.RemoveRoleArguments{Role: "Slave"})
	s.wantActions("terminate 101")
	s.end(101)
	s.command(flow.VerbUndeploy, nil)
	s.wantActions("terminate 100")
}

func TestVictimsAreChecked(t *testing.T) {
	for text, want := range map[string]string{
		`"oldest"`: "", `"newest"`: "", `"not_ready"`: "",
		`"youngest"`: `roles[0].victims (role "a"): is "youngest"; it can be oldest, newest or not_ready`,
		`5`:          `roles[0].victims (role "a"): is 5; it must be a string`,
	} {
		_, err := template.Read([]byte(`{"name":"web","roles":[{"name":"a","type":"vm","template_id":0,"victims":`+text+`}]}`), stageStart)
		if got := errorText(err); got != want {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
