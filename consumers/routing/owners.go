package routing

import (
	"context"
	"log/slog"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/batch"
	"github.com/flowjet/flowjet/pipeline/work"
)

const (
	// maxKnownVMs bounds the router's cache of VMs' services.
	maxKnownVMs = 250_000
	// maxNotes bounds the notes that wait to be stored.
	maxNotes = 1024
)

// owners knows the services of VMs, for events that do not name them. If it does not know one, oned is asked.
type owners struct {
	objects *work.Objects
	logger  *slog.Logger
	known   map[int]int // VM -> service; the router's goroutine only
	notes   chan ownerNote
}

// ownerNote is a VM's service to be stored, or deleted if the VM is gone.
type ownerNote struct {
	vm, service int
	gone        bool
}

// note records the services of a batch's VMs before the events are given to their services: a later event of the batch may no longer name
// the service. VMs that were found by comparing are not noted: at a first start these are all VMs, and rebuildOwners has them.
func (o *owners) note(batch []heard) {
	for _, one := range batch {
		vm := one.event.VM
		if vm == nil || vm.Gone() || vm.Service < 0 { // no service's, or its user template was replaced
			continue
		}
		if service, known := o.known[vm.ID]; !known || service != vm.Service {
			o.remember(vm.ID, vm.Service)
			if !one.event.Resync {
				o.later(ownerNote{vm: vm.ID, service: vm.Service})
			}
		}
	}
}

// forget drops the VMs whose end is in a batch of events, after it was given to their services.
func (o *owners) forget(batch []heard) {
	for _, one := range batch {
		vm := one.event.VM
		if vm == nil || !vm.Gone() {
			continue
		}
		if _, known := o.known[vm.ID]; known || vm.Service >= 0 {
			delete(o.known, vm.ID)
			o.later(ownerNote{vm: vm.ID, gone: true})
		}
	}
}

func (o *owners) remember(vm, service int) {
	if len(o.known) >= maxKnownVMs {
		clear(o.known)
	}
	o.known[vm] = service
}

// later queues a note to be stored; it is dropped while too many wait.
func (o *owners) later(note ownerNote) {
	select {
	case o.notes <- note:
	default:
	}
}

// claims are the services of VMs and networks according to the services' documents; -1 for an object that two documents have.
type claims struct {
	ids   map[string]map[int]int // kind -> id -> service
	noted map[string]map[int]int // what FLOW_OWNERS had before: notes deleted meanwhile are not put back
	older olderData
}

func (c *claims) add(service int, body spec.Body) {
	if logged := body.LastLogged(); !c.older.written.IsZero() && logged.After(c.older.written.Add(ClockSkew)) { // perhaps by this worker
		c.older.logged[service] = logged
	}
	claim := func(kind string, id int) {
		owner := service
		if other, claimed := c.ids[kind][id]; claimed && other != service {
			owner = -1
		}
		c.ids[kind][id] = owner
	}
	for _, vm := range spec.VMIDs(body.Roles...) {
		claim(work.OwnedVM, vm)
	}
	for _, network := range flow.OwnNetworks(spec.Service{ID: service, Body: body}) {
		claim(work.OwnedNetwork, network.ID)
	}
}

// rebuildOwners restores missing notes from all services' claims: the bucket may have been lost, or no router may have run for a while.
// Existing notes are kept, for VMs' own events are more reliable than documents; oned is asked about objects that two documents have.
func (r *Router) rebuildOwners(ctx context.Context, claimed *claims) error {
	if err := claimed.older.report(ctx, r); err != nil {
		return err
	}
	var missing []work.Owner
	for kind, ids := range claimed.ids {
		for id, service := range ids {
			if _, known := claimed.noted[kind][id]; !known && service >= 0 {
				missing = append(missing, work.Owner{Kind: kind, ID: id, Service: service})
			}
		}
	}
	if err := r.Pipe.PutOwners(ctx, missing...); err != nil {
		return err
	}
	r.Services.Logger.Debug("bucket FLOW_OWNERS is complete", "put_back", len(missing))
	return nil
}

// run stores the notes until ctx ends, as many at a time as there are, to spare the disk.
func (o *owners) run(ctx context.Context) {
	for {
		var first ownerNote
		select {
		case <-ctx.Done():
			return
		case first = <-o.notes:
		}
		newest := map[int]ownerNote{} // of each VM
		for _, note := range batch.Available(first, o.notes, maxNotes) {
			newest[note.vm] = note
		}
		var owned []work.Owner
		for _, note := range newest {
			if !note.gone {
				owned = append(owned, work.Owner{Kind: work.OwnedVM, ID: note.vm, Service: note.service})
			} else if err := o.objects.ForgetOwner(ctx, work.OwnedVM, note.vm); err != nil {
				o.logger.Debug("the owner of a VM that is gone could not be removed from FLOW_OWNERS", "vm", note.vm, "error", err)
			}
		}
		if err := o.objects.PutOwners(ctx, owned...); err != nil {
			o.logger.Debug("the owners of some VMs could not be stored in FLOW_OWNERS; they are read from oned when needed", "vms", len(owned), "error", err)
		}
	}
}
