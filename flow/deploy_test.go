package flow_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
)

func TestDeployNoneStartsAllRolesAtOnce(t *testing.T) {
	s := newStage(t, `{"name":"web","deployment":"none","roles":[
		{"name":"a","type":"vm","cardinality":2,"template_id":0},
		{"name":"b","type":"vm","cardinality":1,"template_id":5,"parents":["a"]}]}`)
	s.plan()
	s.wantState(spec.ServiceDeploying)
	s.wantActions("create a/0", "create a/1", "create b/0")
	s.wantRole("a", spec.RoleDeploying)
	s.wantRole("b", spec.RoleDeploying)
	s.wantLog("I New state: DEPLOYING_NETS", "I New state: DEPLOYING")

	s.create()
	s.wantState(spec.ServiceDeploying)
	s.wantActions()
	s.wantNodes("a", 2, 100, 101)
	s.run(102)
	s.wantRole("b", spec.RoleRunning)
	s.run(100)
	s.wantRole("a", spec.RoleDeploying)
	s.run(101)
	s.wantState(spec.ServiceRunning)
	s.wantLog("I New state: RUNNING")
}

func TestMissingDeploymentMeansNone(t *testing.T) {
	s := newStage(t, strings.Replace(masterSlave, `"deployment":"straight",`, "", 1))
	s.plan()
	s.wantActions("create Master/0", "create Slave/0")
}

func TestDeployStraightWaitsForEveryParent(t *testing.T) {
	s := newStage(t, `{"name":"web","deployment":"straight","roles":[
		{"name":"child","type":"vm","cardinality":1,"template_id":0,"parents":["left","right"]},
		{"name":"left","type":"vm","cardinality":1,"template_id":0,"parents":["top"]},
		{"name":"right","type":"vm","cardinality":1,"template_id":0,"parents":["top"]},
		{"name":"top","type":"vm","cardinality":1,"template_id":0}]}`)
	s.plan()
	s.wantActions("create top/0")
	s.wantRole("child", spec.RolePending)
	s.create()
	s.wantActions()
	s.run(100)
	s.wantActions("create left/0", "create right/0")
	s.create()
	s.run(101)
	s.wantActions()
	s.wantRole("child", spec.RolePending)
	s.run(102)
	s.wantActions("create child/0")
	s.create()
	s.run(103)
	s.wantState(spec.ServiceRunning)
}

func TestRoleWithoutVMsIsRunningAtOnce(t *testing.T) {
	s := newStage(t, strings.Replace(masterSlave, `"cardinality":1`, `"cardinality":0`, 1))
	s.plan()
	s.wantRole("Master", spec.RoleRunning)
	s.wantActions("create Slave/0")
	s.wantNodes("Master", 0)

	empty := newStage(t, `{"name":"web","roles":[]}`)
	empty.plan()
	empty.wantState(spec.ServiceRunning)
}

func TestReadyGateWaitsForREADY(t *testing.T) {
	s := newStage(t, `{"name":"web","ready_status_gate":true,"roles":[{"name":"a","type":"vm","cardinality":1,"template_id":0}]}`)
	s.plan()
	s.create()
	s.run(100)
	s.wantState(spec.ServiceDeploying)
	vm := s.facts[100]
	vm.Ready = true
	s.facts[100] = vm
	s.plan()
	s.wantState(spec.ServiceRunning)
}

func TestReadyWithoutRunningIsNotEnough(t *testing.T) {
	s := newStage(t, `{"name":"web","ready_status_gate":true,"roles":[{"name":"a","type":"vm","cardinality":1,"template_id":0}]}`)
	s.plan()
	s.create()
	vm := s.facts[100]
	vm.Ready = true
	s.facts[100] = vm
	s.plan()
	s.wantState(spec.ServiceDeploying)
}

// A VM that somebody stopped on purpose does not keep its service waiting.
func TestStoppedVMHasArrived(t *testing.T) {
	for _, state := range []one.VMState{one.VMStopped, one.VMSuspended, one.VMPoweroff, one.VMUndeployed} {
		t.Run(state.String(), func(t *testing.T) {
			s := newStage(t, oneRole(1))
			s.plan()
			s.create()
			s.set(state, one.LCMInit, 100)
			s.plan()
			s.wantRole("a", map[bool]spec.RoleState{true: spec.RoleWarning, false: spec.RoleRunning}[state == one.VMPoweroff])
		})
	}
}

