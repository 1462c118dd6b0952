package bridge

import (
	"context"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
)

// kind is a kind of object that is compared, and how oned is asked about it.
type kind struct {
	object string
	index  index
	// list hands over what is not DONE, a page after the other, as events.
	list func(ctx context.Context, hand func([]pipeline.Event) error) error
	one  func(ctx context.Context, id int) (pipeline.Event, error)
	// gone is the event of an object that no longer exists; last may be empty.
	gone func(id int, last pipeline.Event) pipeline.Event
}

func (r *resyncer) kinds() []kind {
	return []kind{
		{object: objectVM, list: r.listVMs, one: r.fetchVM, gone: goneVM},
		{object: objectNet, list: r.listNetworks, one: r.fetchNetwork, gone: goneNetwork},
	}
}

// listVMs lists the VMs that are not DONE, and those that came and went since
// the last comparison: nobody may have heard of them at all.
func (r *resyncer) listVMs(ctx context.Context, hand func([]pipeline.Event) error) error {
	compared, err := r.store.LoadCursor(ctx, pipeline.ComparedKey)
	if err != nil {
		return err
	}
	newest, err := newestVM(ctx, r.cloud, opennebula.StateAny)
	if err != nil {
		return err
	}
	pass := func(vms []one.VM) error {
		events := make([]pipeline.Event, len(vms))
		for i, vm := range vms {
			events[i] = foundVM(vm, "")
		}
		return hand(events)
	}
	if err := pages(ctx, r.cloud, 0, opennebula.StateNotDone, r.config.PageSize, pass); err != nil {
		return err
	}
	next := uint64(newest + 1) //nolint:gosec // -1 or an id
	if compared > 0 && compared < next {
		if err := pages(ctx, r.cloud, int(compared), int(one.VMDone), r.config.PageSize, pass); err != nil { //nolint:gosec // an id
			return err
		}
	}
	if next = max(next, 1); next == compared { // 0 is for a zone that was never compared, an empty one was
		return nil
	}
	return r.store.SaveCursor(ctx, pipeline.ComparedKey, next)
}

func (r *resyncer) fetchVM(ctx context.Context, id int) (pipeline.Event, error) {
	vm, err := r.cloud.VM(ctx, id)
	return foundVM(vm, ""), err
}

func foundVM(vm one.VM, host string) pipeline.Event {
	return pipeline.Event{Object: objectVM, ID: vm.ID, State: vm.State.String(), LCMState: vm.LCMState.String(), VM: &vm, Host: host}
}

// goneVM is DONE, and otherwise what it was: its service learns of it.
func goneVM(id int, last pipeline.Event) pipeline.Event {
	vm := one.VM{ID: id, Service: -1}
	if last.VM != nil {
		vm = *last.VM
	}
	vm.State, vm.LCMState = one.VMDone, 0
	return foundVM(vm, last.Host)
}

// listNetworks lists all networks at once: a zone has many fewer than VMs.
func (r *resyncer) listNetworks(ctx context.Context, hand func([]pipeline.Event) error) error {
	networks, err := r.cloud.Networks(ctx, opennebula.FilterAll)
	if err != nil {
		return err
	}
	var events []pipeline.Event
	for _, network := range networks {
		events = append(events, foundNetwork(network.ID, network.State))
	}
	return hand(events)
}

func (r *resyncer) fetchNetwork(ctx context.Context, id int) (pipeline.Event, error) {
	network, err := r.cloud.Network(ctx, id)
	return foundNetwork(id, network.State), err
}

func foundNetwork(id int, state one.NetworkState) pipeline.Event {
	return pipeline.Event{Object: objectNet, ID: id, State: state.String()}
}

func goneNetwork(id int, _ pipeline.Event) pipeline.Event { return foundNetwork(id, one.NetworkDone) }
