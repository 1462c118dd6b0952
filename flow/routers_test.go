package flow_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/render"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/fixtures"
)

const routerService = `{"name":"vr","deployment":"straight","roles":[
	{"name":"vr","type":"vr","cardinality":2,"template_id":3,"template_contents":{"NIC":[{"NETWORK_ID":"0","FLOATING_IP":"yes"}]}},
	{"name":"app","type":"vm","cardinality":1,"template_id":0,"parents":["vr"]}]}`

// endRouters has every router that is to end gone.
func (s *stage) endRouters() {
	for _, router := range s.state.Routers {
		if !router.Asked.IsZero() {
			s.state = flow.RouterGone(s.state, router.Role)
			s.plan()
		}
	}
}

// routed is a stage whose router exists and whose VMs are to be made.
func routed(t *testing.T) *stage {
	t.Helper()
	s := newStage(t, routerService)
	s.plan()
	s.wantActions("create_router vr")
	s.state = flow.IngestRouter(s.state, "vr", 0, []one.FloatingIP{{NetworkID: 0, Address: "10.0.0.40"}})
	s.plan()
	s.wantActions("create vr/0", "create vr/1")
	return s
}

func TestNoRouterForNoVMs(t *testing.T) {
	s := newStage(t, strings.Replace(routerService, `"cardinality":2`, `"cardinality":0`, 1))
	s.plan()
	s.wantRole("vr", spec.RoleRunning)
	s.wantActions("create app/0")
}

func TestRouterComesBeforeItsVMs(t *testing.T) {
	s := routed(t)
	s.create()
	s.run(100, 101)
	s.wantRole("vr", spec.RoleRunning)
	s.wantActions("create app/0")
	role := s.role("vr")
	if *role.VRouterID != 0 || string(role.VRouterIPs) != `[{"NETWORK_ID":0,"VROUTER_IP":"10.0.0.40"}]` || role.Cooldown != nil {
		t.Errorf("the role is %s", asJSON(t, role))
	}
	s.create()
	s.run(102)
	s.wantState(spec.ServiceRunning)
	s.wantRefusal(flow.RefusedState, "virtual router", flow.VerbScale, flow.ScaleArguments{Role: "vr", Cardinality: 1})

	s.command(flow.VerbUndeploy, nil)
	s.wantActions("terminate 102")
	s.end(102)
	s.wantActions("delete_router vr")
	s.state = flow.RouterGone(s.state, "vr")
	s.set(one.VMActive, one.LCMEpilog, 100)
	s.set(one.VMActive, one.LCMEpilogFailure, 101)
	s.plan()
	s.wantState(spec.ServiceUndeploying)
	s.wantActions("terminate 101")
	s.end(100, 101)
	s.wantActions("delete document")
}

func TestRefusedRouterIsRecovered(t *testing.T) {
	s := newStage(t, routerService)
	s.plan()
	s.take(flow.Decide(s.in(), refusal(flow.Action{Kind: flow.ActionCreateRouter, Role: "vr"}, "no address")))
	s.wantState(spec.ServiceFailedDeploying)
	s.recover()
	s.wantActions("create_router vr")
	s.state = flow.DoubtRouter(s.state, "vr")
	s.recoverDelete()
	s.wantActions("find_router vr")
	s.state = flow.RouterGone(s.state, "vr")
	s.plan()
	s.wantActions("delete document")
}

func TestRouterThatCannotEnd(t *testing.T) {
	s := routed(t)
	s.create()
	s.recoverDelete()
	s.wantActions("delete_router vr")
	s.take(flow.Decide(s.in(), refusal(flow.Action{Kind: flow.ActionDeleteRouter, Role: "vr"}, "locked")))
	s.wantState(spec.ServiceFailedUndeploying)
	s.recover()
	s.wantActions("delete_router vr")
}

