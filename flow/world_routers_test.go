package flow_test

import (
	"maps"
	"slices"

	"pgregory.net/rapid"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
)

// carryOutRouter makes a role's router, or finds it where an earlier call may
// have made it.
func (p *player) carryOutRouter(wanted flow.Router) (*flow.Decision, bool) {
	if wanted.Attempts > 0 && p.findRouter(wanted) {
		return nil, true
	}
	switch {
	case p.chance(6, "refuse a router"):
		decision := p.checked("refuse router", func() flow.Decision {
			return flow.Decide(p.in(), refusal(flow.Action{Kind: flow.ActionCreateRouter, Role: wanted.Role}, "no addresses"))
		})
		return &decision, true
	case p.chance(6, "lose the router's answer"):
		if rapid.Bool().Draw(p.T, "router applied") {
			p.createRouter(wanted)
		}
		p.state = flow.DoubtRouter(p.state, wanted.Role)
		return nil, false
	}
	p.state = flow.IngestRouter(p.state, wanted.Role, p.createRouter(wanted), nil)
	return nil, true
}

func (w *world) createRouter(wanted flow.Router) int {
	id := 20_000 + w.next
	w.next++
	w.routers[id] = wanted
	return id
}

func (p *player) findRouter(wanted flow.Router) bool {
	for id, router := range p.routers {
		if router.Key == wanted.Key {
			p.state = flow.IngestRouter(p.state, wanted.Role, id, nil)
			return true
		}
	}
	return false
}

func (p *player) carryOutFindRouter(wanted flow.Router) {
	if !p.findRouter(wanted) {
		p.state = flow.RouterGone(p.state, wanted.Role)
	}
}

// carryOutDeleteRouter ends a role's router, and with it the role's VMs.
func (p *player) carryOutDeleteRouter(role string) *flow.Decision {
	id, _ := p.state.Service.Router(role)
	if _, there := p.routers[id]; there && p.chance(6, "refuse a router's end") {
		decision := p.checked("refuse router's end", func() flow.Decision {
			return flow.Decide(p.in(), refusal(flow.Action{Kind: flow.ActionDeleteRouter, Role: role}, "locked"))
		})
		return &decision
	}
	delete(p.routers, id)
	for _, vm := range p.live() {
		if p.vms[vm].Role == role && !p.vms[vm].Ending() {
			p.become(vm, one.VMActive, one.LCMEpilog)
		}
	}
	p.state = flow.RouterGone(p.state, role)
	return nil
}

// checkRouters: at rest every router is a role's, or will be looked for when
// the service is recovered; none outlives its service.
func (p *player) checkRouters() {
	for _, id := range slices.Sorted(maps.Keys(p.routers)) {
		held, has := p.state.Service.Router(p.routers[id].Role)
		sought := slices.ContainsFunc(p.state.Routers, func(r flow.Router) bool {
			return r.Key == p.routers[id].Key && r.Attempts > 0
		})
		if p.ended || (!has || held != id) && !sought {
			p.Fatalf("router %d of role %s is left in %s", id, p.routers[id].Role, p.state.Service.State())
		}
	}
}
