package flow_test

import (
	"encoding/json"
	"maps"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/policy"
	"github.com/flowjet/flowjet/flow/spec"
)

// player does with the engine's decisions what a worker does: it stores the
// state, makes the calls in order, and plans again with what they brought.
type player struct {
	fataler
	*world
	// T draws what happens.
	T        *rapid.T
	state    flow.State
	facts    flow.Facts
	now      time.Time
	settings flow.Settings
	// trouble reports whether calls may go wrong.
	trouble bool
	ended   bool
	keys    map[string]bool
	added   int
}

func newPlayer(t *rapid.T) *player {
	return playerOf(t, t, drawBody(t))
}

func newRichPlayer(t *rapid.T) *player { return playerOf(t, t, drawRich(t)) }

// playerOf plays a body; who only watches needs no draws.
func playerOf(t fataler, draw *rapid.T, text string) *player {
	body, err := spec.ParseBody([]byte(text))
	if err != nil {
		t.Fatalf("the drawn body: %v", err)
	}
	settings := flow.DefaultSettings()
	settings.VMDeadlines = flow.VMDeadlines{
		Ready: 5 * time.Minute, Prolog: time.Minute, Boot: 50 * time.Second, Shutdown: 40 * time.Second, Epilog: time.Minute,
		Other: time.Minute, Network: 2 * time.Minute, LeaderChange: 20 * time.Second,
	}
	settings.Deadlines = policy.Deadlines{Pending: 3 * time.Minute}
	return &player{
		fataler: t, T: draw, world: newWorld(), now: stageStart, settings: settings, facts: flow.Facts{}, keys: map[string]bool{}, trouble: true,
		state: flow.State{Service: spec.Service{ID: 27, Owner: stageOwner, Body: body}},
	}
}

// drawBody is one to three roles; a role's parents are among those before it.
func drawBody(t *rapid.T) string { return asJSON(t, drawService(t)) }

// drawRich is a body whose roles may also have limits, policies and healing.
func drawRich(t *rapid.T) string {
	service := drawService(t)
	for _, role := range service["roles"].([]map[string]any) {
		if rapid.Bool().Draw(t, "healed") {
			role["heal"] = map[string]any{"action": rapid.SampledFrom([]string{"recreate", "recover"}).Draw(t, "heal"), "after": "20s", "max": 2}
		}
		if rapid.IntRange(0, 3).Draw(t, "has deadlines") == 3 {
			role["deadlines"] = drawDeadlines(t)
		}
		if rapid.Bool().Draw(t, "has policies") {
			cardinality := role["cardinality"].(int)
			role["min_vms"], role["max_vms"] = rapid.IntRange(0, cardinality).Draw(t, "min"), rapid.IntRange(cardinality, 5).Draw(t, "max")
			role["elasticity_policies"] = []any{
				map[string]any{"type": "CHANGE", "adjust": 1, "expression": "CPU > 80", "period_number": 2, "cooldown": 3},
				map[string]any{"type": "PERCENTAGE_CHANGE", "adjust": -50, "expression": "CPU < 20"},
			}
			start := stageStart.Add(time.Duration(rapid.IntRange(-60, 600).Draw(t, "start")) * time.Second)
			role["scheduled_policies"] = []any{map[string]any{"type": "CARDINALITY", "adjust": 2, "start_time": start.Unix()}}
		}
	}
	service["deadlines"] = drawDeadlines(t)
	return asJSON(t, service)
}

// drawDeadlines are those of a service or role.
func drawDeadlines(t *rapid.T) map[string]any {
	deadlines := map[string]any{"then": rapid.SampledFrom([]string{"fail", "shrink", "undeploy"}).Draw(t, "then")}
	for _, name := range []string{"pending", "deploying", "scaling", "undeploying"} {
		if rapid.IntRange(0, 2).Draw(t, name) == 2 {
			deadlines[name] = rapid.SampledFrom([]int{0, 25, 70}).Draw(t, "seconds")
			switch name {
			case "undeploying": // one that is shorter than the VMs' leaves it to somebody to end them
				deadlines[name] = 600
			case "pending": // without one a VM that gets no host is waited for
				deadlines[name] = 70
			}
		}
	}
	return deadlines
}

