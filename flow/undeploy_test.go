package flow_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
)

func TestUndeployStraightEndsChildrenFirst(t *testing.T) {
	s := runningStage(t, masterSlave)
	s.command(flow.VerbUndeploy, nil)
	s.wantState(spec.ServiceUndeploying)
	s.wantActions("terminate 101")
	s.wantRole("Slave", spec.RoleUndeploying)
	s.wantRole("Master", spec.RoleRunning)
	s.set(one.VMActive, one.LCMEpilog, 101)
	s.plan()
	s.wantActions()
	s.end(101)
	s.wantActions("terminate 100")
	s.wantRole("Slave", spec.RoleDone)
	s.wantNodes("Slave", 1)
	s.end(100)
	s.wantState(spec.ServiceDone)
	s.wantActions("delete document")
	s.wantLog("I New state: UNDEPLOYING", "I New state: DONE")
}

func TestUndeployNoneEndsAllAtOnce(t *testing.T) {
	s := runningStage(t, strings.Replace(masterSlave, "straight", "none", 1))
	s.command(flow.VerbUndeploy, nil)
	s.wantActions("terminate 101", "terminate 100")
}

func TestUndeployWithoutVMs(t *testing.T) {
	s := runningStage(t, `{"name":"web","deployment":"straight","roles":[]}`)
	s.command(flow.VerbUndeploy, nil)
	s.wantState(spec.ServiceDone)
}

func TestShutdownActionIsTheRolesTheServicesOrTheSettings(t *testing.T) {
	for _, c := range []struct{ settings, service, role, want string }{
		{"terminate", "", "", "terminate"},
		{"", "", "", "terminate"},
		{"terminate-hard", "", "", "terminate-hard"},
		{"terminate-hard", "terminate", "", "terminate"},
		{"terminate", "terminate-hard", "", "terminate-hard"},
		{"terminate-hard", "terminate-hard", "terminate", "terminate"},
		{"terminate", "terminate", "terminate-hard", "terminate-hard"},
		{"terminate", "shutdown-hard", "", "terminate-hard"},
		{"terminate-hard", "", "shutdown", "terminate"},
	} {
		t.Run(fmt.Sprintf("%q %q %q", c.settings, c.service, c.role), func(t *testing.T) {
			s := newStage(t, fmt.Sprintf(`{"name":"web","shutdown_action":%q,"roles":[
				{"name":"a","type":"vm","cardinality":2,"template_id":0,"shutdown_action":%q}]}`, c.service, c.role))
			s.settings.ShutdownAction = c.settings
			s.bringUp()
			s.scale("a", 1)
			s.wantActions(c.want + " 100")
			s.recoverDelete()
			s.wantActions(c.want+" 100", c.want+" 101")
		})
	}
}

func TestUndeployRefusals(t *testing.T) {
	refused := map[spec.ServiceState]bool{
		spec.ServiceDeployingNets: true, spec.ServiceDeploying: true, spec.ServiceScaling: true, spec.ServiceCooldown: true,
	}
	for state, s := range stagesInEveryState(t) {
		t.Run(state.String(), func(t *testing.T) {
			s.t = t
			if refused[state] {
				s.wantRefusal(flow.RefusedState, state.String(), flow.VerbUndeploy, nil)
				return
			}
			s.command(flow.VerbUndeploy, nil)
		})
	}
}

func TestUndeployTwiceAsksTwiceForNothing(t *testing.T) {
	s := runningStage(t, oneRole(1))
	s.command(flow.VerbUndeploy, nil)
	s.wantActions("terminate 100")
	s.command(flow.VerbUndeploy, nil)
	s.wantState(spec.ServiceUndeploying)
	s.wantActions()
}

func TestVMThatDoesNotEndFailsTheUndeploy(t *testing.T) {
	s := runningStage(t, masterSlave)
	s.command(flow.VerbUndeploy, nil)
	s.set(one.VMActive, one.LCMEpilogFailure, 101)
	s.plan()
	s.wantState(spec.ServiceFailedUndeploying)
	s.wantRole("Slave", spec.RoleFailedUndeploying)
	s.wantLog("E Role Slave : VM 101 does not end: it is in EPILOG_FAILURE", "I New state: FAILED_UNDEPLOYING")
	s.recover()
	s.wantState(spec.ServiceUndeploying)
	s.wantActions("terminate 101")
	s.end(101)
	s.end(100)
	s.wantState(spec.ServiceDone)
}

// Parents that wait for each other were accepted by other servers; their
// services can be removed all the same.
func TestUndeployWithParentsInACircle(t *testing.T) {
	for name, parents := range map[string][2]string{
		"each other": {"b", "a"}, "itself": {"a", "a"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, fmt.Sprintf(`{"name":"web","deployment":"straight","state":2,"roles":[
				{"name":"a","type":"vm","cardinality":1,"template_id":0,"state":2,"parents":[%q],"nodes":[{"deploy_id":1,"vm_info":{}}]},
				{"name":"b","type":"vm","cardinality":1,"template_id":0,"state":2,"parents":[%q],"nodes":[{"deploy_id":2,"vm_info":{}}]}]}`,
				parents[0], parents[1]))
			s.set(one.VMActive, one.LCMRunning, 1, 2)
			s.command(flow.VerbUndeploy, nil)
			for range 3 {
				for _, action := range s.actions {
					if action.Kind == flow.ActionVM {
						s.set(one.VMDone, one.LCMInit, action.VM)
					}
				}
				s.plan()
			}
			s.wantState(spec.ServiceDone)
		})
	}
}
