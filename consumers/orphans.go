package consumers

import (
	"context"
	"fmt"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
)

// orphans ends what came after its service had ended, or for one that is gone.
type orphans struct{ *serviceLoop }

// absent meets an input for a service that has no document.
func (o *orphans) absent(ctx context.Context, input pipeline.Input) error {
	if o.record.Deleted && input.Work.Event == nil && input.Work.Trouble == nil {
		// After oned was restored ids are given out again. Events tell nothing of that, and are many.
		found, err := o.loader.readDocument(ctx, o.worker.oned.Server().Confirmed())
		if err != nil {
			o.loaded = false
			return err
		}
		if found.exists {
			o.loaded = false
			return o.handleOnce(ctx, input)
		}
	}
	if command := input.Work.Command; command != nil {
		if o.revision == 0 && time.Since(o.came) < o.worker.config.AwaitDocument {
			return fmt.Errorf("%s service %d: %w", command.Verb, o.service, errNoDocument)
		}
		reply := pipeline.Reply{
			Version: pipeline.Version, Command: command.ID, Refused: flow.RefusedMissing,
			Message: fmt.Sprintf("service %d does not exist", o.service), Time: time.Now().UTC(),
		}
		if err := o.answer(ctx, input, reply); err != nil {
			return err
		}
	}
	if o.record.Deleted {
		return o.endOrphans(ctx, input.Work)
	}
	return o.finalize(ctx)
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

// endOrphans ends the VMs that news is about and that were created for a service that has ended
// since: by a call that took effect after it had been given up.
func (o *orphans) endOrphans(ctx context.Context, work pipeline.Work) error {
	var suspects []int
	if event := work.Event; event != nil && event.VM != nil && event.VM.Key != "" && !event.VM.Ending() {
		suspects = append(suspects, event.VM.ID)
	}
	for _, told := range work.Trouble {
		suspects = append(suspects, told.VM)
	}
	for _, id := range suspects {
		// The news may be forged, or of another time: oned says whose the VM is, and what for.
		vm, err := o.ingester.fetchVM(ctx, o.worker.oned.Server().Confirmed(), id, o.facts)
		if err != nil {
			return err
		}
		if !spec.IsOrphan(vm, o.service, o.record.State.Service.Owner, o.record.Ended) {
			continue
		}
		within := opennebula.Within(ctx, o.life)
		if found, err := o.loader.readDocument(within, o.worker.oned.Server().Confirmed()); err != nil || found.exists {
			o.loaded = false // the tombstone is no longer believed
			return err
		}
		o.worker.config.Logger.Warn("a VM was created after its service had ended and is terminated", "service", o.service, "vm", id)
		err = o.actor.session().ActOnVM(within, "terminate-hard", id)
		if opennebula.Temporary(err) {
			return fmt.Errorf("act on VM %d of service %d: %w", id, o.service, err)
		}
		if err != nil { // no decision depends on it
			o.worker.config.Logger.Warn("oned refused a call for a VM", "service", o.service, "vm", id, "error", err)
		}
	}
	return nil
}