func drawService(t *rapid.T) map[string]any {
	names := []string{"a", "b", "c"}[:rapid.IntRange(1, 3).Draw(t, "roles")]
	roles := []map[string]any{}
	for i, name := range names {
		role := map[string]any{"name": name, "type": "vm", "template_id": 0, "cardinality": rapid.IntRange(0, 3).Draw(t, "cardinality")}
		role["cooldown"] = rapid.SampledFrom([]int{0, 5, 45}).Draw(t, "cooldown")
		if order := rapid.SampledFrom([]string{"", "oldest", "newest", "not_ready"}).Draw(t, "victims"); order != "" {
			role["victims"] = order
		}
		role["on_hold"] = rapid.IntRange(0, 5).Draw(t, "role on hold") == 5
		if rapid.IntRange(0, 5).Draw(t, "router") == 5 {
			role["type"] = "vr"
		}
		if i > 0 {
			role["parents"] = rapid.SliceOfNDistinct(rapid.SampledFrom(names[:i]), 0, i, rapid.ID[string]).Draw(t, "parents")
		}
		roles = append(roles, role)
	}
	return map[string]any{
		"name": "web", "roles": roles, "deployment": rapid.SampledFrom([]string{"none", "straight"}).Draw(t, "deployment"),
		"ready_status_gate": rapid.Bool().Draw(t, "gate"), "automatic_deletion": rapid.Bool().Draw(t, "automatic deletion"),
		"networks_values": drawNetworks(t),
		"on_hold":         rapid.IntRange(0, 9).Draw(t, "on hold") == 9,
	}
}

// chance draws whether something happens that goes wrong in one of so many cases.
func (p *player) chance(of int, label string) bool {
	return p.trouble && rapid.IntRange(1, of).Draw(p.T, label) == of
}

func (p *player) in() flow.Input {
	return flow.Input{State: p.state, Facts: p.facts, Now: p.now, Settings: p.settings}
}

func (p *player) plan() flow.Decision { return flow.Decide(p.in(), nil) }

// turn plans and sees the decision through.
func (p *player) turn() {
	p.pursue(p.checked("plan", p.plan))
}

// checked makes a decision and holds it against the invariants.
func (p *player) checked(what string, decide func() flow.Decision) flow.Decision {
	if p.T == nil { // that nothing given is changed is held where histories are drawn
		before := p.state
		decision := decide()
		p.checkDecision(before, decision)
		return decision
	}
	before, beforeText, factsText := p.state, asJSON(p, p.state), asJSON(p, p.facts)
	decision := decide()
	if after := asJSON(p, before); after != beforeText {
		p.Fatalf("%s changed the state it was given from\n%s\nto\n%s", what, beforeText, after)
	}
	if after := asJSON(p, p.facts); after != factsText {
		p.Fatalf("%s changed the facts it was given from\n%s\nto\n%s", what, factsText, after)
	}
	p.checkDecision(before, decision)
	return decision
}

// pursue carries out decisions until nothing is left to do. Where a call is in
// doubt, everything is read anew, as after a crash.
func (p *player) pursue(decision flow.Decision) {
	for range 60 {
		p.state = decision.State
		if len(decision.Actions) == 0 {
			return
		}
		if p.chance(15, "crash before the calls") {
			p.crash()
			return
		}
		next, sure := p.act(decision.Actions)
		if p.ended {
			return
		}
		if !sure {
			p.crash()
			return
		}
		decision = next
	}
	p.Fatalf("60 rounds of calls and no rest in %s", p.state.Service.State())
}

