package restapi

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
)

type ownership struct {
	oned     sessions
	commands *commands
	logger   *slog.Logger
}

// giving reads owner_id and, if present, group_id; for a change of the group only group_id. A change leaves what is unchanged.
func giving(change func(ctx context.Context, r *request, document opennebula.Document, uid, gid int) error, owner bool) documentAction {
	return func(ctx context.Context, r *request, document opennebula.Document, params attributes) (answer, error) {
		uid, gid, what := unchanged, unchanged, "change the group of"
		var err error
		if owner {
			what = "change the owner of"
			uid, err = ownerID(ctx, params, "owner_id", r.oned.Users)
		}
		if err == nil && (!owner || params.has("group_id")) {
			gid, err = ownerID(ctx, params, "group_id", r.oned.Groups)
		}
		if err != nil {
			return answer{}, err
		}
		return finished(change(ctx, r, document, uid, gid), what, document)
	}
}

// ownerID returns the id of a user or a group, which may be given by its name in a list of oned's: a user finds only those
// whom he may see there.
func ownerID(ctx context.Context, params attributes, parameter string, list func(context.Context) ([]opennebula.PoolEntry, error)) (int, error) {
	id, err := params.owner(parameter)
	var name string
	if err == nil || json.Unmarshal(params[parameter], &name) != nil || name == "" {
		return id, err
	}
	entries, err := list(ctx)
	if err != nil {
		return 0, fmt.Errorf("look up %q: %w", name, err)
	}
	at := slices.IndexFunc(entries, func(e opennebula.PoolEntry) bool { return e.Name == name })
	if at < 0 {
		return 0, badRequest("%q is %q, which is not the name of a user or group that you may see; give the id", parameter, name)
	}
	return entries[at].ID, nil
}

// change gives a service's document, its VMs, virtual routers and own networks to another user or group, as the caller. If one
// cannot be moved, the server user moves the others back: oned lets a caller with MANAGE take a document, but not return it.
//
// The document goes first. Then change waits for the worker's answer: the document names everything made for the former
// owner by then, and anything made afterwards is the new owner's. So all VMs of a service that is being deployed are moved.
func (o *ownership) change(ctx context.Context, r *request, service opennebula.Document, uid, gid int) error {
	var undo []func(context.Context) error
	move := func(it possession) error {
		if err := it.chown(r.oned, ctx, it.id, uid, gid); err != nil {
			return together(err, putBack(ctx, undo))
		}
		undo = append(undo, func(ctx context.Context) error {
			return it.chown(o.oned.server(), ctx, it.id, it.owner.UID, it.owner.GID)
		})
		return nil
	}
	former, err := o.formerOwners(ctx, service)
	if err != nil {
		return err
	}
	if err := move(possession{"service", service.ID, service.Owner, session.ChownDocument}); err != nil || uid == unchanged && gid == unchanged {
		return err
	}
	owned, err := o.possessions(ctx, r, service.ID, former)
	if err != nil {
		return together(err, putBack(ctx, undo))
	}
	for _, each := range owned {
		if err := move(each); err != nil {
			return fmt.Errorf("change the owner of %s %d: %w", each.kind, each.id, err)
		}
	}
	if _, err := o.commands.queue.PublishWork(ctx, pipeline.Work{Service: service.ID, Reason: "its owner was changed"}, ""); err != nil {
		// The next reconciliation finds the change.
		o.logger.Warn("a service whose owner was changed could not be woken", "service", service.ID, "error", err)
	}
	return nil
}

// ownerPatience is the factor by which the wait for a worker that may be making VMs is longer than the wait for a command's
// answer: an instantiate takes time.
const ownerPatience = 6

type possession struct {
	kind  string
	id    int
	owner one.Identity
	chown func(oned session, ctx context.Context, id, uid, gid int) error
}

// formerOwners returns whose the VMs of a service may be before it is given away: its owner's, and those of the owner before, where a
// process was killed between the document and its VMs. So the change can be repeated, for as long as the worker takes them for the service's.
func (o *ownership) formerOwners(ctx context.Context, service opennebula.Document) ([]one.Identity, error) {
	record, _, err := o.commands.queue.LoadRecord(ctx, service.ID)
	if err != nil {
		return nil, &queueError{err}
	}
	former := []one.Identity{service.Owner}
	if before := record.State.Service.OwnedBy(service.Owner, time.Now()).Former; before != nil {
		former = append(former, *before)
	}
	return former, nil
}

// possessions returns the objects of a service once its worker knows of the new owner: its virtual routers, which take
// their VMs along, the VMs of its other roles, and the networks that it has made, as far as they still exist.
//
// A VM, router or network that somebody has written into the document and that is not the service's keeps its owner.
func (o *ownership) possessions(ctx context.Context, r *request, id int, former []one.Identity) ([]possession, error) {
	if err := o.awaitWorker(ctx, r, id); err != nil {
		return nil, err
	}
	// The caller may not see the document any more.
	moved, err := o.oned.server().Document(ctx, id)
	if opennebula.IsCode(err, opennebula.CodeNoExists) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("find its VMs: %w", err)
	}
	body, err := readService(moved)
	if err != nil {
		return nil, fmt.Errorf("find its VMs: %w", err)
	}
	var claims []spec.Service // the service, as each former owner's
	for i := range former {
		claims = append(claims, spec.Service{ID: moved.ID, Owner: moved.Owner, Former: &former[i], Body: body})
	}
	var all []possession
	for _, role := range body.Roles {
		var found []possession
		if role.VRouterID != nil {
			found, err = routerOf(ctx, r.oned, *role.VRouterID, claims...)
		} else {
			found, err = o.nodesOf(ctx, r.oned, role, claims)
		}
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	networks, err := networksOf(ctx, o.oned.server(), claims)
	return append(all, networks...), err
}

