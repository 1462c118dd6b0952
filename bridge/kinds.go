package bridge

import (
	"context"
	"errors"
	"time"

	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/internal/idle"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
)

// kind is a kind of object that is compared, and how oned is asked about it.
type kind struct {
	object string
	index  index
	// list passes the objects that are not DONE to hand, a page after the other, as events.
	list func(ctx context.Context, hand func([]pipeline.Event) error) error
	one  func(ctx context.Context, id int) (pipeline.Event, error)
	// gone is the event of an object that no longer exists; last may be empty.
	gone func(id int, last pipeline.Event) pipeline.Event
}

// listVMs lists the VMs that are not DONE, and those that came and went unnoticed since the last comparison.
func (r *resyncer) listVMs(ctx context.Context, hand func([]pipeline.Event) error) error {
	compared, err := r.store.LoadCursor(ctx, pipeline.ComparedKey)
	if err != nil {
		return err
	}
	newest, err := opennebula.NewestVM(ctx, r.cloud)
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
	if err := pages(ctx, r.cloud, 0, newest, opennebula.StateNotDone, pageSize, pass); err != nil {
		return err
	}
	next := uint64(newest + 1) //nolint:gosec // -1 or an id
	if compared > 0 && compared < next {
		if err := pages(ctx, r.cloud, int(compared), newest, int(one.VMDone), pageSize, pass); err != nil { //nolint:gosec // an id
			return err
		}
	}
	if next = max(next, 1); next == compared { // 0 is never compared; a compared empty zone has 1
		return nil
	}
	return r.store.SaveCursor(ctx, pipeline.ComparedKey, next)
}

func (r *resyncer) vms() kind {
	return kind{
		object: objectVM,
		list:   r.listVMs,
		one: func(ctx context.Context, id int) (pipeline.Event, error) {
			vm, err := r.cloud.VM(ctx, id)
			return foundVM(vm, ""), err
		},
		// It is DONE, otherwise unchanged: its service is woken.
		gone: func(id int, last pipeline.Event) pipeline.Event {
			vm := one.VM{ID: id, Service: -1}
			if last.VM != nil {
				vm = *last.VM
			}
			vm.State, vm.LCMState = one.VMDone, 0
			return foundVM(vm, last.Host)
		},
	}
}

func foundVM(vm one.VM, host string) pipeline.Event {
	return pipeline.Event{Object: objectVM, ID: vm.ID, State: vm.State.String(), LCMState: vm.LCMState.String(), VM: &vm, Host: host}
}

func (r *resyncer) networks() kind {
	return kind{
		object: objectNet,
		// All at once: a zone has many fewer networks than VMs.
		list: func(ctx context.Context, hand func([]pipeline.Event) error) error {
			networks, err := r.cloud.Networks(ctx, opennebula.FilterAll)
			if err != nil {
				return err
			}
			var events []pipeline.Event
			for _, network := range networks {
				events = append(events, foundNetwork(network.ID, network.State))
			}
			return hand(events)
		},
		one: func(ctx context.Context, id int) (pipeline.Event, error) {
			network, err := r.cloud.Network(ctx, id)
			return foundNetwork(id, network.State), err
		},
		gone: func(id int, _ pipeline.Event) pipeline.Event { return foundNetwork(id, one.NetworkDone) },
	}
}

func foundNetwork(id int, state one.NetworkState) pipeline.Event {
	return pipeline.Event{Object: objectNet, ID: id, State: state.String()}
}

// lastID is the largest id that oned can give.
const lastID = 1<<31 - 1

// pageSize is how many VMs are asked for at a time.
const pageSize = 1000

// longestThrottle bounds the pause after a call, which is as long as the call, to take half of oned's time.
const longestThrottle = 2 * time.Second

// pages lists all VMs in a state with ids from start on, in ranges of ids that hold about size VMs
// each, and passes one range after the other to hand. The last range includes VMs newer than last.
func pages(ctx context.Context, oned cloud, start, last, state, size int, hand func([]one.VM) error) error {
	for width := size; start <= last; {
		end, asked := min(start+width-1, last), time.Now()
		bound := end
		if end == last {
			bound = -1 // and all VMs created since
		}
		vms, err := oned.VMs(ctx, opennebula.FilterAll, start, bound, state)
		switch {
		case errors.Is(err, opennebula.ErrTooLarge) && width > 1:
			width /= 2
			continue
		case err != nil:
			return err
		}
		took := time.Since(asked)
		if err := hand(vms); err != nil {
			return err
		}
		start = end + 1
		switch held := len(vms); {
		case held > size:
			width = max(width/2, 1)
		case held <= size/2:
			width = min(2*width, lastID/2)
		}
		if start <= last {
			if err := idle.For(ctx, min(took, longestThrottle)); err != nil {
				return err
			}
		}
	}
	return nil
}