// act makes the calls; a refusal ends the list. It is not sure where an answer
// was lost.
func (p *player) act(actions []flow.Action) (decision flow.Decision, sure bool) {
	for _, action := range actions {
		refused := p.carryOutPerhaps(action)
		if refused != nil {
			return *refused, true
		}
		switch action.Kind {
		case flow.ActionCreateVM:
			refused, sure = p.carryOutCreate(action.Intent)
		case flow.ActionFindVM:
			refused, sure = p.carryOutFind(action.Intent), true
		case flow.ActionCreateNetwork:
			refused, sure = p.carryOutNetwork(action.Network)
		case flow.ActionFindNetwork:
			refused, sure = p.carryOutFindNetwork(action.Network), true
		case flow.ActionDeleteNetwork:
			refused, sure = p.carryOutDeleteNetwork(action.Network), true
		case flow.ActionCreateRouter:
			refused, sure = p.carryOutRouter(action.Router)
		case flow.ActionFindRouter:
			p.carryOutFindRouter(action.Router)
			sure = true
		case flow.ActionDeleteRouter:
			refused, sure = p.carryOutDeleteRouter(action.Role), true
		case flow.ActionDeleteDocument:
			p.ended, sure = true, true
		default:
			refused, sure = p.carryOutRequest(action), true
		}
		if !sure {
			return flow.Decision{}, false
		}
		if refused != nil {
			return *refused, true
		}
		delete(p.state.Retries, action.Name())
	}
	if p.ended {
		return flow.Decision{}, true
	}
	return p.checked("plan", p.plan), true
}

// carryOutPerhaps has oned fail inside: it may have carried the action out, may do so
// later, or has not.
func (p *player) carryOutPerhaps(action flow.Action) *flow.Decision {
	if !p.chance(12, "fail inside") {
		return nil
	}
	if rapid.Bool().Draw(p.T, "carried out") {
		switch action.Kind {
		case flow.ActionCreateVM:
			if rapid.Bool().Draw(p.T, "later") {
				p.wire = append(p.wire, action.Intent)
			} else if action.Intent.Attempts == 0 {
				p.create(action.Intent)
			}
		case flow.ActionVM, flow.ActionRecoverVM:
			p.ask(action.VM, action.Call)
			p.facts[action.VM] = p.vms[action.VM]
		case flow.ActionCreateNetwork:
			if _, there := p.networkCalled(action.Network.Called); !there {
				p.createNetwork(action.Network)
			}
		}
	}
	decision := p.checked("postpone", func() flow.Decision {
		return flow.Decide(p.in(), flow.Postponed{Action: action, Message: "inside"})
	})
	return &decision
}

func (p *player) carryOutCreate(intent flow.Intent) (*flow.Decision, bool) {
	p.checkIntentStored(intent)
	if intent.Attempts > 0 && p.find(intent.Key) {
		return nil, true
	}
	switch {
	case p.chance(8, "refuse"):
		decision := p.checked("refuse intent", func() flow.Decision {
			return flow.Decide(p.in(), refusal(flow.Action{Kind: flow.ActionCreateVM, Intent: flow.Intent{Key: intent.Key}}, "no quota"))
		})
		return &decision, true
	case p.chance(6, "lose the answer"):
		switch rapid.IntRange(0, 2).Draw(p.T, "applied") {
		case 0:
			p.create(intent)
		case 1:
			p.wire = append(p.wire, intent)
		}
		return nil, false
	}
	id := p.create(intent)
	p.facts[id] = p.vms[id]
	return nil, true
}

// find looks for the VMs of a key in oned.
func (p *player) find(key string) bool {
	found := false
	for id, vm := range p.vms {
		if vm.Key == key {
			p.facts[id], found = vm, true
		}
	}
	return found
}

func (p *player) carryOutFind(intent flow.Intent) *flow.Decision {
	if p.find(intent.Key) {
		return nil
	}
	decision := p.checked("give up intent", func() flow.Decision {
		return flow.Decide(p.in(), flow.NotFound{Action: flow.Action{Kind: flow.ActionFindVM, Intent: flow.Intent{Key: intent.Key}}})
	})
	return &decision
}

