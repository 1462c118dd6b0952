package consumers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/render"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/idle"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
	"github.com/flowjet/flowjet/pipeline/work"
)

// networks makes, finds, fetches and deletes the service's own virtual networks.
type networks struct {
	*serviceData
	slot  *slot
	saver *saver
	owner *ownerSession
}

// create makes a network, once: a user has one network of a name, so if oned refuses, or an earlier answer was lost, it may already exist.
func (n *networks) create(ctx context.Context, action flow.Action) (flow.Outcome, error) {
	network := action.Network
	// The document may have been written past the API.
	if err := spec.CheckAddresses(network.Extra); err != nil {
		return refusal(action, err), nil //nolint:nilerr // the refusal is decided on
	}
	var id int
	var err error
	if network.Source == spec.FromReservation {
		if spec.JoinsNetwork(network.Extra) { // the service would delete the existing network in the end
			return refusal(action, errors.New("NETWORK_ID in its extra names an existing network; give that one's id as id")), nil
		}
		id, err = n.owner.session().ReserveNetwork(ctx, network.From, one.WithoutCommas(network.Extra))
	} else {
		id, err = n.owner.session().InstantiateNetwork(ctx, network.From, network.Called, one.WithoutCommas(network.Extra))
	}
	if err == nil {
		return nil, n.adopt(ctx, network.Name, id)
	}
	if opennebula.Temporary(err) {
		return nil, fmt.Errorf("create network %s of service %d: %w", network.Called, n.service, err)
	}
	if found, err := n.find(ctx, network); err != nil || found {
		return nil, err
	}
	return refusal(action, err), nil
}

// find adopts a network of the service, if its owner has one with its name and source.
func (n *networks) find(ctx context.Context, network flow.Network) (bool, error) {
	owner := n.record.State.Service.Owner.UID
	networks, err := n.worker.oned.Server().Confirmed().Networks(ctx, owner)
	if err != nil {
		return false, fmt.Errorf("look for the network %s of service %d: %w", network.Called, n.service, err)
	}
	for _, found := range networks {
		if found.Owner.UID == owner && network.IsMade(found.Name, found.Parent, found.Template) {
			return true, n.adopt(ctx, network.Name, found.ID)
		}
	}
	return false, nil
}

// delete asks for a network's end, unless the service has not made it: others may write its id into the document. A refusal counts only if
// the network, fetched again, is not ending anyway.
func (n *networks) delete(ctx context.Context, action flow.Action) (flow.Outcome, error) {
	network := action.Network
	found, err := n.worker.oned.Server().Confirmed().Network(ctx, network.ID)
	switch {
	case opennebula.IsCode(err, opennebula.CodeNoExists):
	case err != nil:
		return nil, fmt.Errorf("check the owner of network %d of service %d: %w", network.ID, n.service, err)
	default:
		if outcome, err := n.strangersNetwork(ctx, action, found); outcome != nil || err != nil {
			return outcome, err
		}
	}
	refused := n.owner.session().DeleteNetwork(ctx, network.ID)
	if refused != nil && opennebula.Temporary(refused) {
		return nil, fmt.Errorf("delete network %d of service %d: %w", network.ID, n.service, refused)
	}
	state, err := n.fetch(ctx, network.Name, network.ID)
	if err != nil || refused == nil || state == one.NetworkDone || state == one.NetworkLockDelete {
		return nil, err
	}
	return refusal(action, refused), nil
}

// strangersNetwork has the service go on without a network that is not its own. One with another owner may be, where the service is
// just being given away: it is fetched again. As with notOwn the service's log does not have the network's name.
func (n *networks) strangersNetwork(ctx context.Context, action flow.Action, found opennebula.Network) (flow.Outcome, error) {
	if found.Owner.UID == n.record.State.Service.Owner.UID && found.Name == action.Network.Called {
		return nil, nil
	}
	reason := fmt.Sprintf("network %d does not belong to the service and is left unchanged", found.ID)
	if follows, err := n.mayFollow(ctx, found.Owner); err != nil || follows {
		return flow.Postponed{Action: action, Message: reason + formerOwners}, err
	}
	n.worker.config.Logger.Warn("a network in the service's document is not the service's: it belongs to another or has another name; it is left unchanged",
		"service", n.service, "network", found.ID, "name", found.Name, "owner", found.Owner.UName, "expected_name", action.Network.Called)
	return flow.Foreign{Action: action, Message: reason}, nil
}

