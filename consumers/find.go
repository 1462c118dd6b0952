package consumers

import (
	"context"
	"fmt"
	"time"

	"github.com/flowjet/flowjet/flow"
	"github.com/flowjet/flowjet/flow/one"
	"github.com/flowjet/flowjet/opennebula"
)

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
