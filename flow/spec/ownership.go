package spec

import (
	"strconv"
	"strings"
	"time"

	"github.com/flowjet/flowjet/flow/one"
)

// Whose is what. Flowjet acts with the rights of a server user, and what it finds in a
// document, in a VM's user template or in an event can be written by others than the
// service's owner. So a VM is a service's only if it belongs to the service's owner, names the
// service, and
//   - has the key of one of its intents, or
//   - has no key and is a node in its document, as those that OneFlow made.
//
// After a service was given to another owner the VMs of the former one are its own for a
// while, for they are moved one by one.
//
// Nothing else is adopted, acted on, waited for, measured, referred to or explained by.
// That a VM is gone is taken from whoever it was.

// Owns reports whether the VM can be the service's; one without a key is only if it is a node.
func (s Service) Owns(vm one.VM) bool {
	former := s.Former != nil && vm.Owner.UID == s.Former.UID
	if vm.Service != s.ID || vm.Owner.UID != s.Owner.UID && !former {
		return false
	}
	_, ours := keyTime(vm.Key, s.ID)
	return ours || vm.Key == ""
}

// OwnsRouter reports whether a virtual router is the service's: its owner's, with the key of one of its intents. One
// that OneFlow made has none: its VMs are the service's, or it is named for the service.
func (s Service) OwnsRouter(owner one.Identity, key, name string, vms []int, facts map[int]one.VM) bool {
	if owner.UID != s.Owner.UID {
		return false
	}
	if key != "" {
		_, ours := keyTime(key, s.ID)
		return ours
	}
	for _, id := range vms {
		if vm, known := facts[id]; !known || !vm.Gone() && !s.Owns(vm) {
			return false
		}
	}
	return len(vms) > 0 || strings.Contains(name, "service_"+strconv.Itoa(s.ID)+")")
}

// keyTime is when the key of an intent of the service was made. ok is false for a text that is no such key.
func keyTime(key string, service int) (at time.Time, ok bool) {
	first, rest, found := strings.Cut(key, "-")
	last := strings.LastIndexByte(rest, '-')
	if !found || first != strconv.Itoa(service) || last <= 0 {
		return time.Time{}, false
	}
	micros, err := strconv.ParseInt(rest[last+1:], 36, 64)
	if err != nil || micros <= 0 {
		return time.Time{}, false
	}
	return time.UnixMicro(micros), true
}

// IsOrphan reports whether the VM was made for a service that had ended by then: its owner's,
// for an intent of the service from before its end. ended may be unknown.
func IsOrphan(vm one.VM, service int, owner one.Identity, ended time.Time) bool {
	made, ok := keyTime(vm.Key, service)
	return ok && vm.Service == service && vm.Owner.UID == owner.UID && !vm.Ending() && (ended.IsZero() || !made.After(ended))
}
