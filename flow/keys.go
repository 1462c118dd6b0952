package flow

import (
	"strconv"
	"strings"
	"time"
)

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
