package restapi

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/opennebula"
)

// undoTimeout bounds putting back what a failed change of owner had moved.
const undoTimeout = 30 * time.Second

func (s *Server) chownService(ctx context.Context, r *request, service opennebula.Document, params attributes) (answer, error) {
	uid, gid, err := chownParams(params)
	if err != nil {
		return answer{}, err
	}
	return finished(s.moveService(ctx, r, service, uid, gid), "change the owner of", service)
}

func (s *Server) chgrpService(ctx context.Context, r *request, service opennebula.Document, params attributes) (answer, error) {
	gid, err := params.whole("group_id")
	if err != nil {
		return answer{}, err
	}
	return finished(s.moveService(ctx, r, service, -1, gid), "change the group of", service)
}

// moveService gives the service's document and its VMs to another user or
// group, as the caller. If one of them cannot be moved, those that were are
// moved back.
func (s *Server) moveService(ctx context.Context, r *request, service opennebula.Document, uid, gid int) error {
	owners, err := vmOwners(ctx, r.oned, service)
	if err != nil {
		return err
	}
	var undo []func(context.Context) error
	move := func(do func(ctx context.Context, uid, gid int) error, was flow.Identity) error {
		if err := do(ctx, uid, gid); err != nil {
			return errors.Join(err, putBack(ctx, undo))
		}
		undo = append(undo, func(ctx context.Context) error { return do(ctx, was.UID, was.GID) })
		return nil
	}
	document := func(ctx context.Context, uid, gid int) error { return r.oned.ChownDocument(ctx, service.ID, uid, gid) }
	if err := move(document, service.Owner); err != nil {
		return err
	}
	for _, vm := range owners {
		one := func(ctx context.Context, uid, gid int) error { return r.oned.ChownVM(ctx, vm.ID, uid, gid) }
		if err := move(one, vm.Owner); err != nil {
			return fmt.Errorf("move VM %d: %w", vm.ID, err)
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
	return errors.Join(failures...)
}

// vmOwners are the VMs of a service that there still are.
func vmOwners(ctx context.Context, oned session, service opennebula.Document) ([]flow.VM, error) {
	body, err := flow.ParseBody(service.Body)
	if err != nil {
		return nil, fmt.Errorf("find its VMs: %w", err)
	}
	var owners []flow.VM
	for _, role := range body.Roles {
		for _, node := range role.Nodes {
			vm, err := oned.VM(ctx, node.DeployID)
			if opennebula.IsCode(err, opennebula.CodeNoExists) || err == nil && vm.Gone() {
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("read VM %d: %w", node.DeployID, err)
			}
			owners = append(owners, vm)
		}
	}
	return owners, nil
}
