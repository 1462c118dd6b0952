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

// owners knows which service a VM belongs to, for events that do not say so.
// What it stores is a help and no truth: where a note is missing, oned is asked.
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

func newOwners(pipe clients, logger *slog.Logger) *owners {
	return &owners{pipe: pipe, logger: logger, known: map[int]int{}, notes: make(chan ownerNote, maxNotes)}
}

// note takes over what a batch of events says. A VM that was found by comparing
// is not noted: at a first start these are all VMs, and rebuildOwners has them.
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

// noteOwner remembers whose a VM is, and leaves a note of it; -1 is nobody's, and
// not noted.
func (o *owners) noteOwner(vm, service int) {
	if service < 0 {
		return
	}
	o.remember(vm, service)
	o.later(ownerNote{vm: vm, service: service})
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

// of is the service that a VM belongs to, as far as it was noted.
func (o *owners) of(ctx context.Context, vm int) (int, bool, error) {
	if service, known := o.known[vm]; known {
		return service, true, nil
	}
	return o.pipe.Owner(ctx, work.OwnedVM, vm)
}

// ofNetwork is the service that made a network for itself, -1 for none.
func (o *owners) ofNetwork(ctx context.Context, network int) (int, error) {
	service, known, err := o.pipe.Owner(ctx, work.OwnedNetwork, network)
	if err != nil || !known {
		return -1, err
	}
	return service, nil
}

// rebuildOwners puts back the notes that are missing, out of the services'
// documents: the bucket may have been lost, and events were not heard while
// nobody routed. It is tried until it succeeds. What is noted stays, for VMs' own events tell
// more than what somebody has written into a document, and what two documents have is asked of
// oned.
func (r *Router) rebuildOwners(ctx context.Context) {
	pause, level := idle.NewBackoff(), slog.LevelWarn
	for ctx.Err() == nil {
		count, err := r.tryToRebuildOwners(ctx)
		if err == nil {
			r.config.Logger.Debug("bucket FLOW_OWNERS is complete", "put_back", count)
			return
		}
		if ctx.Err() == nil {
			r.config.Logger.Log(ctx, level, "bucket FLOW_OWNERS could not be completed, retrying", "error", err)
			level = slog.LevelDebug
		}
		pause.Wait(ctx)
	}
}

func (r *Router) tryToRebuildOwners(ctx context.Context) (count int, err error) {
	noted, err := r.pipe.Owners(ctx)
	if err != nil {
		return 0, err
	}
	claims := map[string]map[int]int{work.OwnedVM: {}, work.OwnedNetwork: {}}
	older := olderData{written: r.written, logged: map[int]time.Time{}}
	err = r.services.Each(ctx, nil, func(document opennebula.Document, body spec.Body) error {
		older.note(document.ID, body)
		for kind, ids := range map[string][]int{work.OwnedVM: vmsOf(body), work.OwnedNetwork: spec.OwnNetworks(body)} {
			for _, id := range ids {
				if other, claimed := claims[kind][id]; claimed && other != document.ID {
					claims[kind][id] = -1
				} else {
					claims[kind][id] = document.ID
				}
			}
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

// vmsOf are the VMs that a service's document names.
func vmsOf(body spec.Body) []int {
	var ids []int
	for _, role := range body.Roles {
		for _, node := range role.Nodes {
			ids = append(ids, node.DeployID)
		}
	}
	return ids
}

// run stores the notes until ctx ends, as many at a time as there are: each by
// itself would keep the disk from the events that are being routed.
func (o *owners) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case first := <-o.notes:
			o.store(ctx, o.newest(first))
		}
	}
}

// newest is the first note and those that wait, of each VM the last.
func (o *owners) newest(first ownerNote) map[int]ownerNote {
	notes := map[int]ownerNote{first.vm: first}
	for len(notes) < maxNotes {
		select {
		case note := <-o.notes:
			notes[note.vm] = note
		default:
			return notes
		}
	}
	return notes
}

func (o *owners) store(ctx context.Context, notes map[int]ownerNote) {
	var owned []work.Owner
	for _, note := range notes {
		if !note.gone {
			owned = append(owned, work.Owner{Kind: work.OwnedVM, ID: note.vm, Service: note.service})
			continue
		}
		if err := o.pipe.ForgetOwner(ctx, work.OwnedVM, note.vm); err != nil {
			o.logger.Debug("the owner of a VM that is gone could not be removed from FLOW_OWNERS", "vm", note.vm, "error", err)
		}
	}
	if err := o.pipe.PutOwners(ctx, owned); err != nil {
		o.logger.Debug("the owners of some VMs could not be stored in FLOW_OWNERS; they are read from oned when needed", "vms", len(owned), "error", err)
	}
}
