package consumers

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
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
	if err := l.ingester.fetch(ctx, l.worker.oned.Server().Confirmed(), ids, facts); err != nil {
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
		err := l.ingester.fetch(ctx, l.worker.oned.Server().Confirmed(), []int{id}, l.facts)
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
		if err = l.executor.actAsOwner(ctx); err == nil {
			err = l.executor.session().ActOnVM(within, "terminate-hard", id)
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

// find looks up the VM of an intent among those created since the intent, by the users whose VMs can be the service's: others may have
// forged theirs. oned numbers VMs in the order in which it makes them, so VMs of an earlier search are not read again.
func (e *executor) find(ctx context.Context, intent flow.Intent) (bool, error) {
	look := search{at: time.Now(), floor: e.floor(intent.Key), keys: map[string]bool{}}
	if look.next = look.floor; e.searched.covers(look.floor) {
		look.floor, look.next, look.keys = e.searched.floor, e.searched.next, e.searched.keys
	}
	service := e.record.State.Service
	owners := []int{service.Owner.UID}
	if service.Former != nil {
		owners = append(owners, service.Former.UID)
	}
	var vms []one.VM
	for _, owner := range owners {
		theirs, err := e.worker.oned.Server().Confirmed().VMs(ctx, owner, look.next, -1, opennebula.StateAny)
		if err != nil {
			return false, fmt.Errorf("look for the VM %s of service %d: %w", intent.Name, e.service, err)
		}
		vms = append(vms, theirs...)
	}
	for _, vm := range vms {
		look.next = max(look.next, vm.ID+1)
		if vm.Service == e.service && vm.Key != "" {
			e.facts[vm.ID] = vm
			look.keys[vm.Key] = true
		}
	}
	e.searched = look
	return look.keys[intent.Key], nil
}

// search is the result of a search for the VMs of a service's intents: of all from floor up to before next.
type search struct {
	at          time.Time
	floor, next int
	keys        map[string]bool // the keys found
}

// covers reports whether all VMs from the floor on are part of the search so far.
func (s search) covers(floor int) bool { return s.keys != nil && s.floor <= floor }

// trustSearch is how long a search counts for all intents of a service that has been taken over: each on its own would read the same VMs
// again and again.
const trustSearch = 500 * time.Millisecond

// floor returns the VM id from which on an intent's VM is looked up; the plan that made the intent did not know it.
func (e *executor) floor(key string) int {
	for _, intent := range e.record.State.Intents {
		if intent.Key == key {
			return intent.Floor
		}
	}
	return 0
}
