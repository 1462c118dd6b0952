package consumers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/spec"
	"github.com/flowjet/flowjet/opennebula"
	"github.com/flowjet/flowjet/pipeline"
)

// absent handles an input for a service that has no document.
func (l *serviceLoop) absent(ctx context.Context, input pipeline.Input) error {
	if l.record.Deleted && input.Work.Event == nil && input.Work.Trouble == nil {
		// After oned was restored ids are reused. Events do not show that, and are many.
		found, err := l.loader.readDocument(ctx, l.worker.oned.Server().Confirmed())
		if err != nil {
			l.loaded = false
			return err
		}
		if found.exists {
			l.loaded = false
			return l.handleOnce(ctx, input)
		}
	}
	if command := input.Work.Command; command != nil {
		if l.revision == 0 && time.Since(l.came) < l.worker.config.AwaitDocument {
			return fmt.Errorf("%s service %d: %w", command.Verb, l.service, errNoDocument)
		}
		reply := pipeline.Reply{
			Command: command.ID, Refused: flow.RefusedMissing, Message: fmt.Sprintf("service %d does not exist", l.service), Time: time.Now().UTC(),
		}
		if err := l.worker.pipe.FinishCommand(ctx, input, reply); err != nil {
			return err
		}
	}
	if l.record.Deleted {
		return l.endOrphans(ctx, input.Work)
	}
	return l.finalize(ctx)
}

// finalize commits the end of a service whose document is gone: a worker may have died between deleting it and recording that, or another
// program deleted it.
func (l *serviceLoop) finalize(ctx context.Context) error {
	if l.revision == 0 || l.record.Deleted {
		return nil
	}
	if err := l.reportLeftVMs(ctx); err != nil {
		return err
	}
	l.record.Deleted = true
	return l.saver.tombstone(ctx)
}

// reportLeftVMs logs the service's VMs that still run: whoever deleted its document may have expected that they end, and no document names
// them any more.
func (l *serviceLoop) reportLeftVMs(ctx context.Context) error {
	service, facts := l.record.State.Service, flow.Facts{}
	ids := spec.VMIDs(service.Body.Roles...)
	slices.Sort(ids)
	if err := l.vms.fetch(ctx, l.worker.oned.Server().Confirmed(), ids, facts); err != nil {
		return err
	}
	left := slices.DeleteFunc(ids, func(id int) bool { return facts[id].Gone() || facts[id].Ending() || !service.Owns(facts[id]) })
	if len(left) > 0 {
		l.worker.config.Logger.Warn("the service's document was deleted at oned, and its VMs run on: terminate those that are not needed",
			"service", l.service, "vms", left)
	}
	return nil
}

// endOrphans ends the news' VMs if they are from calls that took effect after the service had ended.
func (l *serviceLoop) endOrphans(ctx context.Context, work pipeline.Work) error {
	var suspects []int
	if event := work.Event; event != nil && event.VM != nil && event.VM.Key != "" && !event.VM.Ending() {
		suspects = append(suspects, event.VM.ID)
	}
	for _, reported := range work.Trouble {
		suspects = append(suspects, reported.VM)
	}
	for _, id := range suspects {
		// The news may be forged, or of another time: oned has the VM's owner and purpose.
		err := l.vms.fetch(ctx, l.worker.oned.Server().Confirmed(), []int{id}, l.facts)
		if err != nil {
			return err
		}
		if !spec.IsOrphan(l.facts[id], l.service, l.record.State.Service.Owner, l.record.Ended) {
			continue
		}
		within := opennebula.Within(ctx, l.life)
		if found, err := l.loader.readDocument(within, l.worker.oned.Server().Confirmed()); err != nil || found.exists {
			l.loaded = false // the tombstone is no longer trusted
			return err
		}
		l.worker.config.Logger.Warn("a VM was created after its service had ended and is terminated", "service", l.service, "vm", id)
		gone, err := l.owner.act(ctx)
		if gone {
			err = errors.New(flow.OwnerGone(l.record.State.Service))
		} else if err == nil {
			err = l.owner.session().ActOnVM(within, "terminate-hard", id)
		}
		if opennebula.Temporary(err) {
			return fmt.Errorf("act on VM %d of service %d: %w", id, l.service, err)
		}
		if err != nil { // no decision depends on it
			l.worker.config.Logger.Warn("oned refused a call for a VM", "service", l.service, "vm", id, "error", err)
		}
	}
	return nil
}
