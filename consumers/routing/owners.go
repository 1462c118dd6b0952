package routing

import (
	"context"
	"log/slog"
	"time"

	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/internal/idle"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline/work"
)

const (
	// maxKnownVMs bounds the router's memory of which VM is whose.
	maxKnownVMs = 250_000
	// maxNotes bounds the notes that wait to be stored.
	maxNotes = 1024
)

// owners knows whose a VM is, for events that do not say so. Where a note is missing, oned is asked.
type owners struct {
	pipe   clients
	logger *slog.Logger
	known  map[int]int // VM -> service; the router's goroutine only
	notes  chan ownerNote
}

// ownerNote is to be stored, or forgotten where the VM is gone.
type ownerNote struct {
	vm, service int
	gone        bool
}

// note takes over what a batch of events says. A VM that was found by comparing is not noted: at a
// first start these are all VMs, and rebuildOwners has them.
func (o *owners) note(batch []heard) {
	for _, one := range batch {
		vm := one.event.VM
		if vm == nil || vm.Service < 0 {
			continue
		}
		service, known := o.known[vm.ID]
		switch {
		case vm.Gone():
			delete(o.known, vm.ID)
			o.later(ownerNote{vm: vm.ID, gone: true})
		case !known || service != vm.Service:
			o.remember(vm.ID, vm.Service)
			if !one.event.Resync {
				o.later(ownerNote{vm: vm.ID, service: vm.Service})
			}
		}
	}
}

func (o *owners) remember(vm, service int) {
	if len(o.known) >= maxKnownVMs {
		clear(o.known)
	}
	o.known[vm] = service
}

// later leaves a note to be stored; while too many wait, it is left out.
func (o *owners) later(note ownerNote) {
	select {
	case o.notes <- note:
	default:
	}
}

// rebuildOwners puts back the notes that are missing, out of the services' documents, until that
// succeeds: the bucket may have been lost, and nobody routed for a while. What is noted stays, for
// VMs' own events are worth more than a document, and what two documents have is asked of oned.
func (r *Router) rebuildOwners(ctx context.Context) {
	level := slog.LevelWarn
	for pause := idle.NewBackoff(); ctx.Err() == nil; pause.Wait(ctx) {
		count, err := r.tryToRebuildOwners(ctx)
		if err == nil {
			r.Services.Logger.Debug("bucket FLOW_OWNERS is complete", "put_back", count)
			return
		}
		if ctx.Err() == nil {
			r.Services.Logger.Log(ctx, level, "bucket FLOW_OWNERS could not be completed, retrying", "error", err)
			level = slog.LevelDebug
		}
	}
}

func (r *Router) tryToRebuildOwners(ctx context.Context) (count int, err error) {
	noted, err := r.pipe.Owners(ctx)
	if err != nil {
		return 0, err
	}
	claims := map[string]map[int]int{work.OwnedVM: {}, work.OwnedNetwork: {}}
	claim := func(kind string, id, service int) {
		if other, claimed := claims[kind][id]; claimed && other != service {
			service = -1
		}
		claims[kind][id] = service
	}
	older := olderData{written: r.written, logged: map[int]time.Time{}}
	err = r.Services.Each(ctx, nil, func(document opennebula.Document, body spec.Body) error {
		if logged := body.LastLogged(); !r.written.IsZero() && logged.After(r.written.Add(ClockSkew)) { // maybe by this worker's hand
			older.logged[document.ID] = logged
		}
		for _, role := range body.Roles {
			for _, node := range role.Nodes {
				claim(work.OwnedVM, node.DeployID, document.ID)
			}
		}
		for _, network := range spec.OwnNetworks(body) {
			claim(work.OwnedNetwork, network, document.ID)
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	if err := older.tell(ctx, r); err != nil {
		return 0, err
	}
	var missing []work.Owner
	for kind, ids := range claims {
		for id, service := range ids {
			if _, known := noted[kind][id]; !known && service >= 0 {
				missing = append(missing, work.Owner{Kind: kind, ID: id, Service: service})
			}
		}
	}
	return len(missing), r.pipe.PutOwners(ctx, missing)
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
		for _, note := range available(first, o.notes, maxNotes) {
			newest[note.vm] = note
		}
		var owned []work.Owner
		for _, note := range newest {
			if !note.gone {
				owned = append(owned, work.Owner{Kind: work.OwnedVM, ID: note.vm, Service: note.service})
			} else if err := o.pipe.ForgetOwner(ctx, work.OwnedVM, note.vm); err != nil {
				o.logger.Debug("the owner of a VM that is gone could not be removed from FLOW_OWNERS", "vm", note.vm, "error", err)
			}
		}
		if err := o.pipe.PutOwners(ctx, owned); err != nil {
			o.logger.Debug("the owners of some VMs could not be stored in FLOW_OWNERS; they are read from oned when needed", "vms", len(owned), "error", err)
		}
	}
}