// networksOf returns the networks that the service has made for itself: only their owner's service can delete them. The
// server user reads them, because their owner gives others no right to them.
func networksOf(ctx context.Context, server session, claims []spec.Service) ([]possession, error) {
	var networks []possession
	for _, own := range flow.OwnNetworks(claims[0]) {
		network, err := server.Network(ctx, own.ID)
		if opennebula.IsCode(err, opennebula.CodeNoExists) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read network %d: %w", own.ID, err)
		}
		uid := network.Owner.UID
		theirs := func(s spec.Service) bool { return uid == s.Owner.UID || uid == s.Former.UID }
		if network.Name != own.Called || !slices.ContainsFunc(claims, theirs) {
			continue
		}
		networks = append(networks, possession{"network", own.ID, network.Owner, session.ChownNetwork})
	}
	return networks, nil
}

// awaitWorker has the service's worker carry out an update that changes nothing: the worker does so after everything queued
// before, and with the document read again. Without an answer in time the change continues with what is known so far.
func (o *ownership) awaitWorker(ctx context.Context, r *request, service int) error {
	if err := o.commands.available(); err != nil {
		return err
	}
	command := r.newCommand(service, flow.VerbUpdate, flow.UpdateArguments{Append: true, Template: []byte(`{}`)})
	command.ID = rand.Text() // not the key's: its reply would be taken for the outcome of the whole change by a retry after a kill
	_, err := o.commands.submit(ctx, r, command, ownerPatience*o.commands.wait)
	if errors.Is(err, pipeline.ErrNoReply) {
		o.logger.Warn("no worker has confirmed the change of a service's owner: new VMs may belong to the former owner; repeat the change when the service is RUNNING", "service", service)
		return nil
	}
	return err
}

// putBack undoes the changes in reverse order, for half a minute, even if the client has disconnected.
func putBack(ctx context.Context, undo []func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	var failures []error
	for _, revert := range slices.Backward(undo) {
		if err := revert(ctx); err != nil {
			failures = append(failures, fmt.Errorf("and it could not be reverted: %w", err))
		}
	}
	return together(failures...)
}

func routerOf(ctx context.Context, oned session, id int, claims ...spec.Service) ([]possession, error) {
	router, err := oned.Router(ctx, id)
	if opennebula.IsCode(err, opennebula.CodeNoExists) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read virtual router %d: %w", id, err)
	}
	facts := flow.Facts{}
	for _, vm := range router.VMs {
		facts[vm], err = oned.VM(ctx, vm)
		switch {
		case opennebula.IsCode(err, opennebula.CodeNoExists):
			facts[vm] = one.VM{ID: vm, State: one.VMDone} // like a VM that oned still shows, it does not name its router's owner
		case err != nil:
			return nil, fmt.Errorf("read VM %d of virtual router %d: %w", vm, id, err)
		}
	}
	owned := func(s spec.Service) bool {
		before := s
		before.Owner = *s.Former
		return s.OwnsRouter(router.Owner, router.Key, router.Name, router.VMs, facts) ||
			before.OwnsRouter(router.Owner, router.Key, router.Name, router.VMs, facts)
	}
	if !slices.ContainsFunc(claims, owned) {
		return nil, nil
	}
	return []possession{{"virtual router", id, router.Owner, session.ChownRouter}}, nil
}

func (o *ownership) nodesOf(ctx context.Context, oned session, role spec.Role, claims []spec.Service) ([]possession, error) {
	var vms []possession
	for _, node := range role.Nodes {
		vm, err := oned.VM(ctx, node.DeployID)
		if opennebula.IsCode(err, opennebula.CodeNoExists) || err == nil && vm.Gone() {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read VM %d: %w", node.DeployID, err)
		}
		owned := false
		for i := 0; i < len(claims) && !owned; i++ {
			if owned, err = o.commands.owns(ctx, &claims[i], vm); err != nil {
				return nil, fmt.Errorf("check the service of VM %d: %w", vm.ID, err)
			}
		}
		if !owned {
			continue
		}
		vms = append(vms, possession{"VM", vm.ID, vm.Owner, session.ChownVM})
	}
	return vms, nil
}

// owns reports whether a node's VM is the service's. The record, which identifies a VM whose user template was replaced, is
// read once, and only if the VM does not name its service.
func (c *commands) owns(ctx context.Context, service *spec.Service, vm one.VM) (bool, error) {
	if service.Owns(vm) || service.Made != nil {
		return service.Owns(vm), nil
	}
	record, _, err := c.queue.LoadRecord(ctx, service.ID)
	if err != nil {
		return false, &queueError{err}
	}
	service.Made = append(spec.VMs{}, record.State.Service.Made...)
	return service.Owns(vm), nil
}
