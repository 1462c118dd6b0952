package consumers

import (
	"context"
	"log/slog"

	"github.com/flowjet/flowjet/pipeline"
)

const (
	// maxKnownVMs bounds the router's memory of which VM is whose.
	maxKnownVMs = 100_000
	// maxNotes bounds the notes that wait to be stored.
	maxNotes = 1024
)

// owners knows which service a VM belongs to, for events that do not say so.
// What it stores is a help and no truth: where a note is missing, oned is asked.
type owners struct {
	pipe   *pipeline.Pipeline
	logger *slog.Logger
	known  map[int]int // VM -> service; the router's goroutine only
	notes  chan ownerNote
}

// ownerNote is to be stored, or forgotten where the VM is gone.
type ownerNote struct {
	vm, service int
	gone        bool
}

func newOwners(pipe *pipeline.Pipeline, logger *slog.Logger) *owners {
	return &owners{pipe: pipe, logger: logger, known: map[int]int{}, notes: make(chan ownerNote, maxNotes)}
}

// note takes over what a batch of events says.
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
			if len(o.known) >= maxKnownVMs {
				clear(o.known)
			}
			o.known[vm.ID] = vm.Service
			o.later(ownerNote{vm: vm.ID, service: vm.Service})
		}
	}
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
	return o.pipe.Owner(ctx, "vm", vm)
}

// ofNetwork is the service that made a network for itself, -1 for none.
func (o *owners) ofNetwork(ctx context.Context, network int) (int, error) {
	service, known, err := o.pipe.Owner(ctx, ownedNetwork, network)
	if err != nil || !known {
		return -1, err
	}
	return service, nil
}

// run stores the notes until ctx ends.
func (o *owners) run(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case note := <-o.notes:
			if err := o.store(ctx, note); err != nil {
				o.logger.Debug("a VM's service was not noted; oned will be asked", "vm", note.vm, "error", err)
			}
		}
	}
}

func (o *owners) store(ctx context.Context, note ownerNote) error {
	if note.gone {
		return o.pipe.ForgetOwner(ctx, "vm", note.vm)
	}
	return o.pipe.PutOwner(ctx, "vm", note.vm, note.service)
}