// TestARouterThatIsNotTheServices: the role ends as if it had none, and says so once, also where a worker takes over meanwhile.
func TestARouterThatIsNotTheServices(t *testing.T) {
	s := routed(t)
	s.create()
	s.run(100, 101)
	s.create()
	s.run(102)
	s.command(flow.VerbUndeploy, nil)
	s.end(102)
	s.wantActions("delete_router vr")
	strange, before := s.actions[0], s.state
	s.take(flow.Decide(s.in(), flow.Foreign{Action: strange, Message: "router 0 is somebody's"}))
	changes := flow.NodeChanges(before, s.state)
	if len(changes) != 1 || changes[0].New != "left" || *changes[0].ID != 0 || changes[0].Reason != "router 0 is somebody's" {
		t.Errorf("%+v is published", changes)
	}
	if log := s.messages(); !strings.Contains(log, "W router 0 is somebody's") {
		t.Errorf("the log is %s", log)
	}
	s.wantActions("terminate 100", "terminate 101") // they are not the router's
	left := s.state
	s.state = flow.DoubtRequests(s.state)
	s.take(flow.Decide(s.in(), flow.Foreign{Action: strange, Message: "again"}))
	if again := flow.NodeChanges(left, s.state); len(again) != 0 || len(s.state.Service.Body.Log) != len(left.Service.Body.Log) {
		t.Errorf("an answer that comes again: %+v, %s", again, s.messages())
	}
	s.end(100, 101)
	s.wantActions("delete document")
}

// TestARemovedRolesRouterThatIsNotTheServices: a role of the same name has one of its own.
func TestARemovedRolesRouterThatIsNotTheServices(t *testing.T) {
	s := newStage(t, `{"name":"vr","roles":[{"name":"vr","type":"vr","cardinality":1,"template_id":3,"vrouter_id":7,"state":2,"nodes":[]},
		{"name":"app","type":"vm","cardinality":0,"template_id":0,"state":2}],"state":2}`)
	s.plan()
	s.command(flow.VerbRemoveRole, flow.RemoveRoleArguments{Role: "vr"})
	s.wantActions("delete_router vr")
	before := s.state
	s.take(flow.Decide(s.in(), flow.Foreign{Action: s.actions[0], Message: "router 7 is somebody's"}))
	if changes := flow.NodeChanges(before, s.state); len(changes) != 1 || changes[0].New != "left" || len(s.state.Service.Body.Roles) != 1 {
		t.Errorf("%+v is published; the roles are %s", changes, asJSON(t, s.state.Service.Body.Roles))
	}
	s.command(flow.VerbAddRole, flow.AddRoleArguments{Role: json.RawMessage(`{"name":"vr","type":"vr","cardinality":1,"template_id":3}`)})
	s.wantActions("create_router vr")
	if router := s.actions[0].Router; router.Left != "" || router.Key == "" {
		t.Errorf("the new router is planned as %+v", router)
	}
}

func TestRouterOnHold(t *testing.T) {
	s := newStage(t, `{"name":"vr","on_hold":true,"roles":[{"name":"vr","type":"vr","cardinality":1,"template_id":3}]}`)
	s.plan()
	s.wantState(spec.ServiceHold)
	s.wantActions("create_router vr")
	s.state = flow.IngestRouter(s.state, "vr", 4, nil)
	s.plan()
	s.createHeld()
	s.command(flow.VerbRelease, nil)
	s.wantActions("release 100")
}

func TestRouterTemplateAsRecorded(t *testing.T) {
	base := one.Template{{Name: "CPU", Value: "0.01"}, {Name: "MEMORY", Value: "16"}, {Name: "VROUTER", Value: "YES"}}
	seen := false
	for _, call := range fixtures.Lines[call](t, "xmlrpc.jsonl") {
		if call.Method != "one.vrouter.allocate" {
			continue
		}
		seen = true
		s := newStage(t, routerService)
		s.state.Service.ID = 41
		s.plan()
		got, err := render.ExtraTemplate(s.state.Service, render.Instance{Role: "vr", Key: "k", Ordinal: render.NoOrdinal}, base, nil)
		if want := call.texts(t)[1]; err != nil || strings.TrimSuffix(got, "FLOWJET_KEY = \"k\"\n") != want {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
	}
	if !seen {
		t.Error("no router in the recording")
	}
}
