package flow_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	jsonv2 "github.com/go-json-experiment/json"
	jsonv1 "github.com/go-json-experiment/json/v1"
	"pgregory.net/rapid"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
)

// stageStart is when every stage opens; the time moves only when a test says so.
var stageStart = time.Date(2026, 5, 4, 10, 0, 0, 0, time.UTC)

// stageOwner owns the services and VMs of every stage.
var stageOwner = one.Identity{UID: 2, GID: 1, UName: "alice", GName: "users"}

// masterSlave is the body that most stages play: a parent and its child.
const masterSlave = `{"name":"web","deployment":"straight","roles":[
	{"name":"Master","type":"vm","cardinality":1,"template_id":0,"min_vms":1,"max_vms":4,"cooldown":3},
	{"name":"Slave","type":"vm","cardinality":1,"template_id":7,"parents":["Master"],"cooldown":3}]}`

// oneRole is a body with a single role of so many VMs.
func oneRole(cardinality int) string {
	return fmt.Sprintf(`{"name":"web","roles":[{"name":"a","type":"vm","cardinality":%d,"template_id":0}]}`, cardinality)
}

// stage plays one service against VMs that do exactly what the test says. It
// shows what the last decision was.
type stage struct {
	t        rapid.TB
	state    flow.State
	facts    flow.Facts
	now      time.Time
	settings flow.Settings
	actions  []flow.Action
	changes  []flow.Change
	created  int
}

// newStage opens with service 27, PENDING, and nothing planned.
func newStage(t *testing.T, body string) *stage {
	t.Helper()
	parsed, err := spec.ParseBody([]byte(body))
	if err != nil {
		t.Fatalf("the test's body: %v", err)
	}
	service := spec.Service{ID: 27, Owner: stageOwner, Body: parsed}
	return &stage{
		t: t, state: flow.State{Service: service}, facts: flow.Facts{}, now: stageStart,
		settings: flow.DefaultSettings(), created: 100,
	}
}

// runningStage opens with the service RUNNING: VMs 100, 101, ... in role order.
func runningStage(t *testing.T, body string) *stage {
	t.Helper()
	s := newStage(t, body)
	s.bringUp()
	s.wantState(spec.ServiceRunning)
	return s
}

func (s *stage) in() flow.Input {
	return flow.Input{State: s.state, Facts: s.facts, Now: s.now, Settings: s.settings}
}

func refusal(action flow.Action, message string) flow.Outcome {
	return flow.Refused{Action: action, Message: message}
}

func (s *stage) take(decision flow.Decision) {
	s.t.Helper()
	s.checkStaged(decision.State)
	s.state, s.actions, s.changes = decision.State, decision.Actions, decision.Changes
}

func (s *stage) plan() {
	s.take(flow.Decide(s.in(), nil))
}

// planAfter lets time pass and plans.
func (s *stage) planAfter(wait time.Duration) {
	s.now = s.now.Add(wait)
	s.plan()
}

func (s *stage) tryCommand(verb flow.Verb, arguments any) error {
	s.t.Helper()
	text, err := json.Marshal(arguments)
	if err != nil {
		s.t.Fatal(err)
	}
	command := flow.Command{ID: "c1", Verb: verb, Service: 27, User: stageOwner, Arguments: text}
	decision, err := flow.Apply(s.in(), command)
	if err == nil {
		s.take(decision)
	}
	return err
}

func (s *stage) command(verb flow.Verb, arguments any) {
	s.t.Helper()
	if err := s.tryCommand(verb, arguments); err != nil {
		s.t.Fatalf("%s in %s: %v", verb, s.state.Service.State(), err)
	}
}

func (s *stage) scale(role string, cardinality int) {
	s.t.Helper()
	s.command(flow.VerbScale, flow.ScaleArguments{Role: role, Cardinality: cardinality})
}

func (s *stage) recover() {
	s.t.Helper()
	s.command(flow.VerbRecover, flow.RecoverArguments{})
}

func (s *stage) recoverDelete() {
	s.t.Helper()
	s.command(flow.VerbRecover, flow.RecoverArguments{Delete: true})
}

// vmOf is the VM that carrying out an intent gives, in BOOT.
func (s *stage) vmOf(intent flow.Intent) one.VM {
	vm := one.VM{
		ID: s.created, Name: intent.Name, Owner: stageOwner, State: one.VMActive, LCMState: one.LCMBoot,
		Service: 27, Role: intent.Role, Key: intent.Key,
	}
	s.created++
	return vm
}

// create carries out every creation of the last decision, then plans once.
func (s *stage) create() {
	for _, action := range s.actions {
		if action.Kind == flow.ActionCreateVM {
			vm := s.vmOf(action.Intent)
			s.facts[vm.ID] = vm
		}
	}
	s.plan()
}

// set moves VMs to a state of oned's and does not plan.
func (s *stage) set(state one.VMState, lcm one.LCMState, ids ...int) {
	for _, id := range ids {
		vm := s.facts[id]
		vm.ID, vm.State, vm.LCMState = id, state, lcm
		s.facts[id] = vm
	}
}

// run brings VMs to RUNNING and plans.
func (s *stage) run(ids ...int) {
	s.set(one.VMActive, one.LCMRunning, ids...)
	s.plan()
}

