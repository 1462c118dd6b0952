package opennebula

import (
	"context"
	"fmt"
	"slices"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
)

const (
	// rangeGap is how many foreign VMs between two that are wanted make one call for both
	// dearer than two calls.
	rangeGap = 16
	// maxLookedAt bounds how many VMs of a service are looked at for an explanation.
	maxLookedAt = 1000
)

// Look returns the state with the networks, and the facts with the VMs, that decide what
// the service waits for, as the zone's leader shows them now.
func (s *Session) Look(ctx context.Context, state flow.State) (flow.State, flow.Facts, error) {
	leader := s.Confirmed()
	facts := flow.Facts{}
	wanted := state.Doubtful()
	for _, span := range Spans(wanted[:min(len(wanted), maxLookedAt)]) {
		vms, err := leader.VMsAt(ctx, span, StateNotDone)
		if err != nil {
			return state, nil, fmt.Errorf("read the VMs of service %d: %w", state.Service.ID, err)
		}
		for _, id := range span {
			facts[id] = one.VM{ID: id, State: one.VMDone, Service: state.Service.ID}
		}
		for _, vm := range vms {
			if _, wanted := slices.BinarySearch(span, vm.ID); wanted {
				facts[vm.ID] = vm
			}
		}
	}
	if !flow.WatchesNetworks(state) {
		return state, facts, nil
	}
	for _, network := range state.Networks {
		if network.ID < 0 {
			continue
		}
		found, err := leader.Network(ctx, network.ID)
		if IsCode(err, CodeNoExists) {
			found, err = Network{State: one.NetworkDone}, nil
		}
		if err != nil {
			return state, nil, fmt.Errorf("read network %d of service %d: %w", network.ID, state.Service.ID, err)
		}
		state = flow.SeeNetwork(state, network.Name, network.ID, found.State)
	}
	return state, facts, nil
}

// Spans cuts ascending VM ids where the gap between two is so wide that a call for each side
// is cheaper than one for both.
func Spans(ids []int) [][]int {
	var out [][]int
	for _, id := range ids {
		last := len(out) - 1
		if last >= 0 && id-out[last][len(out[last])-1] <= rangeGap {
			out[last] = append(out[last], id)
			continue
		}
		out = append(out, []int{id})
	}
	return out
}