func (p *player) carryOutRequest(action flow.Action) *flow.Decision {
	if action.Scaling && p.vms[action.VM].Protected {
		p.facts[action.VM] = p.vms[action.VM]
		decision := p.checked("spare", func() flow.Decision {
			return flow.Decide(p.in(), flow.Spared{Action: action})
		})
		return &decision
	}
	if !p.chance(20, "refuse a request") && p.ask(action.VM, action.Call) {
		return nil
	}
	p.facts[action.VM] = p.vms[action.VM]
	decision := p.checked("refuse VM", func() flow.Decision {
		return flow.Decide(p.in(), refusal(flow.Action{Kind: flow.ActionVM, VM: action.VM}, "not allowed"))
	})
	return &decision
}

// hear takes over what an event tells; what may be old news of the bad kind is
// asked about, and an end is final.
func (p *player) hear(vm one.VM) {
	before, known := p.facts[vm.ID]
	if known && before.Gone() {
		return
	}
	if vm.Troubled() || known && before.Running() && !vm.Running() && !vm.Ending() {
		vm = p.vms[vm.ID]
	}
	p.facts[vm.ID] = vm
}

// refresh asks oned for the VMs that matter.
func (p *player) refresh() {
	facts := flow.Facts{}
	for _, role := range p.state.Service.Body.Roles {
		for _, node := range role.Nodes {
			facts[node.DeployID] = p.vms[node.DeployID]
		}
	}
	for id := range p.state.Asked {
		facts[id] = p.vms[id]
	}
	p.facts = facts
	p.refreshNetworks()
	p.inspect()
}

// inspect looks closer at VMs that do not move.
func (p *player) inspect() {
	for _, wanted := range flow.Inspections(p.state, p.facts, p.now, p.settings) {
		vm := p.facts[wanted.VM]
		vm.Inspection = &one.Inspection{}
		p.facts[wanted.VM] = vm
	}
}

// crash loses everything that was not stored; another worker takes over.
func (p *player) crash() {
	p.state = afterCrash(p, p.state)
	p.refresh()
}

// pass lets time go by, and has due deadlines looked at with fresh facts.
func (p *player) pass(wait time.Duration) {
	p.now = p.now.Add(wait)
	for _, due := range p.state.Deadlines {
		if !due.After(p.now) {
			p.refresh()
			p.turn()
			return
		}
	}
}

// measure lets a pass of the autoscaler come to its end.
func (p *player) measure(cpu float64) {
	samples := map[int]policy.Sample{}
	for id, vm := range p.vms {
		if vm.Running() {
			samples[id] = policy.Sample{"CPU": cpu}
		}
	}
	measures := policy.Measure(p.state.Service, samples, p.now, p.now.Add(time.Minute))
	p.pursue(p.checked("evaluate", func() flow.Decision {
		return flow.Decide(p.in(), flow.Measured{Measures: measures})
	}))
}

// order gives a command. A refused one changes nothing.
func (p *player) order(verb flow.Verb, arguments any) bool {
	command := flow.Command{ID: "c", Verb: verb, Service: 27, User: stageOwner, Arguments: json.RawMessage(asJSON(p, arguments))}
	if verb == flow.VerbRecover {
		p.refresh()
	}
	var refusal error
	decision := p.checked(string(verb), func() flow.Decision {
		decision, err := flow.Apply(p.in(), command)
		if refusal = err; err != nil {
			return flow.Decide(p.in(), nil)
		}
		return decision
	})
	p.pursue(decision)
	return refusal == nil
}

// nextDeadline is the earliest; false where the service waits for nothing.
func (p *player) nextDeadline() (time.Time, bool) {
	due := slices.SortedFunc(maps.Values(p.state.Deadlines), time.Time.Compare)
	if len(due) == 0 {
		return time.Time{}, false
	}
	return due[0], true
}
