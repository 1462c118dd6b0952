package consumers

import (
	"context"
	"fmt"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/idle"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/work"
)

// createNetwork makes a network, once: oned gives a name to one network of a
// user only, so where it refuses, or an earlier answer was lost, the network may
// be there already.
func (n *networks) createNetwork(ctx context.Context, action flow.Action) (flow.Outcome, error) {
	network := action.Network
	// The document may have been written past the API.
	if err := spec.CheckAddresses(network.Extra); err != nil {
		return refusal(action, err), nil //nolint:nilerr // the refusal is what is decided on
	}
	id, err := n.makeNetwork(ctx, network)
	if err == nil {
		return nil, n.adoptNetwork(ctx, network.Name, id)
	}
	if opennebula.Temporary(err) {
		return nil, fmt.Errorf("create network %s of service %d: %w", network.Called, n.service, err)
	}
	id, found, lookErr := n.findNetwork(ctx, network)
	if lookErr != nil {
		return nil, lookErr
	}
	if found {
		return nil, n.adoptNetwork(ctx, network.Name, id)
	}
	return refusal(action, err), nil
}

func (n *networks) makeNetwork(ctx context.Context, network flow.Network) (int, error) {
	if network.Source == spec.FromReservation {
		return n.actor.session().ReserveNetwork(ctx, network.From, network.Extra)
	}
	return n.actor.session().InstantiateNetwork(ctx, network.From, network.Called, network.Extra)
}

// findNetwork looks for a network of the service among its owner's: one of its
// name that was made from the same. Another of that name is somebody else's.
func (n *networks) findNetwork(ctx context.Context, network flow.Network) (int, bool, error) {
	owner := n.record.State.Service.Owner.UID
	networks, err := n.actor.server().Confirmed().Networks(ctx, owner)
	if err != nil {
		return 0, false, fmt.Errorf("look for the network %s of service %d: %w", network.Called, n.service, err)
	}
	for _, found := range networks {
		from := found.Template
		if network.Source == spec.FromReservation {
			from = found.Parent
		}
		if found.Name == network.Called && found.Owner.UID == owner && from == network.From {
			return found.ID, true, nil
		}
	}
	return 0, false, nil
}

// findOrGiveUpNetwork settles a network that is no longer wanted.
func (n *networks) findOrGiveUpNetwork(ctx context.Context, action flow.Action) (flow.Outcome, error) {
	network := action.Network
	id, found, err := n.findNetwork(ctx, network)
	if err != nil {
		return nil, err
	}
	if found {
		return nil, n.adoptNetwork(ctx, network.Name, id)
	}
	return flow.NotFound{Action: action}, nil
}

// deleteNetwork asks for a network's end. A refusal counts only if the network,
// looked at again, is not ending anyway.
func (n *networks) deleteNetwork(ctx context.Context, action flow.Action) (flow.Outcome, error) {
	network := action.Network
	if refused, err := n.strangersNetwork(ctx, action); refused != nil || err != nil {
		return refused, err
	}
	refused := n.actor.session().DeleteNetwork(ctx, network.ID)
	if refused != nil && opennebula.Temporary(refused) {
		return nil, fmt.Errorf("delete network %d of service %d: %w", network.ID, n.service, refused)
	}
	state, err := n.fetchNetwork(ctx, network.Name, network.ID)
	if err != nil || refused == nil || state == one.NetworkDone || state == one.NetworkLockDelete {
		return nil, err
	}
	return refusal(action, refused), nil
}

// strangersNetwork refuses to delete a network that the service has not made: its id stands
// in a document that others may write.
func (n *networks) strangersNetwork(ctx context.Context, action flow.Action) (flow.Outcome, error) {
	network := action.Network
	found, err := n.actor.server().Confirmed().Network(ctx, network.ID)
	switch {
	case opennebula.IsCode(err, opennebula.CodeNoExists):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("check the owner of network %d of service %d: %w", network.ID, n.service, err)
	case found.Owner.UID == n.record.State.Service.Owner.UID && found.Name == network.Called:
		return nil, nil
	}
	reason := fmt.Sprintf("network %d (%s of %s) does not belong to the service and is left unchanged: remove it from networks_values", network.ID, found.Name, found.Owner.UName)
	return flow.Refused{Action: action, Message: reason}, nil
}

// adoptNetwork notes that a network is the service's, for the events about it,
// then looks at it, and commits what it found: an event that comes before the
// note is seen by the look.
func (n *networks) adoptNetwork(ctx context.Context, name string, id int) error {
	if err := n.worker.pipe.PutOwner(ctx, work.OwnedNetwork, id, n.service); err != nil {
		return err
	}
	if _, err := n.fetchNetwork(ctx, name, id); err != nil {
		return err
	}
	return n.saver.storeOrUndo(ctx, "network", id, n.actor.session().DeleteNetwork)
}

// fetchNetwork asks oned for one network and takes over what it says. A
// network that oned does not have is gone. That it is gone or failed, only the zone's
// leader is believed.
func (n *networks) fetchNetwork(ctx context.Context, name string, id int) (one.NetworkState, error) {
	network, err := n.actor.server().Network(ctx, id)
	if err == nil && (network.State == one.NetworkDone || network.State.Failed()) {
		network, err = n.actor.server().Confirmed().Network(ctx, id)
	}
	if opennebula.IsCode(err, opennebula.CodeNoExists) {
		network, err = opennebula.Network{ID: id, State: one.NetworkDone}, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read network %d of service %d: %w", id, n.service, err)
	}
	n.record.State = flow.SeeNetwork(n.record.State, name, id, network.State)
	if network.State == one.NetworkDone {
		return network.State, n.worker.pipe.ForgetOwner(ctx, work.OwnedNetwork, id)
	}
	return network.State, nil
}

// ingestNetwork takes over what has become of a network of the service. Where oned
// answers otherwise it may not have written yet what the event tells: see opennebula.WriteTime. That a
// network is being made is no news of one that is known.
func (n *networks) ingestNetwork(ctx context.Context, input pipeline.Input) error {
	for _, network := range n.record.State.Networks {
		if network.ID != input.Work.Event.ID {
			continue
		}
		told := input.Work.Event.State
		for wait := idle.NewBackoff(); ; n.slot.backOff(ctx, wait) {
			state, err := n.fetchNetwork(ctx, network.Name, network.ID)
			if err != nil || state == one.NetworkDone || state.String() == told || told == one.NetworkLockCreate.String() ||
				time.Since(published(input, n.came)) > opennebula.WriteTime || ctx.Err() != nil {
				return err
			}
		}
	}
	return nil
}

// refreshNetworks looks at the service's own networks while it waits for them.
func (n *networks) refreshNetworks(ctx context.Context) error {
	if !flow.WatchesNetworks(n.record.State) {
		return nil
	}
	for _, network := range n.record.State.Networks {
		if network.ID < 0 {
			continue
		}
		if _, err := n.fetchNetwork(ctx, network.Name, network.ID); err != nil {
			return err
		}
	}
	return nil
}