// formerOwners is added to the reason for which what may follow a service that was given away is left alone for now.
const formerOwners = "; it may still be its former owner's: if the change of owner was cut off, repeat it"

// adopt notes that a network is the service's, for the events about it, then reads it, so that no
// event from before the note is missed, and commits that.
func (n *networks) adopt(ctx context.Context, name string, id int) error {
	if err := n.worker.pipe.PutOwners(ctx, work.Owner{Kind: work.OwnedNetwork, ID: id, Service: n.service}); err != nil {
		return err
	}
	if _, err := n.fetch(ctx, name, id); err != nil {
		return err
	}
	return n.saver.storeOrUndo(ctx, "network", id, n.owner.session().DeleteNetwork)
}

// fetch asks oned for a network and updates its state. Only the zone's leader is believed that it failed or is gone.
func (n *networks) fetch(ctx context.Context, name string, id int) (one.NetworkState, error) {
	network, err := n.worker.oned.Server().Network(ctx, id)
	if err == nil && (network.State == one.NetworkDone || network.State.Failed()) {
		network, err = n.worker.oned.Server().Confirmed().Network(ctx, id)
	}
	if opennebula.IsCode(err, opennebula.CodeNoExists) {
		network, err = opennebula.Network{ID: id, State: one.NetworkDone}, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read network %d of service %d: %w", id, n.service, err)
	}
	n.record.State = flow.IngestNetwork(n.record.State, name, id, network.State)
	if network.State == one.NetworkDone {
		return network.State, n.worker.pipe.ForgetOwner(ctx, work.OwnedNetwork, id)
	}
	return network.State, nil
}

// ingest updates the state of a network of the service. If oned answers otherwise it may not have written the event's state yet
// (opennebula.WriteTime), except while the network is being made.
func (n *networks) ingest(ctx context.Context, input pipeline.Input) error {
	reported := input.Work.Event.State
	for _, network := range n.record.State.Networks {
		if network.ID != input.Work.Event.ID {
			continue
		}
		for wait := idle.NewBackoff(); ; n.slot.backOff(ctx, wait) {
			state, err := n.fetch(ctx, network.Name, network.ID)
			if err != nil || state == one.NetworkDone || state.String() == reported || reported == one.NetworkLockCreate.String() ||
				time.Since(published(input, n.came)) > opennebula.WriteTime || ctx.Err() != nil {
				return err
			}
		}
	}
	return nil
}

// refresh fetches the service's own networks while it waits for them.
func (n *networks) refresh(ctx context.Context) error {
	if !flow.WatchesNetworks(n.record.State) {
		return nil
	}
	for _, network := range n.record.State.Networks {
		if network.ID < 0 {
			continue
		}
		if _, err := n.fetch(ctx, network.Name, network.ID); err != nil {
			return err
		}
	}
	return nil
}

// routers makes, finds and deletes virtual routers.
type routers struct {
	*serviceData
	saver *saver
	owner *ownerSession
	vms   *vmFetcher
}

// create makes a role's virtual router, once: if an earlier call may have made it, it is looked up by its key, until it is committed as oned
// shows it.
func (r *routers) create(ctx context.Context, action flow.Action) (flow.Outcome, error) {
	router := action.Router
	if router.Attempts > 0 {
		found, err := r.find(ctx, router)
		if err != nil || found {
			return nil, err
		}
	}
	text, refused, err := r.owner.extraTemplate(ctx, action, render.Instance{Role: router.Role, Key: router.Key, Ordinal: render.NoOrdinal})
	if err != nil || refused != nil {
		return refused, err
	}
	id, err := r.owner.session().AllocateRouter(ctx, text)
	if err != nil {
		return failed(action, err, "create the virtual router of role %s of service %d", router.Role, r.service)
	}
	made, err := r.worker.oned.Server().Router(ctx, id)
	if err != nil {
		r.record.State = flow.DoubtRouter(r.record.State, router.Role)
		return nil, errors.Join(fmt.Errorf("read virtual router %d of service %d: %w", id, r.service, err), r.saver.store(ctx))
	}
	r.record.State = flow.IngestRouter(r.record.State, router.Role, id, made.Addresses)
	return nil, r.saver.storeOrUndo(ctx, "virtual router", id, r.owner.session().DeleteRouter)
}

