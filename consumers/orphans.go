package consumers

import (
	"context"
	"fmt"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/pipeline"
)

// absent meets an input for a service that has no document.
func (o *orphans) absent(ctx context.Context, input pipeline.Input) error {
	if again, err := o.isUsedAgain(ctx, input); again || err != nil {
		o.loaded = false
		if err != nil {
			return err
		}
		return o.handleOnce(ctx, input)
	}
	if command := input.Work.Command; command != nil {
		if o.revision == 0 && time.Since(o.came) < o.worker.config.AwaitDocument {
			return fmt.Errorf("%s service %d: %w", command.Verb, o.service, errNoDocument)
		}
		reply := pipeline.Reply{
			Version: pipeline.Version, Command: command.ID, Refused: flow.RefusedMissing,
			Message: fmt.Sprintf("service %d does not exist", o.service), Time: time.Now().UTC(),
		}
		if err := o.responder.answer(ctx, input, reply); err != nil {
			return err
		}
	}
	if o.revision != 0 && !o.record.Deleted {
		return o.finalize(ctx)
	}
	if event := input.Work.Event; event != nil && event.VM != nil {
		return o.endOrphan(ctx, *event.VM)
	}
	return o.endOrphans(ctx, input.Work.Trouble)
}

// isUsedAgain reports whether there is a document of the id of a service that has ended: after
// oned was restored ids are given out again. Events tell nothing of that, and are many.
func (o *orphans) isUsedAgain(ctx context.Context, input pipeline.Input) (bool, error) {
	if !o.record.Deleted || input.Work.Event != nil || input.Work.Trouble != nil {
		return false, nil
	}
	found, err := o.loader.readDocument(ctx, o.actor.server().Confirmed())
	return found.exists, err
}

// finalize commits that a service has ended whose document is gone: a worker may
// have died between deleting it and noting that, or somebody else deleted it.
func (o *orphans) finalize(ctx context.Context) error {
	if o.revision == 0 || o.record.Deleted {
		return nil
	}
	o.record.Deleted = true
	return o.saver.tombstone(ctx)
}

// isOrphan reports whether a VM was created for a service that has ended since: a call
// that took effect after it had been given up.
func (o *orphans) isOrphan(vm one.VM) bool {
	return o.record.Deleted && spec.IsOrphan(vm, o.service, o.record.State.Service.Owner, o.record.Ended)
}

// endOrphan ends the VM that an event told of, if it is one.
func (o *orphans) endOrphan(ctx context.Context, vm one.VM) error {
	if !o.record.Deleted || vm.Key == "" || vm.Ending() {
		return nil
	}
	// The event may be forged, or of another time: oned says whose the VM is, and what for.
	known, err := o.ingester.fetchVM(ctx, o.actor.server().Confirmed(), vm.ID, o.facts)
	if err != nil || !o.isOrphan(known) {
		return err
	}
	return o.terminate(ctx, vm.ID)
}

// endOrphans ends those of the VMs in trouble that are orphan VMs.
func (o *orphans) endOrphans(ctx context.Context, trouble []pipeline.Trouble) error {
	if !o.record.Deleted {
		return nil
	}
	for _, told := range trouble {
		vm, err := o.ingester.fetchVM(ctx, o.actor.server().Confirmed(), told.VM, o.facts)
		if err != nil {
			return err
		}
		if !o.isOrphan(vm) {
			continue
		}
		if err := o.terminate(ctx, vm.ID); err != nil {
			return err
		}
	}
	return nil
}

func (o *orphans) terminate(ctx context.Context, vm int) error {
	ctx = o.loader.withinLife(ctx)
	if found, err := o.loader.readDocument(ctx, o.actor.server().Confirmed()); err != nil || found.exists {
		o.loaded = false // the tombstone is no longer believed
		return err
	}
	o.worker.config.Logger.Warn("a VM was created after its service had ended and is terminated", "service", o.service, "vm", vm)
	return o.executor.tolerate(vm, o.actor.session().ActOnVM(ctx, "terminate-hard", vm))
}