// end brings VMs to DONE and plans.
func (s *stage) end(ids ...int) {
	s.set(one.VMDone, one.LCMInit, ids...)
	s.plan()
}

// bringUp creates and boots whatever is asked for until nothing is.
func (s *stage) bringUp() {
	s.t.Helper()
	s.plan()
	for range 50 {
		if !slices.ContainsFunc(s.actions, func(a flow.Action) bool { return a.Kind == flow.ActionCreateVM }) {
			return
		}
		s.create()
		for id, vm := range s.facts {
			if vm.LCMState == one.LCMBoot {
				s.set(one.VMActive, one.LCMRunning, id)
			}
		}
		s.plan()
	}
	s.t.Fatalf("the service still creates VMs after 50 rounds, in %s", s.state.Service.State())
}

func (s *stage) role(name string) *spec.Role {
	s.t.Helper()
	for i := range s.state.Service.Body.Roles {
		if s.state.Service.Body.Roles[i].Name == name {
			return &s.state.Service.Body.Roles[i]
		}
	}
	s.t.Fatalf("the test asks for role %s, which the service has not", name)
	return nil
}

func (s *stage) wantState(want spec.ServiceState) {
	s.t.Helper()
	if got := s.state.Service.State(); got != want {
		s.t.Fatalf("service is %s, want %s; log: %s", got, want, s.messages())
	}
}

func (s *stage) wantRole(name string, want spec.RoleState) {
	s.t.Helper()
	role := s.role(name)
	if role.State == nil || *role.State != want {
		s.t.Fatalf("role %s is %v, want %s; log: %s", name, role.State, want, s.messages())
	}
}

func (s *stage) wantNodes(name string, cardinality int, ids ...int) {
	s.t.Helper()
	role := s.role(name)
	got := []int{}
	for _, node := range role.Nodes {
		got = append(got, node.DeployID)
	}
	if role.Cardinality != cardinality || !slices.Equal(got, ids) {
		s.t.Fatalf("role %s has cardinality %d and VMs %v, want %d and %v", name, role.Cardinality, got, cardinality, ids)
	}
}

// wantActions compares the last decision's actions as describeAction tells them.
func (s *stage) wantActions(want ...string) {
	s.t.Helper()
	got := []string{}
	for _, action := range s.actions {
		got = append(got, describeAction(action))
	}
	if !slices.Equal(got, want) {
		s.t.Fatalf("actions %q, want %q (in %s)", got, want, s.state.Service.State())
	}
}

// describeAction: "create Master/0", "find Master/0", "terminate 100",
// "recover 100", "create_network Priv", "delete document".
func describeAction(action flow.Action) string {
	switch action.Kind {
	case flow.ActionCreateVM:
		return fmt.Sprintf("create %s/%d", action.Intent.Role, action.Intent.Ordinal)
	case flow.ActionFindVM:
		return fmt.Sprintf("find %s/%d", action.Intent.Role, action.Intent.Ordinal)
	case flow.ActionCreateNetwork, flow.ActionFindNetwork, flow.ActionDeleteNetwork:
		return fmt.Sprintf("%s %s", action.Kind, action.Network.Name)
	case flow.ActionCreateRouter, flow.ActionFindRouter, flow.ActionDeleteRouter:
		return fmt.Sprintf("%s %s", action.Kind, action.Role)
	case flow.ActionDeleteDocument:
		return "delete document"
	}
	return fmt.Sprintf("%s %d", action.Call, action.VM)
}

func (s *stage) messages() string {
	lines := []string{}
	for _, entry := range s.state.Service.Body.Log {
		lines = append(lines, entry.Severity+" "+entry.Message)
	}
	return strings.Join(lines, "; ")
}

// wantLog compares the newest entries of the service's log.
func (s *stage) wantLog(want ...string) {
	s.t.Helper()
	log := s.state.Service.Body.Log
	got := []string{}
	for _, entry := range log[max(0, len(log)-len(want)):] {
		got = append(got, entry.Severity+" "+entry.Message)
	}
	if !slices.Equal(got, want) {
		s.t.Fatalf("log ends %q, want %q", got, want)
	}
}

// wantRefusal asserts that a command was refused, for a reason that names what
// it is about, and that nothing changed.
func (s *stage) wantRefusal(kind flow.RefusalKind, names string, verb flow.Verb, arguments any) {
	s.t.Helper()
	before := asJSON(s.t, s.state)
	err := s.tryCommand(verb, arguments)
	var refusal *flow.Refusal
	if !errors.As(err, &refusal) {
		s.t.Fatalf("%s in %s gave %v, want a refusal", verb, s.state.Service.State(), err)
	}
	if refusal.Kind != kind || !strings.Contains(refusal.Error(), names) {
		s.t.Fatalf("refused (%s) %q, want kind %s and %q named", refusal.Kind, refusal, kind, names)
	}
	if after := asJSON(s.t, s.state); after != before {
		s.t.Fatalf("a refused command changed the state from\n%s\nto\n%s", before, after)
	}
}

// fataler is what *testing.T and *rapid.T have in common.
type fataler interface {
	Helper()
	Fatalf(format string, arguments ...any)
}

func asJSON(t fataler, value any) string {
	t.Helper()
	text, err := jsonv2.Marshal(value, jsonv1.DefaultOptionsV1())
	if err != nil {
		t.Fatalf("marshal: %v", err)
	}
	return string(text)
}