// A VM of which nothing is known keeps its role waiting.
func TestMissingFactsKeepARoleWaiting(t *testing.T) {
	s := newStage(t, oneRole(1))
	s.plan()
	s.create()
	known := s.facts
	s.facts = flow.Facts{}
	s.plan()
	s.wantState(spec.ServiceDeploying)
	s.facts = known
	s.run(100)
	s.wantState(spec.ServiceRunning)
}

// Two decisions from one state have nothing in common that either could change.
func TestDecisionsFromOneStateAreApart(t *testing.T) {
	s := runningStage(t, oneRole(2))
	s.state.Service.Body.Log = append(make([]spec.LogEntry, 0, 40), s.state.Service.Body.Log...)
	start := s.state
	s.scale("a", 1)
	first, text := s.state, asJSON(t, s.state)
	s.state = start
	s.command(flow.VerbUndeploy, nil)
	if after := asJSON(t, first); after != text {
		t.Fatalf("the second decision changed the first from\n%s\nto\n%s", text, after)
	}
}

func TestIntentSaysWhatToCreate(t *testing.T) {
	s := newStage(t, masterSlave)
	s.settings.VMNameTemplate = "$SERVICE_NAME-$SERVICE_ID-$ROLE_NAME-$VM_NUMBER"
	s.plan()
	intent := s.state.Intents[0]
	if intent.Name != "web-27-Master-0" || intent.TemplateID != 0 || intent.Role != "Master" || intent.Attempts != 0 {
		t.Fatalf("intent %+v", intent)
	}
	if !strings.HasPrefix(intent.Key, "27-Master-0-") {
		t.Fatalf("key %q does not name its service, role and ordinal", intent.Key)
	}
	if s.actions[0].Intent != intent {
		t.Fatalf("action %+v is not for the stored intent %+v", s.actions[0], intent)
	}
}

// Whatever names a service and its roles may have, oned takes those of their VMs, networks and routers; VMs of two
// roles, and two networks, whose names begin alike have names of their own.
func TestLongNamesLeaveRoomForWhatOnedHasInThem(t *testing.T) {
	long := strings.Repeat("r", spec.MaxName-1)
	for _, template := range []string{"$ROLE_NAME_$VM_NUMBER_(service_$SERVICE_ID)", "$SERVICE_NAME-$SERVICE_ID-$ROLE_NAME-$VM_NUMBER", "$SERVICE_NAME $SERVICE_NAME$ROLE_NAME $VM_NUMBER"} {
		s := newStage(t, fmt.Sprintf(`{"name":"%s","networks_values":[{"%[2]sa":{"template_id":"0"}},{"%[2]sb":{"template_id":"0"}}],"roles":[
			{"name":"short","type":"vm","cardinality":1,"template_id":0},
			{"name":"%[2]sa","type":"vm","cardinality":2,"template_id":0},{"name":"%[2]sb","type":"vm","cardinality":2,"template_id":0}]}`,
			strings.Repeat("é", spec.MaxName/2), long))
		s.settings.VMNameTemplate = template
		s.plan()
		names := map[string]bool{}
		for _, network := range s.state.Networks {
			names[network.Called] = true
			if !strings.HasSuffix(network.Called, "-27") {
				t.Errorf("%q does not name its service", network.Called)
			}
		}
		s.see(long+"a", 1, one.NetworkReady)
		s.see(long+"b", 2, one.NetworkReady)
		for _, intent := range s.state.Intents {
			names[intent.Name] = true
		}
		if len(names) != 7 {
			t.Errorf("%s: there are %d names for two networks and five VMs: %q", template, len(names), slices.Collect(maps.Keys(names)))
		}
		for name := range names {
			if len(name) > spec.MaxName || !utf8.ValidString(name) {
				t.Errorf("%s: oned refuses %q with its %d bytes", template, name, len(name))
			}
		}
	}
}

func TestOrdinalsNamesAndKeysAreNeverReused(t *testing.T) {
	s := runningStage(t, oneRole(2))
	seen := map[string]bool{}
	note := func() {
		for _, intent := range s.state.Intents {
			if seen[intent.Key] || seen[intent.Name] {
				t.Fatalf("%+v was used before", intent)
			}
			seen[intent.Key], seen[intent.Name] = true, true
		}
	}
	s.end(101)
	for round := range 3 {
		s.scale("a", 3)
		note()
		s.bringUp()
		s.recover()
		s.scale("a", 1)
		for _, action := range s.actions {
			s.end(action.VM)
		}
		s.recover()
		if got, want := *s.role("a").LastVMName, 4+2*round; got != want {
			t.Fatalf("last_vmname %d after round %d, want %d", got, round, want)
		}
	}
	if !seen["a_2_(service_27)"] || seen["a_0_(service_27)"] || seen["a_1_(service_27)"] {
		t.Fatalf("names %v: want them to go on from the second", seen)
	}
}

