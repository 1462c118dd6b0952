package flow_test

import (
	"maps"
	"slices"

	"pgregory.net/rapid"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
)

// drawNetworks is what a service asks for: nothing, or up to two networks of its own.
func drawNetworks(t *rapid.T) []any {
	networks := []any{map[string]any{"Old": map[string]any{"id": "0"}}}
	for _, name := range []string{"N", "R"}[:rapid.IntRange(0, 2).Draw(t, "networks")] {
		source := map[string]any{"template_id": "3"}
		if name == "R" {
			source = map[string]any{"reserve_from": 0, "extra": "SIZE=5"}
		}
		networks = append(networks, map[string]any{name: source})
	}
	return networks
}

// advanceNetwork takes a network a step on.
func (w *world) advanceNetwork(id int, well bool) {
	network := w.networks[id]
	switch {
	case network.State == one.NetworkLockDelete:
		delete(w.networks, id)
		return
	case network.State != one.NetworkLockCreate:
	case well:
		network.State = one.NetworkReady
	default:
		network.State = one.NetworkError
	}
	w.networks[id] = network
}

// carryOutNetwork makes a network, or finds that it is there.
func (p *player) carryOutNetwork(wanted flow.Network) (*flow.Decision, bool) {
	id, there := p.networkCalled(wanted.Called)
	switch {
	case there:
	case p.chance(6, "refuse a network"):
		decision := p.checked("refuse network", func() flow.Decision {
			return flow.Decide(p.in(), refusal(flow.Action{Kind: flow.ActionCreateNetwork, Network: flow.Network{Name: wanted.Name}}, "no addresses"))
		})
		return &decision, true
	case p.chance(6, "lose the network's answer"):
		if rapid.Bool().Draw(p.T, "network applied") {
			p.createNetwork(wanted)
		}
		return nil, false
	default:
		id = p.createNetwork(wanted)
	}
	p.state = flow.IngestNetwork(p.state, wanted.Name, id, p.networks[id].State)
	return nil, true
}

func (w *world) createNetwork(wanted flow.Network) int {
	id := 10_000 + w.next
	w.next++
	wanted.ID, wanted.State = id, one.NetworkLockCreate
	w.networks[id] = wanted
	return id
}

func (w *world) networkCalled(name string) (int, bool) {
	for id, network := range w.networks {
		if network.Called == name {
			return id, true
		}
	}
	return 0, false
}

func (p *player) carryOutFindNetwork(wanted flow.Network) *flow.Decision {
	if id, there := p.networkCalled(wanted.Called); there {
		p.state = flow.IngestNetwork(p.state, wanted.Name, id, p.networks[id].State)
		return nil
	}
	decision := p.checked("give up network", func() flow.Decision {
		return flow.Decide(p.in(), flow.NotFound{Action: flow.Action{Kind: flow.ActionFindNetwork, Network: flow.Network{Name: wanted.Name}}})
	})
	return &decision
}

func (p *player) carryOutDeleteNetwork(network flow.Network) *flow.Decision {
	held, there := p.networks[network.ID]
	if there && p.chance(6, "refuse a network's end") {
		p.seeNetwork(network)
		decision := p.checked("refuse network's end", func() flow.Decision {
			return flow.Decide(p.in(), refusal(flow.Action{Kind: flow.ActionDeleteNetwork, Network: flow.Network{Name: network.Name}}, "in use"))
		})
		return &decision
	}
	if there {
		held.State = one.NetworkLockDelete
		p.networks[network.ID] = held
	}
	p.seeNetwork(network)
	return nil
}

func (p *player) seeNetwork(network flow.Network) {
	state := one.NetworkDone
	if held, there := p.networks[network.ID]; there {
		state = held.State
	}
	p.state = flow.IngestNetwork(p.state, network.Name, network.ID, state)
}

// refreshNetworks looks at the networks as a worker does.
func (p *player) refreshNetworks() {
	if !flow.WatchesNetworks(p.state) {
		return
	}
	for _, network := range p.state.Networks {
		if network.ID >= 0 {
			p.seeNetwork(network)
		}
	}
}

// checkNetworks: at rest every network is the service's; none outlives it, nor
// a failure to make them all.
func (p *player) checkNetworks() {
	state := p.state.Service.State()
	for _, id := range slices.Sorted(maps.Keys(p.networks)) {
		known := slices.ContainsFunc(p.state.Networks, func(n flow.Network) bool {
			looked := state == spec.ServiceFailedUndeployingNets && n.Attempted && n.Called == p.networks[id].Called
			return n.ID == id || looked // what may have been made is looked for when the service goes on
		})
		if p.ended || !known || state == spec.ServiceFailedDeployingNets {
			p.Fatalf("network %s (%d) is left in %s", p.networks[id].Called, id, state)
		}
	}
}
