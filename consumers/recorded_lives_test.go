package consumers_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/fixtures"
	"github.com/flowjet/flowjet/opennebula"
)

// life replays one recorded service against the engine. The VMs do what the
// recorded events say; where there are none, they boot and end at once.
type life struct {
	t        *testing.T
	id       int
	state    flow.State
	facts    flow.Facts
	now      time.Time
	settings flow.Settings
	events   []opennebula.HookEvent
	// ids are the recorded VMs' by name.
	ids map[string][]int
	// networks and routers are the recorded ones, by name and role.
	networks map[string]int
	routers  map[string]spec.Role
	ended    bool
	// terminated are the VMs that were asked to end.
	terminated map[int]bool
	// byHand counts the VMs whose end was recorded without being asked for.
	byHand int
}

// TestRecordedLives: each service that was recorded goes through the same
// states, with the same document at each, when the same things happen to it.
func TestRecordedLives(t *testing.T) {
	calls := fixtures.Lines[recordedCall](t, "rest.jsonl")
	events := vmEvents(t)
	checked := 0
	for _, id := range []int{23, 25, 27, 29, 31, 33, 37, 39, 41} {
		t.Run(strconv.Itoa(id), func(t *testing.T) {
			l := newLife(t, id, calls, events)
			for i, call := range calls {
				if call.Path != fmt.Sprintf("/service/%d", id) && !strings.HasPrefix(call.Path, fmt.Sprintf("/service/%d/", id)) {
					continue
				}
				if call.Method == http.MethodGet {
					checked++
					l.reach(i, call)
					continue
				}
				l.command(i, call)
			}
			if want := map[int]int{27: 1}[id]; l.byHand != want {
				t.Errorf("%d VMs were ended that the engine did not ask to end, want the operator's %d", l.byHand, want)
			}
		})
	}
	if checked < 40 {
		t.Errorf("only %d recorded documents were compared", checked)
	}
}

// newLife begins with the service as it was instantiated: the first recorded
// document, without what a worker writes into it.
func newLife(t *testing.T, id int, calls []recordedCall, events []opennebula.HookEvent) *life {
	t.Helper()
	l := &life{
		t: t, id: id, facts: flow.Facts{}, now: time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC), settings: flow.DefaultSettings(),
		ids: map[string][]int{}, networks: map[string]int{}, routers: map[string]spec.Role{}, terminated: map[int]bool{},
	}
	documents := l.learn(calls)
	body := documents[0].body
	pending := spec.ServicePending
	body.State, body.Log = &pending, nil
	for i := range body.Roles {
		role := &body.Roles[i]
		rolePending := spec.RolePending
		role.State, role.Nodes, role.LastVMName, role.VRouterID, role.VRouterIPs = &rolePending, nil, nil, nil, nil
	}
	l.state.Service = spec.Service{ID: id, Owner: documents[0].owner, Body: body}
	mine := map[int]bool{}
	for _, event := range events {
		begins := event.State == "PENDING" || event.State == "HOLD" // else only its end was recorded
		mine[event.ID] = mine[event.ID] || event.VM != nil && event.VM.Service == id && begins
		if mine[event.ID] {
			l.events = append(l.events, event)
		}
	}
	l.pursue(l.plan())
	return l
}

// learn takes from the recorded documents which VM, network and router it was.
func (l *life) learn(calls []recordedCall) []document {
	var documents []document
	for _, call := range calls {
		if call.Method != http.MethodGet || call.Path != fmt.Sprintf("/service/%d", l.id) || call.Status != 200 {
			continue
		}
		read := recordedDocument(l.t, call)
		documents = append(documents, read)
		for _, role := range read.body.Roles {
			if role.VRouterID != nil {
				l.routers[role.Name] = role
			}
			for _, node := range role.Nodes {
				name := node.VMInfo.VM.Name
				if !slices.Contains(l.ids[name], node.DeployID) {
					l.ids[name] = append(l.ids[name], node.DeployID)
				}
			}
		}
		var values []map[string]struct {
			ID *int `json:"id"`
		}
		_ = json.Unmarshal(read.body.NetworksValues, &values)
		for _, value := range values {
			for name, network := range value {
				if network.ID != nil {
					l.networks[name] = *network.ID
				}
			}
		}
	}
	return documents
}