// find looks up a role's router among its owner's.
func (r *routers) find(ctx context.Context, wanted flow.Router) (bool, error) {
	routers, err := r.worker.oned.Server().Confirmed().Routers(ctx, r.record.State.Service.Owner.UID)
	if err != nil {
		return false, fmt.Errorf("look for the virtual router of role %s of service %d: %w", wanted.Role, r.service, err)
	}
	for _, router := range routers {
		if router.Key == wanted.Key {
			r.record.State = flow.IngestRouter(r.record.State, wanted.Role, router.ID, router.Addresses)
			return true, r.saver.store(ctx)
		}
	}
	return false, nil
}

// delete deletes a role's router, and with it its VMs, which then are fetched.
func (r *routers) delete(ctx context.Context, action flow.Action) (flow.Outcome, error) {
	id, has := r.record.State.Service.Router(action.Role)
	if !has {
		return nil, nil
	}
	switch strange, err := r.stranger(ctx, id); {
	case err != nil:
		return nil, err
	case strange != nil:
		return r.leave(ctx, action, *strange)
	}
	if err := r.owner.session().DeleteRouter(ctx, id); err != nil && !opennebula.IsCode(err, opennebula.CodeNoExists) {
		return failed(action, err, "delete virtual router %d of service %d", id, r.service)
	}
	r.record.State = flow.RouterGone(r.record.State, action.Role)
	if err := r.saver.store(ctx); err != nil {
		return nil, err
	}
	return nil, r.vms.refreshFacts(ctx)
}

// leave has the service go on without a virtual router that is not its own, unless VMs of the service are in it: they cannot be ended one by
// one. A router of another owner may follow a service that is just being given away: it is fetched again.
func (r *routers) leave(ctx context.Context, action flow.Action, router opennebula.Router) (flow.Outcome, error) {
	service, reason := r.record.State.Service, notOwn(router)
	isOwn := func(id int) bool {
		vm, known := r.facts[id]
		return known && !vm.Gone() && service.Owns(vm)
	}
	if follows, err := r.mayFollow(ctx, router.Owner); err != nil || follows {
		return flow.Postponed{Action: action, Message: reason + formerOwners}, err
	}
	if err := r.vms.refreshFacts(ctx); err != nil { // they change their owner with their router
		return nil, err
	}
	if slices.ContainsFunc(router.VMs, isOwn) {
		return flow.Refused{Action: action, Message: reason}, nil
	}
	r.worker.config.Logger.Warn("a virtual router in the service's document is not the service's; it is left unchanged",
		"service", r.service, "role", action.Role, "router", router.ID, "name", router.Name, "owner", router.Owner.UName)
	return flow.Foreign{Action: action, Message: reason}, nil
}

// stranger returns the virtual router if it is not the service's, else nil: others may write its id into the document.
func (r *routers) stranger(ctx context.Context, id int) (*opennebula.Router, error) {
	router, err := r.worker.oned.Server().Confirmed().Router(ctx, id)
	switch {
	case opennebula.IsCode(err, opennebula.CodeNoExists):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("check the owner of virtual router %d of service %d: %w", id, r.service, err)
	case r.record.State.Service.OwnsRouter(router.Owner, router.Key, router.Name, router.VMs, r.facts):
		return nil, nil
	}
	return &router, nil
}

// notOwn is for users, who may have written any id into the document: the names of what they may not see are in the worker's log alone.
func notOwn(router opennebula.Router) string {
	return fmt.Sprintf("virtual router %d does not belong to the service and is left unchanged", router.ID)
}
