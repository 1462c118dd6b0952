package flow

import (
	"slices"
	"strconv"
	"strings"
	"time"
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
func (s Service) Owns(vm VM) bool {
	former := s.Former != nil && vm.Owner.UID == s.Former.UID
	if vm.Service != s.ID || vm.Owner.UID != s.Owner.UID && !former {
		return false
	}
	_, ours := keyTime(vm.Key, s.ID)
	return ours || vm.Key == ""
}

// OwnsRouter reports whether a virtual router is the service's: its owner's, with the key of
// one of its intents. One that OneFlow made has none: its VMs are the service's, or it is
// named for the service.
func (s Service) OwnsRouter(owner Identity, key, name string, vms []int, facts Facts) bool {
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

// owned are the facts about VMs that can be the service's, or are gone.
func (s Service) owned(facts Facts) Facts {
	foreign := 0
	for _, vm := range facts {
		if !vm.Gone() && !s.Owns(vm) {
			foreign++
		}
	}
	if foreign == 0 {
		return facts
	}
	ours := make(Facts, len(facts)-foreign)
	for id, vm := range facts {
		if vm.Gone() || s.Owns(vm) {
			ours[id] = vm
		}
	}
	return ours
}

// Strangers are the nodes, and the VMs that something was asked of, that are not the
// service's by the facts.
func (s State) Strangers(facts Facts) []int {
	var strangers []int
	note := func(id int) {
		if vm, known := facts[id]; known && !vm.Gone() && !s.Service.Owns(vm) {
			strangers = append(strangers, id)
		}
	}
	for _, role := range s.Service.Body.Roles {
		for _, node := range role.Nodes {
			note(node.DeployID)
		}
	}
	for id := range s.Asked {
		note(id)
	}
	slices.Sort(strangers)
	return slices.Compact(strangers)
}

// hideStrangers takes VMs that are not the service's out of what is planned with. Nodes of
// such VMs stay in the document until their role ends, and nothing is made in their place:
// a service's VMs are chowned one by one.
func (f owners) hideStrangers() {
	strangers := f.Strangers(f.facts)
	f.facts = f.Service.owned(f.facts)
	if len(strangers) == 0 {
		return
	}
	f.strangers = map[string][]Node{}
	for _, id := range strangers {
		delete(f.Asked, id)
		delete(f.Stays, id)
	}
	for i := range f.roles() {
		role := &f.roles()[i]
		isForeign := func(n Node) bool { return slices.Contains(strangers, n.DeployID) }
		for _, node := range role.Nodes {
			if isForeign(node) {
				f.strangers[role.Name] = append(f.strangers[role.Name], node)
			}
		}
		role.Nodes = slices.DeleteFunc(role.Nodes, isForeign)
	}
}

// showStrangers puts the nodes back, but for those of roles that end: their VMs are left
// alone.
func (f owners) showStrangers() {
	for i := range f.roles() {
		role := &f.roles()[i]
		foreign := f.strangers[role.Name]
		if len(foreign) == 0 || f.remover.ending() || role.state() == RoleUndeploying || role.state() == RoleDone {
			continue
		}
		role.Nodes = append(role.Nodes, foreign...)
		slices.SortStableFunc(role.Nodes, func(a, b Node) int { return a.DeployID - b.DeployID })
	}
}

// keyTime is when the key of an intent of the service was made. ok is false for a text that
// is no such key.
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
func IsOrphan(vm VM, service int, owner Identity, ended time.Time) bool {
	made, ok := keyTime(vm.Key, service)
	return ok && vm.Service == service && vm.Owner.UID == owner.UID && !vm.Ending() && (ended.IsZero() || !made.After(ended))
}