func (l *life) in() flow.Input {
	return flow.Input{State: l.state, Facts: l.facts, Now: l.now, Settings: l.settings}
}

func (l *life) plan() flow.Decision { return flow.Decide(l.in(), nil) }

// pursue makes a decision's calls, as oned answered them.
func (l *life) pursue(decision flow.Decision) {
	for range 100 {
		l.state = decision.State
		if len(decision.Actions) == 0 || l.ended {
			return
		}
		var refused *flow.Decision
		for _, action := range decision.Actions {
			if refused = l.act(action); refused != nil {
				break
			}
		}
		if decision = l.plan(); refused != nil {
			decision = *refused
		}
	}
	l.t.Fatalf("100 rounds of calls and no rest in %s", l.state.Service.State())
}

func (l *life) act(action flow.Action) *flow.Decision {
	switch action.Kind {
	case flow.ActionCreateVM:
		if action.Intent.TemplateID == 777 {
			decision := flow.Decide(l.in(), flow.Refused{Action: action, Message: "[one.template.instantiate] Error getting virtual machine template [777]."})
			return &decision
		}
		l.create(action.Intent)
	case flow.ActionVM:
		l.terminated[action.VM] = l.terminated[action.VM] || strings.HasPrefix(action.Call, "terminate")
	case flow.ActionCreateNetwork:
		l.state = flow.IngestNetwork(l.state, action.Network.Name, l.networks[action.Network.Name], one.NetworkReady)
	case flow.ActionDeleteNetwork:
		l.state = flow.IngestNetwork(l.state, action.Network.Name, action.Network.ID, one.NetworkDone)
	case flow.ActionCreateRouter:
		recorded := l.routers[action.Role]
		var addresses []one.FloatingIP
		must(l.t, json.Unmarshal(recorded.VRouterIPs, &addresses))
		l.state = flow.IngestRouter(l.state, action.Role, *recorded.VRouterID, addresses)
	case flow.ActionDeleteRouter:
		for _, vm := range l.state.Service.RoleNodes(action.Role) {
			l.terminated[vm] = true
		}
		l.state = flow.RouterGone(l.state, action.Role)
	case flow.ActionDeleteDocument:
		l.ended = true
	default:
		l.t.Fatalf("the recorded OneFlow never did %s", action.Kind)
	}
	return nil
}

// create makes the VM that was recorded under the name.
func (l *life) create(intent flow.Intent) {
	recorded := l.ids[intent.Name]
	if len(recorded) == 0 {
		l.t.Fatalf("VM %s was never made by the recorded OneFlow", intent.Name)
	}
	id := recorded[0]
	l.ids[intent.Name] = recorded[1:]
	state := one.VMPending
	if intent.Hold {
		state = one.VMHold
	}
	l.facts[id] = one.VM{
		ID: id, Name: intent.Name, Owner: l.state.Service.Owner, State: state, Service: l.id, Role: intent.Role, Key: intent.Key,
	}
}

// reach lets happen what was recorded until the service is as it was read, and
// compares the documents.
func (l *life) reach(line int, call recordedCall) {
	l.t.Helper()
	if call.Status == 404 {
		for !l.ended && (l.happen() || l.endByHand()) {
			continue
		}
		if !l.ended {
			l.t.Fatalf("line %d: the service should be gone and is %s", line+1, l.state.Service.State())
		}
		return
	}
	want := recordedDocument(l.t, call)
	if want.body.State != nil && *want.body.State == spec.ServiceDeployingNets {
		l.passed(line, want.body)
		return
	}
	for shapeOf(l.state.Service.Body) != shapeOf(want.body) {
		if l.ended || !l.happen() {
			l.t.Fatalf("line %d: nothing more happens in\n%s, recorded is\n%s", line+1, shapeOf(l.state.Service.Body), shapeOf(want.body))
		}
	}
	if got, want := comparable(l.t, l.state.Service.Body), comparable(l.t, want.body); got != want {
		l.t.Errorf("line %d: the document is\n%s\nrecorded is\n%s", line+1, got, want)
	}
}