// The attributes and their first values are as OneFlow writes them.
func TestDocumentWhileDeploying(t *testing.T) {
	s := newStage(t, `{"name":"web","deployment":"straight","roles":[
		{"name":"Master","type":"vm","cardinality":1,"template_id":0,"cooldown":3},
		{"name":"Slave","type":"vm","cardinality":1,"template_id":7,"parents":["Master"],"on_hold":false,"template_contents":{"A":"b"}}],
		"description":"","registration_time":1795382598,"state":0,"start_time":1795382599}`)
	s.plan()
	wantSameJSON(t, asJSON(t, s.role("Master")), `{"name":"Master","type":"vm","cardinality":1,"template_id":0,"cooldown":3,
		"state":1,"nodes":[],"on_hold":false,"template_contents":{},"last_vmname":1}`)
	wantSameJSON(t, asJSON(t, s.role("Slave")), `{"name":"Slave","type":"vm","cardinality":1,"template_id":7,"parents":["Master"],
		"cooldown":300,"state":0,"nodes":[],"on_hold":false,"template_contents":{"A":"b"}}`)
	s.create()
	s.run(100)
	wantSameJSON(t, asJSON(t, s.state.Service.Body), `{"name":"web","deployment":"straight","roles":[
		{"name":"Master","type":"vm","cardinality":1,"template_id":0,"cooldown":3,"state":2,"nodes":[{"deploy_id":100,"vm_info":{"VM":{
			"ID":"100","UID":"2","GID":"1","UNAME":"alice","GNAME":"users","NAME":"Master_0_(service_27)"}}}],
			"on_hold":false,"template_contents":{},"last_vmname":1},
		{"name":"Slave","type":"vm","cardinality":1,"template_id":7,"parents":["Master"],"cooldown":300,"state":1,"nodes":[],
			"on_hold":false,"template_contents":{"A":"b"},"last_vmname":1}],
		"description":"","registration_time":1795382598,"state":1,"start_time":1795382599,
		"log":[{"timestamp":1777888800,"severity":"I","message":"New state: DEPLOYING_NETS"},
			{"timestamp":1777888800,"severity":"I","message":"New state: DEPLOYING"}]}`)
}

func TestLogKeepsFiftyEntries(t *testing.T) {
	s := runningStage(t, oneRole(1))
	for range 40 {
		s.set(one.VMPoweroff, one.LCMInit, 100)
		s.plan()
		s.run(100)
	}
	log := s.state.Service.Body.Log
	if len(log) != 50 {
		t.Fatalf("%d entries, want 50", len(log))
	}
	s.wantLog("I New state: WARNING", "I New state: RUNNING")
}

// A role whose VMs are very many is deployed in portions: what is decided on
// and stored at once stays small.
func TestManyVMsAreDecidedOnInPortions(t *testing.T) {
	s := newStage(t, oneRole(1_000_000))
	s.plan()
	if count := len(s.state.Intents); count == 0 || count > 1000 || len(s.actions) != count {
		t.Fatalf("%d intents and %d actions at once", count, len(s.actions))
	}
	portion := len(s.state.Intents)
	s.create()
	if len(s.state.Intents) != portion || len(s.role("a").Nodes) != portion {
		t.Fatalf("%d intents and %d VMs after the first portion of %d", len(s.state.Intents), len(s.role("a").Nodes), portion)
	}

	s = newStage(t, oneRole(portion*2+1))
	s.bringUp()
	s.wantState(spec.ServiceRunning)
	if got := len(s.role("a").Nodes); got != portion*2+1 {
		t.Fatalf("RUNNING with %d of %d VMs", got, portion*2+1)
	}
}

func wantSameJSON(t *testing.T, got, want string) {
	t.Helper()
	var g, w any
	if err := json.Unmarshal([]byte(got), &g); err != nil {
		t.Fatalf("%v in %s", err, got)
	}
	if err := json.Unmarshal([]byte(want), &w); err != nil {
		t.Fatalf("%v in %s", err, want)
	}
	if gotText, wantText := asJSON(t, g), asJSON(t, w); gotText != wantText {
		t.Fatalf("document is\n%s\nwant\n%s", gotText, wantText)
	}
}
