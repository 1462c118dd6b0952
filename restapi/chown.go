package restapi

import (
	"context"
	"fmt"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
)

// undoTimeout bounds putting back what a failed change of owner had moved.
const undoTimeout = 30 * time.Second

func (s *Server) chownService(ctx context.Context, r *request, service opennebula.Document, params attributes) (answer, error) {
	uid, gid, err := chownParams(params)
	if err != nil {
		return answer{}, err
	}
	return finished(s.changeOwner(ctx, r, service, uid, gid), "change the owner of", service)
}

func (s *Server) chgrpService(ctx context.Context, r *request, service opennebula.Document, params attributes) (answer, error) {
	gid, err := params.owner("group_id")
	if err != nil {
		return answer{}, err
	}
	return finished(s.changeOwner(ctx, r, service, unchanged, gid), "change the group of", service)
}

// changeOwner moves the service and wakes it, so that its worker acts for the
// new owner from now on, and the document shows whose the VMs are. The service
// has been moved even if it cannot be woken: then its next look finds it out.
func (s *Server) changeOwner(ctx context.Context, r *request, service opennebula.Document, uid, gid int) error {
	if err := s.moveService(ctx, r, service, uid, gid); err != nil {
		return err
	}
	work := pipeline.Work{Service: service.ID, Reason: "its owner was changed"}
	if _, err := s.queue.PublishWork(ctx, work, ""); err != nil {
		s.logger.Warn("a service whose owner was changed could not be woken", "service", service.ID, "error", err)
	}
	return nil
}

// moveService gives the service's document, its VMs and virtual routers to
// another user or group, as the caller. If one of them cannot be moved, those that were are
// moved back.
func (s *Server) moveService(ctx context.Context, r *request, service opennebula.Document, uid, gid int) error {
	owned, err := possessions(ctx, r.oned, service)
	if err != nil {
		return err
	}
	var undo []func(context.Context) error
	move := func(do func(ctx context.Context, uid, gid int) error, was flow.Identity) error {
		if err := do(ctx, uid, gid); err != nil {
			return together(err, putBack(ctx, undo))
		}
		undo = append(undo, func(ctx context.Context) error { return do(ctx, was.UID, was.GID) })
		return nil
	}
	document := func(ctx context.Context, uid, gid int) error { return r.oned.ChownDocument(ctx, service.ID, uid, gid) }
	if err := move(document, service.Owner); err != nil {
		return err
	}
	for _, each := range owned {
		if err := move(each.chown, each.owner); err != nil {
			return fmt.Errorf("move %s: %w", each.name, err)
		}
	}
	return nil
}

// putBack undoes in reverse order, even if the client has gone.
func putBack(ctx context.Context, undo []func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	var failures []error
	for i := len(undo) - 1; i >= 0; i-- {
		if err := undo[i](ctx); err != nil {
			failures = append(failures, fmt.Errorf("and it could not be put back: %w", err))
		}
	}
	return together(failures...)
}

// possession is something of a service that has an owner of its own.
type possession struct {
	name  string
	owner flow.Identity
	chown func(ctx context.Context, uid, gid int) error
}

// possessions are a service's virtual routers, which take their VMs along, and
// the VMs of its other roles, as far as they still exist.
func possessions(ctx context.Context, oned session, service opennebula.Document) ([]possession, error) {
	body, err := flow.ParseBody(service.Body)
	if err != nil {
		return nil, fmt.Errorf("find its VMs: %w", err)
	}
	var all []possession
	for _, role := range body.Roles {
		of := vmsOf
		if role.VRouterID != nil {
			of = routerOf
		}
		found, err := of(ctx, oned, role)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	return all, nil
}

func routerOf(ctx context.Context, oned session, role flow.Role) ([]possession, error) {
	id := *role.VRouterID
	router, err := oned.Router(ctx, id)
	if opennebula.IsCode(err, opennebula.CodeNoExists) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read virtual router %d: %w", id, err)
	}
	move := func(ctx context.Context, uid, gid int) error { return oned.ChownRouter(ctx, id, uid, gid) }
	return []possession{{fmt.Sprintf("virtual router %d", id), router.Owner, move}}, nil
}

func vmsOf(ctx context.Context, oned session, role flow.Role) ([]possession, error) {
	var vms []possession
	for _, node := range role.Nodes {
		vm, err := oned.VM(ctx, node.DeployID)
		if opennebula.IsCode(err, opennebula.CodeNoExists) || err == nil && vm.Gone() {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read VM %d: %w", node.DeployID, err)
		}
		move := func(ctx context.Context, uid, gid int) error { return oned.ChownVM(ctx, vm.ID, uid, gid) }
		vms = append(vms, possession{fmt.Sprintf("VM %d", vm.ID), vm.Owner, move})
	}
	return vms, nil
}