// endByHand ends the VMs of a service that nobody undeployed, as the operator
// did when it was recorded.
func (l *life) endByHand() bool {
	if l.state.Service.State() != spec.ServiceRunning {
		return false
	}
	for id := range l.facts {
		l.terminated[id] = true
	}
	stirred := l.stir()
	l.pursue(l.plan())
	return stirred
}

// passed holds that the service went through the state in which it was read, as
// its log tells: the engine does not rest there.
func (l *life) passed(line int, want spec.Body) {
	l.t.Helper()
	log := l.state.Service.Body.Log
	for i, entry := range want.Log {
		if i >= len(log) || log[i].Message != entry.Message {
			l.t.Errorf("line %d: the log is %+v, recorded is %+v", line+1, log, want.Log)
		}
	}
}

// shapeOf is the states, and how many VMs there are of how many.
func shapeOf(body spec.Body) string {
	text := spec.Service{Body: body}.State().String()
	for _, role := range body.Roles {
		text += fmt.Sprintf(" %s:%s:%d/%d", role.Name, *role.State, len(role.Nodes), role.Cardinality)
	}
	return text
}

// happen is the next thing that happens: a recorded event, else what VMs do that
// were not recorded, else a deadline.
func (l *life) happen() bool {
	if state := l.state.Service.State(); len(l.events) > 0 && state != spec.ServiceCooldown {
		if _, made := l.facts[l.events[0].ID]; made {
			event := l.events[0]
			l.events = l.events[1:]
			l.hear(event)
			return true
		}
	}
	if l.stir() {
		l.pursue(l.plan())
		return true
	}
	due, set := l.state.Deadlines[flow.DeadlineCooldown]
	if set {
		l.now = due
		l.pursue(l.plan())
	}
	return set
}

// hear takes over a recorded event.
func (l *life) hear(event opennebula.HookEvent) {
	known := l.facts[event.ID]
	if event.VM != nil {
		vm := *event.VM
		vm.Key = known.Key
		vm.Ready = vm.Ready || known.Ready
		l.facts[event.ID] = vm
		if vm.Gone() && !l.terminated[event.ID] {
			l.byHand++
		}
	} else if event.Ready != nil {
		known.Ready = *event.Ready
		l.facts[event.ID] = known
	}
	l.pursue(l.plan())
}

// stir takes one VM on that has no more recorded events: up, or to its end.
func (l *life) stir() bool {
	for _, network := range l.state.Networks {
		if network.ID >= 0 && network.State == one.NetworkInit {
			l.state = flow.IngestNetwork(l.state, network.Name, network.ID, one.NetworkReady)
			return true
		}
	}
	for _, id := range slices.Sorted(maps.Keys(l.facts)) {
		vm := l.facts[id]
		switch {
		case vm.Gone():
			continue
		case vm.Running() && !vm.Ready && l.state.Service.Body.ReadyStatusGate != nil && *l.state.Service.Body.ReadyStatusGate:
			vm.Ready = true
		case slices.ContainsFunc(l.events, func(e opennebula.HookEvent) bool { return e.ID == id }):
			continue
		case l.terminated[id]:
			vm.State, vm.LCMState = one.VMDone, one.LCMInit
		case vm.State == one.VMPending || vm.State == one.VMActive && !vm.Running() && !vm.Ending():
			vm.State, vm.LCMState = one.VMActive, one.LCMRunning
		default:
			continue
		}
		l.facts[id] = vm
		return true
	}
	return false
}

// command gives a recorded command, and holds whether it was accepted.
func (l *life) command(line int, call recordedCall) {
	l.t.Helper()
	verb, arguments, is := commandOf(l.t, call)
	if !is {
		return
	}
	text, err := json.Marshal(arguments)
	must(l.t, err)
	command := flow.Command{ID: "c", Verb: verb, Service: l.id, User: l.state.Service.Owner, Arguments: text}
	decision, err := flow.Apply(l.in(), command)
	accepted := err == nil
	if state := l.state.Service.State(); state == spec.ServiceWarning && call.Status == 500 {
		return // accepted on purpose where OneFlow refuses
	}
	if recorded := call.Status < 300; accepted != recorded {
		l.t.Fatalf("line %d (%s): accepted is %v (%v), recorded is status %d", line+1, call.Name, accepted, err, call.Status)
	}
	if accepted {
		l.pursue(decision)
	}
}
