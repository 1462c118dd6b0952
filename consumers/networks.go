package consumers

import (
	"context"
	"fmt"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/opennebula"
)

// ownedNetwork is what events and notes of owners call a virtual network.
const ownedNetwork = "net"

// createNetwork makes a network, once: oned gives a name to one network of a
// user only, so where it refuses, or an earlier answer was lost, the network may
// be there already.
func (l *lane) createNetwork(ctx context.Context, network flow.Network) (verdict, error) {
	// The document may have been written past the API.
	if err := flow.CheckAddresses(network.Extra); err != nil {
		return func() flow.Decision { //nolint:nilerr // the refusal is what is decided on
			return flow.RefuseNetwork(l.record.State, network.Name, err.Error(), l.facts, time.Now(), l.worker.config.Settings)
		}, nil
	}
	id, err := l.makeNetwork(ctx, network)
	if err == nil {
		return nil, l.sawNetwork(ctx, network.Name, id)
	}
	if opennebula.Temporary(err) {
		return nil, fmt.Errorf("make network %s of service %d: %w", network.Called, l.service, err)
	}
	id, found, lookErr := l.findNetwork(ctx, network)
	if lookErr != nil {
		return nil, lookErr
	}
	if found {
		return nil, l.sawNetwork(ctx, network.Name, id)
	}
	return func() flow.Decision {
		return flow.RefuseNetwork(l.record.State, network.Name, refusalText(err), l.facts, time.Now(), l.worker.config.Settings)
	}, nil
}

func (l *lane) makeNetwork(ctx context.Context, network flow.Network) (int, error) {
	if network.Source == flow.FromReservation {
		return l.session().ReserveNetwork(ctx, network.From, network.Extra)
	}
	return l.session().InstantiateNetwork(ctx, network.From, network.Called, network.Extra)
}

// findNetwork looks for a network of the service among its owner's: one of its
// name that was made from the same. Another of that name is somebody else's.
func (l *lane) findNetwork(ctx context.Context, network flow.Network) (int, bool, error) {
	owner := l.record.State.Service.Owner.UID
	networks, err := l.server().Confirmed().Networks(ctx, owner)
	if err != nil {
		return 0, false, fmt.Errorf("look for the network %s of service %d: %w", network.Called, l.service, err)
	}
	for _, found := range networks {
		from := found.Template
		if network.Source == flow.FromReservation {
			from = found.Parent
		}
		if found.Name == network.Called && found.Owner.UID == owner && from == network.From {
			return found.ID, true, nil
		}
	}
	return 0, false, nil
}

// findOrGiveUpNetwork settles a network that is no longer wanted.
func (l *lane) findOrGiveUpNetwork(ctx context.Context, network flow.Network) (verdict, error) {
	id, found, err := l.findNetwork(ctx, network)
	if err != nil {
		return nil, err
	}
	if found {
		return nil, l.sawNetwork(ctx, network.Name, id)
	}
	return func() flow.Decision {
		return flow.GiveUpNetwork(l.record.State, network.Name, l.facts, time.Now(), l.worker.config.Settings)
	}, nil
}

// deleteNetwork asks for a network's end. A refusal counts only if the network,
// looked at again, is not ending anyway.
func (l *lane) deleteNetwork(ctx context.Context, network flow.Network) (verdict, error) {
	if refused, err := l.strangersNetwork(ctx, network); refused != nil || err != nil {
		return refused, err
	}
	refused := l.session().DeleteNetwork(ctx, network.ID)
	if refused != nil && opennebula.Temporary(refused) {
		return nil, fmt.Errorf("delete network %d of service %d: %w", network.ID, l.service, refused)
	}
	state, err := l.observeNetwork(ctx, network.Name, network.ID)
	if err != nil || refused == nil || state == flow.NetworkDone || state == flow.NetworkLockDelete {
		return nil, err
	}
	return func() flow.Decision {
		return flow.RefuseNetworkEnd(l.record.State, network.Name, refusalText(refused), l.facts, time.Now(), l.worker.config.Settings)
	}, nil
}

// strangersNetwork refuses to delete a network that the service has not made: its id stands
// in a document that others may write.
func (l *lane) strangersNetwork(ctx context.Context, network flow.Network) (verdict, error) {
	found, err := l.server().Confirmed().Network(ctx, network.ID)
	switch {
	case opennebula.IsCode(err, opennebula.CodeNoExists):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("look whose network %d of service %d is: %w", network.ID, l.service, err)
	case found.Owner.UID == l.record.State.Service.Owner.UID && found.Name == network.Called:
		return nil, nil
	}
	reason := fmt.Sprintf("network %d (%s of %s) is not the service's own and is left alone: take it out of networks_values", network.ID, found.Name, found.Owner.UName)
	return func() flow.Decision {
		return flow.RefuseNetworkEnd(l.record.State, network.Name, reason, l.facts, time.Now(), l.worker.config.Settings)
	}, nil
}

// sawNetwork notes that a network is the service's, for the events about it,
// then looks at it, and commits what it found: an event that comes before the
// note is seen by the look.
func (l *lane) sawNetwork(ctx context.Context, name string, id int) error {
	if err := l.worker.pipe.PutOwner(ctx, ownedNetwork, id, l.service); err != nil {
		return err
	}
	if _, err := l.observeNetwork(ctx, name, id); err != nil {
		return err
	}
	return l.storeOrUndo(ctx, "network", id, l.session().DeleteNetwork)
}

// observeNetwork asks oned for one network and takes over what it says. A
// network that oned does not have is gone. That it is gone or failed, only the zone's
// leader is believed.
func (l *lane) observeNetwork(ctx context.Context, name string, id int) (flow.NetworkState, error) {
	network, err := l.server().Network(ctx, id)
	if err == nil && (network.State == flow.NetworkDone || network.State.Failed()) {
		network, err = l.server().Confirmed().Network(ctx, id)
	}
	if opennebula.IsCode(err, opennebula.CodeNoExists) {
		network, err = opennebula.Network{ID: id, State: flow.NetworkDone}, nil
	}
	if err != nil {
		return 0, fmt.Errorf("look at network %d of service %d: %w", id, l.service, err)
	}
	l.record.State = flow.SeeNetwork(l.record.State, name, id, network.State)
	if network.State == flow.NetworkDone {
		return network.State, l.worker.pipe.ForgetOwner(ctx, ownedNetwork, id)
	}
	return network.State, nil
}

// learnNetwork takes over what has become of a network of the service.
func (l *lane) learnNetwork(ctx context.Context, id int) error {
	for _, network := range l.record.State.Networks {
		if network.ID == id {
			_, err := l.observeNetwork(ctx, network.Name, id)
			return err
		}
	}
	return nil
}

// refreshNetworks looks at the service's own networks while it waits for them.
func (l *lane) refreshNetworks(ctx context.Context) error {
	if !flow.WatchesNetworks(l.record.State) {
		return nil
	}
	for _, network := range l.record.State.Networks {
		if network.ID < 0 {
			continue
		}
		if _, err := l.observeNetwork(ctx, network.Name, network.ID); err != nil {
			return err
		}
	}
	return nil
}
