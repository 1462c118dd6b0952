package consumers

import (
	"context"
	"fmt"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
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

// finder looks for VMs that an earlier call may have made.
type finder struct {
	*serviceLoop
	searched search // the last look
}

// find looks for the VM of an intent among those created since it was decided on, by the users
// whose VMs the service's can be: others may have forged theirs. oned numbers VMs in the order in
// which it makes them, so what an earlier look went through is not read again.
func (f *finder) find(ctx context.Context, intent flow.Intent) (bool, error) {
	look := search{at: time.Now(), floor: f.floor(intent.Key), keys: map[string]bool{}}
	if look.next = look.floor; f.searched.covers(look.floor) {
		look.floor, look.next, look.keys = f.searched.floor, f.searched.next, f.searched.keys
	}
	service := f.record.State.Service
	owners := []int{service.Owner.UID}
	if service.Former != nil {
		owners = append(owners, service.Former.UID)
	}
	var vms []one.VM
	for _, owner := range owners {
		theirs, err := f.worker.oned.Server().Confirmed().VMs(ctx, owner, look.next, -1, opennebula.StateAny)
		if err != nil {
			return false, fmt.Errorf("look for the VM %s of service %d: %w", intent.Name, f.service, err)
		}
		vms = append(vms, theirs...)
	}
	for _, vm := range vms {
		look.next = max(look.next, vm.ID+1)
		if vm.Service == f.service && vm.Key != "" {
			f.facts[vm.ID] = vm
			look.keys[vm.Key] = true
		}
	}
	f.searched = look
	return look.keys[intent.Key], nil
}

// search is what was looked through for the VMs of a service's intents: all VMs
// from floor up to before next.
type search struct {
	at          time.Time
	floor, next int
	keys        map[string]bool // what was found
}

// covers reports whether all VMs from the floor on are part of the search so far.
func (s search) covers(floor int) bool { return s.keys != nil && s.floor <= floor }

// trustSearch is for how long a search answers for all intents of a service that
// has been taken over: each on its own would read the same VMs again and again.
const trustSearch = 500 * time.Millisecond

// searchedInVain reports whether the intent's VM was among those that were looked
// through just now, and was not there.
func (f *finder) searchedInVain(key string) bool {
	return time.Since(f.searched.at) < trustSearch && f.searched.covers(f.floor(key)) && !f.searched.keys[key]
}

// floor is the VM id from which on an intent's VM is to be found; the record
// knows it, the plan that made the intent did not.
func (f *finder) floor(key string) int {
	for _, intent := range f.record.State.Intents {
		if intent.Key == key {
			return intent.Floor
		}
	}
	return 0
}
