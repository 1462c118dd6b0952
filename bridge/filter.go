package bridge

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/flowjet/flowjet/opennebula"
)

// The kinds of object whose state changes can pass, and the call without which nobody hears of READY.
const (
	objectVM  = "vm"
	objectNet = "net"
	callReady = "one.vm.update"
)

var knownObjects = []string{objectVM, objectNet, "host", "image"}

// filter says which events pass. What passes is the same few attributes
// whatever it says: it can let more kinds of event through, and no secret.
type filter struct {
	objects []string
	calls   []string
	// states are those that pass of the objects named here, as STATE or
	// STATE/LCM_STATE; of other objects all pass.
	states map[string][]string
}

func newFilter(c Config) (filter, error) {
	f := filter{objects: c.Objects, calls: c.Calls, states: map[string][]string{}}
	for _, object := range c.Objects {
		if !slices.Contains(knownObjects, object) {
			return filter{}, fmt.Errorf("bridge.events has the object %q: it must be one of %s", object, strings.Join(knownObjects, ", "))
		}
	}
	for _, call := range c.Calls {
		if words := strings.Split(call, "."); len(words) != 3 || words[0] != "one" || strings.ContainsAny(call, " \t") {
			return filter{}, fmt.Errorf("bridge.events has the call %q: a call has the form one.vm.update, or one.vm.* for all calls about VMs", call)
		}
	}
	for _, pattern := range c.States {
		object, state, whole := strings.Cut(pattern, "/")
		if !whole || state == "" || !slices.Contains(knownObjects, object) {
			return filter{}, fmt.Errorf("bridge.events has the state %q: a state has the form vm/DONE, vm/ACTIVE/RUNNING or net/READY", pattern)
		}
		f.states[object] = append(f.states[object], strings.ToUpper(state))
	}
	return f, nil
}

// passes reports whether a message with this key is wanted.
func (f filter) passes(key opennebula.HookKey) bool {
	switch key.Kind {
	case opennebula.KeyState:
		return f.passesState(key.Object, key.State, key.LCMState)
	case opennebula.KeyAPI:
		return f.passesCall(key.Call)
	}
	return false // another form of the same event
}

// passesCall reports whether a call is wanted, by its name or as one of all about an object.
func (f filter) passesCall(call string) bool {
	about := call[:strings.LastIndexByte(call, '.')+1]
	return slices.Contains(f.calls, call) || slices.Contains(f.calls, about+"*")
}

// callsOfLists are the calls without which a list of documents that was kept may be outdated.
var callsOfLists = []string{"one.document.*", "one.acl.*", "one.user.*", "one.group.*"}

func (f filter) passesState(object, state, lcmState string) bool {
	if !slices.Contains(f.objects, object) {
		return false
	}
	states, limited := f.states[object]
	return !limited || slices.Contains(states, state) || slices.Contains(states, state+"/"+lcmState)
}

// warn tells of a filter that keeps from services what they wait for.
func (f filter) warn(log *slog.Logger) {
	var missing []string
	for _, object := range []string{objectVM, objectNet} {
		if !slices.Contains(f.objects, object) || len(f.states[object]) > 0 {
			missing = append(missing, object)
		}
	}
	if !f.passesCall(callReady) {
		missing = append(missing, callReady)
	}
	if len(missing) > 0 {
		log.Warn("the bridge's filter drops events that services need: they are only checked at intervals", "filtered", missing)
	}
}
