package consumers

import (
	"context"
	"errors"
	"fmt"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/opennebula"
)

// routers makes, finds and deletes virtual routers.
type routers struct{ *serviceLoop }

// create makes a role's virtual router, once: where an earlier call may have made it, it is looked
// for by its key, until it is committed as oned shows it.
func (r *routers) create(ctx context.Context, action flow.Action) (flow.Outcome, error) {
	router := action.Router
	if router.Attempts > 0 {
		found, err := r.find(ctx, router)
		if err != nil || found {
			return nil, err
		}
	}
	text, refused, err := r.executor.extraTemplate(ctx, action, router.Instance())
	if err != nil || refused != nil {
		return refused, err
	}
	id, err := r.actor.session().AllocateRouter(ctx, text)
	switch {
	case opennebula.Temporary(err):
		return nil, fmt.Errorf("create the virtual router of role %s of service %d: %w", router.Role, r.service, err)
	case err != nil:
		return refusal(action, err), nil
	}
	made, err := r.worker.oned.Server().Router(ctx, id)
	if err != nil {
		r.record.State = flow.DoubtRouter(r.record.State, router.Role)
		return nil, errors.Join(fmt.Errorf("read virtual router %d of service %d: %w", id, r.service, err), r.saver.store(ctx))
	}
	r.record.State = flow.SeeRouter(r.record.State, router.Role, id, made.Addresses)
	return nil, r.saver.storeOrUndo(ctx, "virtual router", id, r.actor.session().DeleteRouter)
}

// find looks for a role's router among its owner's.
func (r *routers) find(ctx context.Context, wanted flow.Router) (bool, error) {
	routers, err := r.worker.oned.Server().Confirmed().Routers(ctx, r.record.State.Service.Owner.UID)
	if err != nil {
		return false, fmt.Errorf("look for the virtual router of role %s of service %d: %w", wanted.Role, r.service, err)
	}
	for _, router := range routers {
		if router.Key == wanted.Key {
			r.record.State = flow.SeeRouter(r.record.State, wanted.Role, router.ID, router.Addresses)
			return true, r.saver.store(ctx)
		}
	}
	return false, nil
}

// delete deletes a role's router, and with it its VMs, which then are read.
func (r *routers) delete(ctx context.Context, action flow.Action) (flow.Outcome, error) {
	role := action.Role
	id, has := r.record.State.Service.Router(role)
	if !has {
		return nil, nil
	}
	if refused, err := r.strangersRouter(ctx, action, id); refused != nil || err != nil {
		return refused, err
	}
	err := r.actor.session().DeleteRouter(ctx, id)
	switch {
	case err == nil || opennebula.IsCode(err, opennebula.CodeNoExists):
		r.record.State = flow.RouterGone(r.record.State, role)
		if err := r.saver.store(ctx); err != nil {
			return nil, err
		}
		return nil, r.ingester.refreshFacts(ctx)
	case opennebula.Temporary(err):
		return nil, fmt.Errorf("delete virtual router %d of service %d: %w", id, r.service, err)
	}
	return refusal(action, err), nil
}

// strangersRouter refuses to act on a virtual router that is not the service's: its id stands
// in a document that others may write.
func (r *routers) strangersRouter(ctx context.Context, action flow.Action, id int) (flow.Outcome, error) {
	router, err := r.worker.oned.Server().Confirmed().Router(ctx, id)
	switch {
	case opennebula.IsCode(err, opennebula.CodeNoExists):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("check the owner of virtual router %d of service %d: %w", id, r.service, err)
	case r.record.State.Service.OwnsRouter(router.Owner, router.Key, router.Name, router.VMs, r.facts):
		return nil, nil
	}
	reason := fmt.Sprintf("virtual router %d (%s of %s) does not belong to the service and is left unchanged", id, router.Name, router.Owner.UName)
	return flow.Refused{Action: action, Message: reason}, nil
}
