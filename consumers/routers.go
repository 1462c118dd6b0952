package consumers

import (
	"context"
	"errors"
	"fmt"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/render"
	"github.com/flowjet/flowjet/opennebula"
)

// createRouter makes a role's virtual router, once: where an earlier call may
// have made it, it is looked for by its key first.
func (r *routers) createRouter(ctx context.Context, action flow.Action) (flow.Outcome, error) {
	router := action.Router
	if router.Attempts > 0 {
		found, err := r.findRouter(ctx, router)
		if err != nil || found {
			return nil, err
		}
	}
	text, refused, err := r.routerTemplate(ctx, router)
	if err != nil {
		return nil, err
	}
	if refused != nil {
		return refusal(action, refused), nil
	}
	id, err := r.actor.session().AllocateRouter(ctx, text)
	switch {
	case err == nil:
		return nil, r.adoptRouter(ctx, router.Role, id)
	case opennebula.Temporary(err):
		return nil, fmt.Errorf("create the virtual router of role %s of service %d: %w", router.Role, r.service, err)
	}
	return refusal(action, err), nil
}

// routerTemplate is what the router is made with; refused says why it cannot be.
func (r *routers) routerTemplate(ctx context.Context, router flow.Router) (text string, refused, err error) {
	service := r.record.State.Service
	base, refused, err := r.executor.baseTemplate(ctx, service, router.Role)
	if err != nil || refused != nil {
		return "", refused, err
	}
	values, err := r.executor.referenceValues(ctx, router.Role)
	if err != nil {
		return "", nil, err
	}
	text, refused = render.ExtraTemplate(service, router.Instance(), base, values)
	return text, refused, nil
}

// adoptRouter takes over a router as oned shows it, and commits that: its key is
// not looked for again.
func (r *routers) adoptRouter(ctx context.Context, role string, id int) error {
	router, err := r.actor.server().Router(ctx, id)
	if err != nil {
		r.record.State = flow.DoubtRouter(r.record.State, role)
		return errors.Join(fmt.Errorf("read virtual router %d of service %d: %w", id, r.service, err), r.saver.store(ctx))
	}
	r.record.State = flow.SeeRouter(r.record.State, role, id, router.Addresses)
	return r.saver.storeOrUndo(ctx, "virtual router", id, r.actor.session().DeleteRouter)
}

// findRouter looks for a role's router among its owner's.
func (r *routers) findRouter(ctx context.Context, wanted flow.Router) (bool, error) {
	routers, err := r.actor.server().Confirmed().Routers(ctx, r.record.State.Service.Owner.UID)
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

// findOrGiveUpRouter settles a router that is no longer wanted.
func (r *routers) findOrGiveUpRouter(ctx context.Context, action flow.Action) (flow.Outcome, error) {
	found, err := r.findRouter(ctx, action.Router)
	if err != nil || found {
		return nil, err
	}
	return flow.NotFound{Action: action}, nil
}

// deleteRouter deletes a role's router, and with it its VMs, which then are
// looked at: nobody asked for each one's end.
func (r *routers) deleteRouter(ctx context.Context, action flow.Action) (flow.Outcome, error) {
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
	router, err := r.actor.server().Confirmed().Router(ctx, id)
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
