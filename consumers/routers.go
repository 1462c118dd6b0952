package consumers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/opennebula"
)

// createRouter makes a role's virtual router, once: where an earlier call may
// have made it, it is looked for by its key first.
func (l *lane) createRouter(ctx context.Context, router flow.Router) (verdict, error) {
	if router.Attempts > 0 {
		found, err := l.findRouter(ctx, router)
		if err != nil || found {
			return nil, err
		}
	}
	text, refused, err := l.routerTemplate(ctx, router)
	if err != nil {
		return nil, err
	}
	if refused != nil {
		return l.refuseRouter(router, refused), nil
	}
	id, err := l.session().AllocateRouter(ctx, text)
	switch {
	case err == nil:
		return nil, l.sawRouter(ctx, router.Role, id)
	case opennebula.Temporary(err):
		return nil, fmt.Errorf("make the virtual router of role %s of service %d: %w", router.Role, l.service, err)
	}
	return l.refuseRouter(router, err), nil
}

// routerTemplate is what the router is made with; refused says why it cannot be.
func (l *lane) routerTemplate(ctx context.Context, router flow.Router) (text string, refused, err error) {
	service := l.record.State.Service
	base, refused, err := l.baseTemplate(ctx, service, router.Role)
	if err != nil || refused != nil {
		return "", refused, err
	}
	values, err := l.referenceValues(ctx, router.Role)
	if err != nil {
		return "", nil, err
	}
	text, refused = flow.RouterTemplate(service, router, base, values)
	return text, refused, nil
}

func (l *lane) refuseRouter(router flow.Router, reason error) verdict {
	return func() flow.Decision {
		return flow.RefuseRouter(l.record.State, router.Role, refusalText(reason), l.facts, time.Now(), l.worker.config.Settings)
	}
}

// sawRouter takes over a router as oned shows it, and commits that: its key is
// not looked for again.
func (l *lane) sawRouter(ctx context.Context, role string, id int) error {
	router, err := l.server().Router(ctx, id)
	if err != nil {
		l.record.State = flow.DoubtRouter(l.record.State, role)
		return errors.Join(fmt.Errorf("look at virtual router %d of service %d: %w", id, l.service, err), l.store(ctx))
	}
	l.record.State = flow.SeeRouter(l.record.State, role, id, router.Addresses)
	return l.storeOrUndo(ctx, "virtual router", id, l.session().DeleteRouter)
}

// findRouter looks for a role's router among its owner's.
func (l *lane) findRouter(ctx context.Context, wanted flow.Router) (bool, error) {
	routers, err := l.server().Confirmed().Routers(ctx, l.record.State.Service.Owner.UID)
	if err != nil {
		return false, fmt.Errorf("look for the virtual router of role %s of service %d: %w", wanted.Role, l.service, err)
	}
	for _, router := range routers {
		if router.Key == wanted.Key {
			l.record.State = flow.SeeRouter(l.record.State, wanted.Role, router.ID, router.Addresses)
			return true, l.store(ctx)
		}
	}
	return false, nil
}

// findOrGiveUpRouter settles a router that is no longer wanted.
func (l *lane) findOrGiveUpRouter(ctx context.Context, router flow.Router) (verdict, error) {
	found, err := l.findRouter(ctx, router)
	if err != nil || found {
		return nil, err
	}
	l.record.State = flow.RouterGone(l.record.State, router.Role)
	return nil, l.store(ctx)
}

// deleteRouter deletes a role's router, and with it its VMs, which then are
// looked at: nobody asked for each one's end.
func (l *lane) deleteRouter(ctx context.Context, role string) (verdict, error) {
	id, has := l.record.State.Service.Router(role)
	if !has {
		return nil, nil
	}
	if refused, err := l.strangersRouter(ctx, role, id); refused != nil || err != nil {
		return refused, err
	}
	err := l.session().DeleteRouter(ctx, id)
	switch {
	case err == nil || opennebula.IsCode(err, opennebula.CodeNoExists):
		l.record.State = flow.RouterGone(l.record.State, role)
		if err := l.store(ctx); err != nil {
			return nil, err
		}
		return nil, l.refreshFacts(ctx)
	case opennebula.Temporary(err):
		return nil, fmt.Errorf("delete virtual router %d of service %d: %w", id, l.service, err)
	}
	return func() flow.Decision {
		return flow.RefuseRouterEnd(l.record.State, role, refusalText(err), l.facts, time.Now(), l.worker.config.Settings)
	}, nil
}

// strangersRouter refuses to delete a virtual router that is not the service's: its id stands
// in a document that others may write.
func (l *lane) strangersRouter(ctx context.Context, role string, id int) (verdict, error) {
	router, err := l.server().Confirmed().Router(ctx, id)
	switch {
	case opennebula.IsCode(err, opennebula.CodeNoExists):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("look whose virtual router %d of service %d is: %w", id, l.service, err)
	case l.record.State.Service.OwnsRouter(router.Owner, router.Key, router.Name, router.VMs, l.facts):
		return nil, nil
	}
	reason := fmt.Sprintf("virtual router %d (%s of %s) is not the service's own and is left alone", id, router.Name, router.Owner.UName)
	return func() flow.Decision {
		return flow.RefuseRouterEnd(l.record.State, role, reason, l.facts, time.Now(), l.worker.config.Settings)
	}, nil
}

// instantiate makes an intent's VM. The VM of a virtual router is not named in
// the answer and is looked for by its key.
func (l *lane) instantiate(ctx context.Context, intent flow.Intent, extra string) error {
	router, has := l.record.State.Service.Router(intent.Role)
	if !has {
		id, err := l.session().InstantiateTemplate(ctx, intent.TemplateID, intent.Name, intent.Hold, extra)
		if err == nil {
			l.created(id, intent)
			l.regroup(ctx, id)
		}
		return err
	}
	if err := l.session().InstantiateRouter(ctx, router, 1, intent.TemplateID, intent.Name, intent.Hold, extra); err != nil {
		return err
	}
	found, err := l.find(ctx, intent)
	if err == nil && !found {
		err = errors.New("oned made it and does not show it")
	}
	if err != nil {
		return &opennebula.TransportError{Method: "one.vrouter.instantiate", Sent: true, Err: err}
	}
	return nil
}
